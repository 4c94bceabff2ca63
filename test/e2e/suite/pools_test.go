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

	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
)

var poolAnnotation = kubeovn.AnnotationKey(guideAttachment, kubeovn.FieldIPPool)

// ippool makes an IPPool and removes it afterwards.
func (c *cluster) ippool(t *testing.T, name, subnet string, ips ...any) {
	t.Helper()
	c.customResource(t, map[string]any{
		"apiVersion": "kubeovn.io/v1", "kind": "IPPool", "metadata": map[string]any{"name": name},
		"spec": map[string]any{"subnet": subnet, "ips": ips},
	})
}

// pooled is a Service that names an IPPool.
func pooled(ns, name, pool string) *corev1.Service {
	svc := lbService(ns, name)
	svc.Annotations[poolAnnotation] = pool
	return svc
}

// addressWithin waits until one of the Services has an address, which must be
// this one, and logs how long it took.
func (c *cluster) addressWithin(t *testing.T, within time.Duration, ns, name, ip string) {
	t.Helper()
	took := eventually(t, within, "address of "+name, func(ctx context.Context) error {
		svc, err := c.kube.CoreV1().Services(ns).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		u, err := c.resource("Vip", "").Get(ctx, "lb-"+string(svc.UID), metav1.GetOptions{})
		if err != nil {
			return err
		}
		status, _ := u.Object["status"].(map[string]any)
		if status["v4ip"] != ip {
			return fmt.Errorf("the Vip has %v, want %s", status["v4ip"], ip)
		}
		return nil
	})
	t.Logf("%s has %s after %s", name, ip, took.Round(10*time.Millisecond))
}

// waiting complains unless a Service has no address and is told why.
func (c *cluster) waiting(t *testing.T, ns, name, reason string) {
	t.Helper()
	if message := c.condition(t, ns, name, metav1.ConditionFalse, reason); message != "" {
		t.Logf("%s: %s", name, message)
	}
}

// TestServicesOfAPool makes Services that name an IPPool of two addresses. Who
// comes too late waits, and gets in order what is freed or added.
func TestServicesOfAPool(t *testing.T) {
	ns := c.namespace(t)
	c.backends(t, ns, 1)
	c.ippool(t, "pool-"+ns, guideSubnet, "172.18.21.1..172.18.21.2")
	for _, name := range []string{"a", "b"} {
		c.create(t, pooled(ns, name, "pool-"+ns))
	}
	got := map[string]bool{c.externalIP(t, ns, "a", 30*time.Second): true, c.externalIP(t, ns, "b", 30*time.Second): true}
	if !got["172.18.21.1"] || !got["172.18.21.2"] {
		t.Fatalf("the Services have %v", got)
	}
	for ip := range got {
		c.answers(t, 10*time.Second, onLink, ip+":80")
	}
	// Younger ones have names that come first.
	for _, name := range []string{"z-1", "y-2", "x-3"} {
		c.create(t, pooled(ns, name, "pool-"+ns))
		c.waiting(t, ns, name, "IPPoolFull")
		time.Sleep(1100 * time.Millisecond) // times of creation are in seconds
	}
	freed := c.externalIP(t, ns, "a", time.Second)
	c.remove(t, ns, "a")
	c.addressWithin(t, 3*time.Second, ns, "z-1", freed)
	for _, name := range []string{"y-2", "x-3"} {
		c.waiting(t, ns, name, "IPPoolFull")
	}
	c.patchSpec(t, "IPPool", "", "pool-"+ns, `{"ips":["172.18.21.1..172.18.21.3"]}`)
	c.addressWithin(t, 3*time.Second, ns, "y-2", "172.18.21.3")
	c.waiting(t, ns, "x-3", "IPPoolFull")
	event := must(c.oneWarning(t.Context(), ns, "x-3", "IPPoolFull"))(t)
	for _, holder := range []string{"a", "b"} {
		if !strings.Contains(event.Message, "is held by Service "+ns+"/"+holder) {
			t.Errorf("the Event does not say that %s has an address: %s", holder, event.Message)
		}
	}
}

// TestWhatCannotBeHadOfAPoolIsTold names IPPools that will not do.
func TestWhatCannotBeHadOfAPoolIsTold(t *testing.T) {
	ns := c.namespace(t)
	c.backends(t, ns, 1)
	c.ippool(t, "pool-"+ns, guideSubnet, "172.18.22.1")
	c.ippool(t, "other-"+ns, dualSubnet, "172.19.50.77")
	outside := pooled(ns, "outside", "pool-"+ns)
	outside.Spec.LoadBalancerIP = "172.18.23.1"
	for reason, svc := range map[string]*corev1.Service{
		"IPPoolNotFound":        pooled(ns, "missing", "missing-"+ns),
		"IPPoolOfAnotherSubnet": pooled(ns, "other", "other-"+ns),
		"AddressOutsideIPPool":  outside,
	} {
		c.create(t, svc)
		c.warned(t, ns, svc.Name, reason)
	}
	c.change(t, ns, "outside", func(svc *corev1.Service) { svc.Spec.LoadBalancerIP = "" })
	if ip := c.externalIP(t, ns, "outside", 30*time.Second); ip != "172.18.22.1" {
		t.Errorf("it has %s", ip)
	}
	c.ippool(t, "missing-"+ns, guideSubnet, "172.18.22.5")
	if ip := c.externalIP(t, ns, "missing", 30*time.Second); ip != "172.18.22.5" {
		t.Errorf("it has %s", ip)
	}
}

