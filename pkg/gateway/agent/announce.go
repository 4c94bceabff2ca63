package agent

import (
	"context"
	"time"

	"k8s.io/klog/v2"

	"github.com/kubeovn/kube-ovn-ccm/pkg/gateway/desired"
)

// burst are the times of the announcements after an address was taken: more
// than one, because a switch may lose the first. After that they are rare,
// for hosts that were away.
var burst = []time.Duration{0, 200 * time.Millisecond, 400 * time.Millisecond}

const rarely = time.Minute

// announcer knows when the next announcement is due.
type announcer struct {
	start time.Time // of the burst; zero: at the next look
	sent  int       // announcements since start
	next  time.Time // zero: now
}

// restart begins a burst with the next announcement.
func (n *announcer) restart() { *n = announcer{} }

// due tells whether to announce now and, if so, counts it.
func (n *announcer) due(now time.Time) bool {
	if now.Before(n.next) {
		return false
	}
	if n.sent == 0 {
		n.start = now
	}
	n.sent++
	if n.sent < len(burst) {
		n.next = n.start.Add(burst[n.sent])
	} else {
		n.next = now.Add(rarely)
	}
	return true
}

// announceHeld announces the addresses that are here if it is time to. That a
// frame could not be sent is no reason to stop serving: who knows the way goes
// on.
func (a *Agent) announceHeld(ctx context.Context, now time.Time) {
	if ctx.Err() != nil || len(a.held) == 0 || !a.announce.due(now) {
		return
	}
	for _, address := range a.held {
		if err := a.announceOne(address); err != nil {
			klog.FromContext(ctx).Error(err, "Could not announce an address")
		}
	}
}

func (a *Agent) announceOne(address desired.Address) error {
	link, err := a.dial(address.Link, address.Prefix.Addr())
	if err != nil {
		return err
	}
	defer link.Close()
	return link.Announce()
}
