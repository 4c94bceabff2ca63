package ipam

import (
	"testing"

	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
)

func TestDecideWhenHeld(t *testing.T) {
	decisions{
		"any address is as good as any other": {
			vip: mine("", "172.18.0.40"), state: Granted, held: "172.18.0.40",
		},
		"the wish is granted": {
			wish: "172.18.0.18", vip: mine("172.18.0.18", "172.18.0.18"), state: Granted, held: "172.18.0.18",
		},
		"the wish is granted though Kube-OVN picked it": {
			wish: "172.18.0.18", vip: mine("", "172.18.0.18"), state: Granted, held: "172.18.0.18",
		},
		"a wish that is withdrawn leaves the address": {
			vip: mine("172.18.0.18", "172.18.0.18"), sticky: "172.18.0.18", state: Granted, held: "172.18.0.18",
		},
		"a Subnet that is being deleted or full leaves the address": {
			subnet: lan(deletingSubnet, available(0)), vip: mine("", "172.18.0.40"), state: Granted, held: "172.18.0.40",
		},
		"another wish that is free makes the Service move": {
			wish: "172.18.0.19", vip: mine("", "172.18.0.40"), state: Pending, held: "172.18.0.40", mustMove: true,
		},
		"another wish that is held leaves the address": {
			wish: "172.18.0.19", vip: mine("", "172.18.0.40"), others: others{"172.18.0.19": "Vip x"}, state: Refused, reason: ReasonAddressInUse, held: "172.18.0.40",
			says: []string{"172.18.0.19 is held by Vip x"},
		},
		"another wish that cannot be leaves the address": {
			wish: "9.9.9.9", vip: mine("", "172.18.0.40"), state: Refused, reason: ReasonAddressOutOfRange, held: "172.18.0.40",
		},
		"another Subnet makes the Service move": {
			subnet: lan(named("other")), vip: mine("", "172.18.0.40"), state: Pending, held: "172.18.0.40", mustMove: true,
		},
		"another Subnet that is full leaves the address": {
			subnet: lan(named("other"), available(0)), vip: mine("", "172.18.0.40"), state: Refused, reason: ReasonSubnetFull, held: "172.18.0.40",
		},
		"the same address in another Subnet makes the Service move": {
			subnet: lan(named("other")), wish: "172.18.0.40", vip: mine("", "172.18.0.40"), state: Pending, held: "172.18.0.40", mustMove: true,
		},
		"an address that Kube-OVN picked and that the edited range lacks makes the Service move": {
			subnet: lan(cidr("172.19.0.0/16")), vip: mine("", "172.18.0.40"), sticky: "172.18.0.40", state: Pending, held: "172.18.0.40", mustMove: true,
		},
		"an address that Kube-OVN picked and that is the gateway now makes the Service move": {
			subnet: lan(gateway("172.18.0.40")), vip: mine("", "172.18.0.40"), sticky: "172.18.0.40", state: Pending, held: "172.18.0.40", mustMove: true,
		},
		"a wish that the edited range lacks is told and leaves the address": {
			subnet: lan(cidr("172.19.0.0/16")), wish: "172.18.0.18", vip: mine("172.18.0.18", "172.18.0.18"), state: Refused,
			reason: ReasonAddressOutOfRange, held: "172.18.0.18",
		},
		"a wish that is the gateway now is told and leaves the address": {
			subnet: lan(gateway("172.18.0.18")), wish: "172.18.0.18", vip: mine("172.18.0.18", "172.18.0.18"), state: Refused,
			reason: ReasonAddressReserved, held: "172.18.0.18",
		},
		"a Subnet that has lost its range is told and leaves the address": {
			subnet: lan(func(s *kubeovn.Subnet) { s.CIDRs = nil }), vip: mine("", "172.18.0.40"), state: Refused, reason: ReasonSubnetWithoutIPv4, held: "172.18.0.40",
		},
	}.check(t)
}
