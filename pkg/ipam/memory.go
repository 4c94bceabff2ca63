package ipam

import (
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
)

// memory is what a Service's Vip was last seen to hold. While a Service moves,
// its gateway and its status show no address any more, and yet it is to keep
// those that need no change: one that is to get IPv6 keeps its IPv4 address.
// The Vip itself tells until it is gone, so a restart loses nothing but in the
// moment between the end of one Vip and the creation of the next.
type memory struct {
	addrs kubeovn.Addrs
	// moves is set while a release is not the end: another Vip follows.
	moves bool
	// renewed is when the Vip was last made anew for the same addresses.
	renewed time.Time
	// sure is the Vip whose addresses are proven to be in Kube-OVN's IPAM.
	sure types.UID
}

// recall notes what the Vip holds and returns the request with the addresses
// that the Service had among its sticky ones.
func (r *Reserver) recall(req Request, vip *kubeovn.Vip) Request {
	r.mu.Lock()
	defer r.mu.Unlock()
	uid := req.Owner.UID
	if vip != nil && ownedBy(vip, req.Owner) && !vip.Addrs().IsZero() {
		m := r.had[uid]
		m.addrs, m.moves = vip.Addrs(), vip.DeletionTimestamp != nil
		r.had[uid] = m
	}
	req.Sticky = r.had[uid].addrs.With(req.Sticky.All()...)
	return req
}

// renews notes that the Service's Vip has been deleted to ask for the same anew.
func (r *Reserver) renews(uid types.UID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := r.had[uid]
	m.renewed = r.now()
	r.had[uid] = m
}

// renewed returns when the Service's Vip was last made anew.
func (r *Reserver) renewed(uid types.UID) time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.had[uid].renewed
}

// moves notes that the Service's Vip is to be released and made anew.
func (r *Reserver) moves(uid types.UID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := r.had[uid]
	m.moves = true
	r.had[uid] = m
}
