package command_test

import (
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kubeovn/kube-ovn-ccm/pkg/gateway/spec"
)

func lines(s ...string) string { return strings.Join(s, "\n") }

// trimmed removes the blanks that programs leave at the end of lines.
func trimmed(s string) string {
	var out []string
	for line := range strings.Lines(s) {
		out = append(out, strings.ReplaceAll(strings.TrimSpace(line), "\t", " "))
	}
	return lines(out...)
}

func TestTheGatewayShowsWhatTheGuideShows(t *testing.T) {
	l := newLab(t)
	l.startServing(document(tcp(80)))
	for _, tc := range []struct{ what, got, want string }{
		{"ip addr show net1", l.addresses("gw", "net1"), "172.18.0.18/16 scope global"},
		{"ip rule", trimmed(l.ip("gw", "rule")), lines(
			"0: from all lookup local",
			"32763: from 172.18.0.18 lookup 100",
			"32764: from all iif eth0 lookup 100",
			"32765: from all iif net1 lookup 100",
			"32766: from all lookup main",
			"32767: from all lookup default")},
		{"ip route show table 100", trimmed(l.ip("gw", "route show table 100")), lines(
			"default via 172.18.0.1 dev net1",
			"10.109.201.193 via 10.16.0.1 dev eth0",
			"172.18.0.0/16 dev net1 scope link")},
		{"iptables -t nat -S", trimmed(l.exec("gw", "iptables", "-t", "nat", "-S")), lines(
			"-P PREROUTING ACCEPT", "-P INPUT ACCEPT", "-P OUTPUT ACCEPT", "-P POSTROUTING ACCEPT",
			"-A PREROUTING -d 172.18.0.18/32 -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.109.201.193:80",
			"-A POSTROUTING -d 10.109.201.193/32 -j MASQUERADE")},
	} {
		if diff := cmp.Diff(tc.want, tc.got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tc.what, diff)
		}
	}
}

func TestClientsOnTheLinkAndBehindTheRouterGetAnswers(t *testing.T) {
	l := newLab(t)
	ports := []spec.Port{tcp(80), udp(53), sctp(9899)}
	l.echoServers(clusterIP, "a", ports...)
	l.startServing(document(ports...))
	for _, role := range []string{"client", "remote"} {
		l.mustAsk(role, "tcp4", 80, "a")
		l.mustAsk(role, "udp4", 53, "a")
		if err := l.askSCTP(role, 9899); err != nil {
			t.Errorf("%s: SCTP: %v", role, err)
		}
		if err := l.refused(role, 81); err != nil {
			t.Errorf("%s: a connection to a port that is not served: %v", role, err)
		}
		if _, err := l.ask(role, "udp4", lbAddress, 54); err == nil || !strings.Contains(err.Error(), "refused") {
			t.Errorf("%s: a datagram to a port that is not served: %v, want an ICMP refusal", role, err)
		}
		l.exec(role, "ping", "-c1", "-W2", lbAddress)
	}
}

func TestTheGatewayIsNoRouterIntoTheCluster(t *testing.T) {
	l := newLab(t)
	l.echoServers(clusterIP, "a", tcp(80), tcp(81))
	l.startServing(document(tcp(80)))
	l.ip("client", "route add "+clusterIP+" via "+lbAddress)
	var wg sync.WaitGroup
	for _, port := range []uint16{80, 81} {
		wg.Go(func() {
			if _, err := l.ask("client", "tcp4", clusterIP, port); err == nil {
				t.Errorf("a client that routes the ClusterIP to the gateway reached port %d of it", port)
			}
		})
	}
	wg.Wait()
}

func TestTheProbeAndTheListingSpeakPlainly(t *testing.T) {
	l := newLab(t)
	ask := func(subcommand ...string) (string, error) {
		cmd := exec.Command(os.Args[0], append(subcommand, l.arguments()...)...)
		cmd.Env = append(cmd.Environ(), agentVariable+"=1")
		var out []byte
		err := within(l.names["gw"], func() (err error) { out, err = cmd.CombinedOutput(); return err })
		return strings.TrimSpace(string(out)), err
	}
	l.publish(document(tcp(80)))
	if out, err := ask("ready"); err == nil || out != "the agent has not looked at the kernel yet" {
		t.Errorf("ready before the agent: %q, %v", out, err)
	}
	if out, err := ask("show"); err != nil || !strings.Contains(out, "To be done:\n") || !strings.Contains(out, "add address 172.18.0.18/16 dev net1") {
		t.Errorf("show before the agent: %v\n%s", err, out)
	}
	waited := make(chan error, 1)
	go func() {
		_, err := ask("ready", "--wait=10s")
		waited <- err
	}()
	l.startServing(document(tcp(80)))
	if err := <-waited; err != nil {
		t.Errorf("a probe that waits for the gateway: %v", err)
	}
	if out, err := ask("ready"); err != nil || out != "" {
		t.Errorf("ready while serving: %q, %v", out, err)
	}
	if out, err := ask("show"); err != nil || !strings.HasSuffix(out, "The kernel agrees.") {
		t.Errorf("show while serving: %v\n%s", err, out)
	}
	if out, err := ask("version"); err != nil || out != "test" {
		t.Errorf("version: %q, %v", out, err)
	}
	l.announceHash("0123456789abcdef")
	if out, err := ask("ready", "--wait=100ms"); err == nil || !strings.HasPrefix(out, "document 0123456789abcdef has not reached this Pod yet") {
		t.Errorf("ready while a newer document is under way: %q, %v", out, err)
	}
	go func() {
		_, err := ask("ready", "--wait=3s", "--wait-document=10s")
		waited <- err
	}()
	time.Sleep(3500 * time.Millisecond)
	newer := document(tcp(80), tcp(81))
	b, err := newer.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	l.announceHash(spec.Hash(b))
	l.publish(newer)
	if err := <-waited; err != nil {
		t.Errorf("a probe that waits for the newest document: %v", err)
	}
}
