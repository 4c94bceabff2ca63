package ipam

import (
	"testing"

	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
)

func TestDecideWithoutVipInBothFamilies(t *testing.T) {
	decisions{
		"Kube-OVN picks the IPv4 address, and the IPv6 address is far from what it picks": {
			subnet: dual(), needs: needsBoth, op: opCreate, want: "fd00::a4d6:34bb", state: Pending, retry: pickRetry, waits: true,
		},
		"any address of a Subnet of IPv6 alone": {
			subnet: only6(), needs: needs6, op: opCreate, want: "fd00::a4d6:34bb", state: Pending, retry: pickRetry, waits: true,
		},
		"an IPv6 address that somebody holds is not picked": {
			subnet: only6(), needs: needs6, others: others{"fd00::a4d6:34bb": "Vip x"}, op: opCreate, want: "fd00::a4d6:34bc",
			state: Pending, retry: pickRetry, waits: true,
		},
		"two addresses that nobody holds are asked for": {
			subnet: dual(), needs: needsBoth, wish: "fd00::18,172.18.0.18", op: opCreate, want: "172.18.0.18,fd00::18", state: Pending, retry: 2 * s, waits: true,
		},
		"a wish for one family leaves the other to Kube-OVN": {
			subnet: dual(), needs: needsBoth, wish: "fd00::18", op: opCreate, want: "fd00::18", state: Pending, retry: 2 * s, waits: true,
		},
		"a wish for one family keeps the address of the other": {
			subnet: dual(), needs: needsBoth, wish: "fd00::18", sticky: "172.18.0.30,fd00::30", op: opCreate, want: "172.18.0.30,fd00::18", state: Pending, retry: 2 * s, waits: true,
		},
		"an IPv6 address is asked for in lower case, as Kube-OVN demands": {
			subnet: only6(), needs: needs6, wish: "FD00:0:0::ABC", op: opCreate, want: "fd00::abc", state: Pending, retry: 2 * s, waits: true,
		},
		"of the addresses that the Service had, one may be somebody else's by now": {
			subnet: dual(), needs: needsBoth, sticky: "172.18.0.30,fd00::30", others: others{"172.18.0.30": "Vip x"},
			op: opCreate, want: "fd00::30", state: Pending, retry: 2 * s, waits: true,
		},
		"an address of a family that the Subnet has no more is not asked for": {
			sticky: "172.18.0.30,fd00::30", op: opCreate, want: "172.18.0.30", state: Pending, retry: 2 * s, waits: true,
		},
		"a Service that needs one family gets the other as well": {
			subnet: dual(), sticky: "172.18.0.30,fd00::30", op: opCreate, want: "172.18.0.30,fd00::30", state: Pending, retry: 2 * s, waits: true,
		},
		"IPv6 is needed and the Subnet has none": {
			needs: needsBoth, state: Refused, reason: ReasonSubnetWithoutIPv6,
			says: []string{"Subnet attach-subnet (172.18.0.0/16) has no IPv6 range in spec.cidrBlock", "add one", "take IPv6 out of the Service's spec.ipFamilies"},
		},
		"IPv4 is needed and the Subnet has none": {
			subnet: only6(), needs: needsBoth, state: Refused, reason: ReasonSubnetWithoutIPv4, says: []string{"attach-subnet (fd00::/64) has no IPv4 range"},
		},
		"a Subnet without any range": {
			subnet: lan(cidr()), needs: needs6, state: Refused, reason: ReasonSubnetWithoutIPv4, says: []string{"none at all"},
		},
		"an IPv4 address is wished for where there are none": {
			subnet: only6(), needs: needs6, wish: "172.18.0.18", state: Refused, reason: ReasonSubnetWithoutIPv4,
			says: []string{"spec.loadBalancerIP 172.18.0.18 cannot be had", "no IPv4 range", "remove the field"},
		},
		"an IPv6 address outside of the Subnet is refused": {
			subnet: dual(), needs: needsBoth, wish: "172.18.0.18,fd01::18", state: Refused, reason: ReasonAddressOutOfRange,
			says: []string{"spec.loadBalancerIP fd01::18 is not in fd00::/64"},
		},
		"the IPv6 gateway's address is refused": {
			subnet: dual(), wish: "fd00:0::1", state: Refused, reason: ReasonAddressReserved, says: []string{"fd00::1 is the gateway of Subnet attach-subnet (fd00::/64)"},
		},
		"the address to which every router answers is refused": {
			subnet: dual(), wish: "fd00::", state: Refused, reason: ReasonAddressReserved, says: []string{"fd00:: is the anycast address of all routers"},
		},
		"the last IPv6 address, which Kube-OVN does not grant, is refused": {
			subnet: dual(), wish: "fd00::ffff:ffff:ffff:ffff", state: Refused, reason: ReasonAddressReserved, says: []string{"is the last address, which Kube-OVN does not grant,"},
		},
		"in a /127 both addresses can be used": {
			subnet: only6(cidr("fd00::18/127")), needs: needs6, wish: "fd00::18", op: opCreate, want: "fd00::18", state: Pending, retry: 2 * s, waits: true,
		},
		"one of two addresses is held by a Pod": {
			subnet: dual(), needs: needsBoth, wish: "172.18.0.18,fd00::18", others: others{"fd00::18": "Pod shop/db-0"}, state: Refused, reason: ReasonAddressInUse,
			says: []string{"spec.loadBalancerIP fd00::18 is held by Pod shop/db-0"},
		},
		"a Subnet that is full in one family gives nothing of the other": {
			subnet: dual(available6(0)), state: Refused, reason: ReasonSubnetFull,
			says: []string{"no free IPv6 address for this Service (status.v6availableIPs is 0", "an address of each family or none"},
		},
		"a family that is full does not matter where its address is named": {
			subnet: dual(available(0)), needs: needsBoth, wish: "172.18.0.18", op: opCreate, want: "172.18.0.18,fd00::a4d6:34bb", state: Pending, retry: pickRetry, waits: true,
		},
	}.check(t)
}

