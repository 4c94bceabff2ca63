package desired

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/kubeovn/kube-ovn-ccm/pkg/gateway/nft"
	"github.com/kubeovn/kube-ovn-ccm/pkg/gateway/spec"
)

// The chains in which packets enter the table, in the order in which they pass
// them. Translation, routing and masquerading are where iptables has them.
var (
	hookSources    = nft.Hook{Type: "filter", Name: "prerouting", Priority: -300}
	hookTranslate  = nft.Hook{Type: "nat", Name: "prerouting", Priority: -100}
	hookRoute      = nft.Hook{Type: "filter", Name: "prerouting", Priority: -90}
	hookGuard      = nft.Hook{Type: "filter", Name: "input"}
	hookClamp      = nft.Hook{Type: "filter", Name: "forward", Priority: -150}
	hookForward    = nft.Hook{Type: "filter", Name: "forward"}
	hookMasquerade = nft.Hook{Type: "nat", Name: "postrouting", Priority: 100}
)

// Chains that other chains go to.
const (
	chainOutsiders = "outsiders"
	chainRefuse    = "refuse"
)

// unusualPorts are those that clients rarely connect from. A connection to the
// cluster IP was translated once more by the cluster, which remembers for a
// minute after its end that answers of that Pod to this port of the gateway are
// the cluster IP's. A connection to the Pod itself from the same port would not
// hear them. Masquerading keeps a client's port if it can, and clients use their
// ports again; so for that time they are given others.
var unusualPorts = nft.Masquerade{First: 1024, Last: 32767}

// tableBuilder collects the table of a document.
type tableBuilder struct {
	*spec.Document
	out   string
	ports nft.Masquerade
	table nft.Table
	// The rules of the chains that have some of each family.
	sources, translate, guard, masquerade []nft.Rule
}

// table returns the nftables table of a document; nil if it needs none.
func table(d *spec.Document, facts Facts) *nft.Table {
	switch {
	case d.Target == spec.TargetEndpoints:
		return endpointsTable(d, facts)
	case facts.Lingering:
		return &nft.Table{Chains: []nft.Chain{routeChain(facts), {Name: "guard", Hook: hookGuard, Rules: []nft.Rule{unplaceable(facts)}}}}
	}
	return nil
}

// routeChain marks what goes on to an endpoint.
func routeChain(facts Facts) nft.Chain {
	return nft.Chain{Name: "route", Hook: hookRoute, Rules: []nft.Rule{{
		Match: nft.Match{In: facts.Attachment.Name, FlowMark: EndpointMark, Original: true},
		Do:    nft.SetMark{Mark: EndpointMark},
	}}}
}

// unplaceable drops what connection tracking cannot place. It would reach the
// Pod's own stack, whose RST would end a connection that is well.
func unplaceable(facts Facts) nft.Rule {
	return nft.Rule{Match: nft.Match{In: facts.Cluster.Name, Invalid: true}, Do: nft.Drop{}}
}

// endpointsTable is the table of target Endpoints.
//
// A client's first packet finds its port in a map, which leads to the port's
// chain, which chooses an endpoint's chain, which translates. Connection
// tracking does the rest. All that a port has are chains and sets of its own,
// so that a change of one touches nothing else.
func endpointsTable(d *spec.Document, facts Facts) *nft.Table {
	b := &tableBuilder{Document: d, out: facts.Cluster.Name, guard: []nft.Rule{unplaceable(facts)}}
	if facts.FormerClusterIP {
		b.ports = unusualPorts
	}
	families := slices.SortedFunc(slices.Values(d.Families), func(a, b spec.Family) int { return a.Address.Addr().Compare(b.Address.Addr()) })
	for _, f := range families {
		b.family(f)
	}
	chains := b.table.Chains
	b.table.Chains = nil
	if len(b.sources) > 0 {
		b.chain("sources", hookSources, b.sources...)
		b.chain(chainOutsiders, nft.Hook{}, outsiders()...)
	}
	b.chain("translate", hookTranslate, b.translate...)
	b.table.Chains = append(b.table.Chains, routeChain(facts))
	b.chain("guard", hookGuard, b.guard...)
	b.chain(chainRefuse, nft.Hook{},
		nft.Rule{Match: nft.Match{Protocol: spec.TCP}, Do: nft.Reset{}},
		nft.Rule{Do: nft.Unreachable{}},
	)
	// Backends behind a tunnel have a smaller MTU than the attachment; clients
	// that never see ICMP would hang without this.
	b.chain("clamp", hookClamp, nft.Rule{Match: nft.Match{Protocol: spec.TCP, SYN: true}, Do: nft.ClampMSS{}})
	// The gateway forwards what it translated and nothing else: it is no
	// router into the cluster for whoever shares the link.
	b.chain("forward", hookForward,
		nft.Rule{Match: nft.Match{Translated: true}, Do: nft.Accept{}},
		nft.Rule{Do: nft.Drop{}},
	)
	b.chain("masquerading", hookMasquerade, b.masquerade...)
	b.table.Chains = append(b.table.Chains, chains...)
	return &b.table
}

