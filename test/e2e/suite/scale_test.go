package suite

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
)

// TestTwentyServicesAtOnceAndABrokenOne makes twenty Services and a broken one
// at once on two nodes.
func TestTwentyServicesAtOnceAndABrokenOne(t *testing.T) {
	ns := c.namespace(t)
	c.backends(t, ns, 2)
	broken := lbService(ns, "broken")
	broken.Annotations[kubeovn.AttachmentProvider] = "nowhere." + ns
	c.create(t, broken)
	const n = 20
	start := time.Now()
	for i := range n {
		c.create(t, lbService(ns, fmt.Sprintf("svc-%d", i)))
	}
	addresses := map[string]string{}
	for i := range n {
		name := fmt.Sprintf("svc-%d", i)
		ip := c.externalIP(t, ns, name, time.Minute-time.Since(start))
		if other := addresses[ip]; other != "" {
			t.Errorf("%s and %s both have %s", name, other, ip)
		}
		addresses[ip] = name
	}
	t.Logf("%d addresses after %s", n, time.Since(start).Round(time.Millisecond))
	for ip := range addresses {
		c.answers(t, time.Minute-time.Since(start), onLink, ip+":80")
	}
	t.Logf("%d Services served after %s", n, time.Since(start).Round(time.Millisecond))

	if _, err := c.oneWarning(t.Context(), ns, "broken", "AttachmentNotFound"); err != nil {
		t.Error(err)
	}
	c.remove(t, ns, "broken")
	for i := range n {
		name := fmt.Sprintf("svc-%d", i)
		for _, e := range must(c.warnings(t.Context(), ns, name))(t) {
			t.Errorf("Warning on Service %s: %s: %s", name, e.Reason, e.Message)
		}
	}
}

// TestANewLeaderKeepsCountOfTheAddresses ends the leader while fifty Services
// are being made.
func TestANewLeaderKeepsCountOfTheAddresses(t *testing.T) {
	ns := c.namespace(t)
	const n = 50
	ended := make(chan error, 1)
	for i := range n {
		if i == n/2 {
			go func() { ended <- c.endLeader(context.Background()) }()
		}
		c.create(t, lbService(ns, fmt.Sprintf("svc-%d", i)))
	}
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	byAddress := map[string]string{}
	eventually(t, 3*time.Minute, "fifty addresses", func(ctx context.Context) error {
		clear(byAddress)
		l, err := c.kube.CoreV1().Services(ns).List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		for i := range l.Items {
			if ip := published(&l.Items[i]); ip != "" {
				if other := byAddress[ip]; other != "" {
					t.Fatalf("%s is given to %s and %s", ip, other, l.Items[i].Name)
				}
				byAddress[ip] = l.Items[i].Name
			}
		}
		if len(byAddress) != n {
			return fmt.Errorf("%d of %d Services have an address", len(byAddress), n)
		}
		return nil
	})
	vips := must(c.dyn.Resource(kubeovn.VipResource).List(t.Context(), metav1.ListOptions{LabelSelector: kubeovn.LabelServiceNamespace + "=" + ns}))(t)
	if len(vips.Items) != n {
		t.Errorf("%d Vips for %d Services", len(vips.Items), n)
	}
}

// endLeader deletes the Pod that leads, without any grace.
func (c *cluster) endLeader(ctx context.Context) error {
	leader, err := c.leader(ctx)
	if err != nil {
		return err
	}
	return c.kube.CoreV1().Pods("kube-system").Delete(ctx, leader.Name, metav1.DeleteOptions{GracePeriodSeconds: new(int64)})
}

// leader is the Pod of the controller that holds the Lease.
func (c *cluster) leader(ctx context.Context) (*corev1.Pod, error) {
	lease, err := c.kube.CoordinationV1().Leases("kube-system").Get(ctx, "kube-ovn-ccm", metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	holder := ptr.Deref(lease.Spec.HolderIdentity, "")
	pods, err := c.kube.CoreV1().Pods("kube-system").List(ctx, metav1.ListOptions{LabelSelector: "app.kubernetes.io/name=kube-ovn-ccm"})
	if err != nil {
		return nil, err
	}
	for i := range pods.Items {
		if strings.HasPrefix(holder, pods.Items[i].Name+"_") {
			return &pods.Items[i], nil
		}
	}
	return nil, fmt.Errorf("no Pod is the holder %q of the Lease", holder)
}
