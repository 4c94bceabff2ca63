package loadbalancer

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"github.com/kubeovn/kube-ovn-ccm/pkg/ipam"
	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
)

// plan is the next step for a Service whose wishes make sense. Exactly one of
// problem, wait, move and build is set, but that a move may have a problem as
// its reason.
type plan struct {
	problem    *Problem
	wait       string
	retryAfter time.Duration
	// move takes the gateway down because it has another address than the
	// Service is to have; release gives the address back as well.
	move, release bool
	// build makes the gateway what it has to be; ahead says that its addresses
	// are still those of Kube-OVN's own gateway.
	build *gateway
	ahead bool
	// risk, with build, is what a restart of Kube-OVN may do to the addresses.
	risk *Problem
}

// decide says what comes next, given the state of the reservation.
func decide(w *world, c choice, reserved ipam.Result) plan {
	p := plan{retryAfter: reserved.RetryAfter}
	switch {
	case reserved.MustMove:
		p.move, p.release = true, true
	case reserved.State == ipam.Refused:
		p.problem = &Problem{Reason: reserved.Reason, Message: reserved.Message, Detail: reserved.Detail}
		p.move = lostAddress(w, c, reserved)
	case reserved.State == ipam.Pending && !reserved.Ahead:
		p.wait = "an address from Kube-OVN"
	case hasOtherAddress(w, c, reserved.Addrs):
		p.move, p.problem = true, loss(w, c, reserved.Addrs)
	default:
		p.build, p.ahead = newGateway(w, c, reserved), reserved.Ahead
		if reserved.Risk != (ipam.Risk{}) {
			p.risk = &Problem{Reason: ipam.ReasonAddressAtRisk, Message: reserved.Risk.Message, Detail: reserved.Risk.Detail}
		}
	}
	return p
}

// handoverPatience is for how long a gateway may be ready to take over before
// that is called a problem.
const handoverPatience = time.Minute

// awaitHandover says what is awaited while the addresses are still those of
// Kube-OVN's own gateway, which serves. That the Pod does not carry traffic is as
// it should be; that it goes on for long is not.
func awaitHandover(w *world, out outcome) outcome {
	if out.problem != nil && out.problem.Reason != ReasonGatewayNotReady {
		return out
	}
	h, _ := handoverOf(w.service)
	out.problem, out.wait = nil, "the hand-over by Kube-OVN's gateway Pod "+h.pod
	if w.deployment != nil && w.now.Sub(w.deployment.CreationTimestamp.Time) > handoverPatience {
		out.problem = problemf("HandoverUnfinished",
			"Kube-OVN's gateway Pod %s has the address, and its successor waits for it: run \"kube-ovn-ccm migrate\" again to finish the move", h.pod)
	}
	out.retryAfter = handoverPatience
	return out
}

// lostAddress reports whether the gateway uses an address that somebody else
// holds by now, because the Service's own reservation was deleted. An address
// without a reservation is never used.
func lostAddress(w *world, c choice, reserved ipam.Result) bool {
	if reserved.Reason != ipam.ReasonAddressInUse || !reserved.Addrs.IsZero() || w.deployment == nil {
		return false
	}
	made, subnet := madeWith(w.madeAs(), c)
	return subnet == c.subnet.Name && slices.ContainsFunc(c.wish.addrs.All(), func(a netip.Addr) bool { return made.Of(a.Is4()) == a })
}

// hasOtherAddress reports whether what runs or is shown for a Service has
// another address (or another attachment) than the granted ones. An address
// never changes within the life of a Deployment: the old one is to be gone
// before the new one appears.
func hasOtherAddress(w *world, c choice, granted kubeovn.Addrs) bool {
	other := func(annotations map[string]string) bool {
		made, subnet := madeWith(annotations, c)
		return made != granted || subnet != c.subnet.Name
	}
	if w.deployment != nil {
		made := w.madeAs()
		return made != nil && other(made)
	}
	for _, pod := range w.pods {
		if onLivingNode(pod.Pod, w.nodes) && other(pod.Annotations) {
			return true
		}
	}
	return slices.ContainsFunc(w.service.Status.LoadBalancer.Ingress, func(i corev1.LoadBalancerIngress) bool {
		addr, err := netip.ParseAddr(i.IP)
		return err != nil || granted.Of(addr.Is4()) != addr
	})
}

