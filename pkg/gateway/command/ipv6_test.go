package command_test

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/kubeovn/kube-ovn-ccm/pkg/gateway/spec"
)

// fingerprint6 is everything of ours of IPv6 in the gateway's kernel, and the
// order does not matter.
func (l *lab) fingerprint6() string {
	l.t.Helper()
	out := []string{trimmed(l.ip("gw", "-6 rule")), trimmed(l.ip("gw", "-6 route show table 100")), trimmed(l.ip("gw", "-6 route show table 101")), l.global6("gw", "net1")}
	l.inside("gw", func() error {
		for _, setting := range []string{"all/forwarding", "net1/disable_ipv6", "net1/accept_ra"} {
			b, err := os.ReadFile("/proc/sys/net/ipv6/conf/" + setting)
			if err != nil {
				return err
			}
			out = append(out, setting+"="+strings.TrimSpace(string(b)))
		}
		return nil
	})
	return sortedLines(lines(out...))
}

func TestADualStackGatewayShowsBothFamilies(t *testing.T) {
	l := newDualLab(t)
	p := l.startServing(dualDocument())
	for _, tc := range []struct{ what, got, want string }{
		{"the IPv4 addresses of net1", l.addresses("gw", "net1"), "172.18.0.18/16 scope global"},
		{"the IPv6 addresses of net1", l.global6("gw", "net1"), "fd00:18::18/64 global"},
		{"ip rule", trimmed(l.ip("gw", "rule")), lines(
			"0: from all lookup local",
			"32762: from all fwmark 0x4c42 lookup 101",
			"32763: from 172.18.0.18 lookup 100",
			"32764: from all iif eth0 lookup 100",
			"32765: from all iif net1 lookup 100",
			"32766: from all lookup main",
			"32767: from all lookup default")},
		{"ip -6 rule", trimmed(l.ip("gw", "-6 rule")), lines(
			"0: from all lookup local",
			"32762: from all fwmark 0x4c42 lookup 101",
			"32763: from fd00:18::18 lookup 100",
			"32764: from all iif eth0 lookup 100",
			"32765: from all iif net1 lookup 100",
			"32766: from all lookup main")},
		{"ip -6 route show table 100", trimmed(l.ip("gw", "-6 route show table 100")), lines(
			"fd00:10:96::c1 via fd00:10:16::1 dev eth0 metric 1024 pref medium",
			"fd00:18::/64 dev net1 metric 1024 pref medium",
			"default via fd00:18::1 dev net1 metric 1024 pref medium")},
		{"ip -6 route show table 101", trimmed(l.ip("gw", "-6 route show table 101")),
			"default via fd00:10:16::1 dev eth0 metric 1024 pref medium"},
	} {
		if diff := cmp.Diff(tc.want, tc.got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tc.what, diff)
		}
	}
	for _, role := range []string{"client", "remote"} {
		l.exec(role, "ping", "-c1", "-W2", lbAddress)
	}
	l.mustEcho6("client", "remote")

	// What leaves for the cluster has the Pod's own address.
	if route := l.ip("gw", "-6 route get "+clusterIP6); !strings.Contains(route, "dev eth0 src "+podAddress6) {
		t.Errorf("the way to the cluster is %s", route)
	}

	p.stop(unix.SIGTERM)
	if a := l.addresses("gw", "net1") + l.global6("gw", "net1"); p.err != nil || a != "" {
		t.Errorf("after SIGTERM the agent ended with %v and net1 has %q", p.err, a)
	}
}

func TestIPv6AloneWithALinkLocalRouter(t *testing.T) {
	l := newDualLab(t)
	d := document6()
	d.Families[0].Gateway = netip.MustParseAddr("fe80::1")
	l.startServing(d)
	l.mustEcho6("client", "remote")
	if a := l.addresses("gw", "net1"); a != "" {
		t.Errorf("net1 has the IPv4 address %s", a)
	}
	// The gateway speaks for IPv4 on the attachment no more than otherwise.
	if holder, err := l.probe(podAddress); err != nil || holder != nil {
		t.Errorf("%s answered for the Pod's address, %v", holder, err)
	}
}

func TestAFamilyComesAndGoes(t *testing.T) {
	l := newDualLab(t)
	l.startServing(document6())
	before := l.fingerprint6()
	l.serve(dualDocument())
	if after := l.fingerprint6(); after != before {
		t.Errorf("with IPv4 beside it the kernel has\n%s\ninstead of\n%s", after, before)
	}
	l.mustEcho6("client", "remote")
	v4 := dualDocument()
	v4.Families = v4.Families[:1]
	l.serve(v4)
	left := l.global6("gw", "net1") + l.ip("gw", "-6 route show table all") + l.ip("gw", "-6 rule")
	for _, gone := range []string{"table 100", "table 101", "lookup 100", "lookup 101", lbAddress6} {
		if strings.Contains(left, gone) {
			t.Errorf("IPv6 left %q:\n%s", gone, left)
		}
	}
	l.exec("remote", "ping", "-c1", "-W2", lbAddress)
}

