package command_test

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kubeovn/kube-ovn-ccm/pkg/gateway/spec"
)

func TestAnUntouchedPortLosesNothingWhileOthersChange(t *testing.T) {
	l := newLab(t)
	l.echoServers(clusterIP, "a", tcp(80))
	l.startServing(document(tcp(80)))
	load := l.startLoad(1000, 80)
	changes := 0
	for end := time.Now().Add(3 * time.Second); changes < 8 || !load.proves(2000) || time.Now().Before(end); changes++ {
		// Added, renumbered, its protocol changed, removed.
		d := document(tcp(80))
		switch changes % 4 {
		case 0:
			d.Ports = append(d.Ports, tcp(8080), udp(53))
		case 1:
			d.Ports = append([]spec.Port{tcp(8081), udp(54)}, d.Ports...)
		case 2:
			d.Ports = append(d.Ports, udp(8081), sctp(54))
		}
		l.serve(d)
	}
	opened := load.end()
	t.Logf("%d connections during %d changes", opened, changes)
	if failed := load.failed.Load(); failed > 0 {
		t.Errorf("%d of %d connections failed, the first with: %v", failed, opened, load.first)
	}
}

func TestDatagramsThatCameBeforeTheirRuleFindTheirWay(t *testing.T) {
	l := newLab(t)
	l.echoServers(clusterIP, "a", udp(53))
	l.startServing(document(tcp(80)))
	conn, err := l.dial("client", "udp4", lbAddress, 53)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for range 5 { // each refreshes the untranslated entry
		if _, err := talk(conn, "early\n"); !errors.Is(err, unix.ECONNREFUSED) {
			t.Fatalf("before the port is served: %v", err)
		}
	}
	l.serve(document(tcp(80), udp(53)))
	// The socket may still have a refusal queued.
	_, _ = talk(conn, "late\n")
	if name, err := talk(conn, "late\n"); err != nil || name != "a" {
		t.Errorf("after the port is served: %q, %v", name, err)
	}
}

func TestARemovedPortIsRefusedAtOnce(t *testing.T) {
	l := newLab(t)
	l.echoServers(clusterIP, "a", tcp(80), tcp(81), udp(53))
	l.startServing(document(tcp(80), tcp(81), udp(53)))
	established, err := l.dial("client", "tcp4", lbAddress, 81)
	if err != nil {
		t.Fatal(err)
	}
	defer established.Close()
	datagrams, err := l.dial("client", "udp4", lbAddress, 53)
	if err != nil {
		t.Fatal(err)
	}
	defer datagrams.Close()
	for _, conn := range []interface {
		Read([]byte) (int, error)
		Write([]byte) (int, error)
	}{established, datagrams} {
		if _, err := conn.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	l.mustAsk("client", "udp4", 53, "a")

	l.serve(document(tcp(80)))
	started := time.Now()
	for _, role := range []string{"client", "remote"} {
		if err := l.refused(role, 81); err != nil {
			t.Errorf("%s: a new connection: %v", role, err)
		}
	}
	if _, err := talk(established, "still there?\n"); !errors.Is(err, unix.ECONNRESET) {
		t.Errorf("an established connection: %v, want a reset", err)
	}
	for range 2 { // the first may still read an answer from before
		_, err = talk(datagrams, "still there?\n")
	}
	if !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("a flow of datagrams: %v, want a refusal", err)
	}
	if took := time.Since(started); took > 500*time.Millisecond {
		t.Errorf("the refusals took %s", took)
	}
	l.mustAsk("client", "tcp4", 80, "a")
}

func TestFlowsFollowTheClusterIP(t *testing.T) {
	l := newLab(t)
	l.echoServers(clusterIP, "old", tcp(80), udp(53))
	l.echoServers(clusterIP2, "new", tcp(80), udp(53))
	d := document(tcp(80), udp(53))
	l.startServing(d)
	conn, err := l.dial("client", "udp4", lbAddress, 53)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if name, err := talk(conn, "hello\n"); err != nil || name != "old" {
		t.Fatalf("before the change: %q, %v", name, err)
	}
	d.Families[0].ClusterIP = netip.MustParseAddr(clusterIP2)
	l.serve(d)
	if name, err := talk(conn, "hello\n"); err != nil || name != "new" {
		t.Errorf("the same flow of datagrams after the change: %q, %v", name, err)
	}
	l.mustAsk("client", "tcp4", 80, "new")
	if rules := l.filters() + l.ip("gw", "route show table 100"); strings.Contains(rules, clusterIP+" ") || strings.Contains(rules, clusterIP+":") {
		t.Errorf("the old ClusterIP is still there:\n%s", rules)
	}
}

func TestADocumentThatCannotBeServedChangesNothing(t *testing.T) {
	l := newLab(t)
	l.echoServers(clusterIP, "a", tcp(80))
	good := document(tcp(80))
	l.startServing(good)
	before := l.filters()
	v6 := document(tcp(80))
	v6.Families[0] = spec.Family{
		Address: netip.MustParsePrefix("fd00::18/64"), Gateway: netip.MustParseAddr("fd00::1"), ClusterIP: netip.MustParseAddr("fd01::1"),
	}
	v6JSON, err := v6.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ sentence, document, reason string }{
		{"not JSON", "{", "gateway document: "},
		{"a format of the future", `{"version":3}`, "version is 3, this agent reads 2"},
		{"no families", `{"version":2,"target":"ClusterIP","interface":"net1"}`, "families is empty"},
		{"IPv6 at the ClusterIP", string(v6JSON), "families[0]: IPv6 needs target Endpoints"},
	} {
		t.Run(tc.sentence, func(t *testing.T) {
			l := l.in(t)
			l.publishBytes([]byte(tc.document))
			l.eventually("the reason is shown", l.notReady(tc.reason))
			if after := l.filters(); after != before {
				t.Errorf("the filters changed:\n%s", after)
			}
			l.mustAsk("client", "tcp4", 80, "a")
			// What is served is looked after all the same.
			l.exec("gw", "iptables", "-t", "nat", "-F", "PREROUTING")
			l.eventually("the translation is back", func() error {
				_, err := l.ask("client", "tcp4", lbAddress, 80)
				return err
			})
			l.serve(good)
		})
	}
}
