package provider

import (
	v1 "k8s.io/api/core/v1"
	appslisters "k8s.io/client-go/listers/apps/v1"

	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
	"github.com/kubeovn/kube-ovn-ccm/pkg/loadbalancer"
)

// beside keeps our hands off what Kube-OVN's own lb-svc serves. The zero value
// knows of none.
type beside struct {
	lbSvc       *lbSvc
	deployments appslisters.DeploymentLister // of ours
	// tell says why nothing is made for a Service; nil forgets it.
	tell func(svc *v1.Service, why *loadbalancer.Problem)
}

// left says why a Service that asks for our load balancer is left to Kube-OVN;
// nil if it is not. What we have made something for stays ours: our finalizer
// is on it before anything is made, and if somebody takes that off, our
// gateway tells.
func (b beside) left(svc *v1.Service) *loadbalancer.Problem {
	if b.lbSvc == nil {
		return nil
	}
	why := loadbalancer.KubeOVNs(svc, b.lbSvc.Enabled(), b.lbSvc.hasGateway(svc))
	if why == nil || loadbalancer.FinalizedByUs(svc) || b.made(svc) {
		return nil
	}
	return why
}

// made reports whether there is a gateway of ours for a Service.
func (b beside) made(svc *v1.Service) bool {
	d, err := b.deployments.Deployments(svc.Namespace).Get(loadbalancer.ObjectName(svc.Name))
	if err != nil {
		return false // it has only one error: there is none
	}
	owner, ours := kubeovn.OwnerOf(d)
	return ours && owner.UID == svc.UID
}

// pass tells of a Service that the service controller does not get to see, if
// it asks for our load balancer.
func (b beside) pass(svc *v1.Service, cfg loadbalancer.Config) {
	if b.tell == nil {
		return
	}
	var why *loadbalancer.Problem
	if claimOf(svc, cfg) == claimed && svc.DeletionTimestamp == nil {
		why = b.left(svc)
	}
	b.tell(svc, why)
}

// forget drops what was told of a Service that is gone.
func (b beside) forget(svc *v1.Service) {
	if b.tell != nil {
		b.tell(svc, nil)
	}
}
