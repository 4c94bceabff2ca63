package command_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kubeovn/kube-ovn-ccm/pkg/gateway/spec"
)

// fingerprint is everything of ours in the gateway's kernel.
func (l *lab) fingerprint() string {
	l.t.Helper()
	out := []string{l.filters(), trimmed(l.ip("gw", "rule")), trimmed(l.ip("gw", "route show table 100")), l.addresses("gw", "net1")}
	l.inside("gw", func() error {
		for _, setting := range []string{"eth0/forwarding", "net1/forwarding", "eth0/rp_filter", "net1/rp_filter", "net1/arp_ignore", "net1/arp_announce"} {
			b, err := os.ReadFile("/proc/sys/net/ipv4/conf/" + setting)
			if err != nil {
				return err
			}
			out = append(out, setting+"="+strings.TrimSpace(string(b)))
		}
		return nil
	})
	return strings.Join(out, "\n")
}

func TestWhatIsChangedByHandIsPutRight(t *testing.T) {
	l := newLab(t)
	l.echoServers(clusterIP, "a", tcp(80))
	l.startServing(document(tcp(80), udp(53)))
	before := l.fingerprint()
	for _, tc := range []struct{ sentence, command string }{
		{"the address is deleted", "ip addr del 172.18.0.18/16 dev net1"},
		{"the address has another prefix length", "ip addr del 172.18.0.18/16 dev net1 && ip addr add 172.18.0.18/24 dev net1"},
		{"another address is added", "ip addr add 172.18.0.99/16 dev net1"},
		{"a policy rule is deleted", "ip rule del priority 32765"},
		{"a policy rule of the table is added", "ip rule add priority 100 from 172.18.0.5 lookup 100"},
		{"a policy rule is doubled", "ip rule add priority 200 iif net1 lookup 100"},
		{"the table is flushed", "ip route flush table 100"},
		{"the default route leads elsewhere", "ip route replace default via 172.18.0.5 dev net1 table 100"},
		{"a second default route is added", "ip route append default via 172.18.0.5 dev net1 table 100"},
		{"a destination is blackholed", "ip route add blackhole 172.18.0.0/24 table 100"},
		{"the translation is deleted", "iptables -t nat -F"},
		{"the translation is doubled", "iptables -t nat -A PREROUTING -d 172.18.0.18 -p tcp --dport 80 -j DNAT --to-destination 10.109.201.193:80"},
		{"a port is translated that is not in the document", "iptables -t nat -A PREROUTING -d 172.18.0.18 -p tcp --dport 81 -j DNAT --to-destination 10.109.201.193:81"},
		{"the guards are deleted", "iptables -F INPUT && iptables -F FORWARD && iptables -t mangle -F"},
		{"the interface is taken down", "ip link set net1 down"},
		{"the cluster's interface loses its routes", "ip link set eth0 down && ip link set eth0 up && ip route add default via 10.16.0.1"},
		{"forwarding is switched off", "sysctl -qw net.ipv4.ip_forward=1 net.ipv4.ip_forward=0"},
		{"rp_filter is strict", "sysctl -qw net.ipv4.conf.net1.rp_filter=1"},
	} {
		t.Run(tc.sentence, func(t *testing.T) {
			l := l.in(t)
			l.exec("gw", "sh", "-c", tc.command)
			if l.fingerprint() == before {
				t.Log("it was put right before it could be seen")
			}
			l.eventually("it is put right", func() error {
				if now := l.fingerprint(); sortedLines(now) != sortedLines(before) {
					return fmt.Errorf("the kernel has\n%s\nwant\n%s", now, before)
				}
				return l.ready()
			})
			l.mustAsk("client", "tcp4", 80, "a")
			l.mustAsk("remote", "tcp4", 80, "a")
		})
	}
}

