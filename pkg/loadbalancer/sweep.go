package loadbalancer

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/klog/v2"

	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
)

// Sweep removes what was made for Services that are gone, or that are neither
// ours nor waiting for our cleanup: a finalizer taken off by hand leaves a
// reservation behind that nobody else would ever remove. It does one step for
// each such Service and does not wait; call it now and then on the leader.
func (b *Balancer) Sweep(ctx context.Context) error {
	owners, err := b.owners()
	if err != nil {
		return err
	}
	var errs []error
	for owner := range owners {
		if err := b.sweepOwner(ctx, owner); err != nil {
			errs = append(errs, fmt.Errorf("sweeping after Service %s: %w", owner.Key(), err))
		}
	}
	return errors.Join(errs...)
}

// owners returns the Services that objects in the caches were made for.
func (b *Balancer) owners() (map[kubeovn.Owner]bool, error) {
	deployments, err := b.Deployments.List(kubeovn.ManagedSelector())
	if err != nil {
		return nil, fmt.Errorf("listing Deployments: %w", err)
	}
	configMaps, err := b.ConfigMaps.List(kubeovn.ManagedSelector())
	if err != nil {
		return nil, fmt.Errorf("listing ConfigMaps: %w", err)
	}
	owners := map[kubeovn.Owner]bool{}
	add := func(obj metav1.Object) {
		if owner, ours := kubeovn.OwnerOf(obj); ours {
			owners[owner] = true
		}
	}
	for _, d := range deployments {
		add(d)
	}
	for _, c := range configMaps {
		add(c)
	}
	for _, n := range b.KubeOVN.ManagedNADs() {
		add(n)
	}
	for _, v := range b.KubeOVN.Vips() {
		add(v)
	}
	for _, owner := range b.Routes.Owners() {
		owners[owner] = true
	}
	return owners, nil
}

func (b *Balancer) sweepOwner(ctx context.Context, owner kubeovn.Owner) error {
	defer b.locks.lock(owner.Key())()
	if svc, err := b.Services.Services(owner.Namespace).Get(owner.Name); err == nil && svc.UID == owner.UID && keeps(svc, b.Config) {
		if GoesBack(svc) {
			return b.letGo(ctx, svc)
		}
		return nil
	}
	// The cache may be behind; only the API server's word takes things down.
	svc, err := found(b.Kube.CoreV1().Services(owner.Namespace).Get(ctx, owner.Name, metav1.GetOptions{}))
	if err != nil {
		return fmt.Errorf("reading the Service: %w", err)
	}
	if svc != nil && svc.UID == owner.UID && keeps(svc, b.Config) {
		return nil
	}
	left, err := b.teardown(ctx, owner)
	klog.FromContext(ctx).V(2).Info("Removing what an absent Service has left behind", "service", owner.Key(), "uid", owner.UID, "left", left)
	if err != nil {
		return err
	}
	if len(left) == 0 {
		b.forget(owner)
	}
	return nil
}

// keeps reports whether a Service has a say over what was made for it: it is
// to be served, or the service controller still has to clean up after it, or it
// is being moved.
func keeps(svc *corev1.Service, cfg Config) bool {
	return wanted(svc, cfg) || FinalizedByUs(svc) || GoesBack(svc)
}
