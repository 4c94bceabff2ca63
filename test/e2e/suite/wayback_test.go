package suite

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
)

// TestNoPolicyStaysBehind has many policies come and go, quickly and while
// kube-ovn-controller is away, which is when it forgets to take them out of OVN;
// and another writer of the same list, whose policies must not suffer.
func TestNoPolicyStaysBehind(t *testing.T) {
	e := c.ipv4(t)
	ns := c.namespace(t)
	pods := c.webs(t, ns, "web", 4)
	other := c.someoneElse(t)
	local := func() *corev1.Service {
		svc := e.service(ns, "local")
		svc.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
		return svc
	}
	c.create(t, local())
	address := at(c.externalIP(t, ns, "local", 30*time.Second), 80)
	c.seen(t, e, ns, "local", address, pods, true)
	policy := func(p corev1.ServiceExternalTrafficPolicy) {
		c.change(t, ns, "local", func(s *corev1.Service) { s.Spec.ExternalTrafficPolicy = p })
	}

	t.Run("while two write and Pods come and go", func(t *testing.T) {
		done := make(chan struct{})
		var wg sync.WaitGroup
		wg.Go(func() {
			for i := 1; ; i = i%3 + 1 {
				select {
				case <-done:
					return
				case <-time.After(100 * time.Millisecond):
					other.edit(t, i)
				}
			}
		})
		for i := range 6 {
			old := pods[i%len(pods)]
			c.end(t, old, 0)
			if i%2 == 0 {
				policy(corev1.ServiceExternalTrafficPolicyCluster)
			} else {
				policy(corev1.ServiceExternalTrafficPolicyLocal)
			}
			// Of another name: when a Pod comes as quickly as this after one of
			// its name, Kube-OVN loses its record of the new one's address.
			pods[i%len(pods)] = web(ns, fmt.Sprintf("next-%d", i), onNode(c.Nodes()[i%len(c.Nodes())]))
			c.start(t, pods[i%len(pods)])
		}
		close(done)
		wg.Wait()
		pods = c.ready(t, pods...)
		c.seen(t, e, ns, "local", address, pods, true)
		other.untouched(t)
	})
	t.Run("after quick edits", func(t *testing.T) {
		for range 10 {
			policy(corev1.ServiceExternalTrafficPolicyCluster)
			policy(corev1.ServiceExternalTrafficPolicyLocal)
		}
		policy(corev1.ServiceExternalTrafficPolicyCluster)
		c.noPolicies(t, kubeovn.DefaultVPC, time.Minute)
		c.seen(t, e, ns, "local", address, pods, false)
		other.untouched(t)
	})
	t.Run("after a change without Kube-OVN", func(t *testing.T) {
		policy(corev1.ServiceExternalTrafficPolicyLocal)
		c.seen(t, e, ns, "local", address, pods, true)
		c.withoutKubeOVN(t, func() {
			policy(corev1.ServiceExternalTrafficPolicyCluster)
			eventually(t, 20*time.Second, "the gateway masquerades", func(ctx context.Context) error {
				if keeps, err := c.keepsClients(ctx, ns, "local"); err != nil || keeps {
					return fmt.Errorf("client's address kept: %t, %w", keeps, err)
				}
				return nil
			})
		})
		c.noPolicies(t, kubeovn.DefaultVPC, 90*time.Second)
		c.seen(t, e, ns, "local", address, pods, false)
		other.untouched(t)
	})
	t.Run("after a deletion without Kube-OVN", func(t *testing.T) {
		policy(corev1.ServiceExternalTrafficPolicyLocal)
		c.seen(t, e, ns, "local", address, pods, true)
		c.withoutKubeOVN(t, func() {
			if err := c.kube.CoreV1().Services(ns).Delete(t.Context(), "local", metav1.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
			consistently(t, 3*time.Second, "the Service waits for Kube-OVN", func(ctx context.Context) error {
				_, err := c.kube.CoreV1().Services(ns).Get(ctx, "local", metav1.GetOptions{})
				return err
			})
		})
		took := eventually(t, 90*time.Second, "end of the Service", func(ctx context.Context) error {
			_, err := c.kube.CoreV1().Services(ns).Get(ctx, "local", metav1.GetOptions{})
			if apierrors.IsNotFound(err) {
				return nil
			}
			return fmt.Errorf("still there: %w", err)
		})
		t.Logf("gone %s after Kube-OVN was back", took.Round(100*time.Millisecond))
		c.noPolicies(t, kubeovn.DefaultVPC, 10*time.Second)
		other.untouched(t)
	})
	t.Run("of a Service that is made and deleted", func(t *testing.T) {
		uid := c.create(t, local()).UID
		c.externalIP(t, ns, "local", 30*time.Second)
		start := time.Now()
		c.remove(t, ns, "local")
		t.Logf("the deletion took %s", time.Since(start).Round(100*time.Millisecond))
		c.allGone(t, uid)
		c.noPolicies(t, kubeovn.DefaultVPC, 10*time.Second)
		other.untouched(t)
	})
	for _, e := range must(c.warnings(t.Context(), ns, "local"))(t) {
		if e.Reason != "SyncLoadBalancerFailed" { // which the deletion without Kube-OVN was
			t.Errorf("Warning %s: %s", e.Reason, e.Message)
		}
	}
}

// withoutKubeOVN does something while kube-ovn-controller is stopped.
func (c *cluster) withoutKubeOVN(t *testing.T, do func()) {
	t.Helper()
	if err := c.Stop(t.Context(), "kube-ovn-controller"); err != nil {
		t.Fatal(err)
	}
	defer c.startKubeOVN(t)
	do()
}