func TestWhatTheKernelReportsIsPutRightAtOnce(t *testing.T) {
	l := newLab(t)
	l.resync = "1h"
	l.echoServers(clusterIP, "a", tcp(80))
	l.startServing(document(tcp(80)))
	before := sortedLines(l.fingerprint())
	for _, tc := range []struct{ sentence, command string }{
		{"the address is deleted", "ip addr del 172.18.0.18/16 dev net1"},
		{"a policy rule is deleted", "ip rule del priority 32764"},
		{"the table is flushed", "ip route flush table 100"},
		{"the translation is deleted", "iptables -t nat -F"},
		{"forwarding is switched off", "sysctl -qw net.ipv4.conf.eth0.forwarding=0"},
		{"the interface is taken down", "ip link set net1 down"},
	} {
		t.Run(tc.sentence, func(t *testing.T) {
			l := l.in(t)
			l.exec("gw", "sh", "-c", tc.command)
			l.eventually("it is put right", func() error {
				if now := sortedLines(l.fingerprint()); now != before {
					return fmt.Errorf("the kernel has\n%s\nwant\n%s", now, before)
				}
				return nil
			})
		})
	}
}

func TestAConnectionOpenedWhileItsTranslationIsMissingIsNotRefused(t *testing.T) {
	l := newLab(t)
	l.echoServers(clusterIP, "a", tcp(80))
	l.startServing(document(tcp(80)))
	l.exec("gw", "iptables", "-t", "nat", "-F", "PREROUTING")
	l.mustAsk("client", "tcp4", 80, "a")
}

func TestRulesOfOthersStay(t *testing.T) {
	l := newLab(t)
	l.echoServers(clusterIP, "a", tcp(80))
	foreign := []string{
		"iptables -A INPUT -s 192.0.2.1/32 -j DROP",
		"iptables -t nat -A PREROUTING -d 172.18.0.18/32 -p tcp -m tcp --dport 80 -m comment --comment by-an-operator -j ACCEPT",
		"iptables -t nat -A POSTROUTING -o eth0 -j MASQUERADE",
		"ip rule add priority 500 from 192.0.2.1 lookup 200",
		"ip route add 192.0.2.0/24 via 172.18.0.1 dev net1 onlink table 200",
	}
	for _, command := range foreign {
		l.exec("gw", "sh", "-c", command)
	}
	l.startServing(document(tcp(80)))
	l.serve(document(tcp(80), tcp(81)))
	l.serve(document(tcp(81)))
	rules := l.filters() + l.ip("gw", "rule") + l.ip("gw", "route show table 200")
	for _, want := range []string{"-s 192.0.2.1/32 -j DROP", "by-an-operator", "-o eth0 -j MASQUERADE", "lookup 200", "192.0.2.0/24"} {
		if !strings.Contains(rules, want) {
			t.Errorf("%q is gone:\n%s", want, rules)
		}
	}
}

func TestACrashAndARestartLoseNothing(t *testing.T) {
	l := newLab(t)
	l.echoServers(clusterIP, "a", tcp(80))
	d := document(tcp(80), udp(53), tcp(443))
	p := l.startServing(d)
	established, err := l.dial("remote", "tcp4", lbAddress, 80)
	if err != nil {
		t.Fatal(err)
	}
	defer established.Close()
	before := l.fingerprint()
	load := l.startLoad(500, 80)
	for range 3 {
		p.stop(unix.SIGKILL)
		time.Sleep(200 * time.Millisecond)
		died := time.Now()
		p = l.start()
		l.eventually("the restarted agent has looked", func() error {
			if info, err := os.Stat(l.statusDir() + "/status.json"); err != nil || !info.ModTime().After(died) {
				return errors.New("the status is from before")
			}
			return l.ready()
		})
		if after := l.fingerprint(); after != before {
			t.Errorf("the restart changed the kernel from\n%s\nto\n%s", before, after)
		}
	}
	opened := load.end()
	if failed := load.failed.Load(); failed > 0 {
		t.Errorf("%d of %d connections failed, the first with: %v", failed, opened, load.first)
	}
	if _, err := talk(established, "still there?\n"); err != nil {
		t.Errorf("a connection from before the crash: %v", err)
	}
}

func TestAChangeThatACrashInterruptedIsFinished(t *testing.T) {
	l := newLab(t)
	l.echoServers(clusterIP, "a", tcp(80), tcp(443), udp(53))
	p := l.startServing(document(tcp(80)))
	for i := range 12 {
		d := document(tcp(80), tcp(443), udp(53))
		if i%2 == 1 {
			d = document(tcp(80))
		}
		l.publish(d)
		time.Sleep(time.Duration(20+6*i) * time.Millisecond)
		p.stop(unix.SIGKILL)
		p = l.start()
		l.eventually("the restarted agent serves the new document", l.ready)
		l.mustAsk("client", "tcp4", 80, "a")
		if i%2 == 0 {
			l.mustAsk("client", "tcp4", 443, "a")
			l.mustAsk("client", "udp4", 53, "a")
		} else if err := l.refused("client", 443); err != nil {
			t.Errorf("the removed port: %v", err)
		}
	}
}

