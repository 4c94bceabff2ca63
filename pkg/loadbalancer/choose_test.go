package loadbalancer

import (
	"net/netip"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
)

// The guide's objects.
const (
	guideProvider = "lb-svc-attachment.kube-system"
	guideNetwork  = `{"cniVersion": "0.3.0", "type": "macvlan", "master": "eth0", "mode": "bridge"}`
	subnetKey     = guideProvider + ".kubernetes.io/logical_switch"
	addressKey    = guideProvider + ".kubernetes.io/ip_address"
)

func guideService() *corev1.Service {
	return &corev1.Service{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Service"},
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "default", Name: "test-service", UID: "5e7c",
			Annotations: map[string]string{kubeovn.AttachmentProvider: guideProvider},
		},
		Spec: corev1.ServiceSpec{
			Type:       corev1.ServiceTypeLoadBalancer,
			ClusterIP:  "10.96.0.20",
			ClusterIPs: []string{"10.96.0.20"},
			Ports:      []corev1.ServicePort{{Name: "test", Protocol: corev1.ProtocolTCP, Port: 80}},
		},
	}
}

func guideSubnet() *kubeovn.Subnet {
	return &kubeovn.Subnet{
		ObjectMeta: metav1.ObjectMeta{Name: "attach-subnet"},
		Provider:   guideProvider,
		CIDRs:      []netip.Prefix{netip.MustParsePrefix("172.18.0.0/16")},
		Gateways:   []netip.Addr{netip.MustParseAddr("172.18.0.1")},
	}
}

// subnetList is a subnetReader over a sorted list.
type subnetList []*kubeovn.Subnet

func (l subnetList) Subnet(name string) (*kubeovn.Subnet, bool) {
	for _, s := range l {
		if s.Name == name {
			return s, true
		}
	}
	return nil, false
}

func (l subnetList) SubnetsOf(provider string) (found []*kubeovn.Subnet) {
	for _, s := range l {
		if s.Provider == provider {
			found = append(found, s)
		}
	}
	return found
}

// poolList is a poolReader over a list; nil: there is no such kind.
type poolList []*kubeovn.IPPool

func (l poolList) IPPool(name string) (*kubeovn.IPPool, string) {
	if l == nil {
		return nil, "IPPool cannot be read"
	}
	for _, p := range l {
		if p.Name == name {
			return p, ""
		}
	}
	return nil, ""
}

func guideWorld() *world {
	svc := guideService()
	return &world{
		now: time.Unix(1000, 0), owner: ownerOf(svc), service: svc, synced: true,
		subnets: subnetList{guideSubnet()}, pools: poolList(nil),
		past:   func(string) kubeovn.Addrs { return kubeovn.Addrs{} },
		holder: func(string, netip.Addr) string { return "" },
		source: func(a attachment) (*kubeovn.NAD, bool) {
			return &kubeovn.NAD{Config: guideNetwork}, a.Provider() == guideProvider
		},
		nodes:         map[string]*corev1.Node{},
		slices:        []*discoveryv1.EndpointSlice{sliceOf([]string{"test/TCP/8080"}, podAt("10.16.0.5"))},
		subnetOfPod:   func(backend) (string, bool) { return "ovn-default", true },
		isNodeAddress: func(netip.Addr) bool { return false },
	}
}