func (b *tableBuilder) chain(name string, hook nft.Hook, rules ...nft.Rule) {
	b.table.Chains = append(b.table.Chains, nft.Chain{Name: name, Hook: hook, Rules: rules})
}

func (b *tableBuilder) set(name string, kind nft.SetKind, family nft.Family, elements []nft.Element) {
	slices.SortFunc(elements, nft.Element.Compare)
	b.table.Sets = append(b.table.Sets, nft.Set{Name: name, Kind: kind, Family: family, Elements: slices.Compact(elements)})
}

// family adds what one family needs.
func (b *tableBuilder) family(f spec.Family) {
	address := f.Address.Addr()
	family := nft.FamilyOf(address)
	b.sourceRanges(address)
	var ports, guards, keep []nft.Element
	for _, p := range b.Ports {
		service := nft.Service{Protocol: p.Protocol, Address: netip.AddrPortFrom(address, p.Port)}
		endpoints := endpointsOf(p, family)
		if len(endpoints) == 0 {
			guards = append(guards, nft.Element{Service: service, Verdict: nft.Verdict{Goto: chainRefuse}})
			continue
		}
		// What reaches the local stack for a served port was not translated;
		// the stack would answer with a RST.
		guards = append(guards, nft.Element{Service: service})
		ports = append(ports, nft.Element{Service: service, Verdict: nft.Verdict{Goto: b.port(p, family, endpoints)}})
		for _, e := range endpoints {
			if e.KeepClient {
				keep = append(keep, nft.Element{Service: nft.Service{Protocol: p.Protocol, Address: e.Address}})
			}
		}
	}
	suffix := "-" + string(family)
	b.set("ports"+suffix, nft.Verdicts, family, ports)
	b.set("guard"+suffix, nft.Verdicts, family, guards)
	b.set("keep"+suffix, nft.Services, family, keep)
	match := nft.Match{Family: family}
	b.translate = append(b.translate, nft.Rule{Match: match, Do: nft.Dispatch{Family: family, Map: "ports" + suffix}})
	b.guard = append(b.guard, nft.Rule{Match: match, Do: nft.Dispatch{Family: family, Map: "guard" + suffix}})
	b.masquerade = append(b.masquerade, nft.Rule{
		Match: nft.Match{Family: family, Out: b.out, Translated: true, NotTo: "keep" + suffix}, Do: b.ports,
	})
}

// endpointsOf returns a port's endpoints of one family, in the order in which
// they are numbered: the same in every gateway.
func endpointsOf(p spec.Port, family nft.Family) []spec.Endpoint {
	var out []spec.Endpoint
	for _, e := range p.Endpoints {
		if nft.FamilyOf(e.Address.Addr()) == family {
			out = append(out, e)
		}
	}
	slices.SortFunc(out, func(a, b spec.Endpoint) int { return a.Address.Compare(b.Address) })
	return out
}

