package ipam

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
)

// poolOf is an IPPool of the Subnet with these addresses.
func poolOf(name string, ips ...string) *kubeovn.IPPool {
	return &kubeovn.IPPool{ObjectMeta: metav1.ObjectMeta{Name: name}, Subnet: "attach-subnet", IPs: kubeovn.ParseRanges(ips)}
}

// picks is a choice of an address: what matters for it, and what comes of it.
type picks struct {
	request Request
	vip     *kubeovn.Vip
	others  others
	asked   []string
	pools   []*kubeovn.IPPool
	nudges  int

	want   string
	reason string
	says   []string
	queued bool
}

func (tc picks) check(t *testing.T) {
	t.Helper()
	tc.request.Owner = owner
	if tc.request.Subnet == nil {
		tc.request.Subnet = lan()
	}
	if tc.request.Needs == (kubeovn.Families{}) {
		tc.request.Needs.V4 = true
	}
	got, p := choose(input{
		request: tc.request, vip: tc.vip, pools: tc.pools, now: start, wait: wait{nudges: tc.nudges},
		holder: func(a netip.Addr) string { return tc.others[a.String()] },
		asked: func(a netip.Addr) bool {
			return strings.Contains(" "+strings.Join(tc.asked, " ")+" ", " "+a.String()+" ")
		},
	})
	if p == nil {
		p = &problem{}
	}
	if got.String() != tc.want || p.reason != tc.reason || p.queued != tc.queued {
		t.Errorf("asks for %q, want %q; %+v", got, tc.want, p)
	}
	for _, part := range tc.says {
		if !strings.Contains(p.message+p.detail, part) {
			t.Errorf("%q does not say %q", p.message, part)
		}
	}
}

func after(n int) func(int) int { return func(most int) int { return min(n, most) } }

func TestAnAddressOfThePoolIsPicked(t *testing.T) {
	pool := poolOf("lb", "172.18.5.1..172.18.5.3", "172.18.9.0/30")
	own := Request{Pool: pool, PoolField: "annotation x"}
	with := func(edit func(*Request)) Request {
		r := own
		edit(&r)
		return r
	}
	for name, tc := range map[string]picks{
		"the first one":             {request: own, want: "172.18.5.1"},
		"not one that is held":      {request: own, others: others{"172.18.5.1": "Vip x"}, want: "172.18.5.2"},
		"not one that is asked for": {request: own, asked: []string{"172.18.5.1", "172.18.5.2"}, want: "172.18.5.3"},
		"one of the next range":     {request: own, others: others{"172.18.5.1": "a", "172.18.5.2": "b", "172.18.5.3": "c"}, want: "172.18.9.0"},
		"not one that the operator keeps": {
			request: with(func(r *Request) {
				r.Subnet = lan(func(s *kubeovn.Subnet) { s.ExcludeIPs = []string{"172.18.5.1..172.18.5.2"} })
			}), want: "172.18.5.3",
		},
		"not the gateway":                {request: with(func(r *Request) { r.Subnet = lan(gateway("172.18.5.1")) }), want: "172.18.5.2"},
		"not one of the .0 and .255":     {request: with(func(r *Request) { r.Pool, r.AvoidBuggyIPs = poolOf("lb", "172.18.4.255..172.18.5.1"), true }), want: "172.18.5.1"},
		"one of the .0 and .255":         {request: with(func(r *Request) { r.Pool = poolOf("lb", "172.18.4.255..172.18.5.1") }), want: "172.18.4.255"},
		"after those who came before":    {request: with(func(r *Request) { r.Ahead = after(2) }), want: "172.18.5.3"},
		"the one that its Vip asks for":  {request: own, vip: mine("172.18.5.3", ""), want: "172.18.5.3"},
		"another when that is taken":     {request: own, vip: mine("172.18.5.3", ""), others: others{"172.18.5.3": "Pod a/b"}, want: "172.18.5.1"},
		"another when none was granted":  {request: own, nudges: 1, want: "172.18.5.2"},
		"the first again after the last": {request: own, nudges: 7, want: "172.18.5.1"},
		"what the Service has, of it":    {request: with(func(r *Request) { r.Sticky = addrs("172.18.5.2") }), want: "172.18.5.2"},
		"not what it has elsewhere":      {request: with(func(r *Request) { r.Sticky = addrs("172.18.0.9") }), want: "172.18.5.1"},
		"what it has elsewhere, where the pool is the Subnet's": {
			request: with(func(r *Request) { r.Sticky, r.PoolField = addrs("172.18.0.9"), "" }), want: "172.18.0.9",
		},
		"what one of its name had, of it":   {request: with(func(r *Request) { r.Previous = addrs("172.18.5.2") }), want: "172.18.5.2"},
		"not what that one had elsewhere":   {request: with(func(r *Request) { r.Previous, r.PoolField = addrs("172.18.0.9"), "" }), want: "172.18.5.1"},
		"what it has before what that had":  {request: with(func(r *Request) { r.Previous, r.Sticky = addrs("172.18.5.3"), addrs("172.18.5.2") }), want: "172.18.5.2"},
		"what is wished before all of that": {request: with(func(r *Request) { r.Wish, r.Sticky = addrs("172.18.9.2"), addrs("172.18.5.2") }), want: "172.18.9.2"},
		"no wish outside of it": {
			request: with(func(r *Request) { r.Wish = addrs("172.18.0.9") }), reason: ReasonAddressOutsideIPPool, says: []string{"172.18.0.9", "IPPool lb", "annotation x"},
		},
		"a wish outside of the Subnet's": {request: with(func(r *Request) { r.Wish, r.PoolField = addrs("172.18.0.9"), "" }), want: "172.18.0.9"},
		"after many who came before": {
			request: with(func(r *Request) { r.Pool, r.Ahead = poolOf("lb", "172.18.5.0/24"), after(100) }), want: "172.18.5.100",
		},
		"the last one after all who came before": {
			request: with(func(r *Request) { r.Pool, r.Ahead = poolOf("lb", "172.18.5.0..172.18.5.15"), after(15) }), want: "172.18.5.15",
		},
		"none after all who came before": {
			request: with(func(r *Request) { r.Pool, r.Ahead = poolOf("lb", "172.18.5.0..172.18.5.15"), after(16) }), reason: ReasonIPPoolFull, queued: true,
		},
		"none if all are held, whoever waits": {
			request: with(func(r *Request) {
				r.Pool, r.Ahead = poolOf("lb", "172.18.5.1"), func(int) int { panic("asked") }
			}), others: others{"172.18.5.1": "Pod a/b"}, reason: ReasonIPPoolFull,
		},
		"none if all are held": {
			request: with(func(r *Request) { r.Pool = poolOf("lb", "172.18.5.1..172.18.5.2") }), others: others{"172.18.5.1": "Service a/b", "172.18.5.2": "Pod c/d"},
			reason: ReasonIPPoolFull, says: []string{"172.18.5.1 is held by Service a/b", "172.18.5.2 is held by Pod c/d", "spec.ips"},
		},
		"none if others wait for the last": {
			request: with(func(r *Request) { r.Pool, r.Ahead = poolOf("lb", "172.18.5.1"), after(1) }), reason: ReasonIPPoolFull, queued: true,
		},
		"of both families": {
			request: with(func(r *Request) {
				r.Subnet, r.Needs, r.Pool = dual(), needsBoth, poolOf("lb", "172.18.5.1", "fd00::5:0/126")
			}), want: "172.18.5.1,fd00::5:0",
		},
		"of the family that it has, and any of the other": {
			request: with(func(r *Request) { r.Subnet, r.Pool = dual(), poolOf("lb", "172.18.5.1") }), want: "172.18.5.1,fd00::a4d6:34bb",
		},
	} {
		t.Run(name, tc.check)
	}
}

