package command_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kubeovn/kube-ovn-ccm/pkg/gateway/spec"
)

func TestWithAffinityEachClientStaysWithItsEndpoint(t *testing.T) {
	l := newEndpointsLab(t, spec.TCP, spec.UDP)
	l.startServing(affine(600, to(tcp(80), 0, 1, 2), to(udp(80), 0, 1)))
	clients := l.clients(20)
	first, datagrams := l.where(clients, "tcp4", 80), l.where(clients, "udp4", 80)
	if len(names(first)) != 3 || len(names(datagrams)) != 2 {
		t.Errorf("20 clients came to %v by TCP and %v by UDP", names(first), names(datagrams))
	}
	check := func(when string, port spec.Port, want map[string]string, network string) {
		t.Helper()
		if diff := cmp.Diff(want, l.where(clients, network, 80)); diff != "" {
			t.Errorf("%s clients of %s moved (-before +after):\n%s", when, port.Protocol, diff)
		}
	}
	check("at the second time", tcp(80), first, "tcp4")
	check("at the second time", udp(80), datagrams, "udp4")

	l.serve(affine(600, to(tcp(80), 0, 1, 2, 3), to(udp(80), 0, 1), to(tcp(81), 0)))
	check("after an endpoint and a port were added", tcp(80), first, "tcp4")
	check("after an endpoint and a port were added", udp(80), datagrams, "udp4")

	l.serve(affine(600, to(tcp(80), 0, 1, 3), to(udp(80), 0, 1)))
	for client, name := range l.where(clients, "tcp4", 80) {
		switch was := first[client]; {
		case was == endpointName(endpointAddresses[2]):
			if name == was {
				t.Errorf("%s came to an endpoint that is gone", client)
			}
		case name != was:
			t.Errorf("%s moved from %s to %s, though its endpoint is still there", client, was, name)
		}
	}
}

func TestAffinityEndsSomeTimeAfterTheLastConnection(t *testing.T) {
	l := newEndpointsLab(t, spec.TCP)
	const seconds = 6 // a busy machine takes one or two for what is done in between
	l.startServing(affine(seconds, to(tcp(80), 0)))
	clients := l.clients(12)
	l.where(clients, "tcp4", 80)
	// The choice among three would be another one for most.
	l.serve(affine(seconds, to(tcp(80), 0, 1, 2)))
	for range 4 { // longer in all: each connection renews it
		time.Sleep(seconds * time.Second / 3)
		if got := names(l.where(clients, "tcp4", 80)); len(got) != 1 {
			t.Fatalf("clients moved to %v before the time was over", got)
		}
	}
	time.Sleep((seconds + 1) * time.Second)
	if got := names(l.where(clients, "tcp4", 80)); len(got) != 3 {
		t.Errorf("after the time was over all are still at %v", got)
	}
}

func TestAffinityIsSwitchedLive(t *testing.T) {
	l := newEndpointsLab(t, spec.TCP)
	l.startServing(endpoints(to(tcp(80), 0)))
	clients := l.clients(12)
	spread := func() int {
		seen := map[string]bool{}
		for range 40 { // with 12, two of three endpoints would do in one of forty runs
			name, err := l.askFrom(clients[0], "tcp4", 80)
			if err != nil {
				t.Fatal(err)
			}
			seen[name] = true
		}
		return len(seen)
	}
	l.serve(affine(600, to(tcp(80), 0)))
	l.where(clients, "tcp4", 80)
	l.serve(affine(600, to(tcp(80), 0, 1, 2)))
	if got := names(l.where(clients, "tcp4", 80)); len(got) != 1 {
		t.Errorf("switched on: clients moved to %v", got)
	}
	l.serve(affine(4, to(tcp(80), 0, 1, 2)))
	if got := names(l.where(clients, "tcp4", 80)); len(got) != 1 {
		t.Errorf("with another time: clients moved to %v", got)
	}
	time.Sleep(5 * time.Second)
	if got := names(l.where(clients, "tcp4", 80)); len(got) != 3 {
		t.Errorf("after the new time: clients are still at %v", got)
	}
	l.serve(endpoints(to(tcp(80), 0, 1, 2)))
	if got := spread(); got != 3 {
		t.Errorf("switched off: one client came to %d endpoints, want all", got)
	}
	l.serve(affine(600, to(tcp(80), 0, 1, 2)))
	if got := spread(); got != 1 {
		t.Errorf("switched on again: one client came to %d endpoints", got)
	}
}
