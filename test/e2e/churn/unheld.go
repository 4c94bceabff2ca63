package churn

import (
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// withoutVip is how long a Service may show an address that its Vip does not hold. A Vip that Kube-OVN has lost at a restart
// is made anew, for which kube-ovn-controller must be there.
const withoutVip = 30 * time.Second

// Gap is a time in which a Service showed an address that its Vip did not hold.
type Gap struct {
	Addr   netip.Addr
	Holder string
	// Rev is the revision at which it began.
	Rev  uint64
	Took time.Duration
	// Ended says whether the Vip has the address again, or the Service does not show it any more.
	Ended bool
}

// String says it in words.
func (g Gap) String() string {
	return fmt.Sprintf("%s is shown by %s without a Vip that holds it, from revision %d on for %s", g.Addr, g.Holder, g.Rev, g.Took.Round(time.Millisecond))
}

// Gaps returns the times in which Services showed addresses that their Vips did not hold.
func (b *Book) Gaps(now time.Time) []Gap {
	var out []Gap
	for addr, claims := range b.byAddr {
		for _, s := range claims {
			if kindOf(s.Object) == kindService {
				out = append(out, gapsOf(addr, s, claims, now)...)
			}
		}
	}
	return out
}

// gapsOf looks at one Service's showing of an address.
func gapsOf(addr netip.Addr, s *claim, claims []*claim, now time.Time) []Gap {
	var out []Gap
	rev, since := s.from, s.since
	for s.to == 0 || rev < s.to {
		held, next := vipAt(s.Holder, claims, rev)
		if held != nil {
			if held.to == 0 {
				return out
			}
			rev, since = held.to, held.until
			continue
		}
		g := Gap{Addr: addr, Holder: s.Holder, Rev: rev, Took: now.Sub(since)}
		switch {
		case next != nil && (s.to == 0 || next.from < s.to):
			g.Took, g.Ended = next.since.Sub(since), true
			rev, since = next.from, next.since
		case s.to != 0:
			g.Took, g.Ended = s.until.Sub(since), true
			return append(out, g)
		default:
			return append(out, g)
		}
		out = append(out, g)
	}
	return out
}

// vipAt returns a holder's claim by a Vip at a revision, or else the next one after it.
func vipAt(holder string, claims []*claim, rev uint64) (at, next *claim) {
	for _, c := range claims {
		switch {
		case c.Holder != holder || kindOf(c.Object) != kindVip:
		case c.from <= rev && (c.to == 0 || rev < c.to):
			return c, nil
		case c.from > rev && (next == nil || c.from < next.from):
			next = c
		}
	}
	return nil, next
}

func kindOf(object string) string {
	kind, _, _ := strings.Cut(object, " ")
	return kind
}