func TestTerminationGivesTheAddressBack(t *testing.T) {
	l := newLab(t)
	p := l.startServing(document(tcp(80)))
	started := time.Now()
	p.stop(unix.SIGTERM)
	if took := time.Since(started); took > 500*time.Millisecond {
		t.Errorf("it took %s", took)
	}
	if p.err != nil {
		t.Errorf("the agent ended with: %v", p.err)
	}
	if a := l.addresses("gw", "net1"); a != "" {
		t.Errorf("net1 still has %s", a)
	}
	if err := l.ready(); err == nil || err.Error() != "the gateway is terminating" {
		t.Errorf("ready says: %v", err)
	}
}

func TestTerminationDoesNotWaitForALongChange(t *testing.T) {
	l := newLab(t)
	p := l.startServing(document(tcp(80)))
	var many []spec.Port
	for port := range uint16(500) {
		many = append(many, tcp(1000+port))
	}
	l.publish(document(many...))
	l.eventually("the change has begun", func() error {
		if !strings.Contains(l.exec("gw", "iptables", "-S", "INPUT"), "--dport 1000 ") {
			return errors.New("the first port is not there")
		}
		return nil
	})
	started := time.Now()
	p.stop(unix.SIGTERM)
	if took := time.Since(started); took > 500*time.Millisecond || p.err != nil {
		t.Errorf("it took %s and ended with %v", took, p.err)
	}
	if a := l.addresses("gw", "net1"); a != "" {
		t.Errorf("net1 still has %s", a)
	}
}

func TestWhatCannotHealEndsWithOneClearLine(t *testing.T) {
	for _, tc := range []struct {
		sentence, want string
		prepare        func(l *lab)
		wrapper        []string
	}{
		{sentence: "the attachment's interface is missing", want: "the Pod has no interface net1",
			prepare: func(l *lab) { l.ip("gw", "link del net1") }},
		{sentence: "the container may not administer the network", want: "the container lacks the capability NET_ADMIN",
			wrapper: []string{"setpriv", "--bounding-set", "-all,+net_raw", "--inh-caps", "-all"}},
		{sentence: "the container may not speak ARP", want: "the container lacks the capability NET_RAW",
			wrapper: []string{"setpriv", "--bounding-set", "-all,+net_admin", "--inh-caps", "-all"}},
		{sentence: "the image has no iptables", want: `find iptables: exec: "iptables": executable file not found in $PATH`,
			wrapper: []string{"env", "PATH=/nowhere"}},
	} {
		t.Run(tc.sentence, func(t *testing.T) {
			l := newLab(t)
			l.publish(document(tcp(80)))
			if tc.prepare != nil {
				tc.prepare(l)
			}
			p := l.start(tc.wrapper...)
			select {
			case <-p.done:
			case <-time.After(5 * time.Second):
				t.Fatal("the agent goes on")
			}
			if _, ok := errors.AsType[*exec.ExitError](p.err); !ok {
				t.Errorf("the agent ended with: %v", p.err)
			}
			said := strings.Split(strings.TrimSpace(p.stderr.String()), "\n")
			if last := said[len(said)-1]; last != tc.want {
				t.Errorf("its last line is %q, want %q", last, tc.want)
			}
		})
	}
}

func TestAPodWithoutAWayToTheClusterSaysSo(t *testing.T) {
	l := newLab(t)
	l.echoServers(clusterIP, "a", tcp(80))
	l.ip("gw", "route del default")
	l.publish(document(tcp(80)))
	l.start()
	l.eventually("the reason is shown", l.notReady("the Pod has no default route on eth0"))
	l.ip("gw", "route add default via 10.16.0.1")
	l.eventually("it serves when the route is there", l.ready)
	l.mustAsk("client", "tcp4", 80, "a")
}

// sortedLines forgets the order of lines: of rules with the same effect it
// does not matter which came back last.
func sortedLines(s string) string {
	all := strings.Split(s, "\n")
	slices.Sort(all)
	return strings.Join(all, "\n")
}
