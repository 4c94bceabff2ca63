// Package churn lets everybody who takes addresses of one LAN come and go at the same time, kills Kube-OVN's controller
// and ours meanwhile, and watches that no address is ever held twice and that no Service loses its own.
package churn

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// State is what one object says about addresses from one revision of the cluster on.
type State struct {
	// Rev is the object's resourceVersion, a revision of etcd. All kinds are in one etcd, so revisions tell what was
	// before what, in whatever order the watches deliver it.
	Rev uint64
	// Seen is when the watch delivered it.
	Seen time.Time
	// Object names the object: "Vip lb-1".
	Object string
	// Holder is for whom the object holds the addresses: "Service a/b (1234)". A Service, its Vip and its gateway are one
	// holder.
	Holder string
	// While, if not empty, is the object that must hold something at the same time; without it this one says nothing.
	While string
	// Addrs are the addresses that the object holds from now on; none if it is gone, going, or has not got any yet.
	Addrs []netip.Addr
}

// claim is the time in which one object held one address.
type claim struct {
	State
	addr netip.Addr
	// from is the first revision, last the latest one of which it is known that the object still held the address, and
	// to the first one at which it did not any more; 0 while it does.
	from, last, to uint64
	since, until   time.Time
}

// Double is an address that two holders had at the same revision.
type Double struct {
	Addr netip.Addr
	// Holders are who had it, the one that had it first in front, and Objects what says so.
	Holders, Objects [2]string
	// Rev is the first revision at which both had it.
	Rev uint64
	// Seen is when it was seen.
	Seen time.Time
}

// String says it in words.
func (d Double) String() string {
	return fmt.Sprintf("%s is held by %s (%s) and by %s (%s) at revision %d, seen at %s",
		d.Addr, d.Holders[0], d.Objects[0], d.Holders[1], d.Objects[1], d.Rev, d.Seen.Format("15:04:05.000"))
}

// Book is who held which address from when to when. The zero value is empty. It is for one goroutine at a time.
type Book struct {
	byAddr   map[netip.Addr][]*claim
	byObject map[string][]*claim
}

// Add notes a state. Those of one object must come in the order of their revisions.
func (b *Book) Add(s State) {
	if b.byAddr == nil {
		b.byAddr, b.byObject = map[netip.Addr][]*claim{}, map[string][]*claim{}
	}
	held := map[netip.Addr]bool{}
	for _, c := range b.byObject[s.Object] {
		if c.to != 0 {
			continue
		}
		if c.Holder == s.Holder && slices.Contains(s.Addrs, c.addr) {
			c.last = max(c.last, s.Rev)
			held[c.addr] = true
			continue
		}
		c.to, c.until = s.Rev, s.Seen
		c.last = max(c.last, s.Rev-1)
	}
	for _, addr := range s.Addrs {
		if held[addr] {
			continue
		}
		held[addr] = true
		c := &claim{State: s, addr: addr, from: s.Rev, last: s.Rev, since: s.Seen}
		b.byAddr[addr] = append(b.byAddr[addr], c)
		b.byObject[s.Object] = append(b.byObject[s.Object], c)
	}
}

// Confirm notes that a read at a later revision found the object still holding the address.
func (b *Book) Confirm(object string, addr netip.Addr, rev uint64) {
	for _, c := range b.byObject[object] {
		if c.addr == addr && c.to == 0 {
			c.last = max(c.last, rev)
		}
	}
}

// Addresses is how many different addresses have been held.
func (b *Book) Addresses() int { return len(b.byAddr) }

// Doubles returns the addresses that two holders had at one time, each pair once, and those of which that is not sure
// yet: the first holder's watch may be behind the second's, and deliver any moment that it had let go before. Confirm or
// Add decides.
func (b *Book) Doubles() (sure, open []Double) {
	seen := map[[3]string]bool{}
	for addr, claims := range b.byAddr {
		for i, x := range claims {
			for _, y := range claims[i+1:] {
				if x.Holder == y.Holder {
					continue
				}
				first, second := x, y
				if y.from < x.from {
					first, second = y, x
				}
				rev, certain := b.both(first, second)
				key := [3]string{addr.String(), first.Holder, second.Holder}
				if rev == 0 || seen[key] {
					continue
				}
				d := Double{
					Addr: addr, Rev: rev, Seen: second.since,
					Holders: [2]string{first.Holder, second.Holder}, Objects: [2]string{first.Object, second.Object},
				}
				if certain {
					seen[key] = true
					sure = append(sure, d)
				} else {
					open = append(open, d)
				}
			}
		}
	}
	order := func(a, b Double) int { return cmp.Compare(a.Rev, b.Rev) }
	slices.SortFunc(sure, order)
	slices.SortFunc(open, order)
	return sure, open
}

// both returns the first revision at which two claims to one address count, 0 if there is none, and whether that is
// certain.
func (b *Book) both(x, y *claim) (rev uint64, certain bool) {
	for _, s := range b.spans(x) {
		for _, t := range b.spans(y) {
			from := max(s.from, t.from)
			if s.to != 0 && s.to <= from || t.to != 0 && t.to <= from {
				continue
			}
			sure := s.last >= from && t.last >= from
			if rev == 0 || sure && !certain {
				rev, certain = from, sure
			}
		}
	}
	return rev, certain
}

// span is a time in revisions, as in claim.
type span struct{ from, last, to uint64 }

// spans are the times in which a claim counts.
func (b *Book) spans(c *claim) []span {
	own := span{c.from, c.last, c.to}
	if c.While == "" {
		return []span{own}
	}
	var out []span
	for _, w := range b.byObject[c.While] {
		s := span{max(own.from, w.from), min(own.last, w.last), own.to}
		if s.to == 0 || w.to != 0 && w.to < s.to {
			s.to = w.to
		}
		if s.to == 0 || s.from < s.to {
			out = append(out, s)
		}
	}
	return out
}

// open are the claims that count at present, of objects of one kind.
func (b *Book) open(kind string) []*claim {
	var out []*claim
	for _, claims := range b.byAddr {
		for _, c := range claims {
			if c.to == 0 && kindOf(c.Object) == kind {
				out = append(out, c)
			}
		}
	}
	return out
}
