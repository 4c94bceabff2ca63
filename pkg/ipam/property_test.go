package ipam

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
)

// After any history, as soon as Kube-OVN runs and nothing changes any more, a
// Service has the addresses that satisfy it, or is told why not; and on the way
// nothing is edited, nobody's address is asked for and no grant is dropped.
func TestDecideConverges(t *testing.T) {
	states := map[string]int{}
	for seed := range uint64(5000) {
		w := history(t, seed)
		w.settle()
		r := w.last.result
		states[r.State.String()+" "+r.Reason]++
		switch {
		case w.last.op != opNone:
			t.Fatalf("seed %d: still writes: %+v", seed, w.last)
		case w.moves > 1:
			t.Fatalf("seed %d: moved %d times", seed, w.moves)
		case r.State == Granted:
			if !w.fits(r.Addrs) || r.Addrs != w.vip.Addrs() || w.book.With(r.Addrs.All()...) != w.book {
				t.Fatalf("seed %d: granted %+v with %+v, and Kube-OVN has %s", seed, r, w.vip, w.book)
			}
		case r.State == Refused:
			if !w.refused() {
				t.Fatalf("seed %d: refused without a cause: %+v", seed, r)
			}
			if w.vip != nil && !w.granted() {
				t.Fatalf("seed %d: refused, and a pending Vip stays: %+v", seed, w.vip)
			}
		default:
			t.Fatalf("seed %d: does not settle: %+v, %+v", seed, r, w.vip)
		}
	}
	for _, reason := range []string{"Granted ", "Refused " + ReasonAddressInUse, "Refused " + ReasonAddressOutOfRange, "Refused " + ReasonAddressReserved,
		"Refused " + ReasonSubnetFull, "Refused " + ReasonSubnetWithoutIPv4, "Refused " + ReasonSubnetWithoutIPv6} {
		if states[reason] == 0 {
			t.Errorf("no history ends with %q: %v", reason, states)
		}
	}
}

// Under a Kube-OVN that does not do as it is asked, too, a gateway is taken
// down at most twice for the same wish.
func TestDecideDoesNotMoveForEver(t *testing.T) {
	refused := 0
	for seed := range uint64(1000) {
		w := history(t, seed)
		w.ignores6 = true
		w.settle()
		if w.moves > 2 || w.last.op != opNone || w.last.result.State == Pending {
			t.Fatalf("seed %d: moved %d times, and then %+v", seed, w.moves, w.last)
		}
		if w.last.result.Reason == ReasonAddressNotGranted {
			refused++
		}
	}
	if refused == 0 {
		t.Error("Kube-OVN ignored nothing")
	}
}

// A silent Kube-OVN is told within three seconds, if only the caller looks
// again when it is asked to.
func TestSilenceIsToldInTime(t *testing.T) {
	w := &world{t: t, now: start, subnet: lan(), others: map[netip.Addr]bool{}, needs: kubeovn.Families{V4: true}}
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
	w := &world{t: t, now: start, subnet: lan(), others: map[netip.Addr]bool{}, needs: kubeovn.Families{V4: true}}
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
	f.Add("172.18.0.18", "", "172.18.0.0/16", "172.18.0.1", "", "", "", 5.0, int64(0), uint8(1), false)
	f.Add("", "172.18.0.9", "172.18.0.0/31", "", "172.18.0.9", "172.18.0.9", "IPv4", 0.0, int64(3e9), uint8(1), true)
	f.Add("fd00::18", "172.18.0.9,fd00::9", "172.18.0.0/31,fd00::/64", "fd00::1", "fd00::18", "172.18.0.9,FD00::9", "IPv4,fd00::18", 7.0, int64(3e9), uint8(3), false)
	f.Fuzz(func(t *testing.T, wish, sticky, prefixes, gw, wanted, granted, record string, avail float64, age int64, needs uint8, deletes bool) {
		s := lan(available(avail), available6(avail))
		s.CIDRs, s.Gateways = nil, nil
		for part := range strings.SplitSeq(prefixes, ",") {
			if p, err := netip.ParsePrefix(part); err == nil && len(s.CIDRs) < 2 {
				s.CIDRs = append(s.CIDRs, p.Masked())
			}
		}
		if a, err := netip.ParseAddr(gw); err == nil {
			s.Gateways = []netip.Addr{a}
		}
		in := input{request: Request{Owner: owner, Subnet: s, Needs: kubeovn.Families{V4: needs&1 != 0, V6: needs&2 != 0}}, now: start, holder: func(netip.Addr) string { return "" }}
		in.request.Wish, _ = kubeovn.ParseAddrs(wish)
		in.request.Sticky, _ = kubeovn.ParseAddrs(sticky)
		in.wait = wait{since: start.Add(-time.Duration(age)), asked: start.Add(-time.Duration(age)), nudges: int(age % 5)}
		if wanted != "" || granted != "" {
			in.vip = mine(wanted, granted, askedFor(record))
			if deletes {
				in.vip.DeletionTimestamp = &metav1.Time{Time: start}
			}
		}
		a := decide(in)
		if (a.result.State == Refused) != (a.result.Reason != "" && a.result.Message != "") {
			t.Errorf("%+v", a.result)
		}
		if a.result.State == Granted && (a.op != opNone || a.result.Addrs != in.vip.Addrs() || !satisfies(in.request, in.vip.Subnet, a.result.Addrs)) {
			t.Errorf("%+v", a)
		}
		for _, want := range a.want.All() {
			if a.op != opCreate || usable(in.request, want) != nil {
				t.Errorf("asks for %s: %+v", want, a)
			}
		}
		if a.op == opDelete && (in.vip == nil || deletes) || a.op == opCreate && in.vip != nil {
			t.Errorf("%+v", a)
		}
	})
}
