package ipam

import (
	"net/netip"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
)

// asks remembers what has just been asked for, until the cache shows the Vips.
type asks map[types.UID]ask

type ask struct {
	subnet string
	addrs  kubeovn.Addrs
	at     time.Time
}

// askMemory is how long the cache may be behind.
const askMemory = 5 * time.Second

// note remembers what a Service asks for and forgets what is old.
func (a asks) note(req Request, want kubeovn.Addrs, now time.Time) {
	for uid, one := range a {
		if now.Sub(one.at) > askMemory {
			delete(a, uid)
		}
	}
	a[req.Owner.UID] = ask{subnet: req.Subnet.Name, addrs: want, at: now}
}

// askedByOthers returns what tells whether another Service asks for an address.
func (r *Reserver) askedByOthers(req Request, now time.Time) func(netip.Addr) bool {
	var asked map[netip.Addr]bool
	return func(addr netip.Addr) bool {
		if asked == nil { // most decisions need it not
			asked = r.collectAsked(req, now)
		}
		return asked[addr]
	}
}

func (r *Reserver) collectAsked(req Request, now time.Time) map[netip.Addr]bool {
	asked := map[netip.Addr]bool{}
	for uid, one := range r.asks {
		if uid != req.Owner.UID && one.subnet == req.Subnet.Name && now.Sub(one.at) <= askMemory {
			for _, addr := range one.addrs.All() {
				asked[addr] = true
			}
		}
	}
	for _, vip := range r.cache.VipsOf(req.Subnet.Name) {
		if vip.Name == VipName(req.Owner.UID) {
			continue
		}
		for _, text := range []string{vip.WantV4, vip.WantV6} {
			if addr, err := netip.ParseAddr(text); err == nil {
				asked[addr.Unmap()] = true
			}
		}
	}
	return asked
}
