package ipam

import (
	"net/netip"
	"slices"

	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
)

// ahead reports whether nothing but the Service's own predecessor stands
// between the Service and the addresses that it asks for: the one case in which
// a gateway is made before the addresses are granted. They have one holder in
// Kube-OVN's IPAM all the same, and it is the same Service's.
func (in input) ahead(p *problem) bool {
	if p.reason != ReasonAddressInUse || in.request.Predecessor == "" {
		return false
	}
	return !slices.ContainsFunc(in.request.Wish.All(), func(addr netip.Addr) bool {
		return in.holder(addr) != "" && !in.predecessor(addr)
	})
}

// predecessor reports whether the Pod that is about to hand over holds an
// address, and nobody else.
func (r *Reserver) predecessor(req Request, addr netip.Addr) bool {
	ips := r.cache.IPsAt(req.Subnet.Name, addr)
	return heldByPod(req.Owner.Namespace, req.Predecessor, r.cache.VipsAt(req.Subnet.Name, addr), ips)
}

// heldByPod reports whether one Pod holds an address, and nobody else, given
// the Vips and IPs that have it.
func heldByPod(namespace, pod string, vips []*kubeovn.Vip, ips []*kubeovn.IP) bool {
	return pod != "" && len(vips) == 0 && len(ips) == 1 && ips[0].PodNamespace == namespace && ips[0].PodName == pod
}
