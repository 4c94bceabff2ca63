package ipam

import (
	"net/netip"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
)

const (
	// patience is how long Kube-OVN may do nothing to any Vip while one waits.
	// It grants within 0.1 s; a user should know within 3 s.
	patience = 2 * time.Second
	// silentRetry is how often to look while Kube-OVN is silent. Its first
	// work on a Vip is seen at once by the watch.
	silentRetry = 5 * time.Second
	// firstNudge is how long a Vip may wait while Kube-OVN works on others
	// before it is made anew: Kube-OVN tries a Vip that it could not grant at
	// gaps that double up to 1000 s, a new one at once. The next nudges come
	// at doubling gaps of our own, up to lastNudge. If Kube-OVN works on
	// nothing, which may be because there is nothing else, lastNudge it is.
	firstNudge = 10 * time.Second
	lastNudge  = 80 * time.Second
	// stickyNudges is after how many nudges the address that a Service had is
	// given up for any other.
	stickyNudges = 2
)

// input is all that a decision depends on.
type input struct {
	request Request
	// vip is the Vip of the Service's name; nil: there is none.
	vip *kubeovn.Vip
	// holder says who but this Service holds an address of the requested
	// Subnet, in words; empty: nobody that is known.
	holder    func(netip.Addr) string
	lastGrant time.Time
	now       time.Time
	wait      wait
}

// wait is what is remembered of a Service while it waits for Kube-OVN. It is
// measured by our own clock, as the API server's timestamps are another's and
// cut to seconds. Losing it costs a few seconds of patience, nothing else.
type wait struct {
	// request is what is waited for; a wait for something else starts afresh.
	request string
	// since is when the wait began, over all nudges.
	since time.Time
	// vip is the Vip that is waited for, empty if it is not known yet, and
	// asked when it was made or first seen.
	vip   types.UID
	asked time.Time
	// nudges counts how often the Vip was made anew.
	nudges int
}

// bothFamilies are the arguments of all that is asked by family: IPv4, IPv6.
var bothFamilies = []bool{true, false}

type op int

const (
	opNone op = iota
	opCreate
	opDelete
)

// action is what a decision asks for: at most one write, and what to answer
// once it is done.
type action struct {
	op     op
	want   kubeovn.Addrs // for opCreate; where there is none, Kube-OVN picks
	why    string        // for opDelete, for the log
	result Result
	wait   wait
}

// decide is the whole state machine: what to do next for a request.
func decide(in input) action {
	in.request.Wish = kubeovn.Addrs{}.With(in.request.Wish.All()...)
	in.request.Sticky = kubeovn.Addrs{}.With(in.request.Sticky.All()...)
	waitsFor := in.request.Subnet.Name + " " + in.request.Wish.String()
	if in.vip != nil && in.vip.DeletionTimestamp != nil {
		waitsFor = "withdrawal"
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
		return action{result: p.result()}
	}
	in.wait.vip, in.wait.asked = "", in.now
	if in.wait.since.IsZero() {
		in.wait.since = in.now
	}
	a := in.keepWaiting(silent(in.request))
	a.op, a.want = opCreate, want
	return a
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
		return in.keepWaiting(silent(in.request))
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
	if !satisfies(in.request, in.vip.Subnet, held) {
		a = decideMove(in, held)
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

// choose returns the addresses to ask for, none where any will do, or why
// there is nothing to be had.
func choose(in input) (kubeovn.Addrs, *problem) {
	req := in.request
	for _, v4 := range bothFamilies {
		if _, ok := req.Subnet.CIDR(v4); !ok && (req.Needs.Of(v4) || len(req.Subnet.CIDRs) == 0) {
			return kubeovn.Addrs{}, without(req, v4)
		}
	}
	if req.Subnet.DeletionTimestamp != nil {
		return kubeovn.Addrs{}, terminating(req)
	}
	for _, wish := range req.Wish.All() {
		if p := usable(req, wish); p != nil {
			return kubeovn.Addrs{}, p
		}
		if who := in.holder(wish); who != "" {
			return kubeovn.Addrs{}, inUse(req, wish, who)
		}
	}
	want := in.keep().With(req.Wish.All()...)
	for _, v4 := range bothFamilies {
		_, has := req.Subnet.CIDR(v4)
		if has && !want.Of(v4).IsValid() && req.Subnet.Available(v4) == 0 {
			return kubeovn.Addrs{}, full(req, v4)
		}
	}
	return want, nil
}

// keep returns those addresses that the Service had and can have again.
func (in input) keep() kubeovn.Addrs {
	var out kubeovn.Addrs
	if in.wait.nudges >= stickyNudges {
		return out
	}
	for _, addr := range in.request.Sticky.All() {
		if usable(in.request, addr) == nil && in.holder(addr) == "" {
			out = out.With(addr)
		}
	}
	return out
}

// forRequest returns the wait if it is for this request, else a new one.
func (w wait) forRequest(request string) wait {
	if w.request != request {
		return wait{request: request}
	}
	return w
}

// on returns the wait for one Vip: asked starts when the Vip is first seen,
// unless it is the one that was just made.
func (w wait) on(vip types.UID, now time.Time) wait {
	if w.since.IsZero() {
		w.since = now
	}
	if w.asked.IsZero() || w.vip != "" && w.vip != vip {
		w.asked = now
	}
	w.vip = vip
	return w
}

// nudgeGap is how long a Vip waits for its next nudge.
func (w wait) nudgeGap() time.Duration {
	gap := firstNudge
	for range w.nudges {
		gap = min(2*gap, lastNudge)
	}
	return gap
}

// keepWaiting answers while Kube-OVN has not: quietly at first, then with the
// reason why nothing comes; and when to look again.
func (in input) keepWaiting(silence *problem) action {
	a := action{result: Result{State: Pending}, wait: in.wait}
	quiet := in.wait.since
	if in.lastGrant.After(quiet) {
		quiet = in.lastGrant
	}
	switch told := quiet.Add(patience); {
	case in.wait.nudges > 0:
		a.result = notGranted(in.request).result()
		a.result.RetryAfter = silentRetry
	case in.now.Before(told):
		a.result.RetryAfter = told.Sub(in.now)
	default:
		a.result = silence.result()
		a.result.RetryAfter = silentRetry
	}
	if left := in.wait.nudgeGap() - in.now.Sub(in.wait.asked); left > 0 {
		a.result.RetryAfter = min(a.result.RetryAfter, left)
	}
	return a
}

// holderOf says in words who holds an address, given the Vips and IPs that
// have it; own is the name of the Vip that asks.
func holderOf(own string, vips []*kubeovn.Vip, ips []*kubeovn.IP) string {
	for _, v := range vips {
		if v.Name == own {
			continue
		}
		if owner, ours := kubeovn.OwnerOf(v); ours {
			return "Service " + owner.Key()
		}
		return "Vip " + v.Name
	}
	for _, ip := range ips {
		switch {
		case ip.Name == own:
		case ip.PodName != "" && ip.PodNamespace != "":
			return "Pod " + ip.PodNamespace + "/" + ip.PodName
		case strings.HasPrefix(ip.Name, "node-"):
			return "node " + strings.TrimPrefix(ip.Name, "node-")
		default:
			return "IP " + ip.Name
		}
	}
	return ""
}
