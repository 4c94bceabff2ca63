package kernel

import (
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/kubeovn/kube-ovn-ccm/pkg/gateway/desired"
)

// tables are the routing tables that a gateway owns.
var tables = []int{desired.Table, desired.EndpointTable}

func (k *Kernel) routes() ([]desired.Route, error) {
	names, err := k.linkNames()
	if err != nil {
		return nil, err
	}
	var out []desired.Route
	for _, table := range tables {
		routes, err := k.nl.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Table: table}, netlink.RT_FILTER_TABLE)
		if err != nil {
			return nil, fmt.Errorf("read table %d: %w", table, err)
		}
		for _, r := range routes {
			route := desired.Route{Table: table, To: toPrefix(r.Dst), Via: toAddr(r.Gw), Link: names[r.LinkIndex], Metric: r.Priority}
			if r.Type != unix.RTN_UNICAST {
				route.Kind = r.Type
			}
			out = append(out, route)
		}
	}
	return out, nil
}

func (k *Kernel) linkNames() (map[int]string, error) {
	links, err := k.nl.LinkList()
	if err != nil {
		return nil, fmt.Errorf("list interfaces: %w", err)
	}
	names := map[int]string{}
	for _, l := range links {
		names[l.Attrs().Index] = l.Attrs().Name
	}
	return names, nil
}

func (k *Kernel) applyRoute(verb desired.Verb, r desired.Route) error {
	route := &netlink.Route{
		Table: r.Table, Dst: toIPNet(r.To), Gw: r.Via.AsSlice(),
		Priority: r.Metric, Type: r.Kind, Scope: netlink.SCOPE_UNIVERSE,
	}
	if !r.Via.IsValid() {
		route.Scope = netlink.SCOPE_LINK
	}
	if r.Link != "" {
		link, err := k.link(r.Link)
		if err != nil {
			return err
		}
		route.LinkIndex = link.Attrs().Index
	}
	switch verb {
	case desired.Delete:
		route.Scope = netlink.SCOPE_NOWHERE
		return k.nl.RouteDel(route)
	case desired.Replace:
		return k.nl.RouteReplace(route)
	default:
		return k.nl.RouteAdd(route)
	}
}

func (k *Kernel) rules() ([]desired.Rule, error) {
	rules, err := k.nl.RuleList(netlink.FAMILY_V4)
	if err != nil {
		return nil, fmt.Errorf("read the policy rules: %w", err)
	}
	var out []desired.Rule
	for _, r := range rules {
		if !slices.Contains(tables, r.Table) {
			continue
		}
		rule := desired.Rule{Priority: r.Priority, Mark: r.Mark, In: r.IifName, Table: r.Table}
		if r.Src != nil {
			rule.From = toPrefix(r.Src)
		}
		out = append(out, rule)
	}
	return out, nil
}

func (k *Kernel) applyRule(verb desired.Verb, r desired.Rule) error {
	rule := netlink.NewRule()
	rule.Family = netlink.FAMILY_V4
	rule.Table = r.Table
	rule.Mark = r.Mark
	rule.Priority = r.Priority
	rule.IifName = r.In
	if r.From.IsValid() {
		rule.Src = toIPNet(r.From)
	}
	if verb == desired.Delete {
		return k.nl.RuleDel(rule)
	}
	return k.nl.RuleAdd(rule)
}

func (k *Kernel) addresses(name string) ([]desired.Address, error) {
	link, err := k.link(name)
	if err != nil {
		return nil, err
	}
	addrs, err := k.nl.AddrList(link, netlink.FAMILY_V4)
	if err != nil {
		return nil, fmt.Errorf("read the addresses of %s: %w", name, err)
	}
	var out []desired.Address
	for _, a := range addrs {
		out = append(out, desired.Address{Link: name, Prefix: toPrefix(a.IPNet)})
	}
	return out, nil
}

func (k *Kernel) applyAddress(verb desired.Verb, a desired.Address) error {
	link, err := k.link(a.Link)
	if err != nil {
		return err
	}
	// No broadcast address, as in the guide; nothing is broadcast from here.
	addr := &netlink.Addr{IPNet: toIPNet(a.Prefix), Broadcast: net.IPv4zero}
	if verb == desired.Delete {
		return k.nl.AddrDel(link, addr)
	}
	return k.nl.AddrAdd(link, addr)
}

// DropAddress takes an address from an interface and is content if it is not
// there.
func (k *Kernel) DropAddress(link string, prefix netip.Prefix) error {
	return k.Apply(desired.Op{Verb: desired.Delete, Object: desired.Address{Link: link, Prefix: prefix}})
}
