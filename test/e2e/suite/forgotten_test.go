package suite

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/utils/ptr"

	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
	"github.com/kubeovn/kube-ovn-ccm/test/e2e/churn"
)

// narrow is an attachment with a small Subnet of its own, in which Kube-OVN
// gives out the lowest free address: what it has forgotten, the next one gets.
type narrow struct {
	ns, subnet string
	observer   *churn.Observer
	// second and third are IPv6 addresses that are free, after the lowest one.
	second, third netip.Addr
	families      []corev1.IPFamily
}

// narrows counts them: each has ranges of its own, since a Subnet takes a while to go.
var narrows int

// narrow makes the attachment "net", its Subnet, and an observer of them.
func (c *cluster) narrow(t *testing.T, dual bool) narrow {
	t.Helper()
	narrows++
	range4, range6 := fmt.Sprintf("172.21.%d.", narrows), fmt.Sprintf("fd00:172:21:%d::", narrows)
	n := narrow{ns: c.namespace(t), families: []corev1.IPFamily{v6}}
	n.subnet = "s-" + n.ns
	spec := map[string]any{
		"protocol": "IPv6", "provider": "net." + n.ns, "cidrBlock": range6 + "/124", "gateway": range6 + "1",
		"excludeIps": []any{range6 + "1.." + range6 + "3"},
	}
	if dual {
		n.families = []corev1.IPFamily{v4, v6}
		spec["protocol"], spec["cidrBlock"], spec["gateway"] = "Dual", range4+"0/28,"+range6+"/124", range4+"1,"+range6+"1"
		spec["excludeIps"] = []any{range4 + "1.." + range4 + "3", range6 + "1.." + range6 + "3"}
	}
	n.second, n.third = netip.MustParseAddr(range6+"5"), netip.MustParseAddr(range6+"6")
	c.nad(t, n.ns, "net", macvlan("eth0"))
	c.customResource(t, map[string]any{
		"apiVersion": "kubeovn.io/v1", "kind": "Subnet", "metadata": map[string]any{"name": n.subnet}, "spec": spec,
	})
	// The Pods go before the Subnet, which waits for them.
	t.Cleanup(func() {
		if err := c.kube.CoreV1().Pods(n.ns).DeleteCollection(context.Background(), metav1.DeleteOptions{}, metav1.ListOptions{}); err != nil {
			t.Error(err)
		}
	})
	n.observer = must(churn.Observe(t.Context(), c.dyn, churn.Scope{Providers: []string{"net." + n.ns}, Subnets: []string{n.subnet}}))(t)
	t.Cleanup(n.observer.Stop)
	return n
}

// restartsAmongPods kills kube-ovn-controller, makes Pods that wait for it, and
// starts it again; it returns what they got.
func (n narrow) restartsAmongPods(t *testing.T, pods ...string) []string {
	t.Helper()
	if err := c.Kill(t.Context(), "kube-ovn-controller"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.startKubeOVN(t) })
	for _, name := range pods {
		pod := churn.PodWithAddress(name, n.ns, "net", n.subnet)
		if _, err := c.kube.CoreV1().Pods(n.ns).Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	c.startKubeOVN(t)
	var got []string
	for _, name := range pods {
		eventually(t, 30*time.Second, "the address of Pod "+name, func(ctx context.Context) error {
			pod, err := c.kube.CoreV1().Pods(n.ns).Get(ctx, name, metav1.GetOptions{})
			if err != nil {
				return err
			}
			if pod.Annotations[kubeovn.AnnotationKey("net."+n.ns, kubeovn.FieldAllocated)] != "true" {
				return fmt.Errorf("it has none")
			}
			got = append(got, pod.Annotations[kubeovn.AnnotationKey("net."+n.ns, kubeovn.FieldIPAddress)])
			return nil
		})
	}
	t.Logf("Pods that waited for Kube-OVN got %v", got)
	return got
}

