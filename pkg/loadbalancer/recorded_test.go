package loadbalancer

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/kubeovn/kube-ovn-ccm/pkg/ipam"
	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn/recorded"
)

// TestWhatIsRecordedOfGatewaysIsWhatIsMade: the gateway Pods that each version of
// Kube-OVN was shown, and their attachments, are those that are made for the
// Services, as far as Kube-OVN and multus read them; and no version has changed
// them. That none of them gets an address is a test of pkg/kubeovn.
func TestWhatIsRecordedOfGatewaysIsWhatIsMade(t *testing.T) {
	all, err := recorded.Ran()
	if err != nil || len(all) == 0 {
		t.Fatalf("%d versions, %v", len(all), err)
	}
	for _, v := range all {
		for _, is := range []struct{ service, subnet, pod string }{
			{"ours", "lan4", "gateway"},
			{"ours-booked", "booked", "gateway-booked"},
			{"ours-46", "lan46", "gateway-46"},
		} {
			t.Run(v.Name+"/"+is.subnet, func(t *testing.T) {
				made := recorded.Object(v.Restarted, "Pod", is.pod).GetAnnotations()
				provider := is.subnet + ".kube-system"
				held, err := kubeovn.ParseAddrs(made[kubeovn.AnnotationKey(provider, kubeovn.FieldIPAddress)])
				if err != nil {
					t.Fatal(err)
				}
				g := gatewayOn(t, v, is.service, is.subnet, held)
				want := recorded.Object(v.Restarted, "NetworkAttachmentDefinition", "lb-svc-"+is.service).Object["spec"].(map[string]any)["config"]
				if got := g.network.Bare; got != want {
					t.Errorf("the attachment is\n%s\nrecorded is\n%s", got, want)
				}
				annotations := g.podAnnotations()
				for key := range made {
					if _, ours := annotations[key]; !ours && !strings.HasPrefix(key, "ovn.kubernetes.io/") {
						t.Errorf("recorded is %s", key)
					}
				}
				delete(annotations, AnnotationNetworkHash) // nobody but kube-ovn-ccm reads it
				for key, value := range annotations {
					if made[key] != value {
						t.Errorf("%s is %q, recorded is %q", key, value, made[key])
					}
				}
			})
		}
	}
}

// gatewayOn is a Service's gateway on a recorded Subnet and its attachment.
func gatewayOn(t *testing.T, v *recorded.Version, service, subnet string, held kubeovn.Addrs) *gateway {
	t.Helper()
	w := guideWorld()
	w.service.Name = service
	w.service.Annotations = map[string]string{kubeovn.AttachmentProvider: subnet + ".kube-system"}
	w.service.Spec.LoadBalancerIP = ""
	if held.V6.IsValid() {
		w.service.Spec.ClusterIPs = []string{"10.96.0.20", "fd00:96::20"}
		w.service.Spec.IPFamilies = []corev1.IPFamily{corev1.IPv4Protocol, corev1.IPv6Protocol}
	}
	w.owner = ownerOf(w.service)
	w.subnets = subnetList{kubeovn.DecodeSubnet(recorded.Object(v.Restarted, "Subnet", subnet))}
	w.source = func(attachment) (*kubeovn.NAD, bool) {
		return kubeovn.DecodeNAD(recorded.Object(v.Restarted, "NetworkAttachmentDefinition", subnet)), true
	}
	c, wait, problem := choose(w)
	if problem != nil || wait != "" {
		t.Fatalf("%v, waiting for %q", problem, wait)
	}
	return newGateway(w, c, ipam.Result{State: ipam.Granted, Addrs: held, MAC: "0a:00:00:00:00:18"})
}
