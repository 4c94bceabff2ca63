package loadbalancer

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/kubeovn/kube-ovn-ccm/pkg/gateway/spec"
	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
	"github.com/kubeovn/kube-ovn-ccm/pkg/routes"
)

// annotationPortSecurity on a Pod has OVN drop what it sends from addresses
// that are not its own.
const annotationPortSecurity = "ovn.kubernetes.io/port_security"

// wayBack says which backends' answers return through the gateway whatever
// address they go to, so that the client's own can be kept.
type wayBack struct {
	// asked says that the client's address is to be kept at all.
	asked bool
	// answer is the routes' answer for the eligible backends.
	answer routes.Answer
	// foreign are serving backends that no route can bring back: they are not
	// Pods of the gateway's Vpc.
	foreign []netip.AddrPort
	// lookAgain is when the routes that linger are to go; 0 if none do.
	lookAgain time.Duration
	// obstacle says what keeps all of it from working; empty for nothing.
	obstacle string
}

// eligible returns the backends whose answers are to be routed back, and those
// for which that is impossible.
func eligible(w *world, c choice) (routed []routes.Backend, foreign []netip.AddrPort) {
	if !c.forwarding.keepClient {
		return nil, nil
	}
	inVPC := func(b backend) bool {
		name, known := w.subnetOfPod(b)
		s, ok := w.subnets.Subnet(name)
		return known && ok && s.IsOVN() && vpcOf(s) == c.placement.vpc
	}
	for _, p := range c.ports {
		for _, b := range p.serving {
			switch {
			case inVPC(b):
				routed = append(routed, routes.Backend{Protocol: p.port.Protocol, Address: b.address})
			case w.awaitsRecord(b):
				// It is neither: not in the answer, so left out for now.
			default:
				foreign = append(foreign, b.address)
			}
		}
		// What drains still answers the clients that it has; and what is not
		// ready yet has its route when it will be.
		for _, b := range p.draining {
			if inVPC(b) {
				routed = append(routed, routes.Backend{Protocol: p.port.Protocol, Address: b.address})
			}
		}
	}
	return routed, foreign
}

// awaitsRecord reports whether a backend is a Pod with an address of its own of
// which Kube-OVN's record has not been seen yet.
func (w *world) awaitsRecord(b backend) bool {
	_, known := w.subnetOfPod(b)
	return b.podName != "" && !known && !w.isNodeAddress(b.address.Addr())
}

// nextHops are the addresses of the gateway Pod through which answers are to
// return: the one that serves, else the newest that has an address.
func nextHops(w *world, g *gateway) (hops kubeovn.Addrs, secured bool) {
	pod := g.servingPod(w.pods)
	if pod == nil {
		for i, p := range w.pods {
			if p.DeletionTimestamp == nil && len(p.Status.PodIPs) > 0 && (pod == nil || pod.CreationTimestamp.Before(&p.CreationTimestamp)) {
				pod = &w.pods[i]
			}
		}
	}
	if pod == nil {
		return hops, false
	}
	for _, ip := range pod.Status.PodIPs {
		if addr, err := netip.ParseAddr(ip.IP); err == nil {
			hops = hops.With(addr.Unmap())
		}
	}
	return hops, pod.Annotations[annotationPortSecurity] == "true"
}

// documentPorts renders the ports of a gateway's document. held counts the
// endpoints that are left out until their answers find back.
//
// A backend whose route is not in effect yet is left out if it is new to the
// document; if it is in there, it stays as it is: the route is only being
// written again, or the client's address is kept from now on.
func documentPorts(c choice, way wayBack, previous *spec.Document) (ports []spec.Port, held int) {
	for _, p := range c.ports {
		port := p.port
		if c.forwarding.target == spec.TargetClusterIP {
			port.Refuse = len(p.serving) == 0
			ports = append(ports, port)
			continue
		}
		for _, b := range p.serving {
			keep, in := way.keeps(routes.Backend{Protocol: port.Protocol, Address: b.address}, previous, port)
			if !in {
				held++
				continue
			}
			port.Endpoints = append(port.Endpoints, spec.Endpoint{Address: b.address, KeepClient: keep})
		}
		for _, b := range p.draining {
			port.Draining = append(port.Draining, b.address)
		}
		ports = append(ports, port)
	}
	return ports, held
}

// keeps says whether a backend sees the client's address, and whether it takes
// connections yet.
func (way wayBack) keeps(b routes.Backend, previous *spec.Document, port spec.Port) (keep, in bool) {
	_, heldByOther := way.answer.Held[b]
	switch {
	case way.asked && way.answer.Routed[b]:
		return true, true
	case !way.asked, way.obstacle != "", heldByOther, slices.Contains(way.foreign, b.Address):
		return false, true
	case previous == nil:
		return false, false
	case previous.Target == spec.TargetClusterIP:
		return false, true
	}
	for _, old := range previous.Ports {
		if old.Protocol != port.Protocol || old.Port != port.Port {
			continue
		}
		if i := slices.IndexFunc(old.Endpoints, func(e spec.Endpoint) bool { return e.Address == b.Address }); i >= 0 {
			return old.Endpoints[i].KeepClient, true
		}
	}
	return false, false
}

// problem says why Pods do not see the client's address though the Service asks
// for it; nil if they do, or will.
func (way wayBack) problem() *Problem {
	if !way.asked {
		return nil
	}
	if way.obstacle != "" {
		return problemf("ClientAddressNotKept", "%s; until then some Pods see the gateway's address", way.obstacle)
	}
	if len(way.answer.Held) > 0 {
		others := make([]string, 0, len(way.answer.Held))
		for _, other := range way.answer.Held {
			others = append(others, other)
		}
		slices.Sort(others)
		return problemf("ClientAddressConflict",
			"Service %s keeps the client's address for the same ports of the same Pods, and their answers can go to one gateway only: the Pods see this gateway's address; let one of the Services use externalTrafficPolicy Cluster, or another target port",
			strings.Join(slices.Compact(others), ", "))
	}
	if len(way.foreign) > 0 {
		return problemf("ClientAddressNotKept",
			"some endpoints are not Pods in the gateway's Vpc (they are in their node's network, or written by hand), and no route brings their answers back: they see the gateway's address").
			withDetail(joinAddrPorts(way.foreign))
	}
	return nil
}

func joinAddrPorts(addrs []netip.AddrPort) string {
	out := make([]string, len(addrs))
	for i, a := range addrs {
		out[i] = a.String()
	}
	return strings.Join(out, ", ")
}

// previousDocument is what the gateway was last told; nil if nothing.
func previousDocument(m *corev1.ConfigMap) *spec.Document {
	if m == nil {
		return nil
	}
	d, err := spec.Parse([]byte(m.Data[spec.ConfigMapKey]))
	if err != nil {
		return nil // another version's; it is replaced
	}
	return d
}
