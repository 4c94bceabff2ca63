package suite

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
)

// pending is one reason why a Service can stay <pending>.
type pending struct {
	// name says what is wrong.
	name string
	// breaks prepares the fault before the Service is made, and may change the
	// Service. It runs in a namespace of its own.
	breaks func(t *testing.T, ns string, svc *corev1.Service)
	// reason and says are what the one Event must hold: the machine's word, the
	// field and the remedy.
	reason string
	says   []string
	// found is nil once Kubernetes has found the fault, where it is for Kubernetes
	// to find: a node takes its time for a Pod.
	found func(ctx context.Context, ns string) error
	// heals takes the fault away.
	heals func(t *testing.T, ns string)
	// healsWithin is 30 s unless Kubernetes itself waits longer.
	healsWithin time.Duration
}

const logicalSwitch = guideAttachment + ".kubernetes.io/logical_switch"

// annotate sets or, with an empty value, removes an annotation of the Service.
func annotate(key, value string) func(t *testing.T, ns string) {
	return func(t *testing.T, ns string) {
		c.change(t, ns, "svc", func(s *corev1.Service) {
			if value == "" {
				delete(s.Annotations, key)
			} else {
				s.Annotations[key] = value
			}
		})
	}
}

// ask sets the address that the Service asks for.
func ask(ip string) func(t *testing.T, ns string, svc *corev1.Service) {
	return func(_ *testing.T, _ string, svc *corev1.Service) { svc.Spec.LoadBalancerIP = ip }
}

// askFor changes it on the living Service.
func askFor(ip string) func(t *testing.T, ns string) {
	return func(t *testing.T, ns string) {
		c.change(t, ns, "svc", func(s *corev1.Service) { s.Spec.LoadBalancerIP = ip })
	}
}

