package ipam

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
)

var (
	start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	owner = kubeovn.Owner{Namespace: "default", Name: "web", UID: "u1"}
)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func lan(edit ...func(*kubeovn.Subnet)) *kubeovn.Subnet {
	s := &kubeovn.Subnet{
		ObjectMeta:  metav1.ObjectMeta{Name: "attach-subnet"},
		CIDRs:       []netip.Prefix{netip.MustParsePrefix("172.18.0.0/16")},
		Gateways:    []netip.Addr{addr("172.18.0.1")},
		V4Available: 65523,
	}
	for _, e := range edit {
		e(s)
	}
	return s
}

func available(n float64) func(*kubeovn.Subnet) {
	return func(s *kubeovn.Subnet) { s.V4Available = n }
}

func cidr(p string) func(*kubeovn.Subnet) {
	return func(s *kubeovn.Subnet) { s.CIDRs = []netip.Prefix{netip.MustParsePrefix(p)} }
}

func gateway(a string) func(*kubeovn.Subnet) {
	return func(s *kubeovn.Subnet) { s.Gateways = []netip.Addr{addr(a)} }
}

func named(n string) func(*kubeovn.Subnet) { return func(s *kubeovn.Subnet) { s.Name = n } }

func deletingSubnet(s *kubeovn.Subnet) { s.DeletionTimestamp = &metav1.Time{Time: start} }

// mine is the Service's Vip: wanted "" or an address, granted "" or one.
func mine(wanted, granted string, edit ...func(*kubeovn.Vip)) *kubeovn.Vip {
	v := &kubeovn.Vip{
		ObjectMeta: metav1.ObjectMeta{Name: VipName(owner.UID), UID: "v1", ResourceVersion: "7", Labels: owner.Labels()},
		Subnet:     "attach-subnet", WantV4: wanted, V4: granted,
	}
	if granted != "" {
		v.MAC = "00:00:00:0a:0b:0c"
		v.Finalizers = []string{kubeovn.Finalizer}
	}
	for _, e := range edit {
		e(v)
	}
	return v
}

func deleting(v *kubeovn.Vip) {
	v.DeletionTimestamp = &metav1.Time{Time: start}
	v.Finalizers = []string{kubeovn.Finalizer}
}

func foreign(v *kubeovn.Vip) { v.Labels = map[string]string{"app": "x"} }

// waiting is the memory of a wait that began and asked so long before start.
func waiting(since, asked time.Duration, nudges int, request string) wait {
	return wait{request: request, since: start.Add(-since), vip: "v1", asked: start.Add(-asked), nudges: nudges}
}

const (
	anyOfLAN = "attach-subnet "
	the18    = "attach-subnet 172.18.0.18"
)

