package command_test

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kubeovn/kube-ovn-ccm/pkg/gateway/spec"
)

// endpoint6 is one of the endpoints' IPv6 addresses.
func endpoint6(n int) netip.AddrPort {
	return netip.AddrPortFrom(netip.MustParseAddr(fmt.Sprintf("fd00:10:17::%d", n+1)), endpointPort)
}

// newDualEndpointsLab is a lab with servers at endpoints of both families; the
// IPv6 ones have the names v0, v1 and v2.
func newDualEndpointsLab(t *testing.T) *lab {
	t.Helper()
	l := newDualLab(t)
	l.ip("cluster", "addr add "+endpointAddresses[0]+"/32 dev lo")
	l.echoServers(endpointAddresses[0], "101", tcp(endpointPort), udp(endpointPort))
	for n := range 3 {
		l.ip("cluster", fmt.Sprintf("-6 addr add %s/128 dev lo nodad", endpoint6(n).Addr()))
		l.echoServers(endpoint6(n).Addr().String(), fmt.Sprintf("v%d", n), tcp(endpointPort), udp(endpointPort))
	}
	return l
}

// to6 adds IPv6 endpoints to a port.
func to6(p spec.Port, numbers ...int) spec.Port {
	p.Endpoints = slices.Clone(p.Endpoints)
	for _, n := range numbers {
		p.Endpoints = append(p.Endpoints, spec.Endpoint{Address: endpoint6(n)})
	}
	return p
}

// ask6 asks like ask at the IPv6 address, from one of the role's addresses.
func (l *lab) ask6(role, source, network string, port uint16) (string, error) {
	var conn net.Conn
	err := within(l.names[role], func() (err error) {
		d := net.Dialer{Timeout: 2 * time.Second, LocalAddr: &net.TCPAddr{IP: net.ParseIP(source)}}
		if network == "udp6" {
			d.LocalAddr = &net.UDPAddr{IP: net.ParseIP(source)}
		}
		conn, err = d.Dial(network, hostPort(lbAddress6, port))
		return err
	})
	if err != nil {
		return "", err
	}
	defer conn.Close()
	return talk(conn, "hello\n")
}

func TestEndpointsOfBothFamiliesServeTheirOwn(t *testing.T) {
	l := newDualEndpointsLab(t)
	l.startServing(dualDocument(to6(to(tcp(80), 0), 0, 1, 2), to6(to(udp(53), 0), 1), to(tcp(81), 0), to(udp(54), 0), to6(tcp(82), 0)))
	for _, tc := range []struct{ role, address string }{{"client", clientAddress6}, {"remote", remoteAddress6}} {
		seen := map[string]int{}
		for range 30 {
			name, err := l.ask6(tc.role, tc.address, "tcp6", 80)
			if err != nil {
				t.Fatal(err)
			}
			seen[name]++
		}
		if len(seen) != 3 || seen["101"] > 0 {
			t.Errorf("%s came to %v, want all three endpoints", tc.role, seen)
		}
		if name, err := l.ask6(tc.role, tc.address, "udp6", 53); err != nil || name != "v1" {
			t.Errorf("%s by UDP: %q, %v", tc.role, name, err)
		}
		l.mustAsk(tc.role, "tcp4", 80, "101")
		l.mustAsk(tc.role, "udp4", 53, "101")
		// Ports that have endpoints in the other family only.
		if _, err := l.ask6(tc.role, tc.address, "tcp6", 81); !errors.Is(err, unix.ECONNREFUSED) {
			t.Errorf("%s by TCP: %v, want a refusal", tc.role, err)
		}
		if _, err := l.ask6(tc.role, tc.address, "udp6", 54); !errors.Is(err, unix.ECONNREFUSED) {
			t.Errorf("%s by UDP: %v, want a refusal", tc.role, err)
		}
		if err := l.refused(tc.role, 82); err != nil {
			t.Errorf("%s by IPv4: %v", tc.role, err)
		}
	}
	l.mustEcho6("client", "remote")
}

