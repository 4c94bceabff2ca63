package ipam

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
)

// world is a Kube-OVN with one small Subnet, its API server, a user and the
// caller of decide, in virtual time.
type world struct {
	t         *testing.T
	rng       *rand.Rand
	now       time.Time
	subnet    *kubeovn.Subnet
	vip       *kubeovn.Vip
	others    map[netip.Addr]bool // addresses that others hold
	wish      netip.Addr
	sticky    netip.Addr
	up        bool // Kube-OVN runs
	lastGrant time.Time
	wait      wait
	uids      int
	last      action
}

func (w *world) decide() action {
	return decide(input{
		request: Request{Owner: owner, Subnet: w.subnet, Needs: kubeovn.Families{V4: true}, Wish: kubeovn.Addrs{V4: w.wish}, Sticky: kubeovn.Addrs{V4: w.sticky}},
		vip:     w.vip, now: w.now, lastGrant: w.lastGrant, wait: w.wait,
		holder: func(a netip.Addr) string {
			if w.others[a] {
				return "Pod a/b"
			}
			return ""
		},
	})
}

// step lets the caller act once, as Reserve does.
func (w *world) step() {
	a := w.decide()
	w.last = a
	w.wait = a.wait
	switch a.op {
	case opNone:
	case opCreate:
		if w.vip != nil {
			w.t.Fatalf("creates over %+v", w.vip)
		}
		if w.others[a.want.V4] {
			w.t.Fatalf("asks for %s, which somebody holds", a.want)
		}
		if w.wish.IsValid() && a.want.V4 != w.wish {
			w.t.Fatalf("asks for %s instead of %s", a.want, w.wish)
		}
		w.uids++
		w.vip = mine("", "")
		w.vip.UID = types.UID(fmt.Sprint(w.uids))
		w.vip.Subnet = w.subnet.Name
		if a.want.V4.IsValid() {
			w.vip.WantV4 = a.want.V4.String()
		}
	case opDelete:
		if w.vip == nil || w.vip.V4 != "" || w.vip.DeletionTimestamp != nil {
			w.t.Fatalf("deletes %+v", w.vip)
		}
		w.vip = nil
	}
	if r := a.result; r.MustMove {
		if r.State != Pending || w.wish.IsValid() && w.others[w.wish] {
			w.t.Fatalf("moves to an address that is held: %+v", r)
		}
		w.release()
	} else if r.State == Granted {
		w.sticky = r.Addrs.V4
		if w.wish.IsValid() && r.Addrs.V4 != w.wish {
			w.t.Fatalf("granted %s instead of %s", r.Addrs.V4, w.wish)
		}
	} else if r.State == Pending && r.RetryAfter <= 0 {
		w.t.Fatalf("waits without looking again: %+v", r)
	}
}

func (w *world) release() {
	if w.vip != nil && w.vip.V4 != "" {
		deleting(w.vip)
	} else {
		w.vip = nil
	}
	w.wait = wait{}
}

// kubeOVN lets Kube-OVN act once.
func (w *world) kubeOVN() {
	if !w.up || w.vip == nil {
		return
	}
	switch {
	case w.vip.DeletionTimestamp != nil:
		w.vip, w.lastGrant = nil, w.now
	case w.vip.V4 == "":
		a := w.free()
		if w.vip.WantV4 != "" {
			a = addr(w.vip.WantV4)
		}
		if a.IsValid() && !w.others[a] {
			w.vip.V4, w.vip.MAC, w.lastGrant = a.String(), "00:00:00:00:00:01", w.now
			w.vip.Finalizers = []string{kubeovn.Finalizer}
		}
	}
	w.count()
}

// free is an address that Kube-OVN would pick, invalid if there is none.
func (w *world) free() netip.Addr {
	for a := addr("172.18.0.2"); a.Less(addr("172.18.0.7")); a = a.Next() {
		if !w.others[a] {
			return a
		}
	}
	return netip.Addr{}
}

func (w *world) count() {
	n := 5.0
	for range w.others {
		n--
	}
	if w.vip != nil && w.vip.V4 != "" {
		n--
	}
	s := *w.subnet
	s.V4Available = max(n, 0)
	w.subnet = &s
}

// event changes something at random.
func (w *world) event() {
	any := func() netip.Addr { return netip.AddrFrom4([4]byte{172, 18, 0, byte(w.rng.IntN(9))}) }
	switch w.rng.IntN(9) {
	case 0:
		w.wish = netip.Addr{}
	case 1:
		w.wish = any()
	case 2, 3:
		a := any()
		if (w.vip == nil || w.vip.V4 != a.String()) && a.Less(addr("172.18.0.7")) && addr("172.18.0.1").Less(a) {
			w.others[a] = true
		}
	case 4:
		delete(w.others, any())
	case 5:
		w.up = !w.up
	case 6:
		w.release()
	case 7:
		w.wait = wait{} // ccm restarts
	case 8:
		w.now = w.now.Add(time.Duration(w.rng.IntN(100)) * time.Second)
	}
	w.count()
}

