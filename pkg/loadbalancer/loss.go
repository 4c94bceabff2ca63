package loadbalancer

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
)

// loss says which addresses a Service has lost that must move to the granted
// ones though nobody asked it to: to whom, and what it has instead. Nil if the
// Service itself has asked for others.
func loss(w *world, c choice, granted kubeovn.Addrs) *Problem {
	var lost, holders []string
	had := w.sticky(c)
	for _, addr := range had.All() {
		is4 := addr.Is4()
		if now := granted.Of(is4); now == addr || !now.IsValid() || c.wish.addrs.Of(is4).IsValid() {
			continue
		}
		lost = append(lost, addr.String())
		if who := w.holder(c.subnet.Name, addr); who != "" {
			holders = append(holders, fmt.Sprintf("%s is held by %s", addr, who))
		} else { // whom Kube-OVN has in mind stands in none of its objects
			holders = append(holders, fmt.Sprintf("Kube-OVN does not grant %s any more, see its log", addr))
		}
	}
	if len(lost) == 0 {
		return nil
	}
	return problemf("AddressLost", "the Service has lost %s of Subnet %s and has %s now: tell its clients, or ask for certain addresses by annotation %s",
		strings.Join(lost, " and "), c.subnet.Name, granted, kubeovn.AnnotationKey(c.attachment.Provider(), kubeovn.FieldIPAddress)).
		withDetail(strings.Join(holders, ", ")).lasting()
}

// holderIn says who else holds an address of a Subnet, in words.
type holderIn func(subnet string, addr netip.Addr) string
