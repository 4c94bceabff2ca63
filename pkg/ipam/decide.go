package ipam

import (
	"net/netip"
	"time"

	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
)

// input is all that a decision depends on.
type input struct {
	request Request
	// vip is the Vip of the Service's name; nil: there is none.
	vip *kubeovn.Vip
	// holder says who but this Service holds an address of the requested
	// Subnet, in words; empty: nobody that is known.
	holder func(netip.Addr) string
	// asked reports whether another Service has asked for an address and not
	// been answered yet; nil: none has.
	asked func(netip.Addr) bool
	// predecessor says whether the Service's predecessor holds an address, and
	// nobody else.
	predecessor func(netip.Addr) bool
	// pools are the IPPools of the requested Subnet.
	pools     []*kubeovn.IPPool
	lastGrant time.Time
	// renewed is when the Service's Vip was last made anew because Kube-OVN had
	// lost its addresses; zero: not within memory.
	renewed time.Time
	// granted is when the grant of the Service's Vip was seen; zero: it was there
	// before. sure says that its addresses have been proven to be in Kube-OVN's IPAM.
	granted time.Time
	sure    bool
	now     time.Time
	wait    wait
}

// bothFamilies are the arguments of all that is asked by family: IPv4, IPv6.
var bothFamilies = []bool{true, false}

type op int

const (
	opNone op = iota
	opCreate
	opDelete // a Vip that holds nothing
	opRenew  // a Vip whose addresses Kube-OVN has lost
	opGuard  // write into the Vip what a restart of Kube-OVN is to restore
)

// action is what a decision asks for: at most one write, and what to answer
// once it is done.
type action struct {
	op     op
	want   kubeovn.Addrs // for opCreate; where there is none, Kube-OVN picks
	why    string        // for opDelete and opRenew, for the log
	result Result
	wait   wait
}

// decide is the whole state machine: what to do next for a request.
func decide(in input) action {
	in.request.Wish = kubeovn.Addrs{}.With(in.request.Wish.All()...)
	in.request.Sticky = kubeovn.Addrs{}.With(in.request.Sticky.All()...)
	waitsFor := in.request.Subnet.Name + " " + in.request.Wish.String()
	switch lost := in.lost(); {
	case in.vip == nil:
	case in.vip.DeletionTimestamp != nil:
		waitsFor = "withdrawal"
	case !lost.IsZero():
		waitsFor = "return of " + lost.String()
	case !in.proven():
		waitsFor = "proof of " + in.vip.Addrs().String()
	}
	in.wait = in.wait.forRequest(waitsFor)
	if in.vip == nil {
		return decideAbsent(in)
	}
	if !ownedBy(in.vip, in.request.Owner) {
		return action{result: vipConflict(in.vip).result()}
	}
	if in.vip.DeletionTimestamp != nil {
		in.wait = in.wait.on(in.vip.UID, in.now)
		return in.keepWaiting(notWithdrawn(in.vip))
	}
	if held := in.vip.Addrs(); !held.IsZero() {
		return decideHeld(in, held)
	}
	return decidePending(in)
}

// decideAbsent: there is no Vip.
func decideAbsent(in input) action {
	want, p := choose(in)
	if p != nil {
		if in.ahead(p) {
			return action{result: Result{State: Pending, Ahead: true, Addrs: in.request.Wish, RetryAfter: staleRetry}}
		}
		return action{result: p.result()}
	}
	in.wait.vip, in.wait.asked = "", in.now
	if in.wait.since.IsZero() {
		in.wait.since = in.now
	}
	a := in.keepWaiting(silent(in.request))
	a.op, a.want = opCreate, want
	return in.soon(a, want)
}

// decidePending: there is a Vip that holds nothing.
func decidePending(in input) action {
	want, p := choose(in)
	if p != nil {
		// Once the address is free, a new Vip gets it at once; this one would
		// get it when Kube-OVN tries it again.
		return action{op: opDelete, why: p.reason, result: p.result()}
	}
	asks := asksFor(in.vip.WantV4, want.V4, in.request.Wish.V4) && asksFor(in.vip.WantV6, want.V6, in.request.Wish.V6)
	if in.vip.Subnet != in.request.Subnet.Name || !asks {
		return action{op: opDelete, why: "it asks for something else", result: Result{State: Pending, RetryAfter: staleRetry}}
	}
	in.wait = in.wait.on(in.vip.UID, in.now)
	othersGranted := in.lastGrant.After(in.wait.asked)
	waited := in.now.Sub(in.wait.asked)
	if waited < in.wait.nudgeGap() || !othersGranted && waited < lastNudge {
		return in.soon(in.keepWaiting(silent(in.request)), want)
	}
	in.wait.vip, in.wait.asked = "", time.Time{}
	if othersGranted {
		in.wait.nudges++
	}
	a := in.keepWaiting(silent(in.request))
	a.op, a.why = opDelete, "it has waited long, so ask anew"
	a.result.RetryAfter = staleRetry
	return a
}

// asksFor reports whether a Vip's spec asks for what is wanted of one family,
// or leaves Kube-OVN to choose where there is no wish.
func asksFor(spec string, want, wish netip.Addr) bool {
	if spec == "" {
		return !wish.IsValid()
	}
	addr, err := netip.ParseAddr(spec)
	return err == nil && addr.Unmap() == want
}

// decideHeld: there is a Vip that holds addresses.
func decideHeld(in input, held kubeovn.Addrs) action {
	a := action{result: Result{State: Granted}}
	switch {
	case !satisfies(in.request, in.vip.Subnet, held):
		a = decideMove(in, held)
	case !in.lost().IsZero():
		a = decideLost(in)
	case !in.proven():
		a = decideUnproven(in)
	}
	if a.op == opNone && !a.result.MustMove && !guarded(in.vip) {
		a = in.guard(a)
	}
	a.result.Addrs, a.result.MAC = held, in.vip.MAC
	return a
}

// satisfies reports whether what is held fulfils the request.
func satisfies(req Request, subnet string, held kubeovn.Addrs) bool {
	if subnet != req.Subnet.Name {
		return false
	}
	for _, v4 := range bothFamilies {
		has, wish := held.Of(v4), req.Wish.Of(v4)
		needed := req.Needs.Of(v4) || wish.IsValid()
		if needed && has.IsValid() && !inPool(req, has) {
			return false
		}
		if needed && (!has.IsValid() || wish.IsValid() && has != wish || usable(req, has) != nil) {
			return false
		}
	}
	return true
}

// decideMove: there is a Vip that does not hold what it should.
func decideMove(in input, held kubeovn.Addrs) action {
	want, p := choose(in)
	there := in.vip.Subnet == in.request.Subnet.Name
	switch {
	case p == nil && there && in.vip.Asked == asked(in.request.Subnet, want) && !obeyed(in.vip.Asked, held):
		// A new Vip would ask the same and get the same, again and again.
		return action{result: disobeyed(in.request, in.vip, held).result()}
	case p == nil:
		return action{result: Result{State: Pending, MustMove: true}}
	case !there || p.reason != ReasonSubnetFull:
		return action{result: p.result()}
	}
	// A range that has just been added counts as full until Kube-OVN has seen it.
	in.wait = in.wait.on(in.vip.UID, in.now)
	a := action{result: p.result(), wait: in.wait}
	if left := patience - in.now.Sub(in.wait.since); left > 0 {
		a.result = Result{State: Pending, RetryAfter: left}
	}
	return a
}