func TestChoose(t *testing.T) {
	annotate := func(key, value string) func(*world) {
		return func(w *world) { w.service.Annotations[key] = value }
	}
	subnets := func(change ...func(*kubeovn.Subnet)) func(*world) {
		return func(w *world) {
			list := subnetList{}
			for _, c := range change {
				s := guideSubnet()
				c(s)
				list = append(list, s)
			}
			w.subnets = list
		}
	}
	named := func(name string) func(*kubeovn.Subnet) { return func(s *kubeovn.Subnet) { s.Name = name } }
	config := func(config string) func(*world) {
		return func(w *world) {
			w.source = func(attachment) (*kubeovn.NAD, bool) { return &kubeovn.NAD{Config: config}, true }
		}
	}
	dual := func(w *world) {
		s := guideSubnet()
		s.CIDRs = append(s.CIDRs, netip.MustParsePrefix("fd00:18::/64"))
		s.Gateways = append(s.Gateways, netip.MustParseAddr("fd00:18::1"))
		w.subnets = subnetList{s}
		w.service.Spec.ClusterIPs = []string{"10.96.0.20", "fd00:96::20"}
	}
	both := func(changes ...func(*world)) func(*world) {
		return func(w *world) {
			for _, c := range changes {
				c(w)
			}
		}
	}
	const form = "it must be <name>.<namespace> of a NetworkAttachmentDefinition, for example lb-svc-attachment.kube-system"

	for name, tc := range map[string]struct {
		change func(*world)
		subnet string // chosen
		wish   string
		wait   string
		reason string
		text   string
	}{
		"the guide's Service": {subnet: "attach-subnet"},
		"the guide's Service with both optional fields": {
			change: both(annotate(subnetKey, "attach-subnet"), func(w *world) { w.service.Spec.LoadBalancerIP = "172.18.0.18" }),
			subnet: "attach-subnet", wish: "172.18.0.18",
		},
		"an attachment whose name has dots": {
			change: both(annotate(kubeovn.AttachmentProvider, "a.b.kube-system"), subnets(func(s *kubeovn.Subnet) { s.Provider = "a.b.kube-system" }), config(guideNetwork)),
			subnet: "attach-subnet",
		},
		"the default attachment for a Service that names none": {
			change: func(w *world) {
				delete(w.service.Annotations, kubeovn.AttachmentProvider)
				w.config.DefaultAttachment = guideProvider
			},
			subnet: "attach-subnet",
		},
		"our class, but no attachment and no default": {
			change: func(w *world) { delete(w.service.Annotations, kubeovn.AttachmentProvider) },
			reason: "AttachmentMissing",
			text:   "the Service names no attachment: set annotation ovn.kubernetes.io/attachmentprovider to <name>.<namespace> of a NetworkAttachmentDefinition",
		},
		"an attachment without a namespace": {
			change: annotate(kubeovn.AttachmentProvider, "lb-svc-attachment"),
			reason: "AttachmentMalformed",
			text:   `annotation ovn.kubernetes.io/attachmentprovider: "lb-svc-attachment" has no dot: ` + form,
		},
		"an empty attachment": {
			change: annotate(kubeovn.AttachmentProvider, ""),
			reason: "AttachmentMalformed",
			text:   `annotation ovn.kubernetes.io/attachmentprovider: "" has no dot: ` + form,
		},
		"an attachment with a slash": {
			change: annotate(kubeovn.AttachmentProvider, "kube-system/lb.x"),
			reason: "AttachmentMalformed",
			text:   `annotation ovn.kubernetes.io/attachmentprovider: "kube-system/lb.x": "kube-system/lb" is not the name of an object: ` + form,
		},
		"an attachment in no possible namespace": {
			change: annotate(kubeovn.AttachmentProvider, "lb.Kube"),
			reason: "AttachmentMalformed",
			text:   `annotation ovn.kubernetes.io/attachmentprovider: "lb.Kube": "Kube" is not the name of a namespace: ` + form,
		},
		"a provider of Kube-OVN's own": {
			change: annotate(kubeovn.AttachmentProvider, "net.default.ovn"),
			reason: "AttachmentMalformed",
			text:   `annotation ovn.kubernetes.io/attachmentprovider: "net.default.ovn" is a provider that Kube-OVN manages itself (it ends with .ovn), and such a network cannot carry a load balancer: ` + form,
		},
		"an attachment that does not exist": {
			change: annotate(kubeovn.AttachmentProvider, "other.kube-system"),
			reason: "AttachmentNotFound",
			text:   "there is no NetworkAttachmentDefinition kube-system/other, which the Service's attachment other.kube-system names: create it, or correct annotation ovn.kubernetes.io/attachmentprovider",
		},
		"a configuration that is not JSON": {
			change: config("type: macvlan"),
			reason: "InvalidAttachmentConfig",
			text:   "NetworkAttachmentDefinition kube-system/lb-svc-attachment: spec.config is not JSON (invalid character 'y' in literal true (expecting 'r')): correct it",
		},
		"a plugin that cannot carry a load balancer": {
			change: config(`{"type": "kube-ovn", "server_socket": "/run/x"}`),
			reason: "UnusableAttachmentType",
			text:   `NetworkAttachmentDefinition kube-system/lb-svc-attachment: spec.config: type is "kube-ovn", a gateway can only be attached by "macvlan": use a NetworkAttachmentDefinition of that type`,
		},
		"no Subnet of the attachment": {
			change: subnets(),
			reason: "SubnetNotFound",
			text:   "no Subnet has spec.provider lb-svc-attachment.kube-system: create one with the addresses for load balancers",
		},
		"two Subnets and no annotation": {
			change: subnets(named("a"), named("b")),
			reason: "SubnetAmbiguous",
			text:   "2 Subnets have spec.provider lb-svc-attachment.kube-system (a, b): set annotation lb-svc-attachment.kube-system.kubernetes.io/logical_switch to one of them",
		},
		"two Subnets and the annotation": {
			change: both(subnets(named("a"), named("b")), annotate(subnetKey, "b")),
			subnet: "b",
		},
		"the annotation names no Subnet": {
			change: annotate(subnetKey, "nowhere"),
			reason: "SubnetNotFound",
			text:   "annotation lb-svc-attachment.kube-system.kubernetes.io/logical_switch: there is no Subnet nowhere: create it, or name another one",
		},
		"the annotation names another provider's Subnet": {
			change: both(subnets(func(s *kubeovn.Subnet) { s.Provider = "ovn" }), annotate(subnetKey, "attach-subnet")),
			reason: "SubnetOfAnotherProvider",
			text:   `annotation lb-svc-attachment.kube-system.kubernetes.io/logical_switch: Subnet attach-subnet has spec.provider "ovn", not lb-svc-attachment.kube-system: name a Subnet of this attachment, or correct the Subnet's provider`,
		},
		"the Subnet is being deleted": {
			change: subnets(func(s *kubeovn.Subnet) { s.DeletionTimestamp = &metav1.Time{} }),
			reason: "SubnetTerminating",
			text:   "Subnet attach-subnet is being deleted: name or create another one",
		},
		"the Subnet has IPv6 only": {
			change: subnets(func(s *kubeovn.Subnet) { s.CIDRs = []netip.Prefix{netip.MustParsePrefix("fd00::/64")} }),
			reason: "SubnetWithoutIPv4",
			text:   "Subnet attach-subnet has no IPv4 range in spec.cidrBlock, and the Service asks for IPv4 in spec.ipFamilies: use a Subnet with one, or change spec.ipFamilyPolicy or spec.ipFamilies",
		},
		"the Subnet has no gateway": {
			change: subnets(func(s *kubeovn.Subnet) { s.Gateways = nil }),
			reason: "SubnetWithoutGateway",
			text:   "Subnet attach-subnet has no address of 172.18.0.0/16 in spec.gateway: set it to the router of that network",
		},
		"the Subnet's gateway is elsewhere": {
			change: subnets(func(s *kubeovn.Subnet) { s.Gateways = []netip.Addr{netip.MustParseAddr("10.0.0.1")} }),
			reason: "SubnetWithoutGateway",
			text:   "Subnet attach-subnet has no address of 172.18.0.0/16 in spec.gateway: set it to the router of that network",
		},
		"loadBalancerIP is no address": {
			change: func(w *world) { w.service.Spec.LoadBalancerIP = "172.18.0" },
			reason: "InvalidAddress",
			text:   `spec.loadBalancerIP "172.18.0" is not an IP address: set it to an address of the Subnet, or remove it to be given one`,
		},
		"loadBalancerIP is an IPv6 address": {
			change: func(w *world) { w.service.Spec.LoadBalancerIP = "fd00::1" },
			reason: "InvalidAddress",
			text:   "spec.loadBalancerIP fd00::1 is an IPv6 address, and the Service is not served in IPv6: change spec.ipFamilyPolicy or spec.ipFamilies, or ask for another address",
		},
		"loadBalancerIP holds two addresses": {
			change: func(w *world) { w.service.Spec.LoadBalancerIP = "172.18.0.18,172.18.0.19" },
			reason: "InvalidAddress",
			text:   `spec.loadBalancerIP "172.18.0.18,172.18.0.19" is not an IP address: set it to an address of the Subnet, or remove it to be given one`,
		},
		"addresses of both families by annotation": {
			change: both(dual, annotate(addressKey, "fd00:18::18, 172.18.0.18")),
			subnet: "attach-subnet", wish: "172.18.0.18,fd00:18::18",
		},
		"one by the field and one by the annotation": {
			change: both(dual, annotate(addressKey, "fd00:18::18"), func(w *world) { w.service.Spec.LoadBalancerIP = "172.18.0.18" }),
			subnet: "attach-subnet", wish: "172.18.0.18,fd00:18::18",
		},
		"two different wishes": {
			change: both(annotate(addressKey, "172.18.0.19"), func(w *world) { w.service.Spec.LoadBalancerIP = "172.18.0.18" }),
			reason: "InvalidAddress",
			text:   "spec.loadBalancerIP and annotation lb-svc-attachment.kube-system.kubernetes.io/ip_address ask for different addresses (172.18.0.18 and 172.18.0.19): change one of them",
		},
		"an annotation that holds no address": {
			change: annotate(addressKey, "172.18.0.x"),
			reason: "InvalidAddress",
			text:   `annotation lb-svc-attachment.kube-system.kubernetes.io/ip_address: "172.18.0.x" is not an IP address: set it to addresses of the Subnet, or remove it to be given some`,
		},
		"no cluster IP yet": {
			change: func(w *world) { w.service.Spec.ClusterIP, w.service.Spec.ClusterIPs = "", nil },
			subnet: "attach-subnet",
			wait:   "a cluster IP",
		},
		"a dual-stack Service needs a dual-stack Subnet": {
			change: both(dual, subnets(func(*kubeovn.Subnet) {})),
			reason: "SubnetWithoutIPv6",
			text:   "Subnet attach-subnet has no IPv6 range in spec.cidrBlock, and the Service asks for IPv6 in spec.ipFamilies: use a Subnet with one, or change spec.ipFamilyPolicy or spec.ipFamilies",
		},
		"unless it only prefers two families": {
			change: both(dual, subnets(func(*kubeovn.Subnet) {}), func(w *world) {
				w.service.Spec.IPFamilyPolicy = ptr.To(corev1.IPFamilyPolicyPreferDualStack)
			}),
			subnet: "attach-subnet",
		},
		"a dual-stack Service on a dual-stack Subnet": {change: dual, subnet: "attach-subnet"},
		"a headless Service": {
			change: func(w *world) { w.service.Spec.ClusterIP, w.service.Spec.ClusterIPs = "None", []string{"None"} },
			reason: "ServiceHeadless",
			text:   "spec.clusterIP is None, and a load balancer forwards to the cluster IP: make the Service without spec.clusterIP",
		},
		"Kube-OVN is not installed": {
			change: func(w *world) { w.unreadable = []string{"vips.kubeovn.io: not installed"} },
			reason: "KubeOVNUnreadable",
			text:   "Kube-OVN or multus cannot be used: vips.kubeovn.io: not installed",
		},
		"the first lists are still on their way": {
			change: func(w *world) { w.synced = false },
			wait:   "the first list of Kube-OVN's objects",
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := guideWorld()
			if tc.change != nil {
				tc.change(w)
			}
			c, wait, problem := choose(w)
			if wait != tc.wait {
				t.Errorf("waits for %q, want %q", wait, tc.wait)
			}
			checkProblem(t, problem, tc.reason, tc.text)
			if tc.reason != "" || tc.subnet == "" {
				return
			}
			if c.subnet == nil || c.subnet.Name != tc.subnet {
				t.Errorf("chose Subnet %v, want %s", c.subnet, tc.subnet)
			}
			if c.wish.addrs.String() != tc.wish {
				t.Errorf("wishes %v, want %q", c.wish.addrs, tc.wish)
			}
			if tc.wait == "" && c.clusterIPs.V4.String() != "10.96.0.20" {
				t.Errorf("cluster IPs %v", c.clusterIPs)
			}
		})
	}
}

