package command_test

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/kubeovn/kube-ovn-ccm/pkg/gateway/spec"
)

// The endpoints of the tests; the last is a node's: its address is one of the
// attachment's Subnet, and the way to it leads through the cluster all the same.
var endpointAddresses = []string{"10.16.0.101", "10.16.0.102", "10.17.0.103", "172.18.0.104"}

// endpointPort is the port of all endpoints.
const endpointPort = 8080

// newEndpointsLab is a lab with servers at the endpoints that answer with the
// name of their address's last byte.
func newEndpointsLab(t *testing.T, protocols ...spec.Protocol) *lab {
	t.Helper()
	l := newLab(t)
	for _, a := range endpointAddresses {
		l.ip("cluster", "addr add "+a+"/32 dev lo")
		for _, p := range protocols {
			l.echoServers(a, endpointName(a), spec.Port{Protocol: p, Port: endpointPort})
		}
	}
	return l
}

func endpointName(address string) string {
	b := netip.MustParseAddr(address).As4()
	return fmt.Sprintf("%d", b[3])
}

// to is a port with some of the endpoints, by their numbers.
func to(p spec.Port, numbers ...int) spec.Port {
	for _, n := range numbers {
		p.Endpoints = append(p.Endpoints, spec.Endpoint{Address: endpointAt(n)})
	}
	return p
}

func endpointAt(n int) netip.AddrPort {
	return netip.AddrPortFrom(netip.MustParseAddr(endpointAddresses[n]), endpointPort)
}

// endpoints is the guide's document with the other target.
func endpoints(ports ...spec.Port) *spec.Document {
	d := document(ports...)
	d.Target = spec.TargetEndpoints
	return d
}
