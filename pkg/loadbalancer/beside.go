package loadbalancer

import (
	corev1 "k8s.io/api/core/v1"

	"github.com/kubeovn/kube-ovn-ccm/pkg/lbsvc"
)

// LbSvc is Kube-OVN's own implementation of LoadBalancer Services.
type LbSvc interface {
	// Synced is false until it is known.
	Synced() bool
	// Enabled reports whether it is switched on.
	Enabled() bool
}

// The reasons why a Service is left to Kube-OVN, or kept from it.
const (
	ReasonLbSvcEnabled   = "KubeOVNLbSvcEnabled"
	ReasonForeignGateway = "ForeignGateway"
)

const (
	switchLbSvcOff = "set --enable-lb-svc=false on Deployment " + lbsvc.ControllerNamespace + "/" + lbsvc.ControllerName
	migrate        = `"kube-ovn-ccm migrate"`
)

// KubeOVNs says why a Service that asks for our load balancer, and for which we
// have made nothing yet, is left to Kube-OVN's own lb-svc: that is switched on
// (enabled) and serves it, or has made a gateway for it that is still there and
// does not hand over to ours. Nil if it is not.
func KubeOVNs(svc *corev1.Service, enabled, hasGateway bool) *Problem {
	_, handing := handoverOf(svc)
	switch {
	case enabled && lbsvc.Serves(svc):
		return problemf(ReasonLbSvcEnabled,
			"Kube-OVN itself serves this Service, because it runs with --enable-lb-svc: to have it served by kube-ovn-ccm, %s and, if Kube-OVN has made a gateway for it, run %s",
			switchLbSvcOff, migrate)
	case hasGateway && !handing:
		return foreignGateway(svc.Namespace, lbsvc.DeploymentName(svc.Name))
	}
	return nil
}

func foreignGateway(namespace, deployment string) *Problem {
	return problemf(ReasonForeignGateway,
		"Deployment %s in namespace %s is not kube-ovn-ccm's but a gateway as Kube-OVN makes them with --enable-lb-svc: run %s to take the Service over with its address, or delete the Deployment",
		deployment, namespace, migrate)
}

// LeaveAlone notes, and tells by one Event, why nothing is made for a Service;
// nil forgets it.
func (b *Balancer) LeaveAlone(svc *corev1.Service, why *Problem) {
	owner := ownerOf(svc)
	if why == nil {
		b.journal.forget(owner)
		return
	}
	before, now := b.journal.conclude(owner, outcome{problem: why})
	b.report(svc, before, now)
}

// contested reports whether Kube-OVN's own lb-svc would serve the Service, too.
// When it starts it replaces the annotations of the Pod template of whatever
// Deployment has the name of its own; not of Pods.
func (w *world) contested() bool { return w.lbSvcEnabled && lbsvc.Serves(w.service) }

// holds reports whether the Deployment is to be paused, so that no template of
// Kube-OVN's replaces the Pod that serves. That begins when a rollout of our
// template is done, and goes on unless a Pod of another one is there all the
// same. A paused Deployment still replaces Pods that end.
func (w *world) holds() bool {
	d := w.deployment
	if d == nil || !w.contested() {
		return false
	}
	for _, pod := range w.pods {
		if pod.DeletionTimestamp == nil && !rendered(pod.Annotations) {
			return false
		}
	}
	done := d.Status.ObservedGeneration >= d.Generation && d.Status.UpdatedReplicas == 1 && d.Status.Replicas == 1
	return d.Spec.Paused || done && rendered(d.Spec.Template.Annotations)
}

// contest tells of a Service that is served although Kube-OVN would do it, too.
func contest(w *world) *Problem {
	if !w.contested() {
		return nil
	}
	return problemf(ReasonLbSvcEnabled,
		"Kube-OVN runs with --enable-lb-svc and wants to serve this Service, too: %s; until then its gateway is kept as it is, and a change of the gateway's Pod waits",
		switchLbSvcOff)
}

// rendered reports whether these annotations of a Pod or of a template are ours.
func rendered(annotations map[string]string) bool {
	_, ok := annotations[AnnotationNetworkHash]
	return ok
}

// madeAs returns the annotations with which the gateway was made: those of its
// Deployment's template or, where somebody has replaced them, of its Pods. Nil
// if nothing tells.
func (w *world) madeAs() map[string]string {
	if w.deployment == nil {
		return nil
	}
	if template := w.deployment.Spec.Template.Annotations; rendered(template) {
		return template
	}
	for _, pod := range w.pods {
		if pod.DeletionTimestamp == nil && rendered(pod.Annotations) {
			return pod.Annotations
		}
	}
	return nil
}
