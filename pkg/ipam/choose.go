package ipam

import (
	"net/netip"
	"strings"

	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
)

// choose returns the addresses to ask for, none where any will do, or why
// there is nothing to be had. What is wished goes before what the Service has,
// that before what a Service of its name had, and that before any other.
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
		if !inPool(req, wish) {
			return kubeovn.Addrs{}, outsidePool(req, wish)
		}
		if who := in.holder(wish); who != "" {
			return kubeovn.Addrs{}, inUse(req, wish, who)
		}
	}
	want := in.keep().With(req.Wish.All()...)
	for _, v4 := range bothFamilies {
		if _, has := req.Subnet.CIDR(v4); !has || want.Of(v4).IsValid() {
			continue
		}
		addr, p := in.any(v4)
		if p != nil {
			return kubeovn.Addrs{}, p
		}
		want = want.With(addr)
	}
	return want, nil
}

// keep returns those addresses that the Service had and can have again, or else
// that a Service of its name had.
func (in input) keep() kubeovn.Addrs {
	var out kubeovn.Addrs
	req := in.request
	if in.wait.nudges == 0 {
		for _, addr := range req.Previous.All() {
			if in.free(addr) && in.pickable(addr) && (req.Pool == nil || req.Pool.IPs.Contains(addr)) {
				out = out.With(addr)
			}
		}
	}
	if in.wait.nudges >= stickyNudges {
		return out
	}
	for _, addr := range req.Sticky.All() {
		if usable(req, addr) == nil && in.holder(addr) == "" && inPool(req, addr) {
			out = out.With(addr)
		}
	}
	return out
}

// inPool reports whether an address is in the IPPool that the Service itself
// names, if it names one.
func inPool(req Request, addr netip.Addr) bool {
	return req.Pool == nil || req.PoolField == "" || len(req.Pool.IPs.Of(addr.Is4())) == 0 || req.Pool.IPs.Contains(addr)
}

// HolderOf says in words who holds an address, given the Vips and IPs that
// have it; empty: nobody that is known. own is the name of the Vip that asks.
func HolderOf(own string, vips []*kubeovn.Vip, ips []*kubeovn.IP) string {
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