func TestDecide(t *testing.T) {
	const s = time.Second
	type held map[string]string
	for name, tc := range map[string]struct {
		subnet       *kubeovn.Subnet
		wish, sticky string
		vip          *kubeovn.Vip
		held         held
		granted      time.Duration // how long ago Kube-OVN last worked; 0: never
		wait         wait

		op       op
		want     string
		state    State
		reason   string
		says     []string // parts of the message
		v4       string
		mustMove bool
		retry    time.Duration
		nudges   int
		waits    bool // something is to be remembered
	}{
		// No Vip yet.
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
			wish: "172.18.0.18", held: held{"172.18.0.18": "Pod shop/db-0"}, state: Refused, reason: ReasonAddressInUse,
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
			sticky: "172.18.0.30", held: held{"172.18.0.30": "Vip x"}, op: opCreate, state: Pending, retry: 2 * s, waits: true,
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

		// A Vip of our name that is not ours.
		"somebody else's Vip of our name is left alone": {
			vip: mine("", "172.18.0.40", foreign), state: Refused, reason: ReasonVipConflict, says: []string{"lb-u1", "left alone", "kubectl delete"},
		},
		"another Service's Vip of our name is left alone": {
			vip: mine("", "172.18.0.40", func(v *kubeovn.Vip) {
				v.Labels = kubeovn.Owner{Namespace: "a", Name: "b", UID: "u2"}.Labels()
			}), state: Refused, reason: ReasonVipConflict,
		},

		// Being deleted.
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

		// Pending.
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
			wish: "172.18.0.18", vip: mine("172.18.0.18", ""), held: held{"172.18.0.18": "Service a/b"}, op: opDelete, state: Refused,
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
			sticky: "172.18.0.30", vip: mine("172.18.0.30", ""), held: held{"172.18.0.30": "Vip x"}, op: opDelete, state: Pending, retry: s,
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

		// Granted.
		"any address is as good as any other": {
			vip: mine("", "172.18.0.40"), state: Granted, v4: "172.18.0.40",
		},
		"the wish is granted": {
			wish: "172.18.0.18", vip: mine("172.18.0.18", "172.18.0.18"), state: Granted, v4: "172.18.0.18",
		},
		"the wish is granted though Kube-OVN picked it": {
			wish: "172.18.0.18", vip: mine("", "172.18.0.18"), state: Granted, v4: "172.18.0.18",
		},
		"a wish that is withdrawn leaves the address": {
			vip: mine("172.18.0.18", "172.18.0.18"), sticky: "172.18.0.18", state: Granted, v4: "172.18.0.18",
		},
		"a Subnet that is being deleted or full leaves the address": {
			subnet: lan(deletingSubnet, available(0)), vip: mine("", "172.18.0.40"), state: Granted, v4: "172.18.0.40",
		},
		"another wish that is free makes the Service move": {
			wish: "172.18.0.19", vip: mine("", "172.18.0.40"), state: Pending, v4: "172.18.0.40", mustMove: true,
		},
		"another wish that is held leaves the address": {
			wish: "172.18.0.19", vip: mine("", "172.18.0.40"), held: held{"172.18.0.19": "Vip x"}, state: Refused, reason: ReasonAddressInUse, v4: "172.18.0.40",
			says: []string{"172.18.0.19 is held by Vip x"},
		},
		"another wish that cannot be leaves the address": {
			wish: "9.9.9.9", vip: mine("", "172.18.0.40"), state: Refused, reason: ReasonAddressOutOfRange, v4: "172.18.0.40",
		},
		"another Subnet makes the Service move": {
			subnet: lan(named("other")), vip: mine("", "172.18.0.40"), state: Pending, v4: "172.18.0.40", mustMove: true,
		},
		"another Subnet that is full leaves the address": {
			subnet: lan(named("other"), available(0)), vip: mine("", "172.18.0.40"), state: Refused, reason: ReasonSubnetFull, v4: "172.18.0.40",
		},
		"the same address in another Subnet makes the Service move": {
			subnet: lan(named("other")), wish: "172.18.0.40", vip: mine("", "172.18.0.40"), state: Pending, v4: "172.18.0.40", mustMove: true,
		},
		"an address that Kube-OVN picked and that the edited range lacks makes the Service move": {
			subnet: lan(cidr("172.19.0.0/16")), vip: mine("", "172.18.0.40"), sticky: "172.18.0.40", state: Pending, v4: "172.18.0.40", mustMove: true,
		},
		"an address that Kube-OVN picked and that is the gateway now makes the Service move": {
			subnet: lan(gateway("172.18.0.40")), vip: mine("", "172.18.0.40"), sticky: "172.18.0.40", state: Pending, v4: "172.18.0.40", mustMove: true,
		},
		"a wish that the edited range lacks is told and leaves the address": {
			subnet: lan(cidr("172.19.0.0/16")), wish: "172.18.0.18", vip: mine("172.18.0.18", "172.18.0.18"), state: Refused,
			reason: ReasonAddressOutOfRange, v4: "172.18.0.18",
		},
		"a wish that is the gateway now is told and leaves the address": {
			subnet: lan(gateway("172.18.0.18")), wish: "172.18.0.18", vip: mine("172.18.0.18", "172.18.0.18"), state: Refused,
			reason: ReasonAddressReserved, v4: "172.18.0.18",
		},
		"a Subnet that has lost its range is told and leaves the address": {
			subnet: lan(func(s *kubeovn.Subnet) { s.CIDRs = nil }), vip: mine("", "172.18.0.40"), state: Refused, reason: ReasonSubnetWithoutIPv4, v4: "172.18.0.40",
		},
	} {
		t.Run(name, func(t *testing.T) {
			in := input{
				request: Request{Owner: owner, Subnet: tc.subnet, Needs: kubeovn.Families{V4: true}},
				vip:     tc.vip, now: start, wait: tc.wait,
				holder: func(a netip.Addr) string { return tc.held[a.String()] },
			}
			if in.request.Subnet == nil {
				in.request.Subnet = lan()
			}
			if tc.wish != "" {
				in.request.Wish = kubeovn.Addrs{}.With(addr(tc.wish))
			}
			if tc.sticky != "" {
				in.request.Sticky = kubeovn.Addrs{V4: addr(tc.sticky)}
			}
			if tc.granted != 0 {
				in.lastGrant = start.Add(-tc.granted)
			}
			a := decide(in)
			if a.op != tc.op || a.want.V4 != parsed(tc.want) {
				t.Errorf("op %v of %q, want %v of %q", a.op, a.want, tc.op, tc.want)
			}
			got := a.result
			if got.State != tc.state || got.Reason != tc.reason || got.MustMove != tc.mustMove || got.RetryAfter != tc.retry || got.Addrs.V4 != parsed(tc.v4) {
				t.Errorf("result %+v", got)
			}
			if (got.MAC != "") != (tc.v4 != "") {
				t.Errorf("MAC %q with address %q", got.MAC, tc.v4)
			}
			if (got.State == Refused) != (got.Message != "") {
				t.Errorf("message %q in state %s", got.Message, got.State)
			}
			for _, part := range tc.says {
				if !strings.Contains(got.Message, part) {
					t.Errorf("message %q does not say %q", got.Message, part)
				}
			}
			if a.wait.nudges != tc.nudges || (a.wait != wait{}) != tc.waits {
				t.Errorf("remembers %+v", a.wait)
			}
		})
	}
}