func TestAnAddressOfTheSubnetIsPickedWhereKubeOVNMustNot(t *testing.T) {
	small := func(edit ...func(*kubeovn.Subnet)) *kubeovn.Subnet {
		return lan(append([]func(*kubeovn.Subnet){cidr("172.18.3.252/30"), gateway("172.18.3.253")}, edit...)...)
	}
	for name, tc := range map[string]picks{
		"Kube-OVN picks":                        {},
		"none of .0 and .255":                   {request: Request{Subnet: lan(cidr("172.18.0.254/31")), AvoidBuggyIPs: true}, want: "172.18.0.254"},
		"a wish for such a one":                 {request: Request{AvoidBuggyIPs: true, Wish: addrs("172.18.1.0")}, want: "172.18.1.0"},
		"what the Service has is left":          {request: Request{AvoidBuggyIPs: true, Sticky: addrs("172.18.1.0")}, want: "172.18.1.0"},
		"what one of its name had is not":       {request: Request{Subnet: small(), AvoidBuggyIPs: true, Previous: addrs("172.18.3.255")}, want: "172.18.3.254"},
		"what one of its name had":              {request: Request{Previous: addrs("172.18.0.9")}, want: "172.18.0.9"},
		"not what somebody else has of it":      {request: Request{Previous: addrs("172.18.0.9")}, others: others{"172.18.0.9": "Vip x"}},
		"not what the operator keeps by now":    {request: Request{Previous: addrs("172.18.0.9"), Subnet: lan(func(s *kubeovn.Subnet) { s.ExcludeIPs = []string{"172.18.0.9"} })}},
		"not what was not granted again":        {request: Request{Previous: addrs("172.18.0.9")}, nudges: 1},
		"none of an IPPool":                     {request: Request{Subnet: small(), AvoidBuggyIPs: true}, pools: []*kubeovn.IPPool{poolOf("pods", "172.18.3.254")}, reason: ReasonSubnetFull},
		"none if older ones wait for the last":  {request: Request{Subnet: lan(available(2)), Ahead: after(2)}, reason: ReasonSubnetFull, queued: true},
		"one if there is one more":              {request: Request{Subnet: lan(available(3)), Ahead: after(2)}},
		"who waits does not matter with plenty": {request: Request{Ahead: func(int) int { panic("asked") }}},
		"none of a full Subnet":                 {request: Request{Subnet: lan(available(0)), Ahead: after(2)}, reason: ReasonSubnetFull},
	} {
		t.Run(name, tc.check)
	}
}

