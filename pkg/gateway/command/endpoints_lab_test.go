package command_test

import (
	"fmt"
	"io"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kubeovn/kube-ovn-ccm/pkg/gateway/spec"
)

// The endpoints of the tests; the last is a node's: its address is one of the
// attachment's Subnet, and the way to it leads through the cluster all the same.
var endpointAddresses = []string{"10.16.0.101", "10.16.0.102", "10.17.0.103", "172.18.0.104"}

// endpointPort is the port of all endpoints.
const endpointPort = 8080

// newEndpointsLab is a lab with servers at the endpoints that answer with the
// name of their address's last byte.
func newEndpointsLab(t *testing.T, protocols ...spec.Protocol) *lab {
	t.Helper()
	l := newLab(t)
	for _, a := range endpointAddresses {
		l.ip("cluster", "addr add "+a+"/32 dev lo")
		for _, p := range protocols {
			l.echoServers(a, endpointName(a), spec.Port{Protocol: p, Port: endpointPort})
		}
	}
	return l
}

func endpointName(address string) string {
	b := netip.MustParseAddr(address).As4()
	return fmt.Sprintf("%d", b[3])
}

// to is a port with some of the endpoints, by their numbers.
func to(p spec.Port, numbers ...int) spec.Port {
	for _, n := range numbers {
		p.Endpoints = append(p.Endpoints, spec.Endpoint{Address: endpointAt(n)})
	}
	return p
}

func endpointAt(n int) netip.AddrPort {
	return netip.AddrPortFrom(netip.MustParseAddr(endpointAddresses[n]), endpointPort)
}

// endpoints is the guide's document with the other target.
func endpoints(ports ...spec.Port) *spec.Document {
	d := document(ports...)
	d.Target = spec.TargetEndpoints
	return d
}

// keeping is a port whose endpoints see the client's address.
func keeping(p spec.Port) spec.Port {
	p.Endpoints = slices.Clone(p.Endpoints)
	for i := range p.Endpoints {
		p.Endpoints[i].KeepClient = true
	}
	return p
}

// draining is a port with some endpoints that take nothing new.
func draining(p spec.Port, numbers ...int) spec.Port {
	for _, n := range numbers {
		p.Draining = append(p.Draining, endpointAt(n))
	}
	return p
}

// affine is a document with affinity.
func affine(seconds int32, ports ...spec.Port) *spec.Document {
	d := endpoints(ports...)
	d.AffinitySeconds = seconds
	return d
}

// ranged is a document for the clients of some networks.
func ranged(d *spec.Document, networks ...string) *spec.Document {
	for _, n := range networks {
		d.SourceRanges = append(d.SourceRanges, netip.MustParsePrefix(n))
	}
	return d
}

// clients gives the client many addresses and returns them.
func (l *lab) clients(n int) []string {
	l.t.Helper()
	var out []string
	for i := range n {
		a := fmt.Sprintf("172.18.1.%d", i+1)
		l.ip("client", "addr add "+a+"/16 dev eth0")
		out = append(out, a)
	}
	return out
}

// dialFrom opens a connection from one of the client's addresses.
func (l *lab) dialFrom(source, network string, port uint16) (net.Conn, error) {
	var conn net.Conn
	err := within(l.names["client"], func() (err error) {
		d := net.Dialer{Timeout: 2 * time.Second, LocalAddr: &net.TCPAddr{IP: net.ParseIP(source)}}
		if strings.HasPrefix(network, "udp") {
			d.LocalAddr = &net.UDPAddr{IP: net.ParseIP(source)}
		}
		conn, err = d.Dial(network, hostPort(lbAddress, port))
		return err
	})
	return conn, err
}

// askFrom asks like ask, from one of the client's addresses.
func (l *lab) askFrom(source, network string, port uint16) (string, error) {
	conn, err := l.dialFrom(source, network, port)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	return talk(conn, "hello\n")
}

// where asks from many addresses and returns who answered each.
func (l *lab) where(sources []string, network string, port uint16) map[string]string {
	l.t.Helper()
	out := map[string]string{}
	for _, source := range sources {
		name, err := l.askFrom(source, network, port)
		if err != nil {
			l.t.Fatalf("%s by %s: %v", source, network, err)
		}
		out[source] = name
	}
	return out
}

// names are the different values of a map.
func names(m map[string]string) []string {
	return slices.Compact(slices.Sorted(maps.Values(m)))
}

// mustDial opens a connection that is closed with the test.
func (l *lab) mustDial(role, network string, port uint16) net.Conn {
	l.t.Helper()
	conn, err := l.dial(role, network, lbAddress, port)
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { conn.Close() })
	return conn
}

// mustTalk sends the first line on a connection and wants it answered by name.
func (l *lab) mustTalk(conn net.Conn, want string) {
	l.t.Helper()
	if name, err := talk(conn, "hello\n"); err != nil || name != want {
		l.t.Fatalf("%q, %v, want %q", name, err, want)
	}
}

// whoServers answer at an endpoint with the address of whom they see.
func (l *lab) whoServers(at netip.AddrPort) {
	l.t.Helper()
	who := func(client net.Addr) string {
		host, _, _ := net.SplitHostPort(client.String())
		return host
	}
	l.greetTCP(at.String(), who)
	l.greetUDP(at.String(), who)
}

// returnThroughGateway does what the policy routes of a Vpc do: the answers of
// an endpoint go to the gateway's eth0, whoever the client is.
func (l *lab) returnThroughGateway(at netip.AddrPort) {
	l.t.Helper()
	family, gateway := "-4", podAddress
	if at.Addr().Is6() {
		family, gateway = "-6", podAddress6
	}
	l.ip("cluster", family+" route replace default via "+gateway+" dev pod0 table 50")
	for _, protocol := range []string{"tcp", "udp"} {
		l.ip("cluster", fmt.Sprintf("%s rule add from %s ipproto %s sport %d lookup 50", family, at.Addr(), protocol, at.Port()))
	}
}

// goesOn sends a line on a TCP connection that was greeted and wants it back.
func goesOn(conn net.Conn) error {
	if err := conn.SetDeadline(time.Now().Add(2 * time.Second)); err != nil {
		return err
	}
	const line = "still there?\n"
	if _, err := io.WriteString(conn, line); err != nil {
		return err
	}
	_, err := io.ReadFull(conn, make([]byte, len(line)))
	return err
}

func (l *lab) mustGoOn(conn net.Conn) {
	l.t.Helper()
	if err := goesOn(conn); err != nil {
		l.t.Errorf("an established connection does not go on: %v", err)
	}
}

// mustReach wants an answer, by whomever.
func (l *lab) mustReach(role, network string, port uint16) {
	l.t.Helper()
	if _, err := l.ask(role, network, lbAddress, port); err != nil {
		l.t.Errorf("%s asks %s port %d: %v", role, network, port, err)
	}
}
