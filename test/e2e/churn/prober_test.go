package churn

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
	"github.com/kubeovn/kube-ovn-ccm/test/e2e/lab/netns"
)

// TestTheProberHearsEveryHost asks on a switch with two hosts: each has an address of its own, and both have another one.
func TestTheProberHearsEveryHost(t *testing.T) {
	const client = "ccmlabtest-prober"
	own := map[string]string{"ccmlabtest-a": "172.20.4.6/26,fd00:172:20:6::6/122", "ccmlabtest-b": "172.20.4.7/26,fd00:172:20:6::7/122"}
	control := kubeovn.Addrs{V4: netip.MustParseAddr("172.20.4.6"), V6: netip.MustParseAddr("fd00:172:20:6::6")}
	const both = "172.20.4.8/26,fd00:172:20:6::8/122"
	namespace(t, client)
	inside := func(fn func() error) error { return netns.Do(client, fn) }
	try(t, inside(func() error {
		return errors.Join(netlink.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "eth0"}}), up("eth0"))
	}))
	macs := map[netip.Addr][]string{}
	for name, addrs := range own {
		namespace(t, name)
		mac := plug(t, client, name)
		try(t, netns.Do(name, func() error { return errors.Join(up("eth0"), give("eth0", addrs+","+both)) }))
		for _, a := range prefixesOf(addrs + "," + both) {
			macs[a] = append(macs[a], mac)
		}
	}
	nobody := netip.MustParseAddr("172.20.4.9")
	asked := []netip.Addr{nobody}
	for a := range macs {
		if control.Of(a.Is4()) != a {
			asked = append(asked, a)
		}
	}

	rounds := probe(t, inside, control, asked)
	for _, a := range asked {
		if len(rounds[a]) < 2 {
			t.Errorf("%s was asked for %d times in %s", a, len(rounds[a]), 3*roundTime)
		}
		for _, r := range rounds[a] {
			if r.Deaf {
				t.Errorf("the host that is always there was not heard at %s", r.Asked)
			}
			var got []string
			for _, answer := range r.Answers {
				got = append(got, answer.MAC)
			}
			slices.Sort(got)
			slices.Sort(macs[a])
			if !slices.Equal(got, macs[a]) {
				t.Errorf("%s is answered by %v, want %v", a, got, macs[a])
			}
			told := (&Book{}).Judge(r, func(string) string { return mine }).What
			if double := len(macs[a]) == 2; double != strings.Contains(told, "to one question") {
				t.Errorf("%s: %q", a, told)
			}
		}
	}

	// A LAN that lets nothing of IPv6 through still has IPv4.
	control.V6 = netip.MustParseAddr("fd00:172:20:6::1")
	for a, rs := range probe(t, inside, control, asked) {
		for _, r := range rs {
			if r.Deaf != a.Is6() {
				t.Errorf("%s: the LAN stands still: %t", a, r.Deaf)
			}
		}
	}
}

// probe asks for addresses for three rounds.
func probe(t *testing.T, inside func(fn func() error) error, control kubeovn.Addrs, asked []netip.Addr) map[netip.Addr][]Round {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*roundTime+roundTime/2)
	defer cancel()
	prober, err := NewProber(inside, "eth0", control)
	try(t, err)
	var mu sync.Mutex
	rounds := map[netip.Addr][]Round{}
	try(t, prober.Run(ctx, func() []netip.Addr { return asked }, func(r Round) {
		mu.Lock()
		defer mu.Unlock()
		rounds[r.Addr] = append(rounds[r.Addr], r)
	}))
	try(t, prober.Close())
	return rounds
}

// prefixesOf are the addresses of a list "a/bits,...".
func prefixesOf(list string) (addrs []netip.Addr) {
	for _, p := range prefixes(strings.Split(list, ",")...) {
		addrs = append(addrs, p.Addr())
	}
	return addrs
}

func try(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func namespace(t *testing.T, name string) {
	t.Helper()
	try(t, netns.Create(name))
	t.Cleanup(func() {
		if err := netns.Delete(name); err != nil {
			t.Error(err)
		}
	})
}

// plug connects a host's eth0 with the client's switch, and returns its hardware address.
func plug(t *testing.T, client, host string) (mac string) {
	t.Helper()
	f, err := os.Open(netns.Path(host))
	try(t, err)
	defer f.Close()
	try(t, netns.Do(client, func() error {
		bridge, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		port := host[len(host)-1:]
		veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: port, MasterIndex: bridge.Attrs().Index}, PeerName: "eth0", PeerNamespace: netlink.NsFd(int(f.Fd()))}
		return errors.Join(netlink.LinkAdd(veth), up(port))
	}))
	try(t, netns.Do(host, func() error {
		link, err := netlink.LinkByName("eth0")
		if err == nil {
			mac = link.Attrs().HardwareAddr.String()
		}
		return err
	}))
	return mac
}

func up(device string) error {
	link, err := netlink.LinkByName(device)
	if err != nil {
		return err
	}
	return netlink.LinkSetUp(link)
}

// give puts addresses "a/bits,..." on an interface, at once.
func give(device, addrs string) error {
	link, err := netlink.LinkByName(device)
	if err != nil {
		return err
	}
	for _, text := range strings.Split(addrs, ",") {
		a, err := netlink.ParseAddr(text)
		if err != nil {
			return err
		}
		if a.IP.To4() == nil {
			a.Flags = unix.IFA_F_NODAD
		}
		if err := netlink.AddrAdd(link, a); err != nil {
			return err
		}
	}
	time.Sleep(50 * time.Millisecond) // the bridge's ports begin to forward
	return nil
}
