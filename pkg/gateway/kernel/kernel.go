// Package kernel reads and writes the part of the kernel's state that a
// gateway owns, in the network namespace of the process: links, addresses,
// rules and routes by netlink, packet filters by iptables.
package kernel

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"

	"github.com/coreos/go-iptables/iptables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/kubeovn/kube-ovn-ccm/pkg/gateway/desired"
	"github.com/kubeovn/kube-ovn-ccm/pkg/gateway/nft"
	"github.com/kubeovn/kube-ovn-ccm/pkg/gateway/nftlink"
)

// FatalError is a condition that will not pass while the Pod lives: something
// is missing that the Pod or the image should have brought along.
type FatalError struct{ Err error }

// Error says what is missing.
func (e *FatalError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *FatalError) Unwrap() error { return e.Err }

// Kernel is the network namespace of the process. It is not safe for
// concurrent use: it runs programs, and PID 1 may reap only between them.
type Kernel struct {
	nl  *netlink.Handle
	ipt *iptables.IPTables
	// families are those that the kernel has, as netlink numbers them.
	families []int
	table    nftlink.Conn
}

// Open prepares the access. An error is a FatalError: the image has no
// iptables or the process lacks a capability.
func Open() (*Kernel, error) {
	if err := checkCapabilities(); err != nil {
		return nil, &FatalError{err}
	}
	nl, err := netlink.NewHandle(unix.NETLINK_ROUTE, unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, &FatalError{fmt.Errorf("open netlink: %w", err)}
	}
	ipt, err := iptables.New()
	if err != nil {
		nl.Close()
		return nil, &FatalError{fmt.Errorf("find iptables: %w", err)}
	}
	return &Kernel{nl: nl, ipt: ipt, families: families()}, nil
}

// families leaves IPv6 out where it was switched off when the node started:
// the kernel would answer for IPv4 instead.
func families() []int {
	if _, err := os.Stat("/proc/net/if_inet6"); err != nil {
		return []int{netlink.FAMILY_V4}
	}
	return []int{netlink.FAMILY_V4, netlink.FAMILY_V6}
}

// checkCapabilities reports what the container was not given. Asked here, it
// is one clear line instead of whatever each tool makes of EPERM.
func checkCapabilities() error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return fmt.Errorf("read the capabilities of this process: %w", err)
	}
	for _, c := range []struct {
		name   string
		number int
	}{{"NET_ADMIN", unix.CAP_NET_ADMIN}, {"NET_RAW", unix.CAP_NET_RAW}} {
		if data[0].Effective&(1<<c.number) == 0 {
			return fmt.Errorf("the container lacks the capability %s", c.name)
		}
	}
	return nil
}

// Close releases the access.
func (k *Kernel) Close() { k.nl.Close() }

// Facts reads what the Pod brings along. A missing interface is a FatalError.
func (k *Kernel) Facts(cluster, attachment string) (desired.Facts, error) {
	eth0, err := k.link(cluster)
	if err != nil {
		return desired.Facts{}, err
	}
	net1, err := k.link(attachment)
	if err != nil {
		return desired.Facts{}, err
	}
	facts := desired.Facts{Cluster: linkFacts(eth0), Attachment: linkFacts(net1)}
	for _, family := range k.families {
		gateway := &facts.ClusterGateway4
		if family == netlink.FAMILY_V6 {
			gateway = &facts.ClusterGateway6
		}
		if *gateway, err = k.defaultGateway(eth0, family); err != nil {
			return desired.Facts{}, err
		}
	}
	return facts, nil
}

func (k *Kernel) link(name string) (netlink.Link, error) {
	link, err := k.nl.LinkByName(name)
	if _, ok := errors.AsType[netlink.LinkNotFoundError](err); ok {
		return nil, &FatalError{fmt.Errorf("the Pod has no interface %s", name)}
	}
	if err != nil {
		return nil, fmt.Errorf("read interface %s: %w", name, err)
	}
	return link, nil
}

func linkFacts(l netlink.Link) desired.Link {
	a := l.Attrs()
	return desired.Link{Name: a.Name, Up: a.Flags&net.FlagUp != 0, Carrier: a.RawFlags&unix.IFF_RUNNING != 0}
}

func (k *Kernel) defaultGateway(link netlink.Link, family int) (netip.Addr, error) {
	routes, err := k.nl.RouteListFiltered(family,
		&netlink.Route{Table: unix.RT_TABLE_MAIN, LinkIndex: link.Attrs().Index},
		netlink.RT_FILTER_TABLE|netlink.RT_FILTER_OIF)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("read the main table's routes on %s: %w", link.Attrs().Name, err)
	}
	for _, r := range routes {
		if gateway := toAddr(r.Gw); toPrefix(r.Dst, family).Bits() == 0 && gateway.IsValid() {
			return gateway, nil
		}
	}
	return netip.Addr{}, nil
}

// Read returns what the kernel holds of the kinds of things that want names:
// the same settings and links, and everything of ours among filters, routes,
// rules and the attachment's addresses.
func (k *Kernel) Read(want desired.State, attachment string) (desired.State, error) {
	var have desired.State
	for _, u := range want.Up {
		link, err := k.link(u.Link)
		if err != nil {
			return have, err
		}
		if linkFacts(link).Up {
			have.Up = append(have.Up, u)
		}
	}
	var errs [6]error
	have.Settings, errs[0] = readSettings(want.Settings)
	have.Filters, errs[1] = k.filters(want.Filters)
	have.Routes, errs[2] = k.routes()
	have.Rules, errs[3] = k.rules()
	have.Addresses, errs[4] = k.addresses(attachment)
	have.Table, errs[5] = k.readTable(want.Table)
	return have, errors.Join(errs[:]...)
}

// Apply does one step.
func (k *Kernel) Apply(op desired.Op) error {
	var err error
	switch object := op.Object.(type) {
	case desired.Up:
		err = k.setUp(object)
	case desired.Setting:
		err = k.set(object)
	case desired.Filter:
		err = k.applyFilter(op.Verb, object)
	case nft.Change:
		return k.applyTable(op, object)
	case desired.Route:
		err = k.applyRoute(op.Verb, object)
	case desired.Rule:
		err = k.applyRule(op.Verb, object)
	case desired.Address:
		err = k.applyAddress(op.Verb, object)
	default:
		err = fmt.Errorf("no writer for a %T", object)
	}
	// Somebody else may have been quicker; what counts is the outcome, and
	// that is read again.
	if errors.Is(err, fs.ErrExist) || errors.Is(err, unix.ESRCH) || errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EADDRNOTAVAIL) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	return nil
}

func (k *Kernel) setUp(u desired.Up) error {
	link, err := k.link(u.Link)
	if err != nil {
		return err
	}
	return k.nl.LinkSetUp(link)
}

// toAddr converts an address; nil becomes the zero Addr.
func toAddr(ip net.IP) netip.Addr {
	a, _ := netip.AddrFromSlice(ip)
	return a.Unmap()
}

// toPrefix converts a destination; nil is the kernel's way to say everything.
func toPrefix(n *net.IPNet, family int) netip.Prefix {
	switch {
	case n == nil && family == netlink.FAMILY_V6:
		return netip.PrefixFrom(netip.IPv6Unspecified(), 0)
	case n == nil:
		return netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	}
	ones, _ := n.Mask.Size()
	return netip.PrefixFrom(toAddr(n.IP), ones)
}

func toIPNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