var reasons = []pending{
	{
		name: "the attachmentprovider is malformed",
		breaks: func(_ *testing.T, _ string, svc *corev1.Service) {
			svc.Annotations[kubeovn.AttachmentProvider] = "lb-svc-attachment"
		},
		reason: "AttachmentMalformed",
		says:   []string{kubeovn.AttachmentProvider, "<name>.<namespace>"},
		heals:  annotate(kubeovn.AttachmentProvider, guideAttachment),
	},
	{
		name: "the NAD is missing",
		breaks: func(t *testing.T, ns string, svc *corev1.Service) {
			svc.Annotations[kubeovn.AttachmentProvider] = "net." + ns
			c.subnet(t, "s-"+ns, "net."+ns, "172.19.1.0/24", "172.19.1.1")
		},
		reason: "AttachmentNotFound",
		says:   []string{"net", kubeovn.AttachmentProvider},
		heals:  func(t *testing.T, ns string) { c.nad(t, ns, "net", macvlan("eth0")) },
	},
	{
		name: "the NAD's config is not JSON",
		breaks: func(t *testing.T, ns string, svc *corev1.Service) {
			svc.Annotations[kubeovn.AttachmentProvider] = "net." + ns
			c.subnet(t, "s-"+ns, "net."+ns, "172.19.2.0/24", "172.19.2.1")
			c.nad(t, ns, "net", `{"type": "macvlan", // the guide's comment`)
		},
		reason: "InvalidAttachmentConfig",
		says:   []string{"spec.config", "JSON"},
		heals: func(t *testing.T, ns string) {
			c.patchSpec(t, "NetworkAttachmentDefinition", ns, "net", fmt.Sprintf(`{"config":%q}`, macvlan("eth0")))
		},
	},
	{
		name: "the NAD is of a type that cannot be used",
		breaks: func(t *testing.T, ns string, svc *corev1.Service) {
			svc.Annotations[kubeovn.AttachmentProvider] = "net." + ns
			c.subnet(t, "s-"+ns, "net."+ns, "172.19.3.0/24", "172.19.3.1")
			c.nad(t, ns, "net", `{"cniVersion":"0.3.0","type":"bridge"}`)
		},
		reason: "UnusableAttachmentType",
		says:   []string{"bridge", "macvlan"},
		heals: func(t *testing.T, ns string) {
			c.patchSpec(t, "NetworkAttachmentDefinition", ns, "net", fmt.Sprintf(`{"config":%q}`, macvlan("eth0")))
		},
	},
	{
		name: "the Subnet is missing",
		breaks: func(t *testing.T, ns string, svc *corev1.Service) {
			svc.Annotations[kubeovn.AttachmentProvider] = "net." + ns
			c.nad(t, ns, "net", macvlan("eth0"))
		},
		reason: "SubnetNotFound",
		says:   []string{"spec.provider"},
		heals: func(t *testing.T, ns string) {
			c.subnet(t, "s-"+ns, "net."+ns, "172.19.4.0/24", "172.19.4.1")
		},
	},
	{
		name: "two Subnets and no annotation",
		breaks: func(t *testing.T, ns string, svc *corev1.Service) {
			svc.Annotations[kubeovn.AttachmentProvider] = "net." + ns
			c.nad(t, ns, "net", macvlan("eth0"))
			c.subnet(t, "a-"+ns, "net."+ns, "172.19.5.0/24", "172.19.5.1")
			c.subnet(t, "b-"+ns, "net."+ns, "172.19.6.0/24", "172.19.6.1")
		},
		reason: "SubnetAmbiguous",
		says:   []string{".kubernetes.io/logical_switch", "a-", "b-"},
		heals: func(t *testing.T, ns string) {
			annotate("net."+ns+".kubernetes.io/logical_switch", "a-"+ns)(t, ns)
		},
	},
	{
		name: "the Subnet is another provider's",
		breaks: func(_ *testing.T, _ string, svc *corev1.Service) {
			svc.Annotations[logicalSwitch] = "ovn-default"
		},
		reason: "SubnetOfAnotherProvider",
		says:   []string{logicalSwitch, "ovn-default", guideAttachment},
		heals:  annotate(logicalSwitch, guideSubnet),
	},
	{
		name:   "loadBalancerIP is not an address",
		breaks: ask("172.18.0.300"),
		reason: "InvalidAddress",
		says:   []string{"spec.loadBalancerIP", "172.18.0.300"},
		heals:  askFor("172.18.1.1"),
	},
	{
		name:   "loadBalancerIP is outside of the CIDR",
		breaks: ask("172.20.0.18"),
		reason: "AddressOutOfRange",
		says:   []string{"spec.loadBalancerIP", "172.20.0.18", "172.18.0.0/16"},
		heals:  askFor("172.18.1.2"),
	},
	{
		name:   "loadBalancerIP is the Subnet's gateway",
		breaks: ask("172.18.0.1"),
		reason: "AddressReserved",
		says:   []string{"spec.loadBalancerIP", "gateway"},
		heals:  askFor("172.18.1.3"),
	},
	{
		name:   "loadBalancerIP is the network's address",
		breaks: ask("172.18.0.0"),
		reason: "AddressReserved",
		says:   []string{"spec.loadBalancerIP", "network"},
		heals:  askFor(""),
	},
	{
		name:   "loadBalancerIP is the broadcast address",
		breaks: ask("172.18.255.255"),
		reason: "AddressReserved",
		says:   []string{"spec.loadBalancerIP", "broadcast"},
		heals:  askFor(""),
	},
	{
		name: "another Service holds the address",
		breaks: func(t *testing.T, ns string, svc *corev1.Service) {
			first := lbService(ns, "first")
			first.Spec.LoadBalancerIP = "172.18.1.10"
			c.create(t, first)
			c.externalIP(t, ns, "first", 30*time.Second)
			svc.Spec.LoadBalancerIP = "172.18.1.10"
		},
		reason: "AddressInUse",
		says:   []string{"172.18.1.10", "Service", "/first"},
		heals:  func(t *testing.T, ns string) { c.remove(t, ns, "first") },
	},
	{
		name: "a Pod holds the address",
		breaks: func(t *testing.T, ns string, svc *corev1.Service) {
			c.podWithAddress(t, ns, "holder", "172.18.1.11")
			svc.Spec.LoadBalancerIP = "172.18.1.11"
		},
		reason: "AddressInUse",
		says:   []string{"172.18.1.11", "Pod", "/holder"},
		heals: func(t *testing.T, ns string) {
			if err := c.kube.CoreV1().Pods(ns).Delete(t.Context(), "holder", metav1.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
		},
	},
	{
		name: "a Vip holds the address",
		breaks: func(t *testing.T, ns string, svc *corev1.Service) {
			c.vip(t, "by-hand-"+ns, guideSubnet, "172.18.1.12")
			svc.Spec.LoadBalancerIP = "172.18.1.12"
		},
		reason: "AddressInUse",
		says:   []string{"172.18.1.12", "Vip by-hand-"},
		heals: func(t *testing.T, ns string) {
			if err := c.resource("Vip", "").Delete(t.Context(), "by-hand-"+ns, metav1.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
		},
	},
	{
		name: "the Subnet is full",
		breaks: func(t *testing.T, ns string, svc *corev1.Service) {
			c.nad(t, ns, "net", macvlan("eth0"))
			c.subnet(t, "s-"+ns, "net."+ns, "172.19.7.0/30", "172.19.7.1")
			c.vip(t, "full-"+ns, "s-"+ns, "172.19.7.2")
			svc.Annotations[kubeovn.AttachmentProvider] = "net." + ns
		},
		reason: "SubnetFull",
		says:   []string{"Subnet s-", "status.v4availableIPs", "spec.cidrBlock"},
		heals: func(t *testing.T, ns string) {
			if err := c.resource("Vip", "").Delete(t.Context(), "full-"+ns, metav1.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
		},
	},
	{
		name: "Kube-OVN does not answer",
		breaks: func(t *testing.T, _ string, _ *corev1.Service) {
			if err := c.Stop(t.Context(), "kube-ovn-controller"); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { c.startKubeOVN(t) })
		},
		reason:      "KubeOVNNotResponding",
		says:        []string{"kube-ovn-controller"},
		heals:       func(t *testing.T, _ string) { c.startKubeOVN(t) },
		healsWithin: time.Minute,
	},
	{
		name: "the gateway's image cannot be pulled",
		breaks: func(t *testing.T, _ string, _ *corev1.Service) {
			c.withoutGatewayImage(t)
		},
		found: func(ctx context.Context, ns string) error {
			l, err := c.kube.CoreV1().Pods(ns).List(ctx, metav1.ListOptions{})
			if err != nil {
				return err
			}
			for _, pod := range l.Items {
				for _, s := range pod.Status.ContainerStatuses {
					if w := s.State.Waiting; w != nil && strings.Contains(w.Reason, "Image") {
						return nil
					}
				}
			}
			return errors.New("no Pod waits for its image")
		},
		reason:      "GatewayImageUnavailable",
		says:        []string{"kube-ovn-lb-gateway"},
		heals:       func(t *testing.T, _ string) { c.giveGatewayImageBack(t) },
		healsWithin: 90 * time.Second, // the kubelet's own back-off
	},
	{
		name: "no node fits",
		breaks: func(t *testing.T, _ string, _ *corev1.Service) {
			c.cordon(t, true)
			t.Cleanup(func() { c.cordon(t, false) })
		},
		reason: "GatewayUnschedulable",
		says:   []string{"node"},
		heals:  func(t *testing.T, _ string) { c.cordon(t, false) },
	},
	{
		name: "the master NIC is missing on the node",
		breaks: func(t *testing.T, ns string, svc *corev1.Service) {
			c.nad(t, ns, "net", macvlan("eth9"))
			c.subnet(t, "s-"+ns, "net."+ns, "172.19.8.0/24", "172.19.8.1")
			svc.Annotations[kubeovn.AttachmentProvider] = "net." + ns
		},
		found: func(ctx context.Context, ns string) error {
			l, err := c.kube.CoreV1().Events(ns).List(ctx, metav1.ListOptions{FieldSelector: "reason=FailedCreatePodSandBox"})
			if err == nil && len(l.Items) == 0 {
				err = errors.New("no node has failed to set up a Pod's network")
			}
			return err
		},
		reason: "GatewayNetworkFailed",
		says:   []string{"eth9", "net"},
		heals: func(t *testing.T, ns string) {
			c.patchSpec(t, "NetworkAttachmentDefinition", ns, "net", fmt.Sprintf(`{"config":%q}`, macvlan("eth0")))
		},
		healsWithin: time.Minute,
	},
}

// TestEveryPendingHasItsReason breaks one thing after the other. Each gives one
// Event within 3 s which names the field and the remedy, and heals by itself
// when the cause is gone.
func TestEveryPendingHasItsReason(t *testing.T) {
	for _, p := range reasons {
		t.Run(p.name, func(t *testing.T) {
			ns := c.namespace(t)
			svc := lbService(ns, "svc")
			p.breaks(t, ns, svc)
			c.create(t, svc)
			if p.found != nil {
				t.Logf("Kubernetes found it after %s", eventually(t, 30*time.Second, "Kubernetes finds it", func(ctx context.Context) error { return p.found(ctx, ns) }))
			}

			var event corev1.Event
			took := eventually(t, 3*time.Second, "one Event", func(ctx context.Context) (err error) {
				event, err = c.oneWarning(ctx, ns, "svc", p.reason)
				return err
			})
			t.Logf("after %s: %s: %s", took.Round(10*time.Millisecond), event.Reason, event.Message)
			for _, s := range p.says {
				if !strings.Contains(event.Message, s) {
					t.Errorf("the message does not say %q", s)
				}
			}
			consistently(t, 2*time.Second, "still one Event and no address", func(ctx context.Context) error {
				if _, err := c.oneWarning(ctx, ns, "svc", p.reason); err != nil {
					return err
				}
				got, err := c.kube.CoreV1().Services(ns).Get(ctx, "svc", metav1.GetOptions{})
				if err == nil && published(got) != "" {
					err = fmt.Errorf("published %s", published(got))
				}
				return err
			})

			within := p.healsWithin
			if within == 0 {
				within = 30 * time.Second
			}
			p.heals(t, ns)
			start := time.Now()
			c.externalIP(t, ns, "svc", within)
			t.Logf("healed after %s", time.Since(start).Round(10*time.Millisecond))
		})
	}
}