func TestDecideWhilePendingInBothFamilies(t *testing.T) {
	decisions{
		"a pending Vip for both wishes is right, however they are spelled": {
			subnet: dual(), needs: needsBoth, wish: "172.18.0.18,fd00::ab", vip: mine("172.18.0.18,FD00:0::00AB", ""), state: Pending, retry: 2 * s, waits: true,
		},
		"a pending Vip for another IPv6 address is taken back": {
			subnet: dual(), needs: needsBoth, wish: "172.18.0.18,fd00::18", vip: mine("172.18.0.18,fd00::19", ""), op: opDelete, state: Pending, retry: s,
		},
		"a pending Vip for one of two wishes is taken back": {
			subnet: dual(), needs: needsBoth, wish: "172.18.0.18,fd00::18", vip: mine("172.18.0.18", ""), op: opDelete, state: Pending, retry: s,
		},
		"a pending Vip that asks for what is no address is taken back": {
			subnet: dual(), needs: needsBoth, vip: mine("fd00::x", ""), op: opDelete, state: Pending, retry: s,
		},
		"a pending Vip that names an address of a family that the Subnet has lost is taken back": {
			sticky: "172.18.0.30", vip: mine("172.18.0.30,fd00::30", ""), op: opDelete, state: Pending, retry: s,
		},
		"a pending Vip for any address is right in both families": {
			subnet: dual(), needs: needsBoth, sticky: "172.18.0.30,fd00::30", vip: mine("fd00::30", ""), state: Pending, retry: 2 * s, waits: true,
		},
		"wishes that Kube-OVN does not grant are named": {
			subnet: dual(), needs: needsBoth, wish: "172.18.0.18,fd00::18", vip: mine("172.18.0.18,fd00::18", ""), granted: s,
			wait: waiting(10*s, 10*s, 0, "attach-subnet 172.18.0.18,fd00::18"), op: opDelete, state: Refused,
			reason: ReasonAddressNotGranted, says: []string{"spec.loadBalancerIP 172.18.0.18,fd00::18"}, retry: s, nudges: 1, waits: true,
		},
	}.check(t)
}

