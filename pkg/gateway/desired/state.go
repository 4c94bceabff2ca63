// Package desired decides, without touching anything, what the kernel of a
// gateway Pod should hold for a document, and by which steps it gets there.
package desired

import (
	"fmt"
	"net/netip"

	"github.com/kubeovn/kube-ovn-ccm/pkg/gateway/nft"
	"github.com/kubeovn/kube-ovn-ccm/pkg/gateway/spec"
)

// Table is the routing table that the guide shows for traffic between the
// attachment and the cluster.
const Table = 100

// EndpointTable is the routing table of what was translated to an endpoint. It
// leads to the cluster whatever the endpoint's address is: a node's address may
// be inside the attachment's Subnet, which Table has on the attachment.
const EndpointTable = 101

// EndpointMark is the mark of packets on their way to an endpoint, and of the
// flows to endpoints.
const EndpointMark = 0x4c42

// Priorities of the policy rules. The guide shows the two iif rules. The
// third keeps what the gateway itself answers from the load balancer's
// address (ping, ICMP errors) on the attachment, also towards clients behind
// a router. The fourth, with TargetEndpoints only, looks up EndpointTable.
const (
	PriorityMarked         = 32762
	PriorityFromAddress    = 32763
	PriorityFromCluster    = 32764
	PriorityFromAttachment = 32765
)

// Link is what is known of one interface.
type Link struct {
	// Name is the interface's name in the Pod.
	Name string
	// Up says whether it is administratively up.
	Up bool
	// Carrier says whether it can carry frames now.
	Carrier bool
}

// Facts are the properties of the Pod that the document does not know.
type Facts struct {
	// Cluster is the Pod's primary interface, eth0.
	Cluster Link
	// Attachment is the interface of the document, net1.
	Attachment Link
	// ClusterGateway4 and ClusterGateway6 are the next hops of the main
	// table's default routes on the cluster's interface; the zero Addr if
	// there is none.
	ClusterGateway4, ClusterGateway6 netip.Addr
	// Lingering says that there are connections to endpoints from before the
	// target was the ClusterIP. They go on by what they need and no more.
	Lingering bool
	// FormerClusterIP says that there are, or were a moment ago, connections to
	// the cluster IP from before the target was the endpoints.
	FormerClusterIP bool
}

// clusterGateway is the next hop of one IP family; the error says that there
// is none.
func (f Facts) clusterGateway(v6 bool) (netip.Addr, error) {
	gateway, family := f.ClusterGateway4, "IPv4"
	if v6 {
		gateway, family = f.ClusterGateway6, "IPv6"
	}
	if !gateway.IsValid() {
		return gateway, fmt.Errorf("the Pod has no default route on %s for %s, so there is no way to the cluster's Services", f.Cluster.Name, family)
	}
	return gateway, nil
}

// State is a part of the kernel's state: the part that a gateway owns.
type State struct {
	// Up are the interfaces that are up.
	Up []Up
	// Settings are settings of the kernel, most of them of one interface.
	Settings []Setting
	// Filters are iptables rules, in the order in which they are added.
	Filters []Filter
	// Table is the nftables table; nil for none.
	Table *nft.Table
	// Routes are the routes of Table and EndpointTable.
	Routes []Route
	// Rules are the policy rules that look up these tables.
	Rules []Rule
	// Addresses are the addresses of the attachment's interface.
	Addresses []Address
}

// Up says that an interface is up.
type Up struct{ Link string }

// String names the object as an operator would.
func (u Up) String() string { return fmt.Sprintf("link %s up", u.Link) }

// Setting is one setting of an IP family: net.ipv4.conf.<Link>.<Key>, or
// net.ipv6.
type Setting struct {
	V6 bool
	// Link is the interface, or "all".
	Link  string
	Key   string
	Value int
}

// Name is the setting's name as sysctl(8) knows it.
func (s Setting) Name() string {
	family := "ipv4"
	if s.V6 {
		family = "ipv6"
	}
	return fmt.Sprintf("net.%s.conf.%s.%s", family, s.Link, s.Key)
}

// String is the setting as sysctl(8) would take it.
func (s Setting) String() string { return fmt.Sprintf("%s=%d", s.Name(), s.Value) }

// Filter is one iptables rule.
type Filter struct {
	Table, Chain string
	// Spec is the rule as "iptables -S" prints it, after "-A <chain> ".
	Spec string
}

