package migrate

import (
	"context"
	"maps"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubeovn/kube-ovn-ccm/pkg/gateway/spec"
	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
)

// restore makes one of the three objects of Kube-OVN's gateway again: first the
// Pod, which asks for the address by name; then a ReplicaSet that adopts it, and a
// Deployment that adopts that. Their template is as it was: in a Deployment that
// named an address kube-ovn-controller, once its lb-svc is on, would take it out
// again, and with a new Pod the address would be another.
func (m *mover) restore(ctx context.Context, o *observation, a act) error {
	create := metav1.CreateOptions{FieldManager: fieldManager}
	namespace := o.service.Namespace
	var err error
	switch a {
	case actCreatePod:
		_, err = m.kube.CoreV1().Pods(namespace).Create(ctx, restoredPod(o), create)
	case actCreateSet:
		_, err = m.kube.AppsV1().ReplicaSets(namespace).Create(ctx, restoredSet(o), create)
	default:
		_, err = m.kube.AppsV1().Deployments(namespace).Create(ctx, restoredDeployment(o), create)
	}
	if apierrors.IsAlreadyExists(err) {
		return nil // it goes, or was not seen yet: look again
	}
	return err
}

// templateHash tells the ReplicaSet's Pods from others'; Kubernetes only needs it
// to be unique within the Deployment.
func templateHash(o *observation) string {
	if pod := o.theirPod(); pod != nil && pod.Labels[appsv1.DefaultDeploymentUniqueLabelKey] != "" {
		return pod.Labels[appsv1.DefaultDeploymentUniqueLabelKey]
	}
	return spec.Hash([]byte(o.service.UID))[:10]
}

// withHash adds the label that a Deployment has on what it owns.
func withHash(labels map[string]string, hash string) map[string]string {
	labels = maps.Clone(labels)
	labels[appsv1.DefaultDeploymentUniqueLabelKey] = hash
	return labels
}

func restoredPod(o *observation) *corev1.Pod {
	t, hash := o.backup.template(o.service), templateHash(o)
	annotations := maps.Clone(t.Annotations)
	annotations[kubeovn.AnnotationKey(o.backup.Provider, kubeovn.FieldIPAddress)] = o.addresses().String()
	// Without the Subnet's name Kube-OVN looks for a static address in the
	// namespace's Subnets as well.
	annotations[kubeovn.AnnotationKey(o.backup.Provider, kubeovn.FieldLogicalSwitch)] = o.subnet.Name
	annotations[AnnotationRestored] = restoredPending
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace:    o.service.Namespace,
			GenerateName: o.backup.Deployment.Name + "-" + hash + "-",
			Labels:       withHash(t.Labels, hash),
			Annotations:  annotations,
		},
		Spec: t.Spec,
	}
}

func restoredSet(o *observation) *appsv1.ReplicaSet {
	t, hash := o.backup.template(o.service), templateHash(o)
	one := int32(1)
	selector := o.backup.Deployment.Spec.Selector.DeepCopy()
	selector.MatchLabels = withHash(selector.MatchLabels, hash)
	t.Labels = withHash(t.Labels, hash)
	return &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: o.service.Namespace, Name: o.backup.Deployment.Name + "-" + hash, Labels: t.Labels,
		},
		Spec: appsv1.ReplicaSetSpec{Replicas: &one, Selector: selector, Template: *t},
	}
}

func restoredDeployment(o *observation) *appsv1.Deployment {
	d := o.backup.Deployment.DeepCopy()
	d.Spec.Template = *o.backup.template(o.service)
	return d
}
