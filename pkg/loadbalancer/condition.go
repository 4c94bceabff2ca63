package loadbalancer

import (
	"context"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	applycore "k8s.io/client-go/applyconfigurations/core/v1"
	applymeta "k8s.io/client-go/applyconfigurations/meta/v1"

	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
)

// ConditionReady is the type of the condition on a Service that says whether
// its load balancer serves, how, and if not, why.
const ConditionReady = "kube-ovn.io/LoadBalancerReady"

// Reasons of the condition beside those of the Problems.
const (
	reasonServing     = "Serving"
	reasonProgressing = "Progressing"
)

// conditionOf says what the condition of a Service is after an outcome. A
// Service that shows an address and asks for another, impossible one goes on
// being served. While something is awaited the text stays the same, so that a
// start is told once.
func conditionOf(svc *corev1.Service, out outcome) (status metav1.ConditionStatus, reason, message string) {
	status = metav1.ConditionFalse
	if out.status != nil || out.problem != nil && len(svc.Status.LoadBalancer.Ingress) > 0 {
		status = metav1.ConditionTrue
	}
	switch {
	case out.problem != nil:
		return status, out.problem.Reason, out.problem.Message
	case out.status == nil:
		return status, reasonProgressing, "the load balancer is being set up"
	default:
		return status, reasonServing, out.how
	}
}

// tellCondition writes the condition and the whereabouts if they are others than
// the Service shows. An API server that is away is no reason to stop: the next look at the
// Service tries again.
func (b *Balancer) tellCondition(ctx context.Context, svc *corev1.Service, out outcome) error {
	status, reason, message := conditionOf(svc, out)
	since := metav1.NewTime(b.Clock.Now().Truncate(1e9))
	output := outputOf(svc, out)
	if shown := conditionIn(svc); shown != nil {
		if shown.Status == status && shown.Reason == reason && shown.Message == message && maps.Equal(output, Output(svc)) {
			return nil
		}
		if shown.Status == status {
			since = shown.LastTransitionTime
		}
	}
	return b.applyCondition(ctx, svc, output, applymeta.Condition().
		WithType(ConditionReady).WithStatus(status).WithReason(reason).WithMessage(message).
		WithLastTransitionTime(since).WithObservedGeneration(svc.Generation))
}

// clearCondition takes the condition and the whereabouts off a Service that is ours no more.
func (b *Balancer) clearCondition(ctx context.Context, svc *corev1.Service) error {
	if conditionIn(svc) == nil && len(Output(svc)) == 0 {
		return nil
	}
	return b.applyCondition(ctx, svc, nil)
}

// applyCondition makes these our annotations and conditions on the Service with
// svc's UID. The status subresource takes annotations, too.
func (b *Balancer) applyCondition(ctx context.Context, svc *corev1.Service, annotations map[string]string, conditions ...*applymeta.ConditionApplyConfiguration) error {
	apply := applycore.Service(svc.Name, svc.Namespace).WithUID(svc.UID).WithAnnotations(annotations).
		WithStatus(applycore.ServiceStatus().WithConditions(conditions...))
	_, err := b.Kube.CoreV1().Services(svc.Namespace).ApplyStatus(ctx, apply, applyOptions)
	if ignoreGone(err) != nil {
		return fmt.Errorf("telling the condition of Service %s: %w", ownerOf(svc).Key(), err)
	}
	return nil
}

func conditionIn(svc *corev1.Service) *metav1.Condition {
	i := slices.IndexFunc(svc.Status.Conditions, func(c metav1.Condition) bool { return c.Type == ConditionReady })
	if i < 0 {
		return nil
	}
	return &svc.Status.Conditions[i]
}

// how says, for the condition of a Service that is served, what serves it.
func (g *gateway) how(pods []gatewayPod) string {
	at := ""
	if pod := g.servingPod(pods); pod != nil {
		at = fmt.Sprintf(" by gateway Pod %s on node %s", pod.Name, pod.Spec.NodeName)
	}
	target := "the cluster IP"
	if g.forwarding.because != "" {
		target = "the endpoints because of " + g.forwarding.because
	}
	client := "Pods see the gateway's address"
	if g.forwarding.keepClient {
		client = "Pods see the client's address"
	}
	return fmt.Sprintf("serving %s of Subnet %s%s; the target is %s; %s", g.addresses(), g.subnet, at, target, client)
}

// addresses are those at which the Service is served.
func (g *gateway) addresses() kubeovn.Addrs {
	var out kubeovn.Addrs
	for _, f := range g.families {
		out = out.With(f.Address.Addr())
	}
	return out
}
