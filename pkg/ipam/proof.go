package ipam

import (
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
)

// Between the grant of an IPv6 address and its guard kube-ovn-controller may
// have restarted and forgotten it. Nothing in the Vip tells: the guard is written
// all the same, and the address is somebody else's for Kube-OVN. So a Service gets
// such an address only when it is proven that nothing came in between: the guard
// was written right after the grant, sooner than kube-ovn-controller can come
// back; or else, the Subnet's status has counted the address for longer than
// Kube-OVN takes to correct it. A Service that has the address already keeps it
// meanwhile.

// guardTime is how soon after the grant the guard must be there. A
// kube-ovn-controller that ends and starts again, or hands over to another
// replica, takes longer than that until it reads the Vips.
const guardTime = time.Second

// proven reports whether the IPAM has the IPv6 address of the Service's Vip, if
// that matters.
func (in input) proven() bool {
	if in.sure || in.vip == nil || !in.vip.Addrs().V6.IsValid() || !in.request.Needs.V6 && !in.request.Wish.V6.IsValid() {
		return true
	}
	return !guarded(in.vip) && in.inTime(in.now)
}

// inTime reports whether a guard that is written by now comes soon enough.
func (in input) inTime(now time.Time) bool {
	return !in.granted.IsZero() && now.Sub(in.granted) <= guardTime
}

// decideUnproven: the Vip holds what it should, and the Subnet's status says so,
// too, but that may be from before a restart of Kube-OVN.
func decideUnproven(in input) action {
	in.wait = in.wait.on(in.vip.UID, in.now)
	left := lostPatience - in.now.Sub(in.wait.since)
	if !guarded(in.vip) {
		left = max(left, staleRetry)
	}
	if left > 0 {
		return action{result: Result{State: Pending, RetryAfter: left}, wait: in.wait}
	}
	return action{result: Result{State: Granted}}
}

// uses reports whether a Service already has all that its Vip holds.
func uses(req Request, vip *kubeovn.Vip) bool {
	return vip != nil && !vip.Addrs().IsZero() && req.Sticky.With(vip.Addrs().All()...) == req.Sticky
}

// isSure reports whether the addresses of a Vip have been proven before.
func (r *Reserver) isSure(service, vip types.UID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.had[service].sure == vip && vip != ""
}

// nowSure notes that the addresses of a Vip are proven.
func (r *Reserver) nowSure(service, vip types.UID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := r.had[service]
	m.sure = vip
	r.had[service] = m
}
