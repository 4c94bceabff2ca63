package desired

import (
	"net/netip"

	"github.com/kubeovn/kube-ovn-ccm/pkg/gateway/spec"
)

// Flow is one entry of the kernel's connection tracking.
type Flow struct {
	Protocol spec.Protocol
	// To is where the client sent its first packet.
	To netip.AddrPort
	// Answers is from where the answers come; To if nothing was translated.
	Answers netip.AddrPort
}

// Stale returns the test for entries that contradict the document. Such an
// entry would keep its flow on the old way as long as packets come, which for
// UDP may be for ever:
//   - a served port whose flow was not translated (it came before the rule) or
//     was translated to somewhere else (the ClusterIP changed);
//   - a port that is served no longer whose flow is still translated.
func Stale(d *spec.Document) func(Flow) bool {
	type key struct {
		protocol spec.Protocol
		to       netip.AddrPort
	}
	served := map[key]netip.AddrPort{}
	addresses := map[netip.Addr]bool{}
	for _, f := range d.Families {
		addresses[f.Address.Addr()] = true
		for _, p := range d.Ports {
			served[key{p.Protocol, netip.AddrPortFrom(f.Address.Addr(), p.Port)}] = netip.AddrPortFrom(f.ClusterIP, p.Port)
		}
	}
	return func(f Flow) bool {
		if !addresses[f.To.Addr()] {
			return false
		}
		if target, ok := served[key{f.Protocol, f.To}]; ok {
			return f.Answers != target
		}
		return f.Answers != f.To
	}
}