func TestAnIPv6AddressServesAtOnce(t *testing.T) {
	l := newDualLab(t)
	l.publish(document6())
	l.start()
	var seen time.Time
	l.eventually("the address is there", func() error {
		if l.global6("gw", "net1") == "" {
			return errors.New("not yet")
		}
		seen = time.Now()
		return nil
	})
	if err := l.echo6("client", lbAddress6, 8, time.Second); err != nil {
		t.Fatal(err)
	}
	took := time.Since(seen)
	t.Logf("the first answer came %s after the address was seen", took)
	if took > 100*time.Millisecond {
		t.Errorf("the first answer came %s after the address was seen", took)
	}
	if a := l.global6("gw", "net1"); a != lbAddress6+"/64 global" {
		t.Errorf("net1 has %s", a)
	}
}

func TestAGatewayThatMayNotForwardIPv6SaysWhoHasToAllowIt(t *testing.T) {
	l := newDualLab(t)
	l.publish(dualDocument())
	l.startConfined()
	l.eventually("the reason is shown", l.notReady("set net.ipv6.conf.all.forwarding=1: it cannot be set from within the Pod: the CNI plugin tuning has to set it"))
	if a := l.global6("gw", "net1"); a != "" {
		t.Errorf("net1 took %s", a)
	}
	l.sysctl("gw", "net/ipv6/conf/all/forwarding", "1")
	l.eventually("it serves when it is allowed to", l.ready)
	l.mustEcho6("client", "remote")
	// What a router would do to the attachment is noticed too.
	l.sysctl("gw", "net/ipv6/conf/net1/accept_ra", "2")
	l.eventually("the reason is shown", l.notReady("set net.ipv6.conf.net1.accept_ra=0: it cannot be set from within the Pod"))
	l.mustEcho6("client", "remote")
}

func TestWhatIsChangedByHandInIPv6IsPutRightAtOnce(t *testing.T) {
	l := newDualLab(t)
	l.resync = "1h"
	l.startServing(dualDocument())
	before := l.fingerprint6()
	for _, tc := range []struct{ sentence, command string }{
		{"the address is deleted", "ip addr del fd00:18::18/64 dev net1"},
		{"the address has another prefix length", "ip addr del fd00:18::18/64 dev net1 && ip addr add fd00:18::18/80 dev net1"},
		{"the address was not found free by the kernel", "ip addr del fd00:18::18/64 dev net1 && ip addr add fd00:18::18/64 dev net1"},
		{"another address is added", "ip addr add fd00:18::99/64 dev net1 nodad"},
		{"a policy rule is deleted", "ip -6 rule del priority 32765"},
		{"a policy rule of the table is added", "ip -6 rule add priority 100 from fd00:18::5 lookup 100"},
		{"a table is flushed", "ip -6 route flush table 100"},
		{"the default route leads elsewhere", "ip -6 route replace default via fd00:18::5 dev net1 table 100"},
		{"a second default route is added", "ip -6 route append default via fd00:18::5 dev net1 table 100"},
		{"a second default route with another metric is added", "ip -6 route add default via fd00:18::5 dev net1 metric 5 table 100"},
		{"a destination is blackholed", "ip -6 route add blackhole fd00:18::/80 table 100"},
		{"forwarding is switched off", "sysctl -qw net.ipv6.conf.all.forwarding=0"},
		{"IPv6 is switched off on the interface", "sysctl -qw net.ipv6.conf.net1.disable_ipv6=1"},
		{"the interface is taken down", "ip link set net1 down"},
		{"the cluster's interface loses what it has", "ip link set eth0 down && ip link set eth0 up && ip route add default via 10.16.0.1 && " +
			"ip addr add fd00:10:16::2/64 dev eth0 nodad && ip -6 route add default via fd00:10:16::1"},
	} {
		t.Run(tc.sentence, func(t *testing.T) {
			l := l.in(t)
			l.exec("gw", "sh", "-c", tc.command)
			if l.fingerprint6() == before {
				t.Log("it was put right before it could be seen")
			}
			l.eventually("it is put right", func() error {
				if now := l.fingerprint6(); now != before {
					return fmt.Errorf("the kernel has\n%s\nwant\n%s", now, before)
				}
				return l.ready()
			})
			l.mustEcho6("client", "remote")
		})
	}
}

func TestTooBigIPv6PacketsAreReported(t *testing.T) {
	l := newDualLab(t)
	l.startServing(document6(spec.Port{Protocol: spec.UDP, Port: 53}))
	// The Pod's eth0 has an MTU of 1400. Whoever sends to the cluster through
	// the gateway hears of it, also behind the router.
	l.ip("client", "-6 route add "+clusterIP6+" via "+lbAddress6)
	l.ip("lan", "-6 route add "+clusterIP6+" via "+lbAddress6)
	for _, role := range []string{"client", "remote"} {
		_ = l.echo6(role, clusterIP6, 1440, 100*time.Millisecond)
		l.eventually(role+" learns the smaller MTU", func() error {
			if route := l.ip(role, "-6 route get "+clusterIP6); !strings.Contains(route, "mtu 1400") {
				return fmt.Errorf("its way is: %s", route)
			}
			return nil
		})
	}
}
