package command_test

import (
	"errors"
	"iter"
	"slices"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/kubeovn/kube-ovn-ccm/pkg/gateway/spec"
)

// entry is what a test looks at in connection tracking.
type entry struct {
	client, to, answers string
	protocol            uint8
}

// conntrack are the gateway's entries to the load balancer's address.
func (l *lab) conntrack() iter.Seq[entry] {
	l.t.Helper()
	var out []entry
	l.inside("gw", func() error {
		flows, err := netlink.ConntrackTableList(netlink.ConntrackTable, unix.AF_INET)
		for _, f := range flows {
			if e := (entry{f.Forward.SrcIP.String(), f.Forward.DstIP.String(), f.Reverse.SrcIP.String(), f.Forward.Protocol}); e.to == lbAddress {
				out = append(out, e)
			}
		}
		return err
	})
	return slices.Values(out)
}

func TestDatagramsLeaveAnEndpointAtOnce(t *testing.T) {
	for _, tc := range []struct {
		sentence string
		after    spec.Port
	}{
		{"the endpoint is gone", to(udp(53), 1)},
		{"the endpoint drains", draining(to(udp(53), 1), 0)},
	} {
		t.Run(tc.sentence, func(t *testing.T) {
			l := newEndpointsLab(t, spec.UDP)
			l.startServing(endpoints(to(udp(53), 0)))
			conn := l.mustDial("client", "udp4", 53)
			l.mustTalk(conn, "101")
			l.serve(endpoints(tc.after))
			l.mustTalk(conn, "102")
		})
	}
}

func TestADrainingEndpointKeepsItsConnectionsAndAVanishedOneEndsThem(t *testing.T) {
	l := newEndpointsLab(t, spec.TCP)
	l.startServing(endpoints(to(tcp(80), 0)))
	conn := l.mustDial("remote", "tcp4", 80)
	l.mustTalk(conn, "101")
	l.serve(endpoints(draining(to(tcp(80), 1, 2), 0)))
	l.mustGoOn(conn)
	for range 20 {
		if name, err := l.ask("remote", "tcp4", lbAddress, 80); err != nil || name == "101" {
			t.Errorf("a new connection: %q, %v", name, err)
		}
	}
	// Nobody else is there: what is new is refused and what is old goes on.
	l.serve(endpoints(draining(tcp(80), 0)))
	if err := l.refused("remote", 80); err != nil {
		t.Errorf("a new connection: %v", err)
	}
	l.mustGoOn(conn)
	l.serve(endpoints(draining(to(tcp(80), 1), 0)))
	l.mustGoOn(conn)

	l.serve(endpoints(to(tcp(80), 1)))
	started := time.Now()
	if err := goesOn(conn); !errors.Is(err, unix.ECONNRESET) {
		t.Errorf("a connection whose endpoint is gone: %v, want a reset", err)
	}
	if took := time.Since(started); took > 500*time.Millisecond {
		t.Errorf("the reset took %s", took)
	}
	l.mustAsk("remote", "tcp4", 80, "102")
}

func TestAConnectionWhoseEndpointsAreAllGoneIsReset(t *testing.T) {
	l := newEndpointsLab(t, spec.TCP)
	l.startServing(endpoints(to(tcp(80), 0)))
	conn := l.mustDial("remote", "tcp4", 80)
	l.mustTalk(conn, "101")
	l.serve(endpoints(tcp(80)))
	if err := goesOn(conn); !errors.Is(err, unix.ECONNRESET) {
		t.Errorf("%v, want a reset", err)
	}
}
