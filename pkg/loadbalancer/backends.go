package loadbalancer

import (
	"cmp"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/utils/ptr"

	"github.com/kubeovn/kube-ovn-ccm/pkg/gateway/spec"
	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
)

// backend is one address behind a port of a Service.
type backend struct {
	address netip.AddrPort
	// podNamespace and podName say which Pod it is; empty for an address that
	// was written by hand.
	podNamespace, podName string
}

// portBackends is a port of a Service and what stands behind it.
type portBackends struct {
	port spec.Port // protocol and port only
	// serving take new connections.
	serving []backend
	// draining exist but take no new connections: they are not ready, or
	// they terminate.
	draining []backend
}

// backendsOf reads the EndpointSlices of a Service, of the families that it is
// served in. New connections go to what is ready; if nothing is, to what
// terminates but still serves (KEP-1669), as kube-proxy does. Everything is
// sorted, and an address that several slices hold is one.
func backendsOf(svc *corev1.Service, slicesOfService []*discoveryv1.EndpointSlice, served kubeovn.Families) []portBackends {
	ports := make([]portBackends, 0, len(svc.Spec.Ports))
	for _, p := range svc.Spec.Ports {
		protocol := cmp.Or(p.Protocol, corev1.ProtocolTCP)
		out := portBackends{port: spec.Port{Protocol: spec.Protocol(protocol), Port: uint16(p.Port)}} // the API server admits 1 to 65535
		for _, is4 := range []bool{true, false} {
			if served.Of(is4) {
				out.read(slicesOfService, p.Name, protocol, is4)
			}
		}
		ports = append(ports, out)
	}
	slices.SortFunc(ports, func(a, b portBackends) int {
		return cmp.Or(cmp.Compare(a.port.Protocol, b.port.Protocol), cmp.Compare(a.port.Port, b.port.Port))
	})
	return ports
}

// endpointState is how far an endpoint is; the better of two counts, because
// an endpoint that moves from one slice to another is in both for a moment.
type endpointState int

const (
	epUnready     endpointState = iota // exists
	epTerminating                      // serves until it ends
	epReady
)

// read adds the endpoints of one family.
func (p *portBackends) read(all []*discoveryv1.EndpointSlice, name string, protocol corev1.Protocol, is4 bool) {
	states := map[backend]endpointState{}
	for _, slice := range all {
		for _, sp := range slice.Ports {
			if ptr.Deref(sp.Name, "") != name || ptr.Deref(sp.Protocol, corev1.ProtocolTCP) != protocol || ptr.Deref(sp.Port, 0) < 1 || *sp.Port > 65535 {
				continue
			}
			for _, e := range slice.Endpoints {
				for b := range backendsIn(e, uint16(*sp.Port), is4) {
					states[b] = max(states[b], stateOf(e.Conditions))
				}
			}
		}
	}
	best := epUnready
	for _, s := range states {
		best = max(best, s)
	}
	for b, s := range states {
		if s == best && best > epUnready {
			p.serving = append(p.serving, b)
		} else {
			p.draining = append(p.draining, b)
		}
	}
	p.serving = tidy(p.serving)
	p.draining = slices.DeleteFunc(tidy(p.draining), func(d backend) bool {
		return slices.ContainsFunc(p.serving, func(b backend) bool { return b.address == d.address })
	})
}

// tidy sorts backends by address and leaves each address once.
func tidy(backends []backend) []backend {
	slices.SortFunc(backends, func(a, b backend) int {
		return cmp.Or(a.address.Compare(b.address), cmp.Compare(a.podNamespace, b.podNamespace), cmp.Compare(a.podName, b.podName))
	})
	return slices.CompactFunc(backends, func(a, b backend) bool { return a.address == b.address })
}

// backendsIn are the usable addresses of an endpoint in one family.
func backendsIn(e discoveryv1.Endpoint, port uint16, is4 bool) map[backend]bool {
	found := map[backend]bool{}
	for _, s := range e.Addresses {
		addr, err := netip.ParseAddr(s)
		if err != nil || addr.Zone() != "" {
			continue
		}
		if addr = addr.Unmap(); addr.Is4() != is4 {
			continue
		}
		b := backend{address: netip.AddrPortFrom(addr, port)}
		if ref := e.TargetRef; ref != nil && ref.Kind == "Pod" {
			b.podNamespace, b.podName = ref.Namespace, ref.Name
		}
		found[b] = true
	}
	return found
}

// stateOf reads an endpoint's conditions; what is not said is ready, and
// serves if it is ready (discovery/v1, EndpointConditions).
func stateOf(c discoveryv1.EndpointConditions) endpointState {
	ready := ptr.Deref(c.Ready, true)
	switch {
	case ready:
		return epReady
	case ptr.Deref(c.Terminating, false) && ptr.Deref(c.Serving, ready):
		return epTerminating
	default:
		return epUnready
	}
}
