package ipam

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	ktesting "k8s.io/client-go/testing"

	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
)

func TestDecideGrantsIPv6OnlyWhenItIsProven(t *testing.T) {
	held := "172.18.0.40,fd00::40"
	has, lacks := dual(using("172.18.0.40", "fd00::40")), dual(using("172.18.0.40", "fd00::2"))
	const proof = "proof of 172.18.0.40,fd00::40"
	decisions{
		"a guard right after the grant is proof": {
			subnet: lacks, needs: needsBoth, vip: mine("", held, unguarded), unproven: true, seen: guardTime,
			op: opGuard, state: Granted, held: held, retry: lostPatience, waits: true,
		},
		"a guard that comes late is none": {
			subnet: has, needs: needsBoth, vip: mine("", held, unguarded), unproven: true, seen: guardTime + 1,
			op: opGuard, state: Pending, held: held, retry: lostPatience, waits: true,
		},
		"who was not there cannot know": {
			subnet: has, needs: needsBoth, vip: mine("", held), unproven: true,
			state: Pending, held: held, retry: lostPatience, waits: true,
		},
		"what stays counted is proven": {
			subnet: has, needs: needsBoth, vip: mine("", held), unproven: true, wait: waited(proof, lostPatience),
			state: Granted, held: held,
		},
		"what is not guarded yet is not": {
			subnet: has, needs: needsBoth, vip: mine("", held, unguarded), unproven: true, wait: waited(proof, lostPatience),
			op: opGuard, state: Pending, held: held, retry: staleRetry, waits: true,
		},
		"what is not counted is waited for": {
			subnet: lacks, needs: needsBoth, vip: mine("", held), unproven: true,
			state: Pending, held: held, retry: lostPatience, waits: true,
		},
		"and asked for anew": {
			subnet: lacks, needs: needsBoth, vip: mine("", held), unproven: true, wait: waited("return of fd00::40", lostPatience),
			op: opRenew, state: Pending, held: held, retry: staleRetry, waits: true,
		},
		"IPv4 needs no proof": {
			vip: mine("", "172.18.0.40", unguarded), unproven: true, state: Granted, held: "172.18.0.40",
		},
		"nor does an IPv6 address at which nobody is to be served": {
			subnet: has, needs: kubeovn.Families{V4: true}, vip: mine("", held), unproven: true, state: Granted, held: held,
		},
	}.check(t)
}

// A Service whose gateway has the addresses goes on with them while they are
// looked after.
func TestTheAddressesOfARunningGatewayAreGrantedAtOnce(t *testing.T) {
	vip := mine("", "172.18.0.40,fd00::40", unguarded)
	req := Request{Owner: owner, Subnet: dual(), Needs: needsBoth}
	for sticky, want := range map[string]State{
		"172.18.0.40,fd00::40": Granted, "172.18.0.40": Pending, "": Pending, "172.18.0.40,fd00::41": Pending,
	} {
		req.Sticky = addrs(sticky)
		r := NewReserver(&cacheOf{vips: []*kubeovn.Vip{vip}}, client(apiVip(vip)), nil)
		if res, err := r.Reserve(context.Background(), req); res.State != want || err != nil {
			t.Errorf("a gateway with %q: %+v, %v", sticky, res, err)
		}
	}
}

// A guard that the API server took long to write is none, until the next looks
// have proven it.
func TestAGuardThatTookLongIsNotTrusted(t *testing.T) {
	vip, now := mine("", "172.18.0.40,fd00::40", unguarded), start
	api := client(apiVip(vip))
	cache := &cacheOf{vips: []*kubeovn.Vip{vip}, grants: map[types.UID]time.Time{"v1": start}}
	r := NewReserver(cache, api, func() time.Time { return now })
	api.PrependReactor("patch", "vips", func(ktesting.Action) (bool, runtime.Object, error) {
		now = now.Add(guardTime + 1)
		return false, nil, nil
	})
	req := Request{Owner: owner, Subnet: dual(using("172.18.0.40", "fd00::40")), Needs: needsBoth}
	reserve := func(want State) {
		t.Helper()
		if res, err := r.Reserve(context.Background(), req); res.State != want || err != nil {
			t.Fatalf("%+v, %v, want %s", res, err, want)
		}
	}
	reserve(Pending)
	cache.vips = []*kubeovn.Vip{mine("", "172.18.0.40,fd00::40")}
	reserve(Pending)
	now = now.Add(lostPatience)
	reserve(Granted)
	reserve(Granted) // and from then on
}

// Whenever Kube-OVN restarts after a grant, and whoever takes what it has
// forgotten: no Service is given an address that Kube-OVN does not have for it,
// and in the end it has a sound pair.
func TestNoServiceGetsWhatKubeOVNForgotBeforeTheGuard(t *testing.T) {
	forgotten, taken, renewed := 0, 0, 0
	for seed := range uint64(1500) {
		w := &world{t: t, rng: rand.New(rand.NewPCG(seed, 1)), now: start, up: true, others: map[netip.Addr]bool{}}
		w.needs = [...]kubeovn.Families{needs6, needsBoth}[seed%2]
		w.ranges(w.needs)
		w.wish = w.wish.With(nth(false, 2+w.rng.IntN(5)))
		w.step()
		w.kubeOVN()
		granted := w.vip.Addrs()
		// From here on nobody has looked yet: the caller may be slow, or dead.
		within := func(d time.Duration) time.Time { return start.Add(time.Duration(w.rng.Int64N(int64(d)))) }
		restart, seen := within(10*time.Second), within(10*time.Second)
		restart = restart.Add(guardTime)
		told := restart.Add(time.Duration(w.rng.Int64N(int64(2 * time.Second))))
		if alive := w.rng.IntN(2) == 0; !alive {
			w.seen = time.Time{}
		}
		restarted, counted := false, false
		for ; w.now.Before(start.Add(40 * time.Second)); w.now = w.now.Add(100 * time.Millisecond) {
			if !restarted && !w.now.Before(restart) {
				restarted = true
				w.restart()
				if w.vip != nil && w.vip.Addrs() == granted && w.book != granted {
					forgotten++
					if a := granted.V6; w.rng.IntN(2) == 0 && w.book.V6 != a {
						w.others[a] = true
						taken++
					}
				}
			}
			if restarted && !counted && !w.now.Before(told) {
				counted = true
				w.count()
			}
			if w.now.Before(seen) || w.rng.IntN(3) == 0 {
				continue
			}
			if w.rng.IntN(100) == 0 { // the caller dies and starts anew
				w.wait, w.seen, w.sure = wait{}, time.Time{}, ""
			}
			shown := w.sticky
			w.step()
			if w.last.op == opRenew {
				renewed++
			}
			if r := w.last.result; r.State == Granted && shown != r.Addrs && w.book.With(r.Addrs.All()...) != w.book {
				t.Fatalf("seed %d, after %s: gets %s, and Kube-OVN has %s for it", seed, w.now.Sub(start), r.Addrs, w.book)
			}
			if counted || !restarted { // else it would write the Subnet's status
				w.kubeOVN()
			}
		}
		switch r := w.last.result; {
		case r.State == Granted && w.book.With(r.Addrs.All()...) != w.book:
			t.Fatalf("seed %d: ends with %s, and Kube-OVN has %s", seed, r.Addrs, w.book)
		case r.State != Granted && !w.others[w.wish.V6]:
			t.Fatalf("seed %d: ends with %+v", seed, r)
		}
	}
	if forgotten < 150 || taken < 60 || renewed < 60 {
		t.Errorf("forgotten %d, taken %d, renewed %d", forgotten, taken, renewed)
	}
}
