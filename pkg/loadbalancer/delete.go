package loadbalancer

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/kubeovn/kube-ovn-ccm/pkg/ipam"
	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
)

// GetLoadBalancer says that a load balancer exists as long as anything of it
// does, or the finalizer is on the Service: if it said no, the service
// controller would take the finalizer off without a call of
// EnsureLoadBalancerDeleted.
func (b *Balancer) GetLoadBalancer(ctx context.Context, _ string, svc *corev1.Service) (*corev1.LoadBalancerStatus, bool, error) {
	status := svc.Status.LoadBalancer.DeepCopy()
	if HasFinalizer(svc) {
		return status, true, nil
	}
	left, err := b.remains(ctx, ownerOf(svc))
	if err != nil {
		return nil, false, fmt.Errorf("load balancer of Service %s: %w", ownerOf(svc).Key(), err)
	}
	if len(left) == 0 {
		return nil, false, nil
	}
	return status, true, nil
}

// EnsureLoadBalancerDeleted takes everything down that was made for a Service
// and waits, for a bounded time, until it is gone, the address last. It works
// from the Service's name and UID alone, by live calls, also for a Service
// that does not exist any more. The error says what is still there.
func (b *Balancer) EnsureLoadBalancerDeleted(ctx context.Context, _ string, svc *corev1.Service) error {
	owner := ownerOf(svc)
	defer b.locks.lock(owner.Key())()
	if svc, err := b.Services.Services(owner.Namespace).Get(owner.Name); err == nil && svc.UID == owner.UID && GoesBack(svc) {
		return b.letGo(ctx, svc)
	}
	var left []string
	err := poll(ctx, b.deletionWait, func(ctx context.Context) (done bool, err error) {
		left, err = b.teardown(ctx, owner)
		return len(left) == 0, err
	})
	switch {
	case err != nil:
		return fmt.Errorf("deleting the load balancer of Service %s: %w", owner.Key(), err)
	case len(left) > 0:
		return fmt.Errorf("the load balancer of Service %s is not gone yet: %s", owner.Key(), strings.Join(left, ", "))
	}
	b.forget(owner)
	if svc, err := b.Services.Services(owner.Namespace).Get(owner.Name); err == nil && svc.UID == owner.UID && svc.DeletionTimestamp == nil {
		return b.clearCondition(ctx, svc)
	}
	return nil
}

// letGo takes the hands off a Service that goes back to Kube-OVN, and says so by
// taking the condition off it: from then on nothing of it is changed.
func (b *Balancer) letGo(ctx context.Context, svc *corev1.Service) error {
	b.forget(ownerOf(svc))
	return b.clearCondition(ctx, svc)
}

// forget drops all that is remembered of a Service.
func (b *Balancer) forget(owner kubeovn.Owner) {
	b.journal.forget(owner)
	b.applied.forget(owner)
	b.routed.forget(owner.UID)
}

// poll calls condition at growing intervals until it is done or fails, or the
// time is over, which is no error.
func poll(ctx context.Context, timeout time.Duration, condition wait.ConditionWithContextFunc) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	pause := 50 * time.Millisecond
	for {
		done, err := condition(ctx)
		if err != nil || done {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
		pause = min(2*pause, time.Second)
	}
}

// teardown does what can be done now towards the end of a load balancer and
// says what is still there: the gateway goes first, then what its Pods need,
// the address last, when nothing uses it any more.
func (b *Balancer) teardown(ctx context.Context, owner kubeovn.Owner) (left []string, err error) {
	if left, err = b.stopGateway(ctx, owner); err != nil || len(left) > 0 {
		return left, err
	}
	for _, kind := range []string{"ConfigMap", "NetworkAttachmentDefinition"} {
		objects, err := b.list(ctx, kind, owner)
		if err != nil {
			return nil, err
		}
		for _, obj := range objects {
			if err := b.deleteObject(ctx, place{kind, obj}); err != nil {
				return nil, err
			}
		}
	}
	unrouted, err := b.Routes.Release(ctx, owner)
	if err != nil {
		return nil, fmt.Errorf("removing the policy routes: %w", err)
	}
	if !unrouted {
		left = append(left, "policy routes in a Vpc")
	}
	b.notePast(ctx, owner)
	gone, err := b.Reserver.Release(ctx, owner)
	if err != nil {
		return nil, fmt.Errorf("releasing the address: %w", err)
	}
	if !gone {
		left = append(left, "Vip "+ipam.VipName(owner.UID)+", which Kube-OVN has to release (does kube-ovn-controller run?)")
	}
	return left, nil
}

// stopGateway deletes a Service's Deployment and says which Pods are still
// there. A Pod on a node that is gone or not ready does not count: nobody can
// say when it will go.
func (b *Balancer) stopGateway(ctx context.Context, owner kubeovn.Owner) (left []string, err error) {
	deployments, err := b.list(ctx, "Deployment", owner)
	if err != nil {
		return nil, err
	}
	for _, d := range deployments {
		left = append(left, "Deployment "+d.GetName())
		if err := b.deleteObject(ctx, place{"Deployment", d}); err != nil {
			return nil, err
		}
	}
	list, err := b.Kube.CoreV1().Pods(owner.Namespace).List(ctx, metav1.ListOptions{LabelSelector: selectorOf(owner).String()})
	if err != nil {
		return nil, fmt.Errorf("listing the gateway's Pods: %w", err)
	}
	pods := make([]*corev1.Pod, len(list.Items))
	for i := range list.Items {
		pods[i] = &list.Items[i]
	}
	nodes, err := b.nodesOf(pods)
	if err != nil {
		return nil, err
	}
	for _, pod := range pods {
		if onLivingNode(pod, nodes) {
			left = append(left, fmt.Sprintf("Pod %s on node %q", pod.Name, pod.Spec.NodeName))
		}
	}
	return left, nil
}

// remains lists what is there of a Service's load balancer.
func (b *Balancer) remains(ctx context.Context, owner kubeovn.Owner) (left []string, err error) {
	for _, kind := range []string{"Deployment", "ConfigMap", "NetworkAttachmentDefinition"} {
		objects, err := b.list(ctx, kind, owner)
		if err != nil {
			return nil, err
		}
		for _, obj := range objects {
			left = append(left, kind+" "+obj.GetName())
		}
	}
	if slices.Contains(b.Routes.Owners(), owner) {
		left = append(left, "policy routes in a Vpc")
	}
	vip, err := b.Dynamic.Resource(kubeovn.VipResource).Get(ctx, ipam.VipName(owner.UID), metav1.GetOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return nil, fmt.Errorf("reading Vip %s: %w", ipam.VipName(owner.UID), err)
	}
	if err == nil {
		left = append(left, "Vip "+vip.GetName())
	}
	return left, nil
}
