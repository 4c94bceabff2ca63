package suite

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
)

// whereabouts are the columns of the reference for "kubectl get svc".
const whereabouts = `-o=custom-columns=IP:.status.loadBalancer.ingress[*].ip,` +
	`SUBNET:.metadata.annotations.kube-ovn\.io/lb-subnet,POOL:.metadata.annotations.kube-ovn\.io/lb-pool,` +
	`POD:.metadata.annotations.kube-ovn\.io/lb-gateway-pod,NODE:.metadata.annotations.kube-ovn\.io/lb-gateway-node`

// TestWhoHasWhatIsSeenByKubectl asks kubectl whose a Vip is and where a Service's
// address is, while its gateway Pod changes, until the Service lets it go.
func TestWhoHasWhatIsSeenByKubectl(t *testing.T) {
	ns := c.namespace(t)
	c.backends(t, ns, 1)
	name := "a" + strings.Repeat("-long", 12) + "xy" // 63 characters
	c.ippool(t, "pool-"+ns, guideSubnet, "172.18.24.1")
	c.create(t, pooled(ns, name, "pool-"+ns))
	ip := c.externalIP(t, ns, name, 30*time.Second)
	vips := must(c.Kubectl(t.Context(), "get", "vips", "-L", kubeovn.LabelServiceNamespace+","+kubeovn.LabelServiceName, "--no-headers"))(t)
	if line := lineWith(vips, ip); !strings.Contains(line, ns) || !strings.Contains(line, name) {
		t.Errorf("the Vip of %s is not said to be %s/%s's:\n%s", ip, ns, name, vips)
	}
	shows := func(pod *corev1.Pod) {
		t.Helper()
		want := fmt.Sprint([]string{ip, guideSubnet, "pool-" + ns, pod.Name, pod.Spec.NodeName})
		eventually(t, 20*time.Second, "whereabouts "+want, func(ctx context.Context) error {
			out, err := c.Kubectl(ctx, "-n", ns, "get", "svc", name, "--no-headers", whereabouts)
			if got := fmt.Sprint(strings.Fields(out)); err == nil && got != want {
				err = fmt.Errorf("it shows %s", got)
			}
			return err
		})
	}
	first := c.gatewayPod(t, ns, name)
	shows(first)
	quiet := c.ensurings(t, ns, name)
	if err := c.kube.CoreV1().Pods(ns).Delete(t.Context(), first.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	c.goneFromWire(t, ns, first)
	second := c.gatewayPod(t, ns, name)
	shows(second)
	if now := c.ensurings(t, ns, name); now != quiet {
		t.Errorf("the service controller took it for a change: %d looks, and %d before", now, quiet)
	}
	c.noWarnings(t, ns)

	// It becomes one that has nothing of us.
	c.change(t, ns, name, func(svc *corev1.Service) {
		svc.Spec.Type, svc.Spec.AllocateLoadBalancerNodePorts = corev1.ServiceTypeClusterIP, nil
	})
	eventually(t, 30*time.Second, "nothing that we have written", func(ctx context.Context) error {
		svc, err := c.kube.CoreV1().Services(ns).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		for key := range svc.Annotations {
			if strings.HasPrefix(key, "kube-ovn.io/lb-") {
				return fmt.Errorf("it has annotation %s", key)
			}
		}
		return nil
	})
}

// lineWith is the line of a text that has a word in it.
func lineWith(text, word string) string {
	for line := range strings.Lines(text) {
		for field := range strings.FieldsSeq(line) {
			if field == word {
				return line
			}
		}
	}
	return ""
}

// ensurings counts how often the service controller has looked at a Service.
func (c *cluster) ensurings(t *testing.T, ns, name string) (n int32) {
	t.Helper()
	list := must(c.kube.CoreV1().Events(ns).List(t.Context(), metav1.ListOptions{FieldSelector: "reason=EnsuringLoadBalancer,involvedObject.name=" + name}))(t)
	for _, e := range list.Items {
		n += max(e.Count, 1)
	}
	return n
}

// TestAServiceMadeAgainGetsItsOldAddress deletes a Service, lets others take
// addresses, and makes it again while kube-ovn-ccm is another process.
func TestAServiceMadeAgainGetsItsOldAddress(t *testing.T) {
	ns, ip := c.served(t, "again")
	c.remove(t, ns, "again")
	c.create(t, lbService(ns, "other"))
	if other := c.externalIP(t, ns, "other", 30*time.Second); other == ip {
		t.Logf("Kube-OVN has given %s to another Service at once", ip)
		c.remove(t, ns, "other")
	}
	c.scaleController(t, 0)
	c.scaleController(t, 2)
	c.create(t, lbService(ns, "again"))
	if got := c.externalIP(t, ns, "again", 30*time.Second); got != ip {
		t.Errorf("it has %s, it had %s", got, ip)
	}
	c.noWarnings(t, ns)

	// Another one that has the address by now keeps it.
	c.remove(t, ns, "again")
	c.vip(t, "by-hand-"+ns, guideSubnet, ip)
	c.create(t, lbService(ns, "again"))
	if got := c.externalIP(t, ns, "again", 30*time.Second); got == ip {
		t.Errorf("it has %s, which is a Vip's", got)
	}
	c.noWarnings(t, ns)
}