func parsed(s string) netip.Addr {
	if s == "" {
		return netip.Addr{}
	}
	return addr(s)
}

func TestHolderOf(t *testing.T) {
	vip := func(name string, labels map[string]string) *kubeovn.Vip {
		return &kubeovn.Vip{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}
	}
	ip := func(name, namespace, pod string) *kubeovn.IP {
		return &kubeovn.IP{ObjectMeta: metav1.ObjectMeta{Name: name}, PodNamespace: namespace, PodName: pod}
	}
	for name, tc := range map[string]struct {
		vips []*kubeovn.Vip
		ips  []*kubeovn.IP
		want string
	}{
		"nobody":            {want: ""},
		"ourselves":         {vips: []*kubeovn.Vip{vip("lb-u1", owner.Labels())}, ips: []*kubeovn.IP{ip("lb-u1", "", "")}, want: ""},
		"another Service":   {vips: []*kubeovn.Vip{vip("lb-u1", nil), vip("lb-u2", kubeovn.Owner{Namespace: "a", Name: "b", UID: types.UID("u2")}.Labels())}, want: "Service a/b"},
		"a Vip of a person": {vips: []*kubeovn.Vip{vip("vip1", nil)}, want: "Vip vip1"},
		"a Pod":             {ips: []*kubeovn.IP{ip("db-0.shop.lan.kube-system", "shop", "db-0")}, want: "Pod shop/db-0"},
		"a node":            {ips: []*kubeovn.IP{ip("node-n1", "", "n1")}, want: "node n1"},
		"something else":    {ips: []*kubeovn.IP{ip("reserved", "", "")}, want: "IP reserved"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := holderOf("lb-u1", tc.vips, tc.ips); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}
