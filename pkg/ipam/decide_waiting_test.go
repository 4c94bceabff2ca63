package ipam

import (
	"testing"
	"time"

	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
)

func TestDecideAboutSomebodyElsesVip(t *testing.T) {
	decisions{
		"somebody else's Vip of our name is left alone": {
			vip: mine("", "172.18.0.40", foreign), state: Refused, reason: ReasonVipConflict, says: []string{"lb-u1", "left alone", "kubectl delete"},
		},
		"another Service's Vip of our name is left alone": {
			vip: mine("", "172.18.0.40", func(v *kubeovn.Vip) {
				v.Labels = kubeovn.Owner{Namespace: "a", Name: "b", UID: "u2"}.Labels()
			}), state: Refused, reason: ReasonVipConflict,
		},
	}.check(t)
}

func TestDecideWhileBeingDeleted(t *testing.T) {
	decisions{
		"a Vip that is being deleted is waited for": {
			vip: mine("", "172.18.0.40", deleting), state: Pending, retry: 2 * s, waits: true,
		},
		"the wait for a deletion does not count the wait for the grant": {
			vip: mine("", "", deleting), wait: waiting(60*s, 60*s, 3, anyOfLAN), state: Pending, retry: 2 * s, waits: true,
		},
		"a Vip that stays being deleted while Kube-OVN is silent is told": {
			vip: mine("", "172.18.0.40", deleting), wait: waiting(2*s, 2*s, 0, "withdrawal"),
			state: Refused, reason: ReasonKubeOVNNotResponding, says: []string{"lb-u1", "finalizer kubeovn.io/kube-ovn-controller"}, retry: 5 * s, waits: true,
		},
	}.check(t)
}

func TestDecideWhilePending(t *testing.T) {
	decisions{
		"a Vip that was just made is waited for quietly": {
			vip: mine("", ""), wait: waiting(s, s, 0, anyOfLAN), state: Pending, retry: s, waits: true,
		},
		"a Vip that is seen for the first time is waited for quietly": {
			vip: mine("", ""), state: Pending, retry: 2 * s, waits: true,
		},
		"a silent Kube-OVN is told after two seconds and the Vip stays": {
			vip: mine("", ""), wait: waiting(2*s, 2*s, 0, anyOfLAN), state: Refused, reason: ReasonKubeOVNNotResponding,
			says: []string{"attach-subnet", "lb-u1", "kube-ovn-controller"}, retry: 5 * s, waits: true,
		},
		"a Kube-OVN that is busy with others is waited for quietly": {
			vip: mine("", ""), wait: waiting(6*s, 6*s, 0, anyOfLAN), granted: s / 2, state: Pending, retry: 1500 * time.Millisecond, waits: true,
		},
		"a Kube-OVN that has stopped working on others is told": {
			vip: mine("", ""), wait: waiting(6*s, 6*s, 0, anyOfLAN), granted: 3 * s, state: Refused, reason: ReasonKubeOVNNotResponding, retry: 4 * s, waits: true,
		},
		"a Vip that others have overtaken for ten seconds is made anew": {
			vip: mine("", ""), wait: waiting(10*s, 10*s, 0, anyOfLAN), granted: s, op: opDelete, state: Refused, reason: ReasonAddressNotGranted,
			says: []string{"any address of Subnet attach-subnet"}, retry: s, nudges: 1, waits: true,
		},
		"the second nudge comes after twice the time": {
			vip: mine("", ""), wait: waiting(25*s, 15*s, 1, anyOfLAN), granted: s, state: Refused, reason: ReasonAddressNotGranted, retry: 5 * s, nudges: 1, waits: true,
		},
		"the gaps between nudges are bounded": {
			vip: mine("", ""), wait: waiting(900*s, 80*s, 9, anyOfLAN), granted: s, op: opDelete, state: Refused, reason: ReasonAddressNotGranted, retry: s, nudges: 10, waits: true,
		},
		"while Kube-OVN is silent a Vip is kept": {
			vip: mine("", ""), wait: waiting(30*s, 30*s, 0, anyOfLAN), state: Refused, reason: ReasonKubeOVNNotResponding, retry: 5 * s, waits: true,
		},
		"while nothing at all happens a Vip is made anew now and then": {
			vip: mine("", ""), wait: waiting(80*s, 80*s, 0, anyOfLAN), op: opDelete, state: Refused, reason: ReasonKubeOVNNotResponding, retry: s, waits: true,
		},
		"a wish that Kube-OVN does not grant is named": {
			wish: "172.18.0.18", vip: mine("172.18.0.18", ""), wait: waiting(10*s, 10*s, 0, the18), granted: s, op: opDelete, state: Refused,
			reason: ReasonAddressNotGranted, says: []string{"spec.loadBalancerIP 172.18.0.18", "EIP"}, retry: s, nudges: 1, waits: true,
		},
		"a pending Vip whose address somebody holds is taken back": {
			wish: "172.18.0.18", vip: mine("172.18.0.18", ""), others: others{"172.18.0.18": "Service a/b"}, op: opDelete, state: Refused,
			reason: ReasonAddressInUse, says: []string{"is held by Service a/b"},
		},
		"a pending Vip in a Subnet that is full is taken back": {
			subnet: lan(available(0)), vip: mine("", ""), op: opDelete, state: Refused, reason: ReasonSubnetFull,
		},
		"a pending Vip for another address is taken back": {
			wish: "172.18.0.18", vip: mine("172.18.0.19", ""), op: opDelete, state: Pending, retry: s,
		},
		"a pending Vip for any address is taken back when one is named": {
			wish: "172.18.0.18", vip: mine("", ""), op: opDelete, state: Pending, retry: s,
		},
		"a pending Vip for a named address is taken back when any will do": {
			vip: mine("172.18.0.19", ""), op: opDelete, state: Pending, retry: s,
		},
		"a pending Vip of another Subnet is taken back": {
			subnet: lan(named("other")), vip: mine("", ""), op: opDelete, state: Pending, retry: s,
		},
		"a pending Vip for the address that the Service has is right": {
			sticky: "172.18.0.30", vip: mine("172.18.0.30", ""), state: Pending, retry: 2 * s, waits: true,
		},
		"a pending Vip for the address that the Service had is taken back when it is somebody else's": {
			sticky: "172.18.0.30", vip: mine("172.18.0.30", ""), others: others{"172.18.0.30": "Vip x"}, op: opDelete, state: Pending, retry: s,
		},
		"a pending Vip for any address is right though the Service has one": {
			sticky: "172.18.0.30", vip: mine("", ""), state: Pending, retry: 2 * s, waits: true,
		},
		"a new wish is waited for quietly however long the last one took": {
			wish: "172.18.0.18", vip: mine("172.18.0.18", ""), wait: waiting(60*s, 60*s, 3, "attach-subnet 172.18.0.19"), state: Pending, retry: 2 * s, waits: true,
		},
		"a status that is no address is no grant": {
			vip: mine("", "garbage"), state: Pending, retry: 2 * s, waits: true,
		},
	}.check(t)
}
