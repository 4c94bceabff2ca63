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

// metric6 is what the kernel makes of a route of IPv6 without a metric,
// IP6_RT_PRIO_USER of linux/ipv6_route.h.
const metric6 = 1024

func (k *Kernel) routes() ([]desired.Route, error) {
	names, err := k.linkNames()
	if err != nil {
		return nil, err
	}
	var out []desired.Route
	for _, family := range k.families {
		for _, table := range tables {
			routes, err := k.nl.RouteListFiltered(family, &netlink.Route{Table: table}, netlink.RT_FILTER_TABLE)
			if err != nil {
				return nil, fmt.Errorf("read table %d: %w", table, err)
			}
			for _, r := range routes {
				route := desired.Route{Table: table, To: toPrefix(r.Dst, family), Via: toAddr(r.Gw), Link: names[r.LinkIndex], Metric: r.Priority}
				if family == netlink.FAMILY_V6 && r.Priority == metric6 {
					route.Metric = 0
				}
				if r.Type != unix.RTN_UNICAST {
					route.Kind = r.Type
				}
				out = append(out, route)
			}
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
	var out []desired.Rule
	for _, family := range k.families {
		rules, err := k.nl.RuleList(family)
		if err != nil {
			return nil, fmt.Errorf("read the policy rules: %w", err)
		}
		for _, r := range rules {
			if !slices.Contains(tables, r.Table) {
				continue
			}
			rule := desired.Rule{V6: family == netlink.FAMILY_V6, Priority: r.Priority, Mark: r.Mark, In: r.IifName, Table: r.Table}
			if r.Src != nil {
				rule.From = toPrefix(r.Src, family)
			}
			out = append(out, rule)
		}
	}
	return out, nil
}

func (k *Kernel) applyRule(verb desired.Verb, r desired.Rule) error {
	rule := netlink.NewRule()
	rule.Family = netlink.FAMILY_V4
	if r.V6 {
		rule.Family = netlink.FAMILY_V6
	}
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
	var out []desired.Address
	for _, family := range k.families {
		addrs, err := k.nl.AddrList(link, family)
		if err != nil {
			return nil, fmt.Errorf("read the addresses of %s: %w", name, err)
		}
		for _, a := range addrs {
			if family == netlink.FAMILY_V6 && byItself(a) {
				continue
			}
			unused := a.Flags&(unix.IFA_F_TENTATIVE|unix.IFA_F_DADFAILED) != 0
			out = append(out, desired.Address{Link: name, Prefix: toPrefix(a.IPNet, family), Unused: unused})
		}
	}
	return out, nil
}

// byItself tells whether an IPv6 address is one that the kernel gave to the
// interface by itself: the link-local one, or what a router told it.
func byItself(a netlink.Addr) bool {
	const autoconfigured = unix.IFA_F_MANAGETEMPADDR | unix.IFA_F_TEMPORARY
	return a.Scope != unix.RT_SCOPE_UNIVERSE || a.Flags&unix.IFA_F_PERMANENT == 0 || a.Flags&autoconfigured != 0
}

func (k *Kernel) applyAddress(verb desired.Verb, a desired.Address) error {
	link, err := k.link(a.Link)
	if err != nil {
		return err
	}
	// No broadcast address, as in the guide; nothing is broadcast from here.
	addr := &netlink.Addr{IPNet: toIPNet(a.Prefix), Broadcast: net.IPv4zero}
	if a.Prefix.Addr().Is6() {
		// The kernel would hold the address back for a second or two to ask
		// whether it is free, which the agent has done, and never use it
		// should the former holder still answer.
		addr.Flags = unix.IFA_F_NODAD
	}
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
