package provider

import (
	"reflect"

	appsv1 "k8s.io/api/apps/v1"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
)

// wakeOwner returns a handler that wakes the Service to which an object of
// ours belongs when the object appears, goes, or changes in a way that could
// change our mind.
func wakeOwner(wake func(key string)) cache.ResourceEventHandler {
	tell := func(obj any) {
		if meta, ok := obj.(metav1.Object); ok {
			if owner, ours := kubeovn.OwnerOf(meta); ours {
				wake(owner.Key())
			}
		}
	}
	return cache.ResourceEventHandlerFuncs{
		AddFunc: tell,
		UpdateFunc: func(before, after any) {
			if reflect.DeepEqual(essence(before), essence(after)) {
				return
			}
			tell(before) // the labels may say another Service now
			tell(after)
		},
		DeleteFunc: func(obj any) {
			if unknown, ok := obj.(cache.DeletedFinalStateUnknown); ok {
				obj = unknown.Obj
			}
			tell(obj)
		},
	}
}

// essence returns what a load balancer's state depends on, in a form that can
// be compared: without versions, times and messages, which change while
// nothing happens.
func essence(obj any) any {
	switch o := obj.(type) {
	case *appsv1.Deployment:
		return []any{identity(o), o.Generation, o.Status.ObservedGeneration, o.Status.Replicas, o.Status.UpdatedReplicas,
			o.Status.ReadyReplicas, o.Status.AvailableReplicas, deploymentConditions(o)}
	case *v1.Pod:
		return []any{identity(o), o.Spec.NodeName, o.Status.Phase, o.Status.Reason, podConditions(o),
			containers(o.Status.InitContainerStatuses), containers(o.Status.ContainerStatuses)}
	case *v1.ConfigMap:
		return []any{identity(o), o.Data, o.BinaryData}
	}
	return obj
}

func identity(obj metav1.Object) any {
	return []any{obj.GetUID(), obj.GetDeletionTimestamp() != nil, obj.GetLabels(), obj.GetAnnotations(), obj.GetOwnerReferences()}
}

func deploymentConditions(d *appsv1.Deployment) map[string]string {
	m := map[string]string{}
	for _, c := range d.Status.Conditions {
		m[string(c.Type)] = string(c.Status) + " " + c.Reason
	}
	return m
}

func podConditions(p *v1.Pod) map[string]string {
	m := map[string]string{}
	for _, c := range p.Status.Conditions {
		m[string(c.Type)] = string(c.Status) + " " + c.Reason
	}
	return m
}

func containers(statuses []v1.ContainerStatus) []any {
	var all []any
	for _, s := range statuses {
		state := ""
		switch {
		case s.State.Waiting != nil:
			state = "waiting " + s.State.Waiting.Reason
		case s.State.Running != nil:
			state = "running"
		case s.State.Terminated != nil:
			state = "terminated " + s.State.Terminated.Reason
		}
		all = append(all, s.Name, s.Ready, s.RestartCount, state)
	}
	return all
}
