package migrate

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
)

// AnnotationFences on a Subnet names the addresses that were added to its
// spec.excludeIps for the moment in which they change hands: Kube-OVN then
// gives them to nobody who asks for any address.
const AnnotationFences = "kube-ovn.io/lb-svc-fences"

// fences are addresses that were added to excludeIps, and by nobody else.
type fences []string

func parseFences(text string) (f fences) {
	for part := range strings.SplitSeq(text, ",") {
		if part = strings.TrimSpace(part); part != "" {
			f = append(f, part)
		}
	}
	return f
}

func (f fences) String() string { return strings.Join(f, ",") }

// excludes reports whether an address is among a Subnet's excluded ones.
func excludes(s *kubeovn.Subnet, addr netip.Addr) bool {
	if s == nil {
		return false
	}
	return slices.ContainsFunc(s.ExcludeIPs, func(entry string) bool {
		first, last, isRange := strings.Cut(entry, "..")
		if !isRange {
			last = first
		}
		from, err1 := netip.ParseAddr(strings.TrimSpace(first))
		to, err2 := netip.ParseAddr(strings.TrimSpace(last))
		return err1 == nil && err2 == nil && from.Is4() == addr.Is4() && !addr.Less(from) && !to.Less(addr)
	})
}

// fence adds those addresses to a Subnet's excludeIps that are not excluded
// anyway, and notes them. The rest of the list, and of the notes, is other
// people's.
func fence(s *kubeovn.Subnet, noted fences, addrs []netip.Addr) (excludeIPs []string, notes fences) {
	excludeIPs, notes = slices.Clone(s.ExcludeIPs), slices.Clone(noted)
	for _, addr := range addrs {
		if excludes(s, addr) {
			continue
		}
		excludeIPs = append(excludeIPs, addr.String())
		if !slices.Contains(notes, addr.String()) {
			notes = append(notes, addr.String())
		}
	}
	return excludeIPs, notes
}

// unfence takes exactly those addresses out again that were added.
func unfence(s *kubeovn.Subnet, noted fences, addrs []netip.Addr) (excludeIPs []string, notes fences) {
	excludeIPs, notes = slices.Clone(s.ExcludeIPs), slices.Clone(noted)
	for _, addr := range addrs {
		if !slices.Contains(notes, addr.String()) {
			continue
		}
		is := func(entry string) bool { return entry == addr.String() }
		excludeIPs, notes = slices.DeleteFunc(excludeIPs, is), slices.DeleteFunc(notes, is)
	}
	return excludeIPs, notes
}
