package desired

import (
	"fmt"
	"net/netip"
	"regexp"
	"strings"

	"github.com/kubeovn/kube-ovn-ccm/pkg/gateway/spec"
)

// Chains are the built-in chains in which a gateway has rules. They stand
// directly there, as the guide shows: the network namespace is the gateway's.
var Chains = []struct{ Table, Chain string }{
	{"filter", "INPUT"},
	{"filter", "FORWARD"},
	{"mangle", "FORWARD"},
	{"nat", "POSTROUTING"},
	{"nat", "PREROUTING"},
}

// filters lists the iptables rules of a document in the order in which they
// are added: the guards first, so that the local stack never answers for a
// port whose translation is not there yet; the translation last.
// A port with nobody behind it has neither, so that the stack does answer.
func filters(d *spec.Document) []Filter {
	if d.Target != spec.TargetClusterIP {
		return nil
	}
	var guard, nat []Filter
	for _, f := range d.Families {
		for _, p := range d.Ports {
			if !p.Refuse {
				guard = append(guard, guardPort(f.Address.Addr(), p))
			}
		}
		// An answer from the cluster that conntrack cannot place (it is out
		// of window) would reach the Pod's own stack, whose RST would end a
		// connection that is well.
		guard = append(guard, Filter{"filter", "INPUT",
			fmt.Sprintf("-s %s/32 -m conntrack --ctstate INVALID -j DROP", f.ClusterIP)})
		nat = append(nat, Filter{"nat", "POSTROUTING", fmt.Sprintf("-d %s/32 -j MASQUERADE", f.ClusterIP)})
	}
	guard = append(guard,
		// The gateway forwards what it translated and nothing else: it is no
		// router into the cluster for whoever shares the link.
		Filter{"filter", "FORWARD", "-m conntrack ! --ctstate DNAT -j DROP"},
		// Backends behind a tunnel have a smaller MTU than the attachment;
		// clients that never see ICMP would hang without this.
		Filter{"mangle", "FORWARD", "-p tcp -m tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu"},
	)
	for _, f := range d.Families {
		for _, p := range d.Ports {
			if !p.Refuse {
				nat = append(nat, translatePort(f, p))
			}
		}
	}
	return append(guard, nat...)
}

// guardPort drops what reaches the local stack for a served port, which is
// what was not translated. Without it the stack would answer with a RST.
func guardPort(address netip.Addr, p spec.Port) Filter {
	proto := strings.ToLower(string(p.Protocol))
	return Filter{"filter", "INPUT", fmt.Sprintf("-d %s/32 -p %s -m %s --dport %d -j DROP", address, proto, proto, p.Port)}
}

func translatePort(f spec.Family, p spec.Port) Filter {
	proto := strings.ToLower(string(p.Protocol))
	return Filter{"nat", "PREROUTING", fmt.Sprintf("-d %s/32 -p %s -m %s --dport %d -j DNAT --to-destination %s",
		f.Address.Addr(), proto, proto, p.Port, netip.AddrPortFrom(f.ClusterIP, p.Port))}
}

// shapes are the rules that a gateway writes, for any document. What has none
// of these shapes was put there by somebody else and stays.
var shapes = map[string]*regexp.Regexp{
	"filter INPUT": regexp.MustCompile(
		`^(-d [0-9.]+/32 -p (tcp|udp|sctp) -m (tcp|udp|sctp) --dport [0-9]+|-s [0-9.]+/32 -m conntrack --ctstate INVALID) -j DROP$`),
	"filter FORWARD":  regexp.MustCompile(`^-m conntrack ! --ctstate DNAT -j DROP$`),
	"mangle FORWARD":  regexp.MustCompile(`^-p tcp -m tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu$`),
	"nat POSTROUTING": regexp.MustCompile(`^-d [0-9.]+/32 -j MASQUERADE$`),
	"nat PREROUTING": regexp.MustCompile(
		`^-d [0-9.]+/32 -p (tcp|udp|sctp) -m (tcp|udp|sctp) --dport [0-9]+ -j DNAT --to-destination [0-9.]+:[0-9]+$`),
}

// ParseFilter reads a line of "iptables -S <chain>"; false if it is not a rule
// of the kind that a gateway writes.
func ParseFilter(table, line string) (Filter, bool) {
	rest, ok := strings.CutPrefix(line, "-A ")
	if !ok {
		return Filter{}, false
	}
	chain, ruleSpec, ok := strings.Cut(rest, " ")
	if !ok {
		return Filter{}, false
	}
	ruleSpec = strings.TrimSpace(ruleSpec)
	shape, ok := shapes[table+" "+chain]
	if !ok || !shape.MatchString(ruleSpec) {
		return Filter{}, false
	}
	return Filter{Table: table, Chain: chain, Spec: ruleSpec}, true
}
