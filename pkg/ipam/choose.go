package ipam

import (
	"strings"

	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
)

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
