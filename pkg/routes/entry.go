package routes

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/kubeovn/kube-ovn-ccm/pkg/gateway/spec"
)

const (
	// priority of our entries. Kube-OVN itself lets traffic inside the VPC pass
	// at 31000, sends to nodes at 30000 and out of the cluster at 29000: at
	// 29500 an entry meets nothing but answers to clients outside.
	priority = 29500
	// action of our entries.
	action = "reroute"
)

// fieldOf names the protocols in a match of OVN.
var fieldOf = map[spec.Protocol]string{spec.TCP: "tcp", spec.UDP: "udp", spec.SCTP: "sctp"}

// route is one member of spec.policyRoutes, of priority and action.
type route struct {
	Match   string `json:"match"`
	NextHop string `json:"nextHop"`
}

// member renders a route as Kube-OVN reads it.
func (r route) member() map[string]any {
	return map[string]any{"priority": int64(priority), "match": r.Match, "action": action, "nextHopIP": r.NextHop}
}

// routeOf reads a member of spec.policyRoutes; false if it cannot be ours.
func routeOf(member any) (route, bool) {
	m, ok := member.(map[string]any)
	if !ok || m["action"] != action || !hasPriority(m) {
		return route{}, false
	}
	match, _ := m["match"].(string)
	nextHop, _ := m["nextHopIP"].(string)
	return route{Match: match, NextHop: nextHop}, match != ""
}

// hasPriority reports whether a member of spec.policyRoutes has the priority
// of ours. Kube-OVN deletes by priority and match alone.
func hasPriority(m map[string]any) bool {
	switch p := m["priority"].(type) {
	case int64:
		return p == priority
	case float64:
		return p == priority
	}
	return false
}

// spellings of a match: OVN does not care for the order of its terms, but to
// Kube-OVN another text is another entry, which it adds anew.
const spellings = 2

// matchOf renders the match for the answers of backends that differ in their
// addresses only. The addresses are sorted.
func matchOf(protocol spec.Protocol, port uint16, addrs []netip.Addr, spelling int) string {
	texts := make([]string, len(addrs))
	for i, a := range addrs {
		texts[i] = a.String()
	}
	set := texts[0]
	if len(texts) > 1 {
		set = "{" + strings.Join(texts, ", ") + "}"
	}
	ip := "ip6"
	if addrs[0].Is4() {
		ip = "ip4"
	}
	from := fmt.Sprintf("%s.src == %s", ip, set)
	by := fmt.Sprintf("%s.src == %d", fieldOf[protocol], port)
	if spelling%spellings == 1 {
		from, by = by, from
	}
	return from + " && " + by
}

// backendsOf reads what matchOf wrote; nil if it is something else.
func backendsOf(match string) []Backend {
	from, by, ok := strings.Cut(match, " && ")
	if !ok {
		return nil
	}
	if !strings.HasPrefix(from, "ip") {
		from, by = by, from
	}
	_, set, ok1 := strings.Cut(from, ".src == ")
	field, number, ok2 := strings.Cut(by, ".src == ")
	port, err := strconv.ParseUint(number, 10, 16)
	if !ok1 || !ok2 || err != nil {
		return nil
	}
	var protocol spec.Protocol
	for p, f := range fieldOf {
		if f == field {
			protocol = p
		}
	}
	var out []Backend
	for text := range strings.SplitSeq(strings.Trim(set, "{}"), ", ") {
		addr, err := netip.ParseAddr(text)
		b := Backend{protocol, netip.AddrPortFrom(addr, uint16(port))}
		if err != nil || !b.valid() {
			return nil
		}
		out = append(out, b)
	}
	return out
}

// sorted returns addresses in their order, each once.
func sorted(addrs []netip.Addr) []netip.Addr {
	slices.SortFunc(addrs, netip.Addr.Compare)
	return slices.Compact(addrs)
}
