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
	"k8s.io/utils/ptr"

	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
)

// dualService is a Service on the Subnet of both families.
func dualService(ns, name string, policy corev1.IPFamilyPolicy, families ...corev1.IPFamily) *corev1.Service {
	svc := entrance{attachment: dualAttachment}.service(ns, name)
	svc.Spec.IPFamilyPolicy, svc.Spec.IPFamilies = &policy, families
	return svc
}

// everybodyIsAnswered asks each address from everywhere by every protocol.
func (c *cluster) everybodyIsAnswered(t *testing.T, ips []string, pods ...string) {
	t.Helper()
	for _, ip := range ips {
		v4 := netip.MustParseAddr(ip).Is4()
		for _, host := range []string{onLink, behindRouter} {
			who := c.own(t, host, v4)
			for _, network := range []string{"tcp", "udp"} {
				who.answeredBy(t, 20*time.Second, network, at(ip, 80), pods...)
			}
		}
	}
}

// familiesOf are the IP families of addresses, in their order.
func familiesOf(t *testing.T, ips []string) []corev1.IPFamily {
	t.Helper()
	var out []corev1.IPFamily
	for _, ip := range ips {
		family := corev1.IPv6Protocol
		if must(netip.ParseAddr(ip))(t).Is4() {
			family = corev1.IPv4Protocol
		}
		out = append(out, family)
	}
	return out
}

const (
	v4 = corev1.IPv4Protocol
	v6 = corev1.IPv6Protocol
)

// TestEveryFamilyPolicy makes Services of each policy on Subnets of one family
// and of both.
func TestEveryFamilyPolicy(t *testing.T) {
	ns := c.namespace(t)
	pods := names(c.webs(t, ns, "web", 2))
	cases := []struct {
		name string
		svc  *corev1.Service
		want []corev1.IPFamily
	}{
		{"single-4", dualService(ns, "single-4", corev1.IPFamilyPolicySingleStack, v4), []corev1.IPFamily{v4}},
		{"single-6", dualService(ns, "single-6", corev1.IPFamilyPolicySingleStack, v6), []corev1.IPFamily{v6}},
		{"prefer", dualService(ns, "prefer", corev1.IPFamilyPolicyPreferDualStack), []corev1.IPFamily{v4, v6}},
		{"require", dualService(ns, "require", corev1.IPFamilyPolicyRequireDualStack, v6, v4), []corev1.IPFamily{v6, v4}},
		{"prefer-on-4", onAttachment(dualService(ns, "prefer-on-4", corev1.IPFamilyPolicyPreferDualStack), guideAttachment), []corev1.IPFamily{v4}},
		{"prefer-on-6", onAttachment(dualService(ns, "prefer-on-6", corev1.IPFamilyPolicyPreferDualStack), sixAttachment), []corev1.IPFamily{v6}},
	}
	for _, tc := range cases {
		c.create(t, tc.svc)
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			ips := c.externalIPs(t, ns, tc.name, len(tc.want), time.Minute)
			if got := familiesOf(t, ips); fmt.Sprint(got) != fmt.Sprint(tc.want) {
				t.Errorf("it shows %v, want %v", ips, tc.want)
			}
			c.everybodyIsAnswered(t, ips, pods...)
			c.condition(t, ns, tc.name, metav1.ConditionTrue, "Serving")
		})
	}
	c.noWarnings(t, ns)
}

func onAttachment(svc *corev1.Service, provider string) *corev1.Service {
	svc.Annotations[kubeovn.AttachmentProvider] = provider
	return svc
}

// TestASubnetThatLacksAFamilyIsTold asks for both families of a Subnet of one.
func TestASubnetThatLacksAFamilyIsTold(t *testing.T) {
	ns := c.namespace(t)
	c.webs(t, ns, "web", 1)
	for attachment, reason := range map[string]string{guideAttachment: "SubnetWithoutIPv6", sixAttachment: "SubnetWithoutIPv4"} {
		t.Run(reason, func(t *testing.T) {
			name := "lacks-" + strings.ToLower(strings.TrimPrefix(reason, "SubnetWithout"))
			c.create(t, onAttachment(dualService(ns, name, corev1.IPFamilyPolicyRequireDualStack), attachment))
			eventually(t, 3*time.Second, "one Event", func(ctx context.Context) error {
				event, err := c.oneWarning(ctx, ns, name, reason)
				if err == nil {
					t.Log(event.Message)
				}
				return err
			})
			c.condition(t, ns, name, metav1.ConditionFalse, reason)
			c.setAnnotation(t, ns, name, kubeovn.AttachmentProvider, dualAttachment)
			c.externalIPs(t, ns, name, 2, 30*time.Second)
		})
	}
}

