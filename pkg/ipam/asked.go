package ipam

import (
	"net/netip"
	"strings"

	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
)

// asked describes what a Vip asks for, as its annotation records it: for each
// family of the Subnet an address, or the family's name where any will do. The
// spec does not tell any more once Kube-OVN has written there what it granted.
func asked(s *kubeovn.Subnet, want kubeovn.Addrs) string {
	var out []string
	for _, v4 := range bothFamilies {
		_, has := s.CIDR(v4)
		switch addr := want.Of(v4); {
		case addr.IsValid():
			out = append(out, addr.String())
		case has:
			out = append(out, kubeovn.FamilyName(v4))
		}
	}
	return strings.Join(out, ",")
}

// obeyed reports whether what is held is what was asked for. A record that
// says nothing understandable is obeyed.
func obeyed(asked string, held kubeovn.Addrs) bool {
	for part := range strings.SplitSeq(asked, ",") {
		addr, err := netip.ParseAddr(part)
		switch {
		case err == nil && held.Of(addr.Is4()) != addr:
			return false
		case part == kubeovn.FamilyName(true) && !held.V4.IsValid():
			return false
		case part == kubeovn.FamilyName(false) && !held.V6.IsValid():
			return false
		}
	}
	return true
}