func TestAffinityAndSourceRangesOfIPv6(t *testing.T) {
	l := newDualEndpointsLab(t)
	d := document6(to6(tcp(80), 0))
	d.AffinitySeconds = 600
	l.startServing(d)
	var clients []string
	for i := range 9 {
		a := fmt.Sprintf("fd00:18::1:%d", i+1)
		l.ip("client", "-6 addr add "+a+"/64 dev eth0 nodad")
		clients = append(clients, a)
	}
	where := func() []string {
		seen := map[string]string{}
		for _, c := range clients {
			name, err := l.ask6("client", c, "tcp6", 80)
			if err != nil {
				t.Fatal(err)
			}
			seen[c] = name
		}
		return names(seen)
	}
	where()
	d.Ports[0] = to6(tcp(80), 0, 1, 2)
	l.serve(ranged(d, "fd00:18::/64"))
	if got := where(); len(got) != 1 {
		t.Errorf("clients moved to %v", got)
	}
	if _, err := l.ask6("remote", remoteAddress6, "tcp6", 80); !os.IsTimeout(err) {
		t.Errorf("a client outside the ranges: %v, want no answer", err)
	}
	l.mustEcho6("client", "remote")
	d.AffinitySeconds, d.SourceRanges = 0, nil
	l.serve(d)
	if got := where(); len(got) != 3 {
		t.Errorf("without affinity all are still at %v", got)
	}
	if _, err := l.ask6("remote", remoteAddress6, "tcp6", 80); err != nil {
		t.Errorf("a client outside the former ranges: %v", err)
	}
}

func TestAnIPv6EndpointSeesTheClientOnlyIfItsAnswersReturn(t *testing.T) {
	l := newDualLab(t)
	for n := range 2 {
		l.ip("cluster", fmt.Sprintf("-6 addr add %s/128 dev lo nodad", endpoint6(n).Addr()))
		l.whoServers(endpoint6(n))
	}
	l.returnThroughGateway(endpoint6(0))
	l.startServing(document6(keeping(to6(tcp(80), 0)), keeping(to6(udp(80), 0)), to6(tcp(81), 1), to6(udp(81), 1)))
	// The namespaces' own addresses are usable some time after the links.
	l.eventually("the cluster finds the gateway", func() error {
		_, err := l.ask6("remote", remoteAddress6, "tcp6", 81)
		return err
	})
	l.exec("cluster", "ping", "-6", "-c1", "-W5", podAddress6)
	for _, network := range []string{"tcp6", "udp6"} {
		for port, want := range map[uint16]string{80: remoteAddress6, 81: podAddress6} {
			if got, err := l.ask6("remote", remoteAddress6, network, port); err != nil || got != want {
				t.Errorf("port %d by %s: the endpoint sees %q, %v, want %s", port, network, got, err, want)
			}
		}
	}
}

func TestIPv6FlowsLeaveEndpointsAndAreReset(t *testing.T) {
	l := newDualEndpointsLab(t)
	l.startServing(document6(to6(tcp(80), 0), to6(udp(53), 0)))
	dial := func(network string, port uint16) net.Conn {
		conn, err := l.dial("remote", network, lbAddress6, port)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		l.mustTalk(conn, "v0")
		return conn
	}
	stream, datagrams := dial("tcp6", 80), dial("udp6", 53)
	d := document6(to6(tcp(80), 1), to6(udp(53), 1))
	d.Ports[0].Draining = []netip.AddrPort{endpoint6(0)}
	l.serve(d)
	l.mustTalk(datagrams, "v1")
	l.mustGoOn(stream)
	d.Ports[0].Draining = nil
	l.serve(d)
	if err := goesOn(stream); !errors.Is(err, unix.ECONNRESET) {
		t.Errorf("a connection whose endpoint is gone: %v, want a reset", err)
	}
}
