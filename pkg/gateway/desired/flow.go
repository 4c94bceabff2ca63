package desired

import (
	"net/netip"

	"github.com/kubeovn/kube-ovn-ccm/pkg/gateway/spec"
)

// Flow is one entry of the kernel's connection tracking.
type Flow struct {
	Protocol spec.Protocol
	// Client is who sent the first packet.
	Client netip.Addr
	// To is where the client sent it.
	To netip.AddrPort
	// Answers is from where the answers come; To if nothing was translated.
	Answers netip.AddrPort
	// AnswersTo is to whom they come: the Client if its address was kept.
	AnswersTo netip.Addr
	// Marked says that target Endpoints translated the flow.
	Marked bool
}

// translated tells whether the flow goes somewhere else than the client meant.
func (f Flow) translated() bool { return f.Answers != f.To }

// Lingers tells whether the flow is a connection to an endpoint that can go on
// when the target is the ClusterIP: its answers come without the cluster's help.
func (f Flow) Lingers() bool {
	return f.Marked && f.Protocol != spec.UDP && f.translated() && f.AnswersTo != f.Client
}

// Stale returns the test for entries that contradict the document. Such an
// entry would keep its flow on the old way as long as packets come, which for
// UDP may be for ever:
//   - a client that is not let in any more: its backend would go on sending;
//   - a served port whose flow was not translated (it came before the rule) or
//     was translated to somewhere else;
//   - a port that is served no longer whose flow is still translated.
//
// What has a connection is left where it is as long as somebody is there.
func Stale(d *spec.Document) func(Flow) bool {
	type key struct {
		protocol spec.Protocol
		to       netip.AddrPort
	}
	served := map[key]func(Flow) bool{}
	addresses := map[netip.Addr]bool{}
	for _, f := range d.Families {
		address := f.Address.Addr()
		addresses[address] = true
		for _, p := range d.Ports {
			clusterIP := netip.AddrPortFrom(f.ClusterIP, p.Port)
			test := staleAtClusterIP(p, clusterIP)
			if d.Target == spec.TargetEndpoints {
				test = staleAtEndpoints(p, clusterIP)
			}
			served[key{p.Protocol, netip.AddrPortFrom(address, p.Port)}] = test
		}
	}
	return func(f Flow) bool {
		if !addresses[f.To.Addr()] {
			return false
		}
		if !letIn(d.SourceRanges, f.Client) {
			return true
		}
		if test, ok := served[key{f.Protocol, f.To}]; ok {
			return test(f)
		}
		return f.translated()
	}
}

func letIn(ranges []netip.Prefix, client netip.Addr) bool {
	for _, r := range ranges {
		if r.Contains(client) {
			return true
		}
	}
	return len(ranges) == 0
}

func staleAtClusterIP(p spec.Port, clusterIP netip.AddrPort) func(Flow) bool {
	return func(f Flow) bool {
		// The stack refuses what is new; what there is may still be served by
		// a Pod that terminates.
		if p.Refuse && !f.translated() {
			return false
		}
		return f.Answers != clusterIP && !f.Lingers()
	}
}

func staleAtEndpoints(p spec.Port, clusterIP netip.AddrPort) func(Flow) bool {
	keepClient := map[netip.AddrPort]bool{}
	for _, e := range p.Endpoints {
		keepClient[e.Address] = e.KeepClient
	}
	// Connections stay with who has them, also with the cluster IP, where the
	// other target put them.
	staying := map[netip.AddrPort]bool{clusterIP: true}
	for _, e := range p.Endpoints {
		staying[e.Address] = true
	}
	for _, a := range p.Draining {
		staying[a] = true
	}
	return func(f Flow) bool {
		if p.Protocol != spec.UDP {
			return !staying[f.Answers]
		}
		keep, ok := keepClient[f.Answers]
		return !ok || keep != (f.AnswersTo == f.Client)
	}
}