// Kube-OVN hands out from the lowest address on, so the upper half is far away;
// a range of few addresses has one, too, but never one outside.
func TestRemoteAddressesAreInTheUpperHalf(t *testing.T) {
	for _, prefix := range []string{"fd00::/64", "fd00::/96", "fd00::/112", "fd00::ff00/120", "fd00::/125", "fd00::2/127", "fd00::3/128"} {
		p := netip.MustParsePrefix(prefix).Masked()
		for i := range 100 {
			size := count(kubeovn.RangeOf(netip.PrefixFrom(p.Addr(), max(p.Bits(), 96))))
			half, offered := plus(p.Addr(), size/2), uint64(0)
			for _, r := range remote(p, kubeovn.Owner{Namespace: "a", Name: fmt.Sprint(i)}) {
				offered += count(r)
				if !p.Contains(r.First) || !p.Contains(r.Last) || r.First.Less(half) || r.Last.Less(r.First) {
					t.Fatalf("%s: %s to %s", prefix, r.First, r.Last)
				}
			}
			if offered != size-size/2 {
				t.Fatalf("%s: %d of %d addresses are offered", prefix, offered, size)
			}
		}
	}
}

// All addresses of a range are looked at once, wherever one begins.
func TestARangeIsWalkedOnce(t *testing.T) {
	r := kubeovn.RangeOf(netip.MustParsePrefix("10.1.2.128/28"))
	for seed := range uint64(40) {
		seen := map[netip.Addr]int{}
		for _, part := range startingAt(r, seed) {
			for a := part.First; !part.Last.Less(a); a = a.Next() {
				seen[a]++
			}
		}
		if len(seen) != 16 {
			t.Fatalf("seed %d: %v", seed, seen)
		}
	}
}

// Services that ask at the same time, before any cache knows of it, never ask
// for the same address, and while there are addresses the eldest have them.
func TestServicesThatAskAtOncePickDifferently(t *testing.T) {
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 1))
		free := 1 + rng.IntN(6)
		pool := poolOf("lb", fmt.Sprintf("172.18.5.1..172.18.5.%d", free))
		cache, api := &cacheOf{pools: []*kubeovn.IPPool{pool}}, client()
		r := NewReserver(cache, api, func() time.Time { return start })
		asking := map[int]bool{}
		for range 60 {
			i := rng.IntN(8)
			req := Request{
				Owner: kubeovn.Owner{Namespace: "a", Name: fmt.Sprint(i), UID: types.UID(fmt.Sprint(i))}, Subnet: lan(), Needs: kubeovn.Families{V4: true}, Pool: pool,
				Ahead: func(most int) (n int) {
					for j := range i {
						if !asking[j] && n < most {
							n++
						}
					}
					return n
				},
			}
			if asking[i] {
				continue
			}
			res, err := r.Reserve(context.Background(), req)
			if err != nil {
				t.Fatal(err)
			}
			asking[i] = res.State == Pending
		}
		held := map[string]bool{}
		list, err := api.Resource(kubeovn.VipResource).List(context.Background(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for _, vip := range list.Items {
			spec, _ := vip.Object["spec"].(map[string]any)
			ip, _ := spec["v4ip"].(string)
			if held[ip] || !pool.IPs.Contains(netip.MustParseAddr(ip)) {
				t.Fatalf("seed %d: %s is asked for twice, or not of the pool", seed, ip)
			}
			held[ip] = true
		}
		for i := range 8 {
			if asking[i] != (i < free) {
				t.Fatalf("seed %d: of %d addresses Service %d has asked for one: %v", seed, free, i, asking)
			}
		}
	}
}

// A Service that has an address outside of the pool that it comes to name moves.
func TestAServiceMovesIntoItsPool(t *testing.T) {
	pool := poolOf("lb", "172.18.5.1..172.18.5.3")
	for name, tc := range map[string]struct {
		field string
		held  string
		state State
		moves bool
	}{
		"its own":        {"annotation x", "172.18.0.40", Pending, true},
		"it is in it":    {"annotation x", "172.18.5.2", Granted, false},
		"the Subnet's":   {"", "172.18.0.40", Granted, false},
		"in the Subnets": {"", "172.18.5.2", Granted, false},
	} {
		t.Run(name, func(t *testing.T) {
			a := decide(input{
				request: Request{Owner: owner, Subnet: lan(), Needs: kubeovn.Families{V4: true}, Pool: pool, PoolField: tc.field, Sticky: addrs(tc.held)},
				vip:     mine("", tc.held), holder: nobody, now: start,
			})
			if a.result.State != tc.state || a.result.MustMove != tc.moves || a.op != opNone {
				t.Errorf("%+v", a)
			}
		})
	}
}