// TestASubnetKeepsItsAddressesInAPool lets the Subnet name the IPPool: Pods don't
// get the addresses, Services do, and one may ask for another.
func TestASubnetKeepsItsAddressesInAPool(t *testing.T) {
	ns := c.namespace(t)
	c.backends(t, ns, 1)
	c.ippool(t, "dual-"+ns, dualSubnet, "172.19.50.11..172.19.50.18", "fd00:172:19::100..fd00:172:19::107")
	annotate := func(value string) {
		out, err := c.Kubectl(context.Background(), "annotate", "--overwrite", "subnet", dualSubnet, kubeovn.SubnetPool+value)
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	annotate("=dual-" + ns)
	t.Cleanup(func() { annotate("-") })
	c.takers(t, ns, "random", 4, "")
	c.create(t, dualService(ns, "any", corev1.IPFamilyPolicyRequireDualStack))
	wish := dualService(ns, "wish", corev1.IPFamilyPolicySingleStack, v4)
	wish.Spec.LoadBalancerIP = "172.19.50.99"
	c.create(t, wish)
	pool := kubeovn.ParseRanges([]string{"172.19.50.11..172.19.50.18", "fd00:172:19::100..fd00:172:19::107"})
	for _, ip := range c.took(t, ns, "random", 4) {
		if pool.Contains(must(netip.ParseAddr(ip))(t)) {
			t.Errorf("a Pod has %s of the IPPool", ip)
		}
	}
	for _, ip := range c.externalIPs(t, ns, "any", 2, time.Minute) {
		if !pool.Contains(must(netip.ParseAddr(ip))(t)) {
			t.Errorf("the Service has %s, not of the IPPool", ip)
		}
	}
	if ip := c.externalIP(t, ns, "wish", 30*time.Second); ip != "172.19.50.99" {
		t.Errorf("the Service that asks for 172.19.50.99 has %s", ip)
	}
}

// TestTheOldestGetsWhatASubnetHasAgain fills a Subnet and enlarges it.
func TestTheOldestGetsWhatASubnetHasAgain(t *testing.T) {
	ns := c.namespace(t)
	c.backends(t, ns, 1)
	c.nad(t, ns, "net", macvlan("eth0"))
	c.subnet(t, "s-"+ns, "net."+ns, "172.19.60.0/30", "172.19.60.1")
	service := func(name string) *corev1.Service { return onAttachment(lbService(ns, name), "net."+ns) }
	c.create(t, service("a"))
	c.addressWithin(t, 10*time.Second, ns, "a", "172.19.60.2")
	for _, name := range []string{"z-1", "y-2", "x-3"} {
		c.create(t, service(name))
		c.waiting(t, ns, name, "SubnetFull")
		time.Sleep(1100 * time.Millisecond)
	}
	c.remove(t, ns, "a")
	c.addressWithin(t, 3*time.Second, ns, "z-1", "172.19.60.2")
	c.waiting(t, ns, "x-3", "SubnetFull")
	c.patchSpec(t, "Subnet", "", "s-"+ns, `{"cidrBlock":"172.19.60.0/29","excludeIps":["172.19.60.1","172.19.60.4..172.19.60.6"]}`)
	c.addressWithin(t, 5*time.Second, ns, "y-2", "172.19.60.3")
	c.waiting(t, ns, "x-3", "SubnetFull")
}

// TestBuggyAddressesAreAvoided leaves a Subnet nothing but addresses that end in
// .0 and .255, and one that does not.
func TestBuggyAddressesAreAvoided(t *testing.T) {
	ns := c.namespace(t)
	c.backends(t, ns, 1)
	c.nad(t, ns, "net", macvlan("eth0"))
	c.customResource(t, map[string]any{
		"apiVersion": "kubeovn.io/v1", "kind": "Subnet",
		"metadata": map[string]any{"name": "s-" + ns, "annotations": map[string]any{kubeovn.SubnetAvoidBuggyIPs: "true"}},
		"spec": map[string]any{
			"protocol": "IPv4", "provider": "net." + ns, "cidrBlock": "172.19.70.0/23", "gateway": "172.19.70.1",
			"excludeIps": []any{"172.19.70.2..172.19.70.254", "172.19.71.2..172.19.71.254"},
		},
	})
	service := func(name string) *corev1.Service { return onAttachment(lbService(ns, name), "net."+ns) }
	c.create(t, service("any"))
	c.addressWithin(t, 10*time.Second, ns, "any", "172.19.71.1")
	c.create(t, service("late"))
	c.waiting(t, ns, "late", "SubnetFull")
	wish := service("wish")
	wish.Spec.LoadBalancerIP = "172.19.71.0"
	c.create(t, wish)
	c.addressWithin(t, 10*time.Second, ns, "wish", "172.19.71.0")
}
