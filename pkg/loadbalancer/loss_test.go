package loadbalancer

import (
	"net/netip"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubeovn/kube-ovn-ccm/pkg/ipam"
	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
)

func TestALossSaysWhatAndToWhom(t *testing.T) {
	const remedy = ": tell its clients, or ask for certain addresses by annotation lb-svc-attachment.kube-system.kubernetes.io/ip_address"
	for name, tc := range map[string]struct {
		had, granted, wish string
		holders            map[string]string
		text               string
	}{
		"nothing that it has": {had: "172.18.0.18,fd00::18", granted: "172.18.0.18,fd00::18"},
		"nothing that it had not": {
			had: "172.18.0.18", granted: "172.18.0.18,fd00::19",
		},
		"one of two": {
			had: "172.18.0.18,fd00::18", granted: "172.18.0.18,fd00::19", holders: map[string]string{"fd00::18": "Pod a/b"},
			text: "the Service has lost fd00::18 of Subnet attach-subnet and has 172.18.0.18,fd00::19 now" + remedy + " (fd00::18 is held by Pod a/b)",
		},
		"both": {
			had: "172.18.0.18,fd00::18", granted: "172.18.0.19,fd00::19", holders: map[string]string{"fd00::18": "Pod a/b", "172.18.0.18": "Vip x"},
			text: "the Service has lost 172.18.0.18 and fd00::18 of Subnet attach-subnet and has 172.18.0.19,fd00::19 now" + remedy + " (172.18.0.18 is held by Vip x, fd00::18 is held by Pod a/b)",
		},
		"to nobody who is known": {
			had: "172.18.0.18", granted: "172.18.0.19",
			text: "the Service has lost 172.18.0.18 of Subnet attach-subnet and has 172.18.0.19 now" + remedy + " (Kube-OVN does not grant 172.18.0.18 any more, see its log)",
		},
		"not what the Service gives up itself": {
			had: "172.18.0.18,fd00::18", granted: "172.18.0.19,fd00::18", wish: "172.18.0.19", holders: map[string]string{"172.18.0.18": "Pod a/b"},
		},
		"not a family that the Subnet has no more": {
			had: "172.18.0.18,fd00::18", granted: "172.18.0.18",
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := guideWorld()
			w.subnets.(subnetList)[0].CIDRs = append(w.subnets.(subnetList)[0].CIDRs, netip.MustParsePrefix("fd00::/64"))
			w.holder = func(subnet string, addr netip.Addr) string {
				if subnet != "attach-subnet" {
					t.Errorf("asks who holds an address of %s", subnet)
				}
				return tc.holders[addr.String()]
			}
			w.deployment = deploymentWith(madeAt(tc.had, "attach-subnet"))
			c, _, problem := choose(w)
			if problem != nil {
				t.Fatal(problem)
			}
			c.wish.addrs, _ = kubeovn.ParseAddrs(tc.wish)
			granted, _ := kubeovn.ParseAddrs(tc.granted)
			got := loss(w, c, granted)
			if tc.text == "" && got != nil || tc.text != "" && (got == nil || got.Reason != "AddressLost" || got.String() != tc.text) {
				t.Errorf("told %q, want %q", got, tc.text)
			}
		})
	}
}

// TestAServiceThatHasToMoveTellsWhy: one Event for the loss, whatever it takes
// to move, and one when the Service is served again.
func TestAServiceThatHasToMoveTellsWhy(t *testing.T) {
	c := serving(t)
	c.kubeOVN.held = netip.MustParseAddr("172.18.0.18") // by a Pod, after a restart of Kube-OVN
	c.kubeOVN.result = ipam.Result{State: ipam.Pending}
	c.wantShown("172.18.0.18", "the Vip is made anew")
	c.wantEvents()
	c.grant("172.18.0.19")
	c.wantShown("", "the lost address is withdrawn")
	c.wantShown("", "the Pod is still there")
	c.stopPod()
	c.wantShown("", "the new gateway has no Pod yet")
	if got := conditionIn(c.service()); got == nil || got.Reason != "AddressLost" {
		t.Errorf("condition %+v", got)
	}
	c.runPod()
	c.wantShown("172.18.0.19", "the new gateway serves")
	c.wantEvents(
		corev1.EventTypeWarning+" AddressLost the Service has lost 172.18.0.18 of Subnet attach-subnet and has 172.18.0.19 now: tell its clients, or ask for certain addresses by annotation lb-svc-attachment.kube-system.kubernetes.io/ip_address (172.18.0.18 is held by IP )",
		corev1.EventTypeNormal+" ProblemSolved AddressLost is solved",
	)
}

// TestARiskIsToldWhileTheServiceIsServed: nothing is taken from the Service, but
// somebody should do something about it.
func TestARiskIsToldWhileTheServiceIsServed(t *testing.T) {
	c := newCluster(t, guideService())
	c.grant("172.18.0.18")
	c.kubeOVN.result.Risk = ipam.Risk{Message: "a restart may take it", Detail: "Vip x"}
	c.ensure()
	c.wantEvents()
	c.runPod()
	c.wantShown("172.18.0.18", "serving")
	if got := conditionIn(c.service()); got == nil || got.Status != metav1.ConditionTrue || got.Reason != ipam.ReasonAddressAtRisk {
		t.Errorf("condition %+v", got)
	}
	c.grant("172.18.0.18")
	c.wantShown("172.18.0.18", "the risk is gone")
	c.wantEvents("Warning AddressAtRisk a restart may take it (Vip x)", "Normal ProblemSolved AddressAtRisk is solved")
}
