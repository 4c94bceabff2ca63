package ipam

import (
	"testing"

	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
)

func TestDecideWithoutVip(t *testing.T) {
	decisions{
		"any address is asked for without naming one": {
			op: opCreate, state: Pending, retry: 2 * s, waits: true,
		},
		"an address that nobody holds is asked for": {
			wish: "172.18.0.18", op: opCreate, want: "172.18.0.18", state: Pending, retry: 2 * s, waits: true,
		},
		"an IPv4 address in IPv6 clothing is the IPv4 address": {
			wish: "::ffff:172.18.0.18", op: opCreate, want: "172.18.0.18", state: Pending, retry: 2 * s, waits: true,
		},
		"an IPv6 address is refused where there are none": {
			wish: "fd00::18", state: Refused, reason: ReasonSubnetWithoutIPv6,
			says: []string{"spec.loadBalancerIP fd00::18", "no IPv6 range", "attach-subnet (172.18.0.0/16)"},
		},
		"an address outside of the Subnet is refused": {
			wish: "9.9.9.9", state: Refused, reason: ReasonAddressOutOfRange,
			says: []string{"spec.loadBalancerIP 9.9.9.9", "172.18.0.0/16", "attach-subnet"},
		},
		"the gateway's address is refused": {
			wish: "172.18.0.1", state: Refused, reason: ReasonAddressReserved, says: []string{"is the gateway of Subnet attach-subnet"},
		},
		"the network address is refused": {
			wish: "172.18.0.0", state: Refused, reason: ReasonAddressReserved, says: []string{"is the network address"},
		},
		"the broadcast address is refused": {
			wish: "172.18.255.255", state: Refused, reason: ReasonAddressReserved, says: []string{"is the broadcast address"},
		},
		"in a /31 both addresses can be used": {
			subnet: lan(cidr("172.18.0.18/31")), wish: "172.18.0.19", op: opCreate, want: "172.18.0.19", state: Pending, retry: 2 * s, waits: true,
		},
		"in a /32 the address can be used": {
			subnet: lan(cidr("172.18.0.18/32")), wish: "172.18.0.18", op: opCreate, want: "172.18.0.18", state: Pending, retry: 2 * s, waits: true,
		},
		"an address that a Pod holds is refused, and no Vip is made": {
			wish: "172.18.0.18", others: others{"172.18.0.18": "Pod shop/db-0"}, state: Refused, reason: ReasonAddressInUse,
			says: []string{"spec.loadBalancerIP 172.18.0.18", "is held by Pod shop/db-0", "remove the field"},
		},
		"a full Subnet is told, and no Vip is made": {
			subnet: lan(available(0)), state: Refused, reason: ReasonSubnetFull, says: []string{"attach-subnet", "excludeIps"},
		},
		"a Subnet that has not reported yet is not full": {
			subnet: lan(available(kubeovn.Unreported)), op: opCreate, state: Pending, retry: 2 * s, waits: true,
		},
		"a named address may be among the excluded ones of a Subnet that is full otherwise": {
			subnet: lan(available(0)), wish: "172.18.0.5", op: opCreate, want: "172.18.0.5", state: Pending, retry: 2 * s, waits: true,
		},
		"a Subnet without IPv4 is told": {
			subnet: lan(cidr("fd00::/64")), state: Refused, reason: ReasonSubnetWithoutIPv4, says: []string{"spec.cidrBlock"},
		},
		"nothing new is asked of a Subnet that is being deleted": {
			subnet: lan(deletingSubnet), state: Refused, reason: ReasonSubnetTerminating,
		},
		"the address that the Service has is asked for": {
			sticky: "172.18.0.30", op: opCreate, want: "172.18.0.30", state: Pending, retry: 2 * s, waits: true,
		},
		"the address that the Service has is asked for in a Subnet that looks full": {
			subnet: lan(available(0)), sticky: "172.18.0.30", op: opCreate, want: "172.18.0.30", state: Pending, retry: 2 * s, waits: true,
		},
		"the address that the Service had is given up when somebody else has it": {
			sticky: "172.18.0.30", others: others{"172.18.0.30": "Vip x"}, op: opCreate, state: Pending, retry: 2 * s, waits: true,
		},
		"the address that the Service had is given up when it is not in the Subnet": {
			sticky: "10.0.0.30", op: opCreate, state: Pending, retry: 2 * s, waits: true,
		},
		"the address that the Service had is given up when Kube-OVN does not grant it": {
			sticky: "172.18.0.30", wait: waiting(31*s, 20*s, stickyNudges, anyOfLAN),
			op: opCreate, state: Refused, reason: ReasonAddressNotGranted, retry: 5 * s, nudges: 2, waits: true,
		},
		"the wish goes before the address that the Service has": {
			wish: "172.18.0.18", sticky: "172.18.0.30", op: opCreate, want: "172.18.0.18", state: Pending, retry: 2 * s, waits: true,
		},
	}.check(t)
}