// TestAServiceGetsAndLosesItsSecondFamily upgrades a Service and takes it back,
// while its IPv4 address takes a hundred connections a second.
func TestAServiceGetsAndLosesItsSecondFamily(t *testing.T) {
	ns := c.namespace(t)
	pods := names(c.webs(t, ns, "web", 2))
	c.create(t, dualService(ns, "grows", corev1.IPFamilyPolicySingleStack, v4))
	first := c.externalIPs(t, ns, "grows", 1, 30*time.Second)
	c.everybodyIsAnswered(t, first, pods...)
	both := first
	t.Run("it gets IPv6", func(t *testing.T) {
		load := c.connect(t, onLink, at(first[0], 80), 100)
		c.change(t, ns, "grows", func(s *corev1.Service) {
			s.Spec.IPFamilyPolicy = ptr.To(corev1.IPFamilyPolicyRequireDualStack)
			s.Spec.IPFamilies = []corev1.IPFamily{v4, v6}
		})
		both = c.externalIPs(t, ns, "grows", 2, 30*time.Second)
		if both[0] != first[0] {
			t.Errorf("the IPv4 address is %s now, it was %s", both[0], first[0])
		}
		c.everybodyIsAnswered(t, both, pods...)
		load.withoutFailure(t)
	})
	t.Run("it loses IPv6", func(t *testing.T) {
		load := c.connect(t, onLink, at(first[0], 80), 100)
		c.change(t, ns, "grows", func(s *corev1.Service) {
			s.Spec.IPFamilyPolicy = ptr.To(corev1.IPFamilyPolicySingleStack)
			s.Spec.IPFamilies, s.Spec.ClusterIPs = []corev1.IPFamily{v4}, s.Spec.ClusterIPs[:1]
		})
		if left := c.externalIPs(t, ns, "grows", 1, 30*time.Second); left[0] != first[0] {
			t.Errorf("the address is %s now, it was %s", left[0], first[0])
		}
		for _, ip := range both[1:] {
			eventually(t, 20*time.Second, ip+" is silent", func(ctx context.Context) error {
				if _, err := c.get(ctx, onLink, at(ip, 80), "/hostname"); err == nil {
					return fmt.Errorf("%s still answers", ip)
				}
				return nil
			})
		}
		c.everybodyIsAnswered(t, first, pods...)
		load.withoutFailure(t)
	})
	c.noWarnings(t, ns)
}

// TestStaticAddressesOfBothFamilies asks for them by the annotation, which can
// hold two where spec.loadBalancerIP holds one, and changes one of them.
func TestStaticAddressesOfBothFamilies(t *testing.T) {
	ns := c.namespace(t)
	pods := names(c.webs(t, ns, "web", 1))
	key := kubeovn.AnnotationKey(dualAttachment, kubeovn.FieldIPAddress)
	svc := dualService(ns, "static", corev1.IPFamilyPolicyRequireDualStack)
	svc.Annotations[key] = "172.19.50.77,fd00:172:19::77:1"
	uid := c.create(t, svc).UID
	is := func(want ...string) {
		t.Helper()
		eventually(t, 30*time.Second, fmt.Sprintf("addresses %v", want), func(context.Context) error {
			if got := c.externalIPs(t, ns, "static", 2, 30*time.Second); fmt.Sprint(got) != fmt.Sprint(want) {
				return fmt.Errorf("it shows %v", got)
			}
			return nil
		})
		c.everybodyIsAnswered(t, want, pods...)
	}
	is("172.19.50.77", "fd00:172:19::77:1")
	c.setAnnotation(t, ns, "static", key, "172.19.50.77,fd00:172:19::77:2")
	is("172.19.50.77", "fd00:172:19::77:2")
	c.noWarnings(t, ns)
	c.remove(t, ns, "static")
	c.allGone(t, uid)
}

// TestAnIPv6AddressAnswersAtOnce looks at the time from its appearance in the
// status: the kernel must not first ask the network whether it is in use.
func TestAnIPv6AddressAnswersAtOnce(t *testing.T) {
	e := c.ipv6(t)
	ns := c.namespace(t)
	c.webs(t, ns, "web", 1)
	c.create(t, e.service(ns, "first"))
	ip := c.externalIP(t, ns, "first", 30*time.Second)
	start := time.Now()
	if _, err := e.near.get(t.Context(), at(ip, 80), "/hostname"); err != nil {
		t.Errorf("the first question: %v", err)
	}
	t.Logf("the first answer took %s", time.Since(start).Round(time.Millisecond))
	pod := c.gatewayPod(t, ns, "first")
	out := must(c.Kubectl(t.Context(), "-n", ns, "exec", pod.Name, "--", "ip", "-6", "address", "show", "dev", "net1"))(t)
	contains(t, out, ip+"/64", "nodad")
}
