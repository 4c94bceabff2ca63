// Package nft describes the nftables table of a gateway: as much of nftables
// as a gateway needs, as plain values that can be printed, compared and tested
// without a kernel.
package nft

import (
	"cmp"
	"fmt"
	"net/netip"
	"strings"

	"github.com/kubeovn/kube-ovn-ccm/pkg/gateway/spec"
)

// TableName is the name of the gateway's table; its family is inet. What is
// in it belongs to the gateway; what is in other tables does not.
const TableName = "kube-ovn-lb"

// Family is an IP family as nftables spells it.
type Family string

// The families of addresses.
const (
	IPv4 Family = "ip"
	IPv6 Family = "ip6"
)

// FamilyOf returns the family of an address.
func FamilyOf(a netip.Addr) Family {
	if a.Is4() {
		return IPv4
	}
	return IPv6
}

// Table is a table: its sets and chains, each with a name of its own.
type Table struct {
	Sets   []Set
	Chains []Chain
	// Dormant says that somebody has switched the table off.
	Dormant bool
}

// Hook says where packets enter a chain.
type Hook struct {
	// Type is "filter" or "nat".
	Type string
	// Name is "prerouting", "input", "forward" or "postrouting".
	Name string
	// Priority orders the chains of a hook.
	Priority int32
}

// Chain is a list of rules. One without a hook is entered from other chains.
type Chain struct {
	Name  string
	Hook  Hook
	Rules []Rule
}

// SetKind says what a set holds.
type SetKind string

// The kinds of sets. The elements of Clients come from packets and from
// nowhere else.
const (
	Verdicts SetKind = "verdicts" // (address . protocol . port) : verdict
	Services SetKind = "services" // address . protocol . port
	Ranges   SetKind = "ranges"   // ranges of addresses
	Clients  SetKind = "clients"  // addresses, each for some time
)

// Set is a named set or map of one family.
type Set struct {
	Name   string
	Kind   SetKind
	Family Family
	// Elements are sorted; those of Clients are not told.
	Elements []Element
}

// Element is an element of a set: a Service, with a Verdict if the set is a
// map, or a Range.
type Element struct {
	Service Service
	Verdict Verdict
	Range   Range
}

// Service is an address with a protocol and a port.
type Service struct {
	Protocol spec.Protocol
	Address  netip.AddrPort
}

// Verdict is what becomes of a packet.
type Verdict struct {
	// Goto is the chain that decides; empty: the packet is dropped.
	Goto string
}

// Range is a range of addresses, both ends included.
type Range struct{ First, Last netip.Addr }

// String is the verdict as nft(8) prints it.
func (v Verdict) String() string {
	if v.Goto == "" {
		return "drop"
	}
	return "goto " + v.Goto
}

func (e Element) format(k SetKind) string {
	if k == Ranges {
		return e.Range.First.String() + "-" + e.Range.Last.String()
	}
	s := fmt.Sprintf("%s . %s . %d", e.Service.Address.Addr(), strings.ToLower(string(e.Service.Protocol)), e.Service.Address.Port())
	if k == Verdicts {
		s += " : " + e.Verdict.String()
	}
	return s
}

// Compare orders elements.
func (e Element) Compare(o Element) int {
	return cmp.Or(
		e.Service.Address.Compare(o.Service.Address),
		cmp.Compare(e.Service.Protocol, o.Service.Protocol),
		e.Range.First.Compare(o.Range.First),
	)
}

// String is the set in nftables' language.
func (s Set) String() string {
	keyword, address := "set", "ipv4_addr"
	if s.Family == IPv6 {
		address = "ipv6_addr"
	}
	content := ""
	switch s.Kind {
	case Verdicts:
		keyword, content = "map", "type "+address+" . inet_proto . inet_service : verdict"
	case Services:
		content = "type " + address + " . inet_proto . inet_service"
	case Ranges:
		content = "type " + address + "; flags interval"
	case Clients:
		content = "type " + address + "; flags dynamic,timeout"
	}
	if len(s.Elements) > 0 {
		var all []string
		for _, e := range s.Elements {
			all = append(all, e.format(s.Kind))
		}
		content += "; elements = { " + strings.Join(all, ", ") + " }"
	}
	return fmt.Sprintf("%s %s { %s }", keyword, s.Name, content)
}

// String is the chain in nftables' language, a line for each rule.
func (c Chain) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "chain %s {\n", c.Name)
	if c.Hook != (Hook{}) {
		fmt.Fprintf(&b, "\ttype %s hook %s priority %d; policy accept;\n", c.Hook.Type, c.Hook.Name, c.Hook.Priority)
	}
	for _, r := range c.Rules {
		fmt.Fprintf(&b, "\t%s\n", r)
	}
	return b.String() + "}"
}

// String is the table in nftables' language.
func (t *Table) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "table inet %s {\n", TableName)
	write := func(s fmt.Stringer) {
		for line := range strings.Lines(s.String()) {
			b.WriteString("\t" + strings.TrimSuffix(line, "\n") + "\n")
		}
	}
	for _, s := range t.Sets {
		write(s)
	}
	for _, c := range t.Chains {
		write(c)
	}
	return b.String() + "}"
}

// Equal tells whether two tables are the same, up to the order in which their
// parts are told.
func (t *Table) Equal(o *Table) bool {
	if t == nil || o == nil {
		return t == o
	}
	return Diff(t, o).Empty()
}