// After any history, as soon as Kube-OVN runs and nothing changes any more, a
// Service has an address that satisfies it, or is told why not; and on the way
// nothing is edited, nobody's address is asked for and no grant is dropped.
func TestDecideConverges(t *testing.T) {
	for seed := range uint64(3000) {
		w := &world{
			t: t, rng: rand.New(rand.NewPCG(seed, 0)), now: start, up: true,
			subnet: lan(cidr("172.18.0.0/29")), others: map[netip.Addr]bool{},
		}
		w.count()
		for range 60 {
			w.now = w.now.Add(time.Duration(w.rng.IntN(3000)) * time.Millisecond)
			switch w.rng.IntN(3) {
			case 0:
				w.event()
			case 1:
				w.kubeOVN()
			case 2:
				w.step()
			}
		}
		w.up = true
		for range 12 {
			w.now = w.now.Add(100 * time.Millisecond)
			w.step()
			w.kubeOVN()
		}
		w.step()
		r := w.last.result
		switch {
		case w.last.op != opNone:
			t.Fatalf("seed %d: still writes: %+v", seed, w.last)
		case r.State == Granted:
			if r.Addrs.V4.String() != w.vip.V4 || usable(Request{Subnet: w.subnet}, r.Addrs.V4) != nil {
				t.Fatalf("seed %d: granted %+v with %+v", seed, r, w.vip)
			}
		case r.State == Refused:
			held := w.wish.IsValid() && (usable(Request{Subnet: w.subnet}, w.wish) != nil || w.others[w.wish])
			fullNow := !w.wish.IsValid() && !w.free().IsValid()
			if !held && !fullNow {
				t.Fatalf("seed %d: refused without a cause: %+v", seed, r)
			}
			if w.vip != nil && w.vip.V4 == "" {
				t.Fatalf("seed %d: refused, and a pending Vip stays: %+v", seed, w.vip)
			}
		default:
			t.Fatalf("seed %d: does not settle: %+v, %+v", seed, r, w.vip)
		}
	}
}

// A silent Kube-OVN is told within three seconds, if only the caller looks
// again when it is asked to.
func TestSilenceIsToldInTime(t *testing.T) {
	w := &world{t: t, now: start, subnet: lan(), others: map[netip.Addr]bool{}}
	w.step()
	for w.last.result.State == Pending {
		w.now = w.now.Add(w.last.result.RetryAfter)
		w.step()
	}
	if took := w.now.Sub(start); took > 3*time.Second || w.last.result.Reason != ReasonKubeOVNNotResponding {
		t.Errorf("told after %s: %+v", took, w.last.result)
	}
	w.up = true
	w.kubeOVN()
	w.step()
	if w.last.result.State != Granted {
		t.Errorf("Kube-OVN is back: %+v", w.last.result)
	}
}

// While Kube-OVN grants to everybody but us, the answer does not flicker
// between reasons, and the gaps between the Vips stay bounded.
func TestNudgesDoNotFlicker(t *testing.T) {
	w := &world{t: t, now: start, subnet: lan(), others: map[netip.Addr]bool{}}
	var reasons []string
	var created []time.Time
	for w.now.Before(start.Add(10 * time.Minute)) {
		w.lastGrant = w.now
		w.step()
		if r := w.last.result.Reason; len(reasons) == 0 || reasons[len(reasons)-1] != r {
			reasons = append(reasons, r)
		}
		if w.last.op == opCreate {
			created = append(created, w.now)
		}
		w.now = w.now.Add(min(w.last.result.RetryAfter, time.Second))
	}
	if want := []string{"", ReasonAddressNotGranted}; fmt.Sprint(reasons) != fmt.Sprint(want) {
		t.Errorf("reasons %q, want %q", reasons, want)
	}
	for i := 1; i < len(created); i++ {
		if gap := created[i].Sub(created[i-1]); gap > lastNudge+2*time.Second || gap < firstNudge {
			t.Errorf("gap %d is %s", i, gap)
		}
	}
	if len(created) < 8 {
		t.Errorf("only %d Vips in ten minutes", len(created))
	}
}

func FuzzDecide(f *testing.F) {
	f.Add("172.18.0.18", "", "172.18.0.0/16", "172.18.0.1", "", "", 5.0, int64(0), false)
	f.Add("", "172.18.0.9", "172.18.0.0/31", "", "172.18.0.9", "172.18.0.9", 0.0, int64(3e9), true)
	f.Fuzz(func(t *testing.T, wish, sticky, prefix, gw, wanted, granted string, avail float64, age int64, deletes bool) {
		s := lan(available(avail))
		p, err := netip.ParsePrefix(prefix)
		s.CIDRs = nil
		if err == nil {
			s.CIDRs = []netip.Prefix{p.Masked()}
		}
		s.Gateways = nil
		if a, err := netip.ParseAddr(gw); err == nil {
			s.Gateways = []netip.Addr{a}
		}
		in := input{request: Request{Owner: owner, Subnet: s}, now: start, holder: func(netip.Addr) string { return "" }}
		in.request.Wish, _ = kubeovn.ParseAddrs(wish)
		in.request.Sticky, _ = kubeovn.ParseAddrs(sticky)
		in.wait = wait{since: start.Add(-time.Duration(age)), asked: start.Add(-time.Duration(age)), nudges: int(age % 5)}
		if wanted != "" || granted != "" {
			in.vip = mine(wanted, granted)
			if deletes {
				in.vip.DeletionTimestamp = &metav1.Time{Time: start}
			}
		}
		a := decide(in)
		if (a.result.State == Refused) != (a.result.Reason != "" && a.result.Message != "") {
			t.Errorf("%+v", a.result)
		}
		if a.result.State == Granted && (a.op != opNone || a.result.Addrs.V4 != parsed(granted).Unmap()) {
			t.Errorf("%+v", a)
		}
		if !a.want.IsZero() && (a.op != opCreate) {
			t.Errorf("asks for %s: %+v", a.want, a)
		}
		if a.op == opDelete && (in.vip == nil || deletes) || a.op == opCreate && in.vip != nil {
			t.Errorf("%+v", a)
		}
	})
}
