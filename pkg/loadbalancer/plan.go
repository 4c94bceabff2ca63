package loadbalancer

import (
	"net/netip"
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
	// build makes the gateway what it has to be.
	build *gateway
}

// decide says what comes next, given the state of the reservation.
func decide(w *world, c choice, reserved ipam.Result) plan {
	p := plan{retryAfter: reserved.RetryAfter}
	switch {
	case reserved.MustMove:
		p.move, p.release = true, true
	case reserved.State == ipam.Refused:
		p.problem = &Problem{Reason: reserved.Reason, Message: reserved.Message}
		p.move = lostAddress(w, c, reserved)
	case reserved.State == ipam.Pending:
		p.wait = "an address from Kube-OVN"
	case hasOtherAddress(w, c, reserved.Addrs.V4):
		p.move = true
	default:
		p.build = newGateway(w, c, reserved)
	}
	return p
}

// lostAddress reports whether the gateway uses an address that somebody else
// holds by now, because the Service's own reservation was deleted. An address
// without a reservation is never used.
func lostAddress(w *world, c choice, reserved ipam.Result) bool {
	return reserved.Reason == ipam.ReasonAddressInUse && !reserved.Addrs.V4.IsValid() &&
		w.deployment != nil && madeWith(w.deployment.Spec.Template.Annotations, c, c.wish)
}

// hasOtherAddress reports whether what runs or is shown for a Service has
// another address (or another attachment) than the granted one. An address
// never changes within the life of a Deployment: the old one is to be gone
// before the new one appears.
func hasOtherAddress(w *world, c choice, granted netip.Addr) bool {
	if w.deployment != nil {
		return !madeWith(w.deployment.Spec.Template.Annotations, c, granted)
	}
	for _, pod := range w.pods {
		if onLivingNode(pod.Pod, w.nodes) && !madeWith(pod.Annotations, c, granted) {
			return true
		}
	}
	shown := w.service.Status.LoadBalancer
	return len(shown.Ingress) > 0 && !shows(&shown, granted)
}

// madeWith reports whether a gateway Pod's annotations say that it was made
// for this address of this Subnet.
func madeWith(annotations map[string]string, c choice, granted netip.Addr) bool {
	provider := c.attachment.Provider()
	return annotations[kubeovn.AnnotationKey(provider, kubeovn.FieldIPAddress)] == granted.String() &&
		annotations[kubeovn.AnnotationKey(provider, kubeovn.FieldLogicalSwitch)] == c.subnet.Name
}

// announce says what the Service shows once its objects are as they should be.
// A Service that shows its address keeps it: the gateway comes back by itself,
// and the address stays the Service's. One that shows none gets it when a
// gateway Pod carries traffic.
func announce(w *world, g *gateway) outcome {
	status := statusOf(g.address.Addr())
	if g.servedBy(w.pods) {
		return outcome{status: status}
	}
	out := gatewayHealth(w, g)
	if shows(&w.service.Status.LoadBalancer, g.address.Addr()) {
		out.status = status
	}
	return out
}

// statusOf is the status of a Service that is served at an address. With
// ipMode VIP the nodes' own proxies answer for the address, which is what lets
// a node reach a macvlan gateway that runs on itself.
func statusOf(addr netip.Addr) *corev1.LoadBalancerStatus {
	return &corev1.LoadBalancerStatus{Ingress: []corev1.LoadBalancerIngress{{
		IP:     addr.String(),
		IPMode: ptr.To(corev1.LoadBalancerIPModeVIP),
	}}}
}

// shows reports whether a status shows this address and no other.
func shows(status *corev1.LoadBalancerStatus, addr netip.Addr) bool {
	return len(status.Ingress) == 1 && status.Ingress[0].IP == addr.String()
}

// servedBy reports whether one of the Pods carries the gateway's traffic.
func (g *gateway) servedBy(pods []gatewayPod) bool {
	key := kubeovn.AnnotationKey(g.provider, kubeovn.FieldIPAddress)
	for _, pod := range pods {
		if pod.DeletionTimestamp == nil && isReady(pod.Pod) && pod.Annotations[key] == g.address.Addr().String() {
			return true
		}
	}
	return false
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
