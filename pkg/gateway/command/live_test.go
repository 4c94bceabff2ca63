package command_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/kubeovn/kube-ovn-ccm/pkg/gateway/spec"
)

// during publishes documents in turn while 1000 connections a second come in,
// none of which may fail.
func (l *lab) during(pause time.Duration, documents ...*spec.Document) {
	l.t.Helper()
	load := l.startLoad(1000, 80)
	changes := 0
	for end := time.Now().Add(4 * time.Second); changes < 8 || !load.proves(2000) || time.Now().Before(end); changes++ {
		l.serve(documents[changes%len(documents)])
		time.Sleep(pause)
	}
	opened := load.end()
	l.t.Logf("%d connections during %d changes", opened, changes)
	if failed := load.failed.Load(); failed > 0 {
		l.t.Errorf("%d of %d connections failed, the first with: %v", failed, opened, load.first)
	}
}

func TestNoConnectionFailsWhileEndpointsChange(t *testing.T) {
	for _, tc := range []struct {
		sentence string
		affinity int32
	}{{"without affinity", 0}, {"with affinity", 600}} {
		t.Run(tc.sentence, func(t *testing.T) {
			l := newEndpointsLab(t, spec.TCP)
			first := affine(tc.affinity, to(tcp(80), 0, 1))
			l.startServing(first)
			// What leaves drains first, as Pods do.
			l.during(20*time.Millisecond,
				affine(tc.affinity, to(tcp(80), 0, 1, 2, 3)),
				affine(tc.affinity, draining(to(tcp(80), 2, 3), 0, 1), to(tcp(81), 0)),
				affine(tc.affinity, draining(to(tcp(80), 1, 2, 3), 0)),
				affine(tc.affinity, draining(to(tcp(80), 1), 0, 2, 3)),
				affine(tc.affinity, draining(to(tcp(80), 0, 1), 2, 3)),
				ranged(affine(tc.affinity, draining(to(tcp(80), 0, 1), 2, 3)), "172.18.0.0/16"),
			)
		})
	}
}

func TestNoConnectionFailsWhileTheTargetChanges(t *testing.T) {
	l := newEndpointsLab(t, spec.TCP)
	l.echoServers(clusterIP, "cluster", tcp(80))
	l.startServing(document(tcp(80)))
	l.during(50*time.Millisecond, endpoints(to(tcp(80), 0, 1)), document(tcp(80)))
}

func TestWhatComesFromTheOtherTarget(t *testing.T) {
	l := newEndpointsLab(t, spec.TCP, spec.UDP)
	l.echoServers(clusterIP, "cluster", tcp(80), udp(80))
	l.startServing(document(tcp(80), udp(80)))
	before := l.fingerprint()
	established, datagrams := l.mustDial("remote", "tcp4", 80), l.mustDial("remote", "udp4", 80)
	l.mustTalk(established, "cluster")
	l.mustTalk(datagrams, "cluster")
	l.serve(endpoints(to(tcp(80), 0), to(udp(80), 1)))
	l.mustGoOn(established)
	l.mustTalk(datagrams, "102")
	l.mustAsk("remote", "tcp4", 80, "101")
	if rules := l.filters(); rules != "" {
		t.Errorf("rules of the former target are left:\n%s", rules)
	}
	established.Close()

	lingering := l.mustDial("remote", "tcp4", 80)
	l.mustTalk(lingering, "101")
	l.serve(document(tcp(80), udp(80)))
	l.mustAsk("remote", "tcp4", 80, "cluster")
	l.mustTalk(datagrams, "cluster")
	l.mustGoOn(lingering)
	lingering.Close()
	l.eventually("nothing is left of the other target", func() error {
		if after := l.fingerprint(); after != before {
			return fmt.Errorf("the kernel has\n%s\nwant\n%s", after, before)
		}
		if left := l.exec("gw", "nft", "list", "tables", "inet") + l.ip("gw", "route show table 101"); left != "" {
			return fmt.Errorf("there is\n%s", left)
		}
		return nil
	})
}

func TestManyPortsAreServedAndChangedSoon(t *testing.T) {
	l := newEndpointsLab(t, spec.TCP)
	var ports []spec.Port
	for i := range uint16(200) {
		ports = append(ports, to(tcp(1000+i), 0, 1, 2, 3))
	}
	started := time.Now()
	l.startServing(affine(600, ports...))
	t.Logf("200 ports of 4 endpoints were served after %s", time.Since(started).Round(time.Millisecond))
	l.mustReach("remote", "tcp4", 1199)
	ports[100] = to(tcp(1100), 0)
	started = time.Now()
	l.serve(affine(600, ports...))
	took := time.Since(started)
	t.Logf("one of them was changed after %s", took.Round(time.Millisecond))
	if took > time.Second {
		t.Errorf("a change of one port took %s", took)
	}
	l.mustAsk("remote", "tcp4", 1100, "101")
}
