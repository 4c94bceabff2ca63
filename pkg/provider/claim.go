package provider

import (
	v1 "k8s.io/api/core/v1"

	"github.com/kubeovn/kube-ovn-ccm/pkg/loadbalancer"
)

// claim says what a Service is to us.
type claim int

const (
	// foreign Services get nothing from us: no finalizer, no event, no status.
	foreign claim = iota
	// claimed Services get a load balancer from us.
	claimed
	// released Services have our finalizer, so perhaps things of ours, but do
	// not ask us for a load balancer any more.
	released
)

// claimOf decides what a Service, as it stands in the API, is to us.
func claimOf(svc *v1.Service, cfg loadbalancer.Config) claim {
	switch {
	case loadbalancer.GoesBack(svc):
		return foreign
	case loadbalancer.Claims(svc, cfg):
		return claimed
	case loadbalancer.FinalizedByUs(svc):
		return released
	default:
		return foreign
	}
}

// show returns the Service as the service controller is to see it, nil if it
// is not to see it at all. The answer is a copy.
//
//   - A claimed Service loses its class, because the controller ignores
//     Services with one.
//   - A released Service of type LoadBalancer is shown as a ClusterIP Service
//     with the finalizer: this is what the controller cleans up, also when it
//     meets the Service for the first time after a restart. A foreign class
//     would do for that only while the controller runs.
//
// What we write on a Service for people to read is not shown, because the
// controller takes every change of an annotation for one of the Service.
//
// None of this reaches the API: what the controller writes are differences of
// metadata and status.
func show(svc *v1.Service, cfg loadbalancer.Config) *v1.Service {
	claim := claimOf(svc, cfg)
	if claim == foreign {
		return nil
	}
	shown := svc.DeepCopy()
	shown.Spec.LoadBalancerClass = nil
	for key := range loadbalancer.Output(svc) {
		delete(shown.Annotations, key)
	}
	if claim == released {
		shown.Spec.Type = v1.ServiceTypeClusterIP
	}
	if loadbalancer.LeftAlone(svc) {
		// The status is Kube-OVN's, which serves the same address: the controller
		// is not to take off what it does not see.
		shown.Status.LoadBalancer = v1.LoadBalancerStatus{}
	}
	return shown
}
