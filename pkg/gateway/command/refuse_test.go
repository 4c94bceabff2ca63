package command_test

import (
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kubeovn/kube-ovn-ccm/pkg/gateway/spec"
)

func TestAPortWithoutAnEndpointIsRefusedAtOnce(t *testing.T) {
	l := newEndpointsLab(t, spec.TCP, spec.UDP)
	l.startServing(endpoints(tcp(80), udp(53), sctp(9899), to(tcp(81), 0)))
	started := time.Now()
	for _, role := range []string{"client", "remote"} {
		if err := l.refused(role, 80); err != nil {
			t.Errorf("%s: TCP: %v", role, err)
		}
		if _, err := l.ask(role, "udp4", lbAddress, 53); !errors.Is(err, unix.ECONNREFUSED) {
			t.Errorf("%s: UDP: %v, want an ICMP refusal", role, err)
		}
		if err := l.refusedSCTP(role, 9899); !errors.Is(err, unix.ECONNREFUSED) {
			t.Errorf("%s: SCTP: %v, want an ICMP refusal", role, err)
		}
		l.mustAsk(role, "tcp4", 81, "101")
	}
	if took := time.Since(started); took > time.Second {
		t.Errorf("the refusals took %s", took)
	}
	// Nothing is left that would keep a flow from its endpoint.
	conn := l.mustDial("client", "udp4", 53)
	_, _ = talk(conn, "early\n")
	l.serve(endpoints(to(tcp(80), 1), to(udp(53), 2)))
	l.mustTalk(conn, "103")
	l.mustAsk("client", "tcp4", 80, "102")
}

// refusedSCTP sends an INIT and returns how it was refused.
func (l *lab) refusedSCTP(role string, port uint16) error {
	return within(l.names[role], func() error {
		conn, err := net.DialIP("ip4:132", nil, &net.IPAddr{IP: net.ParseIP(lbAddress)})
		if err != nil {
			return err
		}
		defer conn.Close()
		if err := conn.SetDeadline(time.Now().Add(2 * time.Second)); err != nil {
			return err
		}
		if _, err := conn.Write(sctpPacket(40001, port, 1, 1)); err != nil {
			return err
		}
		_, err = conn.Read(make([]byte, 2048))
		return err
	})
}

func TestTheLocalStackRefusesWhatTheClusterIPHasNobodyFor(t *testing.T) {
	l := newLab(t)
	l.echoServers(clusterIP, "a", tcp(80), tcp(81))
	l.startServing(document(tcp(80), tcp(81)))
	established := l.mustDial("client", "tcp4", 80)
	l.mustTalk(established, "a")
	refused := tcp(80)
	refused.Refuse = true
	l.serve(document(refused, tcp(81)))
	for _, role := range []string{"client", "remote"} {
		if err := l.refused(role, 80); err != nil {
			t.Errorf("%s: %v", role, err)
		}
	}
	l.mustGoOn(established)
	l.mustAsk("client", "tcp4", 81, "a")
	if rules := l.filters(); strings.Contains(rules, "--dport 80 ") {
		t.Errorf("the port still has rules:\n%s", rules)
	}
	l.serve(document(tcp(80)))
	l.mustAsk("client", "tcp4", 80, "a")
}
