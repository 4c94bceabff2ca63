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
	want   netip.Addr // for opCreate; zero: Kube-OVN picks
	why    string     // for opDelete, for the log
	result Result
	wait   wait
}

// decide is the whole state machine: what to do next for a request.
func decide(in input) action {
	in.request.Wish = in.request.Wish.Unmap()
	in.request.Sticky = in.request.Sticky.Unmap()
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
	if held, err := netip.ParseAddr(in.vip.V4); err == nil && held.Is4() {
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

// decidePending: there is a Vip that holds no address.
func decidePending(in input) action {
	want, p := choose(in)
	if p != nil {
		// Once the address is free, a new Vip gets it at once; this one would
		// get it when Kube-OVN tries it again.
		return action{op: opDelete, why: p.reason, result: p.result()}
	}
	asks := in.vip.WantV4 == want.String() || in.vip.WantV4 == "" && !in.request.Wish.IsValid()
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

// decideHeld: there is a Vip that holds an address.
func decideHeld(in input, held netip.Addr) action {
	req := in.request
	p := usable(req, held)
	mine := in.vip.Subnet == req.Subnet.Name && (!req.Wish.IsValid() || req.Wish == held)
	var a action
	switch {
	case mine && p == nil:
		a.result.State = Granted
	case mine && req.Wish.IsValid():
		a.result = p.result()
	default:
		if _, p := choose(in); p != nil {
			a.result = p.result()
		} else {
			a.result = Result{State: Pending, MustMove: true}
		}
	}
	a.result.V4, a.result.MAC = held, in.vip.MAC
	return a
}

// choose returns the address to ask for, zero for any, or why none can be had.
func choose(in input) (netip.Addr, *problem) {
	req := in.request
	if _, ok := req.Subnet.CIDR(true); !ok {
		return netip.Addr{}, noIPv4(req)
	}
	if req.Subnet.DeletionTimestamp != nil {
		return netip.Addr{}, terminating(req)
	}
	if req.Wish.IsValid() {
		if p := usable(req, req.Wish); p != nil {
			return netip.Addr{}, p
		}
		if who := in.holder(req.Wish); who != "" {
			return netip.Addr{}, inUse(req, who)
		}
		return req.Wish, nil
	}
	if req.Sticky.IsValid() && in.wait.nudges < stickyNudges &&
		usable(req, req.Sticky) == nil && in.holder(req.Sticky) == "" {
		return req.Sticky, nil
	}
	if req.Subnet.V4Available == 0 {
		return netip.Addr{}, full(req)
	}
	return netip.Addr{}, nil
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
