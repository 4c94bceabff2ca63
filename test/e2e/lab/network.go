package lab

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/vishvananda/netlink"
	vnetns "github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/kubeovn/kube-ovn-ccm/test/e2e/lab/netns"
)

// netnsPrefix begins the names of the lab's network namespaces; lab names have no dash, so no lab's is the start of another's.
func (l *Lab) netnsPrefix() string { return "ccmlab-" + l.name + "-" }

// netns names the network namespace of a host.
func (l *Lab) netns(host string) string { return l.netnsPrefix() + host }

// within runs fn with a netlink handle of the host's namespace.
func (l *Lab) within(host string, fn func(h *netlink.Handle) error) error {
	ns, err := vnetns.GetFromName(l.netns(host))
	if err != nil {
		return fmt.Errorf("network of %s: %w", host, err)
	}
	defer ns.Close()
	h, err := netlink.NewHandleAt(ns)
	if err != nil {
		return fmt.Errorf("network of %s: %w", host, err)
	}
	defer h.Close()
	if err := fn(h); err != nil {
		return fmt.Errorf("network of %s: %w", host, err)
	}
	return nil
}

// plugSwitch makes the namespace with the switches.
func (l *Lab) plugSwitch() error {
	if err := netns.Create(l.netns(Switch)); err != nil {
		return err
	}
	return l.within(Switch, func(h *netlink.Handle) error {
		for _, b := range []string{lanBridge, tunnelBridge, wanBridge} {
			br := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: b}}
			if err := h.LinkAdd(br); err != nil {
				return fmt.Errorf("add bridge %s: %w", b, err)
			}
			if err := h.LinkSetUp(br); err != nil {
				return fmt.Errorf("set %s up: %w", b, err)
			}
		}
		return nil
	})
}

// plugHost makes a host's namespace with its cables, addresses and routes.
func (l *Lab) plugHost(t host) error {
	if err := netns.Create(l.netns(t.name)); err != nil {
		return err
	}
	if err := netns.Do(l.netns(t.name), func() error { return writeSettings(t) }); err != nil {
		return fmt.Errorf("network of %s: %w", t.name, err)
	}
	for _, n := range t.nics {
		if err := l.plug(t.name, n); err != nil {
			return fmt.Errorf("network of %s: %s: %w", t.name, n.device, err)
		}
	}
	return l.within(t.name, func(h *netlink.Handle) error {
		for _, dev := range append([]nic{{device: "lo"}}, t.nics...) {
			if err := configure(h, dev); err != nil {
				return fmt.Errorf("%s: %w", dev.device, err)
			}
		}
		for _, gw := range t.gateways {
			if err := h.RouteAdd(&netlink.Route{Gw: gw.AsSlice()}); err != nil {
				return fmt.Errorf("default route by %s: %w", gw, err)
			}
		}
		return nil
	})
}

// writeSettings sets what interfaces of the current namespace begin with: so it comes before them.
func writeSettings(t host) error {
	settings := [][2]string{
		{"ipv6/conf/all/disable_ipv6", "0"}, {"ipv6/conf/default/disable_ipv6", "0"}, // whatever the machine has
		{"ipv6/conf/default/accept_ra", "0"},  // nobody advertises routers here
		{"ipv6/conf/default/accept_dad", "0"}, // nor has an address twice: none waits for a second until it may be used
	}
	if t.forwards {
		settings = append(settings, [2]string{"ipv4/ip_forward", "1"}, [2]string{"ipv6/conf/all/forwarding", "1"})
	}
	for _, s := range settings {
		if err := os.WriteFile(filepath.Join("/proc/sys/net", s[0]), []byte(s[1]), 0); err != nil {
			return fmt.Errorf("set %s: %w", s[0], err)
		}
	}
	return nil
}

// switchPort names the switch's end of a cable.
func switchPort(host, device string) string { return host + "-" + device }

// plug makes a cable: one end in the host, the other in the switch. Both ends are made where they belong, so that the
// machine's own namespace never sees them.
func (l *Lab) plug(host string, n nic) error {
	ns, err := vnetns.GetFromName(l.netns(host))
	if err != nil {
		return err
	}
	defer ns.Close()
	hw := mac(n.device, n.addresses, host)
	return l.within(Switch, func(h *netlink.Handle) error {
		veth := &netlink.Veth{
			LinkAttrs:        netlink.LinkAttrs{Name: switchPort(host, n.device)},
			PeerName:         n.device,
			PeerHardwareAddr: net.HardwareAddr(hw[:]),
			PeerNamespace:    netlink.NsFd(ns),
		}
		if err := h.LinkAdd(veth); err != nil {
			return fmt.Errorf("add cable: %w", err)
		}
		br, err := h.LinkByName(n.bridge)
		if err != nil {
			return err
		}
		if err := h.LinkSetMaster(veth, br); err != nil {
			return fmt.Errorf("plug into %s: %w", n.bridge, err)
		}
		return h.LinkSetUp(veth)
	})
}

func configure(h *netlink.Handle, n nic) error {
	link, err := h.LinkByName(n.device)
	if err != nil {
		return err
	}
	for _, p := range n.addresses {
		addr := &netlink.Addr{IPNet: ipNet(p)}
		if p.Addr().Is6() {
			addr.Flags = unix.IFA_F_NODAD
		}
		if err := h.AddrAdd(link, addr); err != nil {
			return fmt.Errorf("address %s: %w", p, err)
		}
	}
	return h.LinkSetUp(link)
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// unplugHost takes a host off the network. The cables are removed first and by name: a namespace dies only some time
// after its last user, and until then the host would still answer.
func (l *Lab) unplugHost(t host) error {
	var errs []error
	if _, err := os.Stat(netns.Path(l.netns(Switch))); err == nil {
		errs = append(errs, l.within(Switch, func(h *netlink.Handle) error {
			for _, n := range t.nics {
				link, err := h.LinkByName(switchPort(t.name, n.device))
				if err == nil {
					err = h.LinkDel(link)
				}
				if err != nil && !errors.As(err, new(netlink.LinkNotFoundError)) {
					return fmt.Errorf("remove cable %s: %w", n.device, err)
				}
			}
			return nil
		}))
	}
	return errors.Join(append(errs, netns.Delete(l.netns(t.name)))...)
}
