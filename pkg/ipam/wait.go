package ipam

import (
	"time"

	"k8s.io/apimachinery/pkg/types"
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
