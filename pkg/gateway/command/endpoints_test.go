package command_test

import (
	"encoding/binary"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kubeovn/kube-ovn-ccm/pkg/gateway/spec"
)

func TestConnectionsAreSpreadOverTheEndpoints(t *testing.T) {
	l := newEndpointsLab(t, spec.TCP, spec.UDP)
	l.startServing(endpoints(to(tcp(80), 0, 1, 2, 3), to(udp(80), 0, 1)))
	for _, tc := range []struct {
		network string
		want    int
	}{{"tcp4", 4}, {"udp4", 2}} {
		for _, role := range []string{"client", "remote"} {
			seen := map[string]int{}
			for range 40 {
				name, err := l.ask(role, tc.network, lbAddress, 80)
				if err != nil {
					t.Fatalf("%s by %s: %v", role, tc.network, err)
				}
				seen[name]++
			}
			if len(seen) != tc.want {
				t.Errorf("%s by %s came to %v, want %d endpoints", role, tc.network, seen, tc.want)
			}
		}
	}
}

// answerSCTPAt answers INIT with INIT ACK at an endpoint.
func (l *lab) answerSCTPAt(n int) {
	l.t.Helper()
	var conn *net.IPConn
	l.inside("cluster", func() (err error) {
		conn, err = net.ListenIP("ip4:132", &net.IPAddr{IP: endpointAt(n).Addr().AsSlice()})
		return err
	})
	l.t.Cleanup(func() { conn.Close() })
	go func() {
		for b := make([]byte, 2048); ; {
			size, from, err := conn.ReadFromIP(b)
			if err != nil {
				return
			}
			if size >= 32 && binary.BigEndian.Uint16(b[2:]) == endpointPort && b[12] == 1 {
				answer := sctpPacket(endpointPort, binary.BigEndian.Uint16(b), 2, binary.BigEndian.Uint32(b[16:]))
				_, _ = conn.WriteToIP(answer, from)
			}
		}
	}()
}

func TestThreeProtocolsOnOnePort(t *testing.T) {
	l := newEndpointsLab(t, spec.TCP, spec.UDP)
	l.answerSCTPAt(2)
	l.startServing(endpoints(to(tcp(53), 0), to(udp(53), 1), to(sctp(53), 2)))
	for _, role := range []string{"client", "remote"} {
		l.mustAsk(role, "tcp4", 53, "101")
		l.mustAsk(role, "udp4", 53, "102")
		if err := l.askSCTP(role, 53); err != nil {
			t.Errorf("%s: SCTP: %v", role, err)
		}
	}
}

func TestTheGatewayIsNoRouterToTheEndpoints(t *testing.T) {
	l := newEndpointsLab(t, spec.TCP)
	l.startServing(endpoints(to(tcp(80), 0)))
	l.ip("client", "route add "+endpointAddresses[0]+" via "+lbAddress)
	if _, err := l.ask("client", "tcp4", endpointAddresses[0], endpointPort); err == nil {
		t.Error("a client that routes an endpoint's address to the gateway reached it")
	}
}

func TestLargeTransfersToEndpointsWorkWithoutICMP(t *testing.T) {
	l := newEndpointsLab(t, spec.TCP)
	l.startServing(endpoints(to(tcp(80), 0)))
	for _, role := range []string{"client", "cluster"} {
		l.exec(role, "iptables", "-A", "INPUT", "-p", "icmp", "-j", "DROP")
		l.exec(role, "sysctl", "-qw", "net.ipv4.tcp_mtu_probing=0")
	}
	conn := l.mustDial("client", "tcp4", 80)
	const size = 1 << 20
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	go func() { _, _ = conn.Write(make([]byte, size)) }()
	if n, err := io.CopyN(io.Discard, conn, size); err != nil {
		t.Errorf("%d of %d bytes came back: %v", n, size, err)
	}
}

func TestTwoCapabilitiesAreEnoughForTheTable(t *testing.T) {
	l := newEndpointsLab(t, spec.TCP, spec.UDP)
	l.publish(ranged(affine(60, to(tcp(80), 0), to(udp(53), 1)), "0.0.0.0/0"))
	p, pid := l.startConfined()
	l.eventually("the gateway is ready", l.ready)
	l.mustAsk("client", "tcp4", 80, "101")
	l.mustAsk("remote", "udp4", 53, "102")
	if err := unix.Kill(pid, unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	<-p.done
}

func TestTheListingShowsTheTable(t *testing.T) {
	l := newEndpointsLab(t)
	l.startServing(endpoints(to(tcp(80), 0)))
	cmd := exec.Command(os.Args[0], append([]string{"show"}, l.arguments()...)...)
	cmd.Env = append(cmd.Environ(), agentVariable+"=1")
	var out []byte
	l.inside("gw", func() (err error) { out, err = cmd.CombinedOutput(); return err })
	for _, want := range []string{"  table inet kube-ovn-lb {\n", "dnat ip to 10.16.0.101:8080\n", "The kernel agrees.\n"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("%q is not in\n%s", want, out)
		}
	}
}
