package command_test

import (
	"testing"

	"github.com/kubeovn/kube-ovn-ccm/pkg/gateway/spec"
)

func TestConnectionsAreSpreadOverTheEndpoints(t *testing.T) {
	l := newEndpointsLab(t, spec.TCP, spec.UDP)
	l.startServing(endpoints(to(tcp(80), 0, 1, 2, 3), to(udp(80), 0, 1)))
	for _, tc := range []struct {
		network string
		want    int
	}{{"tcp4", 4}, {"udp4", 2}} {
		for _, role := range []string{"client", "remote"} {
			seen := map[string]int{}
			for range 40 {
				name, err := l.ask(role, tc.network, lbAddress, 80)
				if err != nil {
					t.Fatalf("%s by %s: %v", role, tc.network, err)
				}
				seen[name]++
			}
			if len(seen) != tc.want {
				t.Errorf("%s by %s came to %v, want %d endpoints", role, tc.network, seen, tc.want)
			}
		}
	}
}
