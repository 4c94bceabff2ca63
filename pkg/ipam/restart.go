package ipam

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
)

// What kube-ovn-controller books when it starts it finds in this order: Pods,
// then Vips in any order. Whoever is of a Subnet of both families and has only
// its IPv4 address written down, a Vip without our guard above all, is given the
// lowest IPv6 address that is free at that moment (ipam.go,
// checkAndAppendIpsForDual): it may be one that a guarded Vip is about to book,
// which then gets neither of its addresses back.
//
// Nothing of ours can come before. An IPPool of ours would keep such addresses
// away, but to make or change one has Kube-OVN hand out what spec.excludeIps keeps
// back once it was in use, and an IPPool that goes takes its addresses out of
// anybody's reach until the next restart (subnet.go, AddOrUpdateIPPool,
// RemoveIPPool; seen on v1.16.2). The Subnet and others' Vips are not ours. So a
// Service that has such an address is told, with the remedy.

// Restart is what matters to the IPv6 addresses of a Subnet when
// kube-ovn-controller restarts.
type Restart struct {
	// Subnet is the Subnet; Pools, Vips and IPs are all that it has.
	Subnet *kubeovn.Subnet
	Pools  []*kubeovn.IPPool
	Vips   []*kubeovn.Vip
	IPs    []*kubeovn.IP
}

// Takers names those to whom Kube-OVN gives an IPv6 address that they did not
// have: others' Vips, and Pods that are older than the Subnet's IPv6 range.
func (r Restart) Takers() []string {
	_, v4 := r.Subnet.CIDR(true)
	_, v6 := r.Subnet.CIDR(false)
	if !v4 || !v6 {
		return nil // there is nothing to add
	}
	var out []string
	for _, vip := range r.Vips {
		// Ours are guarded, or will be in a moment.
		if _, ours := kubeovn.OwnerOf(vip); !ours && vip.DeletionTimestamp == nil && vip.Addrs().V4.IsValid() && !guarded(vip) {
			out = append(out, "Vip "+vip.Name)
		}
	}
	for _, ip := range r.IPs {
		if ip.V4 != "" && ip.V6 == "" {
			out = append(out, HolderOf("", nil, []*kubeovn.IP{ip}))
		}
	}
	return out
}

// Takes reports whether one of so many takers may get an address: it may if
// fewer addresses below it are free than there are takers.
func (r Restart) Takes(addr netip.Addr, takers int) bool {
	cidr, ok := r.Subnet.CIDR(false)
	if !ok || !cidr.Contains(addr) || takers == 0 {
		return false
	}
	kept := kubeovn.ParseRanges(r.Subnet.ExcludeIPs).Of(false)
	for _, pool := range r.Pools {
		kept = append(kept, pool.IPs.Of(false)...)
	}
	if gateway, ok := r.Subnet.Gateway(false); ok {
		kept = append(kept, kubeovn.Range{First: gateway, Last: gateway})
	}
	if kept.Contains(addr) {
		return false
	}
	booked := r.booked()
	for a := cidr.Addr().Next(); a.Less(addr); a = a.Next() {
		switch i := slices.IndexFunc(kept, func(one kubeovn.Range) bool { return one.Contains(a) }); {
		case i >= 0:
			a = kept[i].Last
		case !booked[a]:
			if takers--; takers == 0 {
				return false
			}
		}
	}
	return true
}

// booked are the IPv6 addresses that Kube-OVN finds written down, and so may
// have booked before it comes to the takers.
func (r Restart) booked() map[netip.Addr]bool {
	out := map[netip.Addr]bool{}
	for _, ip := range r.IPs {
		if a, err := netip.ParseAddr(ip.V6); err == nil {
			out[a] = true
		}
	}
	for _, vip := range r.Vips {
		if restored, err := kubeovn.ParseAddrs(vip.Restored); err == nil && restored.V6.IsValid() {
			out[restored.V6] = true
		}
	}
	return out
}

// Risk says that a restart of kube-ovn-controller may take the addresses of a
// Service. It is zero if it cannot.
type Risk struct {
	// Message is the same as long as the cause is; Detail names those to whom an
	// address may go.
	Message, Detail string
}

// nearBy is how far from the beginning of a range an address may be for anybody
// to come to it who takes the lowest one.
const nearBy = 1 << 16

// WithinReach reports whether somebody who takes the lowest free IPv6 address of
// a Subnet may ever come to an address.
func WithinReach(subnet *kubeovn.Subnet, addr netip.Addr) bool {
	cidr, ok := subnet.CIDR(false)
	return ok && cidr.Contains(addr) && !plus(cidr.Addr(), nearBy).Less(addr)
}

// risk is the risk for what a Vip holds.
func (r *Reserver) risk(req Request, vip *kubeovn.Vip) Risk {
	addr := vip.Addrs().V6
	if !WithinReach(req.Subnet, addr) {
		return Risk{}
	}
	cidr, _ := req.Subnet.CIDR(false)
	restart := r.restart(req)
	takers := restart.Takers()
	if !restart.Takes(addr, len(takers)) {
		return Risk{}
	}
	return Risk{
		Message: fmt.Sprintf("a restart of kube-ovn-controller may give %s to somebody else, and then the Service loses all of its addresses: Kube-OVN remembers only the IPv4 address of some that have one of each family in Subnet %s, and gives them the lowest free IPv6 addresses; add %s to spec.excludeIps of the Subnet, which keeps it for who asks for it, or use one of the upper half of %s",
			addr, req.Subnet.Name, addr, cidr),
		Detail: strings.Join(takers[:min(len(takers), toldHolders)], ", "),
	}
}

func (r *Reserver) restart(req Request) Restart {
	name := req.Subnet.Name
	return Restart{Subnet: req.Subnet, Pools: r.cache.IPPoolsOf(name), Vips: r.cache.VipsOf(name), IPs: r.cache.IPsOf(name)}
}

// suspects says who may have the IPv6 address that the Service asks for, if
// Kube-OVN has given it to somebody at a restart: those whose own it has forgotten.
func (r *Reserver) suspects(req Request) string {
	wish := req.Wish.V6
	if !wish.IsValid() || !req.Subnet.Using(false).Contains(wish) || r.holder(req, wish) != "" {
		return ""
	}
	var out []string
	for _, vip := range r.cache.VipsOf(req.Subnet.Name) {
		if _, ours := kubeovn.OwnerOf(vip); !ours && vip.Lost(req.Subnet).V6.IsValid() {
			out = append(out, "Vip "+vip.Name)
		}
	}
	if len(out) == 0 {
		return ""
	}
	return fmt.Sprintf("Kube-OVN counts %s as used, and has forgotten the IPv6 address of %s at a restart: delete it and make it anew if that has got it", wish, strings.Join(out, ", "))
}