// port adds the chains and sets of one port and returns where to go.
func (b *tableBuilder) port(p spec.Port, family nft.Family, endpoints []spec.Endpoint) string {
	prefix := fmt.Sprintf("%s/%d/", strings.ToLower(string(p.Protocol)), p.Port)
	// Names have no colons in nftables' language.
	name := func(e spec.Endpoint) string {
		return fmt.Sprintf("%s%s/%d", prefix, strings.ReplaceAll(e.Address.Addr().String(), ":", "."), e.Address.Port())
	}
	affinity := time.Duration(b.AffinitySeconds) * time.Second
	var rules []nft.Rule
	if affinity > 0 {
		for _, e := range endpoints {
			rules = append(rules, nft.Rule{Match: nft.Match{Family: family, From: name(e)}, Do: nft.Goto{Chain: name(e)}})
		}
	}
	// With affinity the port is left out, so that a client that nobody
	// remembers, after a take-over, most likely comes to its old endpoint.
	rules = append(rules, nft.Rule{
		Match: nft.Match{Family: family, Protocol: p.Protocol},
		Do:    nft.Choose{Family: family, Port: affinity == 0, Of: len(endpoints)},
	})
	for i, e := range endpoints {
		rules = append(rules, nft.Rule{Match: nft.Match{Marked: true, Mark: uint32(i)}, Do: nft.Goto{Chain: name(e)}})
	}
	b.chain(prefix+string(family), nft.Hook{}, rules...)
	for _, e := range endpoints {
		var rules []nft.Rule
		if affinity > 0 {
			b.set(name(e), nft.Clients, family, nil)
			rules = append(rules, nft.Rule{Match: nft.Match{Family: family}, Do: nft.Remember{Family: family, Set: name(e), For: affinity}})
		}
		rules = append(rules,
			nft.Rule{Do: nft.MarkFlow{Mark: EndpointMark}},
			nft.Rule{Match: nft.Match{Family: family, Protocol: p.Protocol}, Do: nft.Translate{To: e.Address}},
		)
		b.chain(name(e), nft.Hook{}, rules...)
	}
	return prefix + string(family)
}

// sourceRanges lets in only the clients of the document's ranges. It comes
// before connection tracking, so that what is established ends too when the
// ranges shrink; neighbour discovery and ICMP pass.
func (b *tableBuilder) sourceRanges(address netip.Addr) {
	if len(b.SourceRanges) == 0 {
		return
	}
	family := nft.FamilyOf(address)
	match := nft.Match{Family: family, To: address}
	if ranges := mergeRanges(b.SourceRanges, family); len(ranges) > 0 {
		var elements []nft.Element
		digest := fnv.New32a()
		for _, r := range ranges {
			elements = append(elements, nft.Element{Range: r})
			fmt.Fprintln(digest, r)
		}
		// Other ranges are another set: kernels differ in what they make of
		// intervals that overlap with others that go in the same transaction.
		match.NotFrom = fmt.Sprintf("sources-%s-%08x", family, digest.Sum32())
		b.set(match.NotFrom, nft.Ranges, family, elements)
	}
	b.sources = append(b.sources, nft.Rule{Match: match, Do: nft.Goto{Chain: chainOutsiders}})
}

func outsiders() []nft.Rule {
	var out []nft.Rule
	for _, p := range []spec.Protocol{spec.TCP, spec.UDP, spec.SCTP} {
		out = append(out, nft.Rule{Match: nft.Match{Protocol: p}, Do: nft.Drop{}})
	}
	return out
}

// mergeRanges returns the networks of one family as ranges that neither
// overlap nor touch each other: the kernel takes no others.
func mergeRanges(networks []netip.Prefix, family nft.Family) []nft.Range {
	var all, out []nft.Range
	for _, n := range networks {
		if nft.FamilyOf(n.Addr()) == family {
			all = append(all, nft.Range{First: n.Masked().Addr(), Last: lastAddr(n)})
		}
	}
	slices.SortFunc(all, func(a, b nft.Range) int {
		return cmp.Or(a.First.Compare(b.First), a.Last.Compare(b.Last))
	})
	for _, r := range all {
		if n := len(out); n > 0 {
			last := &out[n-1]
			// The address after the last of all is none.
			if next := last.Last.Next(); !next.IsValid() || r.First.Compare(next) <= 0 {
				if r.Last.Compare(last.Last) > 0 {
					last.Last = r.Last
				}
				continue
			}
		}
		out = append(out, r)
	}
	return out
}

// lastAddr is the last address of a network.
func lastAddr(n netip.Prefix) netip.Addr {
	b := n.Masked().Addr().AsSlice()
	for bit := n.Bits(); bit < len(b)*8; bit++ {
		b[bit/8] |= 0x80 >> (bit % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}
