package ipam

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

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
	book      kubeovn.Addrs       // what Kube-OVN's IPAM has for the Vip
	renewed   time.Time           // when the Vip was last made anew
	seen      time.Time           // when the caller saw the Vip's grant
	sure      types.UID           // the Vip whose addresses are proven
	needs     kubeovn.Families
	wish      kubeovn.Addrs
	sticky    kubeovn.Addrs
	up        bool // Kube-OVN runs
	ignores6  bool // Kube-OVN is so old that it does not heed spec.v6ip
	lastGrant time.Time
	wait      wait
	uids      int
	moves     int
	last      action
}

func (w *world) request() Request {
	return Request{Owner: owner, Subnet: w.subnet, Needs: w.needs, Wish: w.wish, Sticky: w.sticky}
}

func (w *world) decide() action {
	return decide(input{
		request: w.request(),
		vip:     w.vip, now: w.now, lastGrant: w.lastGrant, wait: w.wait, renewed: w.renewed,
		granted: w.seen, sure: w.vip != nil && w.sure == w.vip.UID || uses(w.request(), w.vip),
		holder: func(a netip.Addr) string {
			if w.others[a] {
				return "Pod a/b"
			}
			return ""
		},
	})
}

func (w *world) granted() bool { return w.vip != nil && w.vip.Granted() }

// step lets the caller act once, as Reserve does.
func (w *world) step() {
	a := w.decide()
	w.last = a
	w.wait = a.wait
	switch a.op {
	case opNone:
	case opCreate:
		w.create(a.want)
	case opDelete:
		if w.vip == nil || w.granted() || w.vip.DeletionTimestamp != nil {
			w.t.Fatalf("deletes %+v", w.vip)
		}
		w.vip = nil
	case opRenew:
		if w.vip.DeletionTimestamp != nil || w.vip.Addrs() == w.book {
			w.t.Fatalf("makes %+v anew, which is in order: %+v", w.vip, w.subnet)
		}
		w.renewed = w.now
		w.release()
	case opGuard:
		w.change(func(v *kubeovn.Vip) { v.Restored = v.Addrs().String() })
	}
	switch r := a.result; {
	case r.MustMove:
		if r.State != Pending || w.refused() {
			w.t.Fatalf("moves to what is not to be had: %+v", r)
		}
		w.moves++
		w.release()
	case r.State == Granted:
		if !w.fits(r.Addrs) {
			w.t.Fatalf("granted %s for %+v", r.Addrs, w.request())
		}
		w.sticky, w.sure = r.Addrs, w.vip.UID
	case r.State == Pending && r.RetryAfter <= 0:
		w.t.Fatalf("waits without looking again: %+v", r)
	}
}

func (w *world) create(want kubeovn.Addrs) {
	if w.vip != nil {
		w.t.Fatalf("creates over %+v", w.vip)
	}
	for _, a := range want.All() {
		if w.others[a] || usable(w.request(), a) != nil {
			w.t.Fatalf("asks for %s, which somebody holds or nobody can", a)
		}
	}
	if want.With(w.wish.All()...) != want {
		w.t.Fatalf("asks for %s instead of %s", want, w.wish)
	}
	w.uids++
	w.vip = mine("", "")
	w.vip.UID = types.UID(fmt.Sprint(w.uids))
	w.vip.Subnet = w.subnet.Name
	w.vip.Asked = asked(w.subnet, want)
	if want.V4.IsValid() {
		w.vip.WantV4 = want.V4.String()
	}
	if want.V6.IsValid() {
		w.vip.WantV6 = want.V6.String()
	}
}

func (w *world) release() {
	if w.granted() {
		deleting(w.vip)
	} else {
		w.vip = nil
	}
	w.wait = wait{}
}

// fits reports whether addresses are what the user asked for.
func (w *world) fits(a kubeovn.Addrs) bool {
	for _, v4 := range bothFamilies {
		if w.needs.Of(v4) && (!a.Of(v4).IsValid() || usable(w.request(), a.Of(v4)) != nil) {
			return false
		}
	}
	return a.With(w.wish.All()...) == a
}

// refused reports whether what the user asks for cannot be had.
func (w *world) refused() bool {
	for _, v4 := range bothFamilies {
		_, has := w.subnet.CIDR(v4)
		wish := w.wish.Of(v4)
		switch {
		case wish.IsValid() && (usable(w.request(), wish) != nil || w.others[wish]):
			return true
		case w.needs.Of(v4) && !has, has && !wish.IsValid() && !w.free(v4).IsValid():
			return true
		case has && !wish.IsValid() && w.left(v4) == 0 && !w.vip.Addrs().Of(v4).IsValid():
			return true // Kube-OVN has given the last one to a Vip that did not ask for it
		}
	}
	return false
}

// kubeOVN lets Kube-OVN act once.
func (w *world) kubeOVN() {
	if !w.up || w.vip == nil {
		return
	}
	switch {
	case w.vip.DeletionTimestamp != nil:
		w.vip, w.lastGrant, w.book = nil, w.now, kubeovn.Addrs{}
	case !w.granted():
		w.grant()
	}
	w.count()
}

