package command_test

import (
	"net"
	"os"
	"testing"
	"time"

	"github.com/kubeovn/kube-ovn-ccm/pkg/gateway/spec"
)

func TestOnlyClientsOfTheSourceRangesAreLetIn(t *testing.T) {
	l := newEndpointsLab(t, spec.TCP, spec.UDP)
	ports := []spec.Port{to(tcp(80), 0, 1), to(udp(80), 0)}
	l.startServing(ranged(endpoints(ports...), "172.18.0.0/24", "172.18.0.128/25", "172.18.1.0/32"))
	l.mustReach("client", "tcp4", 80)
	l.mustReach("client", "udp4", 80)
	for _, network := range []string{"tcp4", "udp4"} {
		if _, err := l.ask("remote", network, lbAddress, 80); !os.IsTimeout(err) {
			t.Errorf("a client outside the ranges by %s: %v, want no answer", network, err)
		}
	}
	l.exec("remote", "ping", "-c1", "-W2", lbAddress)
	l.serve(ranged(endpoints(ports...), "203.0.113.7/32"))
	l.mustReach("remote", "tcp4", 80)
	l.serve(ranged(endpoints(ports...), "0.0.0.0/0"))
	l.mustReach("client", "tcp4", 80)
	l.mustReach("remote", "udp4", 80)
	l.serve(ranged(endpoints(ports...), "fd00::/8"))
	if _, err := l.ask("client", "tcp4", lbAddress, 80); !os.IsTimeout(err) {
		t.Errorf("with ranges of the other family only: %v, want no answer", err)
	}
	l.serve(endpoints(ports...))
	l.mustReach("client", "tcp4", 80)
}

// streamUDP sends datagrams from an endpoint to whoever sent it one.
func (l *lab) streamUDP(n int) {
	l.t.Helper()
	var conn net.PacketConn
	l.inside("cluster", func() (err error) {
		conn, err = net.ListenPacket("udp4", endpointAt(n).String())
		return err
	})
	l.t.Cleanup(func() { conn.Close() })
	go func() {
		b := make([]byte, 10)
		_, from, err := conn.ReadFrom(b)
		for err == nil {
			_, err = conn.WriteTo([]byte("x"), from)
			time.Sleep(5 * time.Millisecond)
		}
	}()
}

func TestWhatIsEstablishedEndsWhenTheRangesShrink(t *testing.T) {
	l := newEndpointsLab(t, spec.TCP)
	l.streamUDP(0)
	ports := []spec.Port{to(tcp(80), 0), to(udp(80), 0)}
	l.startServing(ranged(endpoints(ports...), "203.0.113.0/24", "172.18.0.0/16"))
	established, other := l.mustDial("remote", "tcp4", 80), l.mustDial("client", "tcp4", 80)
	l.mustTalk(established, "101")
	l.mustTalk(other, "101")
	stream := l.mustDial("remote", "udp4", 80)
	if _, err := stream.Write([]byte("start")); err != nil {
		t.Fatal(err)
	}
	received := func(within time.Duration) (n int) {
		_ = stream.SetReadDeadline(time.Now().Add(within))
		for b := make([]byte, 10); ; n++ {
			if _, err := stream.Read(b); err != nil {
				return n
			}
		}
	}
	if n := received(200 * time.Millisecond); n < 10 {
		t.Fatalf("only %d datagrams came before", n)
	}

	l.serve(ranged(endpoints(ports...), "172.18.0.0/16"))
	received(time.Millisecond) // what came before the end
	if n := received(200 * time.Millisecond); n > 0 {
		t.Errorf("%d datagrams still came", n)
	}
	if err := goesOn(established); err == nil {
		t.Error("an established connection goes on")
	}
	l.mustGoOn(other)
	for line := range l.conntrack() {
		if line.client == remoteAddress {
			t.Errorf("connection tracking still knows the client: %+v", line)
		}
	}
}
