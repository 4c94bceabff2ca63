package suite

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
	"github.com/kubeovn/kube-ovn-ccm/test/e2e/churn"
)

// service makes a Service of all families of the Subnet, which may wish for an
// IPv6 address.
func (n narrow) service(t *testing.T, name string, wish netip.Addr) types.UID {
	t.Helper()
	svc := onAttachment(lbService(n.ns, name), "net."+n.ns)
	svc.Spec.IPFamilies = n.families
	if len(n.families) > 1 {
		svc.Spec.IPFamilyPolicy = ptr.To(corev1.IPFamilyPolicyRequireDualStack)
	}
	if wish.IsValid() {
		svc.Annotations[kubeovn.AnnotationKey("net."+n.ns, kubeovn.FieldIPAddress)] = wish.String()
	}
	return c.create(t, svc).UID
}

// vipHas waits until a Vip has an IPv6 address, and returns it.
func (n narrow) vipHas(t *testing.T, name string) netip.Addr {
	t.Helper()
	var has netip.Addr
	eventually(t, 20*time.Second, "the address of Vip "+name, func(ctx context.Context) error {
		u, err := c.resource("Vip", "").Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		text, _, _ := unstructured.NestedString(u.Object, "status", "v6ip")
		has, err = netip.ParseAddr(text)
		return err
	})
	return has
}

// holdersOf are the Vips and IPs of the Subnet that have an address.
func (n narrow) holdersOf(t *testing.T, addr netip.Addr) []string {
	t.Helper()
	var holders []string
	for kind, fields := range map[string][][]string{
		"Vip": {{"status", "v4ip"}, {"status", "v6ip"}}, "IP": {{"spec", "v4IpAddress"}, {"spec", "v6IpAddress"}},
	} {
		list := must(c.resource(kind, "").List(t.Context(), metav1.ListOptions{}))(t)
		for _, o := range list.Items {
			subnet, _, _ := unstructured.NestedString(o.Object, "spec", "subnet")
			has := false
			for _, field := range fields {
				text, _, _ := unstructured.NestedString(o.Object, field...)
				for part := range strings.SplitSeq(text, ",") {
					a, err := netip.ParseAddr(part)
					has = has || err == nil && a == addr
				}
			}
			if subnet == n.subnet && has {
				holders = append(holders, kind+" "+o.GetName())
			}
		}
	}
	return holders
}

// sound waits until Kube-OVN counts all that the Services of the Subnet show, and
// checks that each of it has one holder.
func (n narrow) sound(t *testing.T, services ...string) {
	t.Helper()
	eventually(t, 30*time.Second, "Kube-OVN knows the Services' addresses", func(context.Context) error {
		if forgotten := n.observer.Forgotten(); len(forgotten) > 0 {
			return fmt.Errorf("it does not know %v", forgotten)
		}
		return nil
	})
	for _, name := range services {
		for _, ip := range c.externalIPs(t, n.ns, name, len(n.families), 10*time.Second) {
			if got := n.holdersOf(t, netip.MustParseAddr(ip)); len(got) != 1 || !strings.HasPrefix(got[0], "Vip lb-") {
				t.Errorf("%s of Service %s is held by %v", ip, name, got)
			}
		}
	}
}

// TestAnAddressThatIsForgottenBeforeItsGuardIsNotShown: Kube-OVN grants while
// kube-ovn-ccm is away, and restarts before anybody has written the guard.
func TestAnAddressThatIsForgottenBeforeItsGuardIsNotShown(t *testing.T) {
	inEachNarrowSubnet(t, func(t *testing.T, n narrow) {
		c.webs(t, n.ns, "web", 1)
		if err := c.Kill(t.Context(), "kube-ovn-controller"); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.startKubeOVN(t) })
		named, any := "lb-"+string(n.service(t, "named", n.third)), "lb-"+string(n.service(t, "any", netip.Addr{}))
		for _, vip := range []string{named, any} {
			eventually(t, 20*time.Second, "Vip "+vip, func(ctx context.Context) error {
				_, err := c.resource("Vip", "").Get(ctx, vip, metav1.GetOptions{})
				return err
			})
		}
		c.scaleController(t, 0)
		back := func() { c.scaleController(t, 2) }
		defer func() { back() }()
		c.startKubeOVN(t)
		if got := n.vipHas(t, named); got != n.third {
			t.Fatalf("Kube-OVN has granted %s, not %s", got, n.third)
		}
		t.Logf("granted %s and %s, and nobody looks", n.third, n.vipHas(t, any))
		// Where there are both families, Kube-OVN gives the two Vips the lowest two addresses; else nothing.
		if got := n.restartsAmongPods(t, "one", "two", "three"); !strings.Contains(fmt.Sprint(got), n.third.String()) {
			t.Fatalf("no Pod got the Service's address %s: Kube-OVN remembers it", n.third)
		}
		shown := n.watchShown(t, "named")
		start := time.Now()
		back()
		back = func() {}
		event := c.warned(t, n.ns, "named", "AddressInUse")
		if !strings.Contains(event.Message, "Pod "+n.ns+"/") {
			t.Errorf("it does not say who has it: %s", event.Message)
		}
		c.externalIPs(t, n.ns, "any", len(n.families), 30*time.Second)
		t.Logf("the Service with any address is served %s after kube-ovn-ccm was started", time.Since(start).Round(100*time.Millisecond))
		n.sound(t, "any")
		if got := shown(); len(got) > 0 {
			t.Errorf("the Service whose address a Pod has showed %v", got)
		}
		for _, pod := range []string{"one", "two", "three"} {
			if err := c.kube.CoreV1().Pods(n.ns).Delete(t.Context(), pod, metav1.DeleteOptions{GracePeriodSeconds: new(int64)}); err != nil {
				t.Fatal(err)
			}
		}
		c.externalIPs(t, n.ns, "named", len(n.families), 30*time.Second)
		n.sound(t, "any", "named")
	})
}

