package command_test

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kubeovn/kube-ovn-ccm/pkg/gateway/spec"
)

// A backend of each family, in the cluster.
const (
	backend4 = "10.16.0.51"
	backend6 = "fd00:10:16::51"
)

// newDualBackends is a dual-stack lab with servers of the named ports on both
// backends, which answer with their address.
func newDualBackends(t *testing.T, ports ...spec.Port) *lab {
	t.Helper()
	l := newDualLab(t)
	l.ip("cluster", "addr add "+backend4+"/32 dev lo")
	l.ip("cluster", "-6 addr add "+backend6+"/128 dev lo nodad")
	for _, backend := range []string{backend4, backend6} {
		l.echoServers(backend, backend, ports...)
	}
	return l
}

// toBoth is a port with both backends.
func toBoth(p spec.Port, keepClient bool) spec.Port {
	for _, backend := range []string{backend4, backend6} {
		address := netip.AddrPortFrom(netip.MustParseAddr(backend), p.Port)
		p.Endpoints = append(p.Endpoints, spec.Endpoint{Address: address, KeepClient: keepClient})
	}
	return p
}

func TestEachFamilyReachesItsEndpoints(t *testing.T) {
	l := newDualBackends(t, tcp(80), udp(53))
	l.startServing(dualDocument(toBoth(tcp(80), false), toBoth(udp(53), false)))
	for _, tc := range []struct{ network, address, want string }{
		{"tcp4", lbAddress, backend4}, {"tcp6", lbAddress6, backend6},
		{"udp4", lbAddress, backend4}, {"udp6", lbAddress6, backend6},
	} {
		port := uint16(80)
		if strings.HasPrefix(tc.network, "udp") {
			port = 53
		}
		for _, role := range []string{"client", "remote"} {
			if got, err := l.ask(role, tc.network, tc.address, port); err != nil || got != tc.want {
				t.Errorf("%s asks by %s: %q, %v; want an answer from %s", role, tc.network, got, err, tc.want)
			}
			if _, err := l.ask(role, tc.network, tc.address, 81); !errors.Is(err, unix.ECONNREFUSED) {
				t.Errorf("%s asks for a port that is not served by %s: %v, want a refusal", role, tc.network, err)
			}
		}
	}
}

func TestABackendSeesThePodOrTheIPv6ClientItself(t *testing.T) {
	l := newDualBackends(t)
	for _, port := range []uint16{80, 81} {
		l.whoServers(netip.AddrPortFrom(netip.MustParseAddr(backend6), port))
	}
	// The cluster sends what is for the clients of port 81 back through the
	// gateway, as the virtual router of the Pods does.
	for _, network := range []string{"fd00:18::/64", "fd00:203::/64"} {
		l.ip("cluster", "-6 route add "+network+" via "+podAddress6)
	}
	l.startServing(document6(toBoth(tcp(80), false), toBoth(tcp(81), true)))
	for role, address := range map[string]string{"client": clientAddress6, "remote": remoteAddress6} {
		if got, err := l.ask(role, "tcp6", lbAddress6, 80); err != nil || got != podAddress6 {
			t.Errorf("%s is seen as %q, %v; want the Pod's own address on eth0", role, got, err)
		}
		if got, err := l.ask(role, "tcp6", lbAddress6, 81); err != nil || got != address {
			t.Errorf("%s is seen as %q, %v; want itself", role, got, err)
		}
	}
}

func TestIPv6ClientsLearnTheSmallerMTUOfTheCluster(t *testing.T) {
	l := newDualBackends(t, tcp(80), udp(53))
	l.ip("cluster", "link set pod0 mtu 1400") // so that answers come back
	l.startServing(document6(toBoth(tcp(80), false), toBoth(udp(53), false)))
	for _, role := range []string{"client", "remote"} {
		conn, err := l.dial(role, "udp6", lbAddress6, 53)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		// The first datagram is lost and its sender is told why.
		question := strings.Repeat("x", 1440) + "\n"
		if _, err := io.WriteString(conn, question); err != nil {
			t.Fatal(err)
		}
		l.eventually(role+" learns the smaller MTU", func() error {
			if route := l.ip(role, "-6 route get "+lbAddress6); !strings.Contains(route, "mtu 1400") {
				return fmt.Errorf("its way is: %s", route)
			}
			return nil
		})
		if _, err := io.WriteString(conn, question); !errors.Is(err, unix.EMSGSIZE) {
			t.Errorf("the program of %s hears: %v", role, err)
		}
		// From now on the kernel sends in fragments.
		if got, err := talk(conn, question); err != nil || got != backend6 {
			t.Errorf("%s asks with a large datagram: %.60q, %v", role, got, err)
		}
	}
	if err := l.exchange6("client", 4<<20); err != nil {
		t.Error(err)
	}
}

// exchange6 sends many bytes through port 80 and expects them back.
func (l *lab) exchange6(role string, size int64) error {
	conn, err := l.dial(role, "tcp6", lbAddress6, 80)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return err
	}
	go func() { _, _ = conn.Write(make([]byte, size)) }()
	if n, err := io.CopyN(io.Discard, conn, size); err != nil {
		return fmt.Errorf("%d of %d bytes came back: %w", n, size, err)
	}
	return nil
}

func TestIPv6TransfersWorkWithoutICMP(t *testing.T) {
	l := newDualBackends(t, tcp(80))
	l.startServing(document6(toBoth(tcp(80), false)))
	for _, role := range []string{"client", "cluster"} {
		l.exec(role, "ip6tables", "-A", "INPUT", "-p", "icmpv6", "--icmpv6-type", "packet-too-big", "-j", "DROP")
		l.exec(role, "sysctl", "-qw", "net.ipv4.tcp_mtu_probing=0")
	}
	if err := l.exchange6("client", 4<<20); err != nil {
		t.Error(err)
	}
}
