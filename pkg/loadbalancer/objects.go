package loadbalancer

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
)

// list asks the API server for the objects of one kind made for a Service.
func (b *Balancer) list(ctx context.Context, kind string, owner kubeovn.Owner) ([]metav1.Object, error) {
	options := metav1.ListOptions{LabelSelector: selectorOf(owner).String()}
	var objects []metav1.Object
	var err error
	switch kind {
	case "Deployment":
		list, listErr := b.Kube.AppsV1().Deployments(owner.Namespace).List(ctx, options)
		if err = listErr; err == nil {
			objects = pointers(list.Items)
		}
	case "ConfigMap":
		list, listErr := b.Kube.CoreV1().ConfigMaps(owner.Namespace).List(ctx, options)
		if err = listErr; err == nil {
			objects = pointers(list.Items)
		}
	default:
		list, listErr := b.Dynamic.Resource(kubeovn.NADResource).Namespace(owner.Namespace).List(ctx, options)
		if err = listErr; err == nil {
			objects = pointers(list.Items)
		}
	}
	if apierrors.IsNotFound(err) {
		return nil, nil // the kind itself is gone, and its objects with it
	}
	if err != nil {
		return nil, fmt.Errorf("listing each %s of the load balancer: %w", kind, err)
	}
	return objects, nil
}

// object is a pointer to T that is an API object.
type object[T any] interface {
	*T
	metav1.Object
}

func pointers[T any, P object[T]](items []T) []metav1.Object {
	out := make([]metav1.Object, len(items))
	for i := range items {
		out[i] = P(&items[i])
	}
	return out
}

// deleteObject deletes exactly this object, not one that has come to have its
// name. What is gone already is fine.
func (b *Balancer) deleteObject(ctx context.Context, p place) error {
	if p.object.GetDeletionTimestamp() != nil {
		return nil
	}
	namespace, name := p.object.GetNamespace(), p.object.GetName()
	options := metav1.DeleteOptions{
		Preconditions:     &metav1.Preconditions{UID: ptr.To(p.object.GetUID())},
		PropagationPolicy: ptr.To(metav1.DeletePropagationBackground),
	}
	var err error
	switch p.kind {
	case "Deployment":
		err = b.Kube.AppsV1().Deployments(namespace).Delete(ctx, name, options)
	case "ConfigMap":
		err = b.Kube.CoreV1().ConfigMaps(namespace).Delete(ctx, name, options)
	default:
		err = b.Dynamic.Resource(kubeovn.NADResource).Namespace(namespace).Delete(ctx, name, options)
	}
	if ignoreGone(err) != nil {
		return fmt.Errorf("deleting %s %s: %w", p.kind, name, err)
	}
	return nil
}

// ignoreGone drops the errors that say that the object is gone, or that
// another one has its name now.
func ignoreGone(err error) error {
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil
	}
	// A patch that names a UID is refused as an attempt to change it.
	if cause, ok := apierrors.StatusCause(err, metav1.CauseTypeFieldValueInvalid); ok && cause.Field == "metadata.uid" {
		return nil
	}
	return err
}