// grant gives the Vip an address of each family or none.
func (w *world) grant() {
	var give kubeovn.Addrs
	for _, v4 := range bothFamilies {
		want := w.vip.WantV4
		if !v4 {
			want = w.vip.WantV6
		}
		if w.ignores6 && !v4 {
			want = ""
		}
		_, has := w.subnet.CIDR(v4)
		a := w.free(v4)
		if want != "" {
			a = addr(want)
		}
		switch {
		case !has && want == "":
		case !has || !a.IsValid() || w.others[a]:
			return
		default:
			give = give.With(a)
		}
	}
	w.book = give
	w.vip.MAC, w.lastGrant, w.seen = "00:00:00:00:00:01", w.now, w.now
	w.vip.Restored = ""
	if give.V4.IsValid() {
		w.vip.Restored = give.V4.String()
	}
	w.vip.Finalizers = []string{kubeovn.Finalizer}
	if give.V4.IsValid() {
		w.vip.V4, w.vip.WantV4 = give.V4.String(), give.V4.String()
	}
	if give.V6.IsValid() { // spelled as it likes
		w.vip.V6, w.vip.WantV6 = strings.ToUpper(give.V6.StringExpanded()), give.V6.String()
	}
}

// nth is the nth address of the small Subnet; 2 to 6 are for use.
func nth(v4 bool, n int) netip.Addr {
	if v4 {
		return netip.AddrFrom4([4]byte{172, 18, 0, byte(n)})
	}
	return netip.AddrFrom16([16]byte{0: 0xfd, 15: byte(n)})
}

// free is an address that Kube-OVN would pick, invalid if there is none.
func (w *world) free(v4 bool) netip.Addr {
	for n := 2; n < 7; n++ {
		if a := nth(v4, n); !w.others[a] {
			return a
		}
	}
	return netip.Addr{}
}

// restart lets Kube-OVN forget what it does not find written down.
func (w *world) restart() {
	w.book = kubeovn.Addrs{}
	if w.vip == nil || !w.granted() {
		return
	}
	restored, _ := kubeovn.ParseAddrs(w.vip.Restored)
	for _, a := range restored.All() {
		if w.others[a] {
			return // both or none
		}
	}
	w.book = restored
	if _, dual := w.subnet.CIDR(false); dual && restored.V4.IsValid() && !restored.V6.IsValid() {
		w.book = w.book.With(w.free(false))
	}
}

// change replaces the Vip, which readers share.
func (w *world) change(edit func(*kubeovn.Vip)) {
	v := *w.vip
	edit(&v)
	w.vip = &v
}

// count lets Kube-OVN write the Subnet's status.
func (w *world) count() {
	s := *w.subnet
	s.V4Available, s.V6Available = w.left(true), w.left(false)
	s.V4Using, s.V6Using = w.using(true), w.using(false)
	w.subnet = &s
}

// using is what the IPAM has given out of a family.
func (w *world) using(v4 bool) kubeovn.Ranges {
	out := kubeovn.Ranges{}
	for n := range 9 {
		if a := nth(v4, n); w.others[a] || w.book.Of(v4) == a {
			out = append(out, kubeovn.Range{First: a, Last: a})
		}
	}
	return out
}

func (w *world) left(v4 bool) float64 {
	if _, has := w.subnet.CIDR(v4); !has {
		return 0
	}
	n := 0.0
	for i := 2; i < 7; i++ {
		a := nth(v4, i)
		if !w.others[a] && w.book.Of(v4) != a {
			n++
		}
	}
	return n
}

// ranges gives the Subnet the ranges of these families.
func (w *world) ranges(f kubeovn.Families) {
	var prefixes []string
	if f.V4 {
		prefixes = append(prefixes, "172.18.0.0/29")
	}
	if f.V6 {
		prefixes = append(prefixes, "fd00::/125")
	}
	w.subnet = lan(cidr(prefixes...))
	w.subnet.Gateways = []netip.Addr{nth(true, 1), nth(false, 1)}
	w.count()
}

// families is any set of families but none.
func (w *world) families() kubeovn.Families {
	return [...]kubeovn.Families{{V4: true}, needs6, needsBoth}[w.rng.IntN(3)]
}

// event changes something at random.
func (w *world) event() {
	any := func() netip.Addr { return nth(w.rng.IntN(2) == 0, w.rng.IntN(9)) }
	switch w.rng.IntN(12) {
	case 0:
		w.wish = kubeovn.Addrs{}
	case 1, 2:
		w.wish = w.wish.With(any())
	case 3, 4, 5:
		v4, n := w.rng.IntN(2) == 0, 2+w.rng.IntN(5)
		if a := nth(v4, n); w.book.Of(v4) != a {
			w.others[a] = true
		}
	case 6:
		delete(w.others, any())
	case 7:
		if w.up = !w.up; w.up {
			w.restart()
		}
	case 8:
		w.release()
	case 9:
		w.wait, w.seen, w.sure = wait{}, time.Time{}, "" // ccm restarts
	case 10:
		w.now = w.now.Add(time.Duration(w.rng.IntN(100)) * time.Second)
	case 11:
		w.needs = w.families()
		if w.rng.IntN(2) == 0 {
			w.ranges(w.families())
		}
	}
	w.count()
}

// history lets much happen in a new world.
func history(t *testing.T, seed uint64) *world {
	w := &world{
		t: t, rng: rand.New(rand.NewPCG(seed, 0)), now: start, up: true, others: map[netip.Addr]bool{},
	}
	w.needs = w.families()
	w.ranges(w.families())
	for range 80 {
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
	if !w.up {
		w.up = true
		w.restart()
	}
	w.moves, w.renewed = 0, time.Time{}
	w.count()
	return w
}

// settle lets the caller and Kube-OVN work while nothing else changes.
func (w *world) settle() {
	for range 60 {
		w.now = w.now.Add(200 * time.Millisecond)
		w.step()
		w.kubeOVN()
	}
	w.step()
}
