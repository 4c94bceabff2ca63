package nft

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/kubeovn/kube-ovn-ccm/pkg/gateway/spec"
)

// Rule does something with the packets that match.
type Rule struct {
	Match Match
	Do    Action
}

// Match is a condition on a packet: all that is set must hold. What concerns
// an address needs the Family.
type Match struct {
	Family Family
	// In and Out are the interfaces.
	In, Out string
	// To is the destination.
	To netip.Addr
	// Protocol is the transport protocol.
	Protocol spec.Protocol
	// From and NotFrom name a set that has, or has not, the source.
	From, NotFrom string
	// NotTo names a set of Services that has not the destination.
	NotTo string
	// Mark is the packet's mark, if Marked.
	Mark   uint32
	Marked bool
	// FlowMark is the mark of the packet's flow; 0 for any.
	FlowMark uint32
	// SYN packets open a TCP connection, from either end.
	SYN bool
	// Invalid packets are those that connection tracking cannot place.
	Invalid bool
	// Original packets go the way of the first packet of their flow.
	Original bool
	// Translated packets are of a flow whose destination was translated.
	Translated bool
}

// String is the condition in nftables' language.
func (m Match) String() string {
	var s []string
	add := func(format string, args ...any) { s = append(s, fmt.Sprintf(format, args...)) }
	if m.In != "" {
		add("iifname %q", m.In)
	}
	if m.Out != "" {
		add("oifname %q", m.Out)
	}
	if m.Family != "" {
		add("meta nfproto %s", map[Family]string{IPv4: "ipv4", IPv6: "ipv6"}[m.Family])
	}
	if m.Protocol != "" && !m.SYN { // "tcp flags" says it
		add("meta l4proto %s", strings.ToLower(string(m.Protocol)))
	}
	if m.Marked {
		add("meta mark 0x%x", m.Mark)
	}
	if m.To.IsValid() {
		add("%s daddr %s", m.Family, m.To)
	}
	if m.From != "" {
		add("%s saddr @%s", m.Family, m.From)
	}
	if m.NotFrom != "" {
		add("%s saddr != @%s", m.Family, m.NotFrom)
	}
	if m.NotTo != "" {
		add("%s daddr . meta l4proto . th dport != @%s", m.Family, m.NotTo)
	}
	if m.FlowMark != 0 {
		add("ct mark 0x%x", m.FlowMark)
	}
	if m.SYN {
		add("tcp flags syn / syn,rst")
	}
	if m.Invalid {
		add("ct state invalid")
	}
	if m.Original {
		add("ct direction original")
	}
	if m.Translated {
		add("ct status dnat")
	}
	return strings.Join(s, " ")
}

// String is the rule in nftables' language.
func (r Rule) String() string { return strings.TrimSpace(r.Match.String() + " " + r.Do.String()) }

// Action is what a rule does; it is one of the types below.
type Action interface{ String() string }

type (
	// Accept lets the packet pass this hook.
	Accept struct{}
	// Drop drops the packet.
	Drop struct{}
	// Goto leaves the rest to a chain.
	Goto struct{ Chain string }
	// Dispatch looks up the destination, a Service, in a map of Verdicts.
	Dispatch struct {
		Family Family
		Map    string
	}
	// Choose marks the packet with a number below Of, which follows from the
	// client's address and, with Port, its port.
	Choose struct {
		Family Family
		Port   bool
		Of     int
	}
	// Remember adds the source to a set of Clients, or renews it there.
	Remember struct {
		Family Family
		Set    string
		For    time.Duration
	}
	// Translate replaces the destination.
	Translate struct{ To netip.AddrPort }
	// Masquerade replaces the source by the address of the outgoing interface,
	// and the port by one from First to Last unless these are 0.
	Masquerade struct{ First, Last uint16 }
	// SetMark marks the packet.
	SetMark struct{ Mark uint32 }
	// MarkFlow marks the flow.
	MarkFlow struct{ Mark uint32 }
	// Reset answers a TCP packet with a reset.
	Reset struct{}
	// Unreachable answers with ICMP's "port unreachable".
	Unreachable struct{}
	// ClampMSS lowers the TCP segment size to what the route can carry.
	ClampMSS struct{}
	// Other is whatever somebody else put there.
	Other struct{}
)

// Seed makes all gateways choose equally: a standby that takes over sends a
// client where its predecessor did. It must never change.
const Seed = 0x6b6f766e

func (Accept) String() string { return "accept" }

func (Drop) String() string { return "drop" }

func (g Goto) String() string { return "goto " + g.Chain }

func (d Dispatch) String() string {
	return fmt.Sprintf("%s daddr . meta l4proto . th dport vmap @%s", d.Family, d.Map)
}

func (c Choose) String() string {
	port := ""
	if c.Port {
		port = " . th sport"
	}
	return fmt.Sprintf("meta mark set jhash %s saddr%s mod %d seed 0x%x", c.Family, port, c.Of, Seed)
}

func (r Remember) String() string {
	return fmt.Sprintf("update @%s { %s saddr timeout %ds }", r.Set, r.Family, int(r.For.Seconds()))
}

func (t Translate) String() string { return fmt.Sprintf("dnat %s to %s", FamilyOf(t.To.Addr()), t.To) }

func (a Masquerade) String() string {
	if a.Last == 0 {
		return "masquerade"
	}
	return fmt.Sprintf("masquerade to :%d-%d", a.First, a.Last)
}

func (m SetMark) String() string { return fmt.Sprintf("meta mark set 0x%x", m.Mark) }

func (m MarkFlow) String() string { return fmt.Sprintf("ct mark set 0x%x", m.Mark) }

func (Reset) String() string { return "reject with tcp reset" }

func (Unreachable) String() string { return "reject with icmpx port-unreachable" }

func (ClampMSS) String() string { return "tcp option maxseg size set rt mtu" }

func (Other) String() string { return "something else" }
