package churn

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Round is one question on the wire, who has an address, and the answers to it.
type Round struct {
	Addr netip.Addr
	// Asked is when the question was sent, and Ended until when answers counted.
	Asked, Ended time.Time
	Answers      []Answer
	// Deaf says that in this time and family not even the host was heard that is always there.
	Deaf bool
}

// Answer says that a hardware address has it.
type Answer struct {
	MAC string
	At  time.Time
}

// lag is how far a watch may be behind the cluster.
const lag = 2 * time.Second

// Finding is what is wrong with answers.
type Finding struct {
	// What says it in words; empty: all is well.
	What string
	// First is when it was seen first, and Times how often.
	First time.Time
	Times int
}

// String says all of it.
func (f Finding) String() string {
	return fmt.Sprintf("%s; first at %s, %d times", f.What, f.First.Format("15:04:05.000"), f.Times)
}

// Judge says what is wrong with a round that ended longer than the lag ago. One host alone may answer, for a Service whose
// Vip has the address, and nobody else may have it. owner tells whose a hardware address is.
func (b *Book) Judge(r Round, owner func(mac string) string) Finding {
	f := Finding{First: r.Asked, Times: 1}
	if len(r.Answers) == 0 {
		return f
	}
	var who []string
	for _, a := range r.Answers {
		who = append(who, fmt.Sprintf("%s of %s", a.MAC, owner(a.MAC)))
	}
	if len(r.Answers) > 1 {
		slices.Sort(who)
		f.What = fmt.Sprintf("%s is answered by %s to one question", r.Addr, strings.Join(who, " and by "))
		return f
	}
	us, at := owner(r.Answers[0].MAC), r.Answers[0].At
	if other := b.heldThroughout(r.Addr, r.Asked, at.Add(lag), us); other != nil {
		f.What = fmt.Sprintf("%s is answered by %s while %s holds it (%s)", r.Addr, who[0], other.Holder, other.Object)
	} else if !b.reserved(r.Addr, us, r.Asked.Add(-withoutVip), at.Add(lag)) {
		f.What = fmt.Sprintf("%s is answered by %s, for whom no Vip holds it", r.Addr, who[0])
	}
	return f
}

// heldThroughout returns the claim of another holder who had the address from before the first time to after the second,
// as far as the watches tell; nil if there is none.
func (b *Book) heldThroughout(addr netip.Addr, from, to time.Time, but string) *claim {
	for _, c := range b.byAddr[addr] {
		if c.Holder != but && c.While == "" && c.since.Before(from) && (c.to == 0 || c.until.After(to)) {
			return c
		}
	}
	return nil
}

// reserved reports whether a Vip held the address for the holder at some time between the two.
func (b *Book) reserved(addr netip.Addr, holder string, from, to time.Time) bool {
	for _, c := range b.byAddr[addr] {
		if c.Holder == holder && kindOf(c.Object) == kindVip && c.since.Before(to) && (c.to == 0 || c.until.After(from)) {
			return true
		}
	}
	return false
}