// madeWith reads from a gateway Pod's annotations for which addresses of which
// Subnet it was made.
func madeWith(annotations map[string]string, c choice) (addrs kubeovn.Addrs, subnet string) {
	provider := c.attachment.Provider()
	// What cannot be read is no address, and so another one than any.
	addrs, _ = kubeovn.ParseAddrs(annotations[kubeovn.AnnotationKey(provider, kubeovn.FieldIPAddress)])
	return addrs, annotations[kubeovn.AnnotationKey(provider, kubeovn.FieldLogicalSwitch)]
}

// announce says what the Service shows once its objects are as they should be.
// A Service that shows its address keeps it: the gateway comes back by itself,
// and the address stays the Service's. One that shows none gets it when a
// gateway Pod carries traffic; held is the number of endpoints that do not take
// connections yet because their answers would not find back.
func announce(w *world, g *gateway, held int) outcome {
	var out outcome
	serving, shown := g.servingPod(w.pods) != nil, shows(w.service, g)
	switch {
	case !serving:
		out = gatewayHealth(w, g)
	case held > 0 && !shown:
		out.wait = "the way back of the endpoints' answers"
	}
	if shown || serving && held == 0 {
		out.status, out.how = statusOf(w.service, g), g.how(w.pods)
	}
	return out
}

// statusOf is the status of a Service that is served by a gateway, in the order
// of the Service's own families. With ipMode VIP the nodes' own proxies answer
// for the address, which is what lets a node reach a macvlan gateway that runs
// on itself.
func statusOf(svc *corev1.Service, g *gateway) *corev1.LoadBalancerStatus {
	ports := make([]corev1.PortStatus, len(svc.Spec.Ports))
	for i, p := range svc.Spec.Ports {
		ports[i] = corev1.PortStatus{Port: p.Port, Protocol: cmp.Or(p.Protocol, corev1.ProtocolTCP)}
	}
	status := &corev1.LoadBalancerStatus{}
	for _, addr := range inOrderOf(svc, g.addresses()) {
		status.Ingress = append(status.Ingress, corev1.LoadBalancerIngress{
			IP: addr.String(), IPMode: ptr.To(corev1.LoadBalancerIPModeVIP), Ports: ports,
		})
	}
	return status
}

// inOrderOf lists addresses with the Service's primary family first.
func inOrderOf(svc *corev1.Service, addrs kubeovn.Addrs) []netip.Addr {
	all := addrs.All()
	if len(svc.Spec.IPFamilies) > 0 && svc.Spec.IPFamilies[0] == corev1.IPv6Protocol {
		slices.Reverse(all)
	}
	return all
}

// shows reports whether a Service shows an address of the gateway.
func shows(svc *corev1.Service, g *gateway) bool {
	return slices.ContainsFunc(svc.Status.LoadBalancer.Ingress, func(i corev1.LoadBalancerIngress) bool {
		addr, err := netip.ParseAddr(i.IP)
		return err == nil && g.addresses().Of(addr.Is4()) == addr
	})
}

// servingPod returns a Pod that carries the gateway's traffic; nil if none does.
func (g *gateway) servingPod(pods []gatewayPod) *gatewayPod {
	for i, pod := range pods {
		made, _ := kubeovn.ParseAddrs(pod.Annotations[g.key(kubeovn.FieldIPAddress)])
		if pod.DeletionTimestamp == nil && isReady(pod.Pod) && made == g.held {
			return &pods[i]
		}
	}
	return nil
}

func isReady(pod *corev1.Pod) bool {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// onLivingNode reports whether a Pod may be running: a node that is gone or
// not ready runs nothing, as far as Kubernetes can tell.
func onLivingNode(pod *corev1.Pod, nodes map[string]*corev1.Node) bool {
	if pod.Spec.NodeName == "" {
		return true
	}
	node, ok := nodes[pod.Spec.NodeName]
	if !ok {
		return false
	}
	for _, c := range node.Status.Conditions {
		if c.Type == corev1.NodeReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}