func TestDecideWhenHeldInBothFamilies(t *testing.T) {
	const both = "172.18.0.40,fd00::40"
	noted := waiting(s, s, 0, anyOfLAN)
	decisions{
		"two addresses are granted": {
			subnet: dual(), needs: needsBoth, vip: mine("", both), state: Granted, held: both,
		},
		"an address of IPv6 alone is granted": {
			subnet: only6(), needs: needs6, vip: mine("", "fd00::40"), state: Granted, held: "fd00::40",
		},
		"the wish is granted however Kube-OVN spells it": {
			subnet: dual(), needs: needsBoth, wish: "fd00::ab", vip: mine("", "172.18.0.40,FD00:0:0::00AB"), state: Granted, held: "172.18.0.40,fd00::ab",
		},
		"a family that is held and not needed is told": {
			subnet: dual(), vip: mine("", both), state: Granted, held: both,
		},
		"a family that is not needed may lack": {
			subnet: dual(), vip: mine("", "172.18.0.40"), state: Granted, held: "172.18.0.40",
		},
		"a family that is not needed may be out of range": {
			vip: mine("", both), state: Granted, held: both,
		},
		"an address in the place of the other family is none": {
			subnet: only6(), needs: needs6, vip: mine("", "", func(v *kubeovn.Vip) { v.V6, v.V4 = "172.18.0.40", "fd00::40" }), state: Pending, retry: 2 * s, waits: true,
		},
		"a Subnet that has become dual makes a Service that needs IPv6 move": {
			subnet: dual(), needs: needsBoth, sticky: "172.18.0.40", vip: mine("", "172.18.0.40", askedFor("IPv4")), state: Pending, held: "172.18.0.40", mustMove: true,
		},
		"a Subnet whose new range Kube-OVN has not counted yet is waited for": {
			subnet: dual(available6(0)), needs: needsBoth, vip: mine("", "172.18.0.40"), wait: noted, state: Pending, held: "172.18.0.40", retry: s, waits: true,
		},
		"a Subnet whose new range is full is told": {
			subnet: dual(available6(0)), needs: needsBoth, vip: mine("", "172.18.0.40"), wait: waiting(2*s, 2*s, 0, anyOfLAN), state: Refused,
			reason: ReasonSubnetFull, held: "172.18.0.40", waits: true,
		},
		"a Service that comes to need what the Subnet lacks keeps what it has": {
			needs: needsBoth, vip: mine("", "172.18.0.40"), state: Refused, reason: ReasonSubnetWithoutIPv6, held: "172.18.0.40",
		},
		"another wish for one family makes the Service move": {
			subnet: dual(), needs: needsBoth, wish: "fd00::18", sticky: both, vip: mine(both, both, askedFor("IPv4,IPv6")), state: Pending, held: both, mustMove: true,
		},
		"another wish for one family that is held leaves the addresses": {
			subnet: dual(), needs: needsBoth, wish: "fd00::18", vip: mine("", both), others: others{"fd00::18": "Vip x"}, state: Refused, reason: ReasonAddressInUse, held: both,
			says: []string{"fd00::18 is held by Vip x"},
		},
		"an IPv6 address that Kube-OVN picked and that the edited range lacks makes the Service move": {
			subnet: dual(cidr("172.18.0.0/16", "fd01::/64")), needs: needsBoth, vip: mine("", both, askedFor("172.18.0.40,IPv6")), sticky: both,
			state: Pending, held: both, mustMove: true,
		},
		"a Kube-OVN that ignores the wish is not asked again and again": {
			subnet: dual(), needs: needsBoth, wish: "fd00::18", sticky: both, vip: mine(both, both, askedFor("172.18.0.40,fd00::18")), state: Refused,
			reason: ReasonAddressNotGranted, held: both, says: []string{"asked for 172.18.0.40,fd00::18", "granted 172.18.0.40,fd00::40", "before v1.13", "kubectl delete vips.kubeovn.io lb-u1"},
		},
		"a Kube-OVN that gives one family of two is not asked again and again": {
			subnet: dual(), needs: needsBoth, sticky: "172.18.0.40", vip: mine("", "172.18.0.40", askedFor("172.18.0.40,fd00::a4d6:34bb")), state: Refused,
			reason: ReasonAddressNotGranted, held: "172.18.0.40",
		},
		"what Kube-OVN ignored in another Subnet does not matter": {
			subnet: dual(named("other")), needs: needsBoth, wish: "fd00::18", vip: mine("", both, askedFor("IPv4,fd00::18")), state: Pending, held: both, mustMove: true,
		},
		"a wish that was ignored is given up with the field": {
			subnet: dual(), needs: needsBoth, vip: mine(both, both, askedFor("172.18.0.40,fd00::18")), state: Granted, held: both,
		},
	}.check(t)
}

func TestObeyed(t *testing.T) {
	for name, tc := range map[string]struct {
		asked, held string
		want        bool
	}{
		"nothing is known":           {"", "172.18.0.40", true},
		"a family of two is missing": {"IPv4,IPv6", "172.18.0.40", false},
		"any address":                {"IPv4", "172.18.0.40", true},
		"any address of IPv6":        {"IPv6", "172.18.0.40", false},
		"more than was asked for":    {"IPv4", "172.18.0.40,fd00::40", true},
		"another address":            {"fd00::18", "fd00::40", false},
		"the address":                {"172.18.0.40,fd00::40", "172.18.0.40,fd00::40", true},
		"a record of another kind":   {"everything!", "172.18.0.40", true},
	} {
		t.Run(name, func(t *testing.T) {
			if got := obeyed(tc.asked, addrs(tc.held)); got != tc.want {
				t.Errorf("got %v", got)
			}
		})
	}
}