func checkProblem(t *testing.T, p *Problem, reason, text string) {
	t.Helper()
	if reason == "" {
		if p != nil {
			t.Fatalf("unexpected problem %s: %s", p.Reason, p)
		}
		return
	}
	if p == nil {
		t.Fatalf("no problem, want %s", reason)
	}
	if p.Reason != reason || p.String() != text {
		t.Errorf("got  %s: %s\nwant %s: %s", p.Reason, p, reason, text)
	}
}

func TestSticky(t *testing.T) {
	deployed := func(ip string) func(*world) {
		return func(w *world) {
			w.deployment = deploymentWith(map[string]string{guideProvider + ".kubernetes.io/ip_address": ip})
		}
	}
	shown := func(ip string) func(*world) {
		return func(w *world) {
			w.service.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: ip}}
		}
	}
	for name, tc := range map[string]struct {
		changes []func(*world)
		want    string
	}{
		"a new Service has no address":                         {want: "invalid IP"},
		"what is shown is kept":                                {changes: []func(*world){shown("172.18.0.18"), deployed("172.18.0.99")}, want: "172.18.0.18"},
		"what the gateway has is kept though nothing is shown": {changes: []func(*world){deployed("172.18.0.18")}, want: "172.18.0.18"},
		"what is shown of another Subnet is not kept":          {changes: []func(*world){shown("10.0.0.1")}, want: "invalid IP"},
		"a host name is not an address":                        {changes: []func(*world){shown("")}, want: "invalid IP"},
	} {
		t.Run(name, func(t *testing.T) {
			w := guideWorld()
			for _, change := range tc.changes {
				change(w)
			}
			c, _, _ := choose(w)
			if got := w.request(c).Sticky.V4.String(); got != tc.want {
				t.Errorf("got %s, want %s", got, tc.want)
			}
		})
	}
}

func FuzzParseAttachment(f *testing.F) {
	for _, s := range []string{guideProvider, "", ".", "a.", ".b", "a.b.c", "a/b.c", "x.ovn"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := parseAttachment(s)
		if err == nil && a.Provider() != s {
			t.Errorf("%q was read as %q", s, a.Provider())
		}
	})
}