// inEachNarrowSubnet runs a test on a Subnet of IPv6 and on one of both families.
func inEachNarrowSubnet(t *testing.T, test func(t *testing.T, n narrow)) {
	for name, dual := range map[string]bool{"IPv6": false, "both families": true} {
		t.Run(name, func(t *testing.T) { test(t, c.narrow(t, dual)) })
	}
}

// TestKubeOVNForgetsTheIPv6AddressOfAVip shows what Kube-OVN does to Vips that
// nobody looks after. It is the reason for what kube-ovn-ccm does about its own;
// when this fails, that is not needed any more.
func TestKubeOVNForgetsTheIPv6AddressOfAVip(t *testing.T) {
	inEachNarrowSubnet(t, func(t *testing.T, n narrow) {
		vips := c.resource("Vip", "")
		// At the restart Kube-OVN gives a Vip of both families the lowest address
		// that is free, and so not the second.
		name := "by-hand-" + n.ns
		if _, err := vips.Create(t.Context(), churn.Vip(name, n.subnet, n.second), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := vips.Delete(context.Background(), name, metav1.DeleteOptions{}); err != nil {
				t.Error(err)
			}
		})
		eventually(t, 10*time.Second, "the Vip's address", func(ctx context.Context) error {
			u, err := vips.Get(ctx, name, metav1.GetOptions{})
			if err != nil {
				return err
			}
			if got, _, _ := unstructured.NestedString(u.Object, "status", "v6ip"); got != n.second.String() {
				return fmt.Errorf("it has %q", got)
			}
			return nil
		})
		got := n.restartsAmongPods(t, "one", "two")
		if !strings.Contains(fmt.Sprint(got), n.second.String()) {
			t.Fatalf("no Pod got the Vip's address %s: Kube-OVN remembers it", n.second)
		}
		eventually(t, 5*time.Second, "the double in the observer's book", func(ctx context.Context) error {
			doubles, err := n.observer.Doubles(ctx)
			if err != nil {
				return err
			}
			if len(doubles) != 1 || doubles[0].Addr != n.second {
				return fmt.Errorf("it has %v", doubles)
			}
			t.Log(doubles[0])
			return nil
		})
	})
}

// TestAServiceKeepsItsIPv6AddressWhenKubeOVNForgetsIt does the same to Services,
// of which one has what Kube-OVN gave it and one what it asked for.
func TestAServiceKeepsItsIPv6AddressWhenKubeOVNForgetsIt(t *testing.T) {
	inEachNarrowSubnet(t, func(t *testing.T, n narrow) {
		c.webs(t, n.ns, "web", 1)
		kept := map[string][]string{}
		for name, wish := range map[string]string{"any": "", "named": n.third.String()} {
			svc := onAttachment(lbService(n.ns, name), "net."+n.ns)
			svc.Spec.IPFamilies = n.families
			if len(n.families) > 1 {
				svc.Spec.IPFamilyPolicy = ptr.To(corev1.IPFamilyPolicyRequireDualStack)
			}
			if wish != "" {
				svc.Annotations[kubeovn.AnnotationKey("net."+n.ns, kubeovn.FieldIPAddress)] = wish
			}
			c.create(t, svc)
			kept[name] = c.externalIPs(t, n.ns, name, len(n.families), 30*time.Second)
		}
		for name, ips := range kept {
			var addrs []netip.Addr
			for _, ip := range ips {
				addrs = append(addrs, netip.MustParseAddr(ip))
			}
			n.observer.Keep(n.ns, name, addrs)
		}
		for round := range 2 {
			n.restartsAmongPods(t, fmt.Sprintf("one-%d", round), fmt.Sprintf("two-%d", round), fmt.Sprintf("three-%d", round))
			eventually(t, 30*time.Second, "Kube-OVN knows the Services' addresses again", func(context.Context) error {
				if forgotten := n.observer.Forgotten(); len(forgotten) > 0 {
					return fmt.Errorf("it does not know %v", forgotten)
				}
				return nil
			})
		}
		if err := n.observer.Settle(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, d := range must(n.observer.Doubles(t.Context()))(t) {
			t.Error(d)
		}
		for _, lost := range n.observer.Lost() {
			t.Error(lost)
		}
	})
}
