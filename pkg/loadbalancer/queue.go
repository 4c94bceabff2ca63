package loadbalancer

import (
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/kubeovn/kube-ovn-ccm/pkg/ipam"
	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
)

// Who waits for an address of a Subnet or an IPPool gets it in the order of
// creation. There is no list of those who wait: each Service counts, when it is
// about to ask, those before it that have none, and asks only if there are more
// free addresses than they can take.

// line is where a Service queues for an address.
type line struct{ provider, subnet, pool string }

// lineOf reads where a Service queues. Two Services that are served have the
// same line only if their addresses come from the same place.
func (b *Balancer) lineOf(svc *corev1.Service) (line, bool) {
	a, problem := attachmentOf(svc, b.Config)
	if problem != nil {
		return line{}, false
	}
	subnet, problem := chooseSubnet(svc, a.Provider(), b.KubeOVN)
	if problem != nil {
		return line{}, false
	}
	pool := strings.TrimSpace(svc.Annotations[kubeovn.AnnotationKey(a.Provider(), kubeovn.FieldIPPool)])
	if pool == "" {
		pool = subnet.Pool
	}
	return line{a.Provider(), subnet.Name, pool}, true
}

// ahead counts the Services that are before one in its line, up to so many.
func (b *Balancer) ahead(svc *corev1.Service, most int) int {
	own, ok := b.lineOf(svc)
	all, err := b.Services.List(labels.Everything())
	if !ok || err != nil {
		return 0 // cannot be: it was just served from there, and the lister reads memory
	}
	n := 0
	for _, other := range all {
		if !elder(other, svc) || !wanted(other, b.Config) || !b.waits(other, own) {
			continue
		}
		if n++; n >= most {
			break
		}
	}
	return n
}

// elder reports whether one Service goes before another.
func elder(a, b *corev1.Service) bool {
	if !a.CreationTimestamp.Equal(&b.CreationTimestamp) {
		return a.CreationTimestamp.Before(&b.CreationTimestamp)
	}
	return ownerOf(a).Key() < ownerOf(b).Key()
}

// waits reports whether a Service stands in a line: it has no address, and
// nothing but the lack of one keeps it from asking.
func (b *Balancer) waits(svc *corev1.Service, at line) bool {
	vip, asked := b.KubeOVN.Vip(ipam.VipName(svc.UID))
	if asked && (vip.Granted() || at.pool != "") { // what is asked of a pool is not free any more
		return false
	}
	if !b.journal.lacksNothingBut(ownerOf(svc), ipam.ReasonSubnetFull, ipam.ReasonIPPoolFull, ipam.ReasonKubeOVNNotResponding, ipam.ReasonAddressNotGranted, ipam.ReasonAddressInUse) {
		return false
	}
	if own, ok := b.lineOf(svc); !ok || own != at {
		return false
	}
	// Who waits for one address that somebody holds leaves the others to others.
	w, problem := wishOf(svc, at.provider, kubeovn.Families{V4: true, V6: true})
	return problem == nil && !slices.ContainsFunc(w.addrs.All(), func(a netip.Addr) bool { return b.holder(svc, at.subnet, a) != "" })
}

// holder says who but the Service holds an address of a Subnet.
func (b *Balancer) holder(svc *corev1.Service, subnet string, addr netip.Addr) string {
	return ipam.HolderOf(ipam.VipName(svc.UID), b.KubeOVN.VipsAt(subnet, addr), b.KubeOVN.IPsAt(subnet, addr))
}