// String is the rule in the form of iptables-save(8).
func (f Filter) String() string {
	return fmt.Sprintf("iptables -t %s -A %s %s", f.Table, f.Chain, f.Spec)
}

// Route is one route of a routing table.
type Route struct {
	Table int
	To    netip.Prefix
	// Via is the next hop; the zero Addr for destinations on the link.
	Via  netip.Addr
	Link string
	// Metric and Kind are zero for every route of ours; they are here so
	// that others are told from ours. Kind is the kernel's route type.
	Metric, Kind int
}

// String is the route as ip-route(8) would take it.
func (r Route) String() string {
	s := "route " + r.To.String()
	if r.Via.IsValid() {
		s += " via " + r.Via.String()
	}
	return fmt.Sprintf("%s dev %s table %d", s, r.Link, r.Table)
}

// Rule is one policy rule that looks up a routing table.
type Rule struct {
	// V6 says that the rule is for IPv6.
	V6       bool
	Priority int
	// Mark is the packet's mark; 0 for any.
	Mark uint32
	// In is the incoming interface; empty for any.
	In string
	// From is the source; the zero Prefix for any.
	From netip.Prefix
	// Table is the routing table that is looked up.
	Table int
}

// String is the rule as ip-rule(8) would take it.
func (r Rule) String() string {
	s := fmt.Sprintf("rule %d:", r.Priority)
	if r.V6 {
		s = "IPv6 " + s
	}
	if r.From.IsValid() {
		s += " from " + r.From.String()
	}
	if r.In != "" {
		s += " iif " + r.In
	}
	if r.Mark != 0 {
		s += fmt.Sprintf(" fwmark 0x%x", r.Mark)
	}
	return fmt.Sprintf("%s lookup %d", s, r.Table)
}

// Address is an address with the prefix length of its Subnet.
type Address struct {
	Link   string
	Prefix netip.Prefix
	// Unused is false for every address of ours; it is here so that an IPv6
	// address which the kernel holds back, because it still asks whether
	// somebody else has it or found that somebody has, is told from one that
	// serves.
	Unused bool
}

// String is the address as ip-address(8) would take it.
func (a Address) String() string { return fmt.Sprintf("address %s dev %s", a.Prefix, a.Link) }

// Build returns what the kernel should hold for a document. The error says
// which fact is missing.
func Build(d *spec.Document, facts Facts) (State, error) {
	in, out := facts.Attachment.Name, facts.Cluster.Name
	want := State{Up: []Up{{out}, {in}}}
	for _, f := range d.Families {
		address := f.Address.Addr()
		v6 := address.Is6()
		gateway, err := facts.clusterGateway(v6)
		if err != nil {
			return State{}, err
		}
		if v6 {
			want.Settings = append(want.Settings, settings6(in)...)
		} else {
			want.Settings = append(want.Settings, settings4(out, in)...)
		}
		want.Routes = append(want.Routes,
			Route{Table: Table, To: f.Address.Masked(), Link: in},
			Route{Table: Table, To: netip.PrefixFrom(f.ClusterIP, f.ClusterIP.BitLen()), Via: gateway, Link: out},
			Route{Table: Table, To: everything(v6), Via: f.Gateway, Link: in},
		)
		want.Rules = append(want.Rules,
			Rule{V6: v6, Priority: PriorityFromCluster, In: out, Table: Table},
			Rule{V6: v6, Priority: PriorityFromAttachment, In: in, Table: Table},
			Rule{V6: v6, Priority: PriorityFromAddress, From: netip.PrefixFrom(address, address.BitLen()), Table: Table},
		)
		if d.Target == spec.TargetEndpoints || facts.Lingering {
			want.Routes = append(want.Routes, Route{Table: EndpointTable, To: everything(v6), Via: gateway, Link: out})
			want.Rules = append(want.Rules, Rule{V6: v6, Priority: PriorityMarked, Mark: EndpointMark, Table: EndpointTable})
		}
		want.Addresses = append(want.Addresses, Address{Link: in, Prefix: f.Address})
	}
	want.Settings = append(want.Settings, arpSettings(in)...)
	want.Filters = filters(d)
	want.Table = table(d, facts)
	return want, nil
}

// everything is the destination of a default route.
func everything(v6 bool) netip.Prefix {
	if v6 {
		return netip.PrefixFrom(netip.IPv6Unspecified(), 0)
	}
	return netip.PrefixFrom(netip.IPv4Unspecified(), 0)
}
