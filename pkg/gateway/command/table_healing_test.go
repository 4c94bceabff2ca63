package command_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/kubeovn/kube-ovn-ccm/pkg/gateway/spec"
)

// passing are the elements that packets added and that go with time.
var passing = regexp.MustCompile(`elements = \{[^}]*expires[^}]*\}`)

// table is the gateway's table as nft(8) prints it, without what passes. The
// elements of a set come in no order: each gets a line.
func (l *lab) table() string {
	l.t.Helper()
	s := passing.ReplaceAllString(l.exec("gw", "nft", "list", "ruleset", "inet"), "")
	s = strings.NewReplacer("elements = {", "\n", ",", "\n", "}", "\n}").Replace(s)
	return strings.TrimSpace(sortedLines(trimmed(s)))
}

func TestTheTableIsPutRightAndRemembersTheClients(t *testing.T) {
	l := newEndpointsLab(t, spec.TCP)
	l.resync = "1h" // so that it is the kernel's report that wakes the agent
	d := ranged(affine(600, to(tcp(80), 0), to(tcp(81), 0), udp(53)), "172.18.0.0/16", "203.0.113.0/24")
	l.startServing(d)
	clients := l.clients(9)
	l.where(clients, "tcp4", 80)
	// The choice among three would be another one for most.
	d.Ports[0] = to(tcp(80), 0, 1, 2)
	l.serve(d)
	before := l.table()
	for _, tc := range []struct {
		sentence, command string
		forgets           bool
	}{
		{"the rules are flushed", "flush table inet kube-ovn-lb", false},
		{"a rule is added", "insert rule inet kube-ovn-lb tcp/80/ip drop", false},
		{"a rule is appended", "add rule inet kube-ovn-lb forward accept", false},
		{"rules are deleted", "flush chain inet kube-ovn-lb route", false},
		{"a rule is replaced by a similar one",
			"flush chain inet kube-ovn-lb masquerading; add rule inet kube-ovn-lb masquerading oifname \"eth1\" meta nfproto ipv4 ct status dnat masquerade", false},
		{"the choice has another seed",
			"flush chain inet kube-ovn-lb tcp/81/ip; add rule inet kube-ovn-lb tcp/81/ip meta l4proto tcp meta mark set jhash ip saddr mod 1 seed 0x1", false},
		{"a port is deleted", "delete element inet kube-ovn-lb ports-ip { 172.18.0.18 . tcp . 80 }", false},
		{"a port is added", "add element inet kube-ovn-lb ports-ip { 172.18.0.18 . tcp . 90 : goto tcp/80/ip }", false},
		{"a guard is opened", "delete element inet kube-ovn-lb guard-ip { 172.18.0.18 . tcp . 80 : drop }; add element inet kube-ovn-lb guard-ip { 172.18.0.18 . tcp . 80 : goto refuse }", false},
		{"an endpoint is kept", "add element inet kube-ovn-lb keep-ip { 10.16.0.101 . tcp . 8080 }", false},
		{"a chain is added", "add chain inet kube-ovn-lb mine { type filter hook prerouting priority -310; policy drop; }", false},
		{"a set is added", "add set inet kube-ovn-lb mine { type ipv4_addr; flags interval; elements = { 10.0.0.0/8 }; }", false},
		{"a chain drops what it does not name", "add chain inet kube-ovn-lb route { policy drop; }", true},
		{"the table is switched off", "add table inet kube-ovn-lb { flags dormant; }", true},
		{"the table is deleted", "delete table inet kube-ovn-lb", true},
		{"everything is deleted", "flush ruleset", true},
	} {
		t.Run(tc.sentence, func(t *testing.T) {
			l := l.in(t)
			l.exec("gw", "nft", tc.command)
			started := time.Now()
			l.eventually("it is put right", func() error {
				if now := l.table(); now != before {
					return fmt.Errorf("the kernel has\n%s\nwant\n%s", now, before)
				}
				return nil
			})
			t.Logf("it took %s", time.Since(started).Round(time.Millisecond))
			if after := names(l.where(clients, "tcp4", 80)); !tc.forgets && len(after) != 1 {
				t.Errorf("clients moved to %v", after)
			}
		})
	}
}
