package loadbalancer

import (
	"maps"

	corev1 "k8s.io/api/core/v1"
)

// Annotations that kube-ovn-ccm writes on a Service: who has what, for
// "kubectl get svc". Nothing is decided by them.
const (
	AnnotationSubnet      = "kube-ovn.io/lb-subnet"
	AnnotationPool        = "kube-ovn.io/lb-pool"
	AnnotationGatewayPod  = "kube-ovn.io/lb-gateway-pod"
	AnnotationGatewayNode = "kube-ovn.io/lb-gateway-node"
)

// whereabouts says where a Service's address comes from and where it is. What is
// not known is empty.
type whereabouts struct {
	subnet, pool, pod, node string
}

// whereaboutsOf are those of a Service that is served or on its way to be.
func whereaboutsOf(c choice, g *gateway, pods []gatewayPod) *whereabouts {
	out := &whereabouts{subnet: c.subnet.Name}
	if c.pool.IPPool != nil && holdsAny(c.pool, g) {
		out.pool = c.pool.Name
	}
	if pod := g.servingPod(pods); pod != nil {
		out.pod, out.node = pod.Name, pod.Spec.NodeName
	}
	return out
}

// holdsAny reports whether an address of the gateway is one of the IPPool.
func holdsAny(p pool, g *gateway) bool {
	for _, addr := range g.addresses().All() {
		if p.IPs.Contains(addr) {
			return true
		}
	}
	return false
}

// annotations are the whereabouts as a Service shows them.
func (w whereabouts) annotations() map[string]string {
	out := map[string]string{AnnotationSubnet: w.subnet, AnnotationPool: w.pool, AnnotationGatewayPod: w.pod, AnnotationGatewayNode: w.node}
	maps.DeleteFunc(out, func(_, value string) bool { return value == "" })
	return out
}

// Output returns those annotations of a Service that kube-ovn-ccm has written.
func Output(svc *corev1.Service) map[string]string {
	a := svc.Annotations
	return whereabouts{a[AnnotationSubnet], a[AnnotationPool], a[AnnotationGatewayPod], a[AnnotationGatewayNode]}.annotations()
}

// outputOf are the annotations that a Service is to show after an outcome. One
// that goes on being served as it was goes on showing it.
func outputOf(svc *corev1.Service, out outcome) map[string]string {
	switch {
	case out.where != nil:
		return out.where.annotations()
	case len(svc.Status.LoadBalancer.Ingress) > 0:
		return Output(svc)
	}
	return nil
}