// watchShown looks what a Service shows, again and again; the returned function
// ends it and returns what that was.
func (n narrow) watchShown(t *testing.T, name string) func() []string {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done, shown := make(chan struct{}), []string(nil)
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			if svc, err := c.kube.CoreV1().Services(n.ns).Get(ctx, name, metav1.GetOptions{}); err == nil {
				for _, in := range svc.Status.LoadBalancer.Ingress {
					shown = append(shown, in.IP)
				}
			}
			time.Sleep(50 * time.Millisecond)
		}
	}()
	return func() []string {
		cancel()
		<-done
		return shown
	}
}

// TestAServiceThatLosesItsAddressSaysToWhom takes the guard off a Vip while
// nobody looks, and has a Pod ask for what Kube-OVN forgets then.
func TestAServiceThatLosesItsAddressSaysToWhom(t *testing.T) {
	inEachNarrowSubnet(t, func(t *testing.T, n narrow) {
		c.webs(t, n.ns, "web", 1)
		vip := "lb-" + string(n.service(t, "web", netip.Addr{}))
		ips := c.externalIPs(t, n.ns, "web", len(n.families), 30*time.Second)
		had := n.vipHas(t, vip)
		c.scaleController(t, 0)
		back := func() { c.scaleController(t, 2) }
		defer func() { back() }()
		v4 := ""
		if len(n.families) > 1 {
			v4 = ips[0]
		}
		patch := fmt.Appendf(nil, `{"status":{"v4ip":%q}}`, v4)
		if _, err := c.resource("Vip", "").Patch(t.Context(), vip, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
		c.restartKubeOVN(t)
		thief := churn.PodWithAddress("thief", n.ns, "net", n.subnet)
		thief.Annotations[kubeovn.AnnotationKey("net."+n.ns, kubeovn.FieldIPAddress)] = had.String()
		if _, err := c.kube.CoreV1().Pods(n.ns).Create(t.Context(), thief, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		eventually(t, 30*time.Second, "the address of the Pod", func(ctx context.Context) error {
			pod, err := c.kube.CoreV1().Pods(n.ns).Get(ctx, "thief", metav1.GetOptions{})
			if err != nil {
				return err
			}
			if pod.Annotations[kubeovn.AnnotationKey("net."+n.ns, kubeovn.FieldAllocated)] != "true" {
				return fmt.Errorf("it has none")
			}
			return nil
		})
		back()
		back = func() {}
		event := c.warned(t, n.ns, "web", "AddressLost")
		var now []string
		eventually(t, time.Minute, "other addresses", func(context.Context) error {
			if now = c.externalIPs(t, n.ns, "web", len(n.families), time.Minute); slices.Contains(now, had.String()) {
				return fmt.Errorf("it shows %v", now)
			}
			return nil
		})
		for _, part := range append([]string{"has lost " + had.String(), had.String() + " is held by Pod " + n.ns + "/thief"}, now...) {
			if !strings.Contains(event.Message, part) {
				t.Errorf("it does not say %q: %s", part, event.Message)
			}
		}
		if len(n.families) > 1 && now[0] != ips[0] {
			t.Errorf("it has %v, and it had %v: IPv4 was not lost", now, ips)
		}
		n.sound(t, "web")
	})
}

// TestAServiceThatAVipByHandEndangersIsTold asks for the lowest IPv6 address,
// beside a Vip that Kube-OVN gives the lowest free one at each restart; and for
// the remedy that the Service is told.
func TestAServiceThatAVipByHandEndangersIsTold(t *testing.T) {
	n := c.narrow(t, true)
	c.webs(t, n.ns, "web", 1)
	lowest := n.second.Prev()
	n.service(t, "low", lowest)
	ips := c.externalIPs(t, n.ns, "low", 2, 30*time.Second)
	c.noWarnings(t, n.ns)
	byHand := "by-hand-" + n.ns
	vips := c.resource("Vip", "")
	if _, err := vips.Create(t.Context(), churn.Vip(byHand, n.subnet), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := vips.Delete(context.Background(), byHand, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
	n.vipHas(t, byHand)
	event := c.warned(t, n.ns, "low", "AddressAtRisk")
	for _, part := range []string{lowest.String(), "Vip " + byHand, "spec.excludeIps", n.subnet} {
		if !strings.Contains(event.Message, part) {
			t.Errorf("it does not say %q: %s", part, event.Message)
		}
	}
	c.condition(t, n.ns, "low", metav1.ConditionTrue, "AddressAtRisk")

	subnet := must(c.resource("Subnet", "").Get(t.Context(), n.subnet, metav1.GetOptions{}))(t)
	excluded, _, _ := unstructured.NestedStringSlice(subnet.Object, "spec", "excludeIps")
	c.patchSpec(t, "Subnet", "", n.subnet, fmt.Sprintf(`{"excludeIps":["%s"]}`, strings.Join(append(excluded, lowest.String()), `","`)))
	c.condition(t, n.ns, "low", metav1.ConditionTrue, "Serving")
	n.observer.Keep(n.ns, "low", []netip.Addr{netip.MustParseAddr(ips[0]), netip.MustParseAddr(ips[1])})
	for range 4 { // the Vips are restored in any order
		c.restartKubeOVN(t)
		n.sound(t, "low")
	}
	eventually(t, 10*time.Second, "book of Kube-OVN", func(ctx context.Context) error { return c.booked(ctx, n.subnet, ips[0]) })
	for _, lost := range n.observer.Lost() {
		t.Error(lost)
	}
}
