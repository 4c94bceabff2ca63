package migrate

import (
	"context"
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
	"github.com/kubeovn/kube-ovn-ccm/pkg/loadbalancer"
)

// fieldManager is the field manager of what migrate writes. It is not that of
// the controller, which knows its own finalizer by it.
const fieldManager = "kube-ovn-ccm-migrate"

// do does what comes next. Each of these is one write, but for those by which
// the address changes hands.
func (m *mover) do(ctx context.Context, o *observation, a act) error {
	m.say("%s", a.told(o))
	switch a {
	case actBackUp:
		return m.backUp(ctx, o)
	case actMarkTakingOver:
		return m.mark(ctx, o, takingOver(o.theirPod().Name, o.addresses()).String())
	case actMarkGivingBack:
		return m.mark(ctx, o, loadbalancer.Migration{Phase: loadbalancer.GivingBack, Addresses: o.addresses().String()}.String())
	case actMarkGivenBack:
		return m.mark(ctx, o, loadbalancer.Migration{Phase: loadbalancer.GivenBack}.String())
	case actUnmark:
		return m.mark(ctx, o, nil)
	case actOrphanDeployment:
		return m.orphan(ctx, "Deployment", o.deployment)
	case actOrphanSet:
		return m.orphan(ctx, "ReplicaSet", o.theirs.sets[0])
	case actOrphanOurSet:
		return m.orphan(ctx, "ReplicaSet", o.ours.sets[0])
	case actFence:
		excludeIPs, notes := fence(o.subnet, o.fences, o.addresses().All())
		return m.excludeIPs(ctx, o, excludeIPs, notes)
	case actUnfence:
		excludeIPs, notes := unfence(o.subnet, o.fences, o.addresses().All())
		return m.excludeIPs(ctx, o, excludeIPs, notes)
	case actDeleteVip:
		return ignoreGone(m.dyn.Resource(kubeovn.VipResource).Delete(ctx, o.vip.Name, only(o.vip.UID)))
	case actRemoveTheirs:
		options := only(o.deployment.UID)
		foreground := metav1.DeletePropagationForeground // it is there until what it owns is gone
		options.PropagationPolicy = &foreground
		return ignoreGone(m.kube.AppsV1().Deployments(o.service.Namespace).Delete(ctx, o.deployment.Name, options))
	case actHandOver, actHandBack:
		return m.changeHands(ctx, o, a)
	case actEndPods:
		return m.endPods(ctx, o)
	case actCreatePod, actCreateSet, actCreateDeployment:
		return m.restore(ctx, o, a)
	case actForget:
		return ignoreGone(m.kube.CoreV1().ConfigMaps(o.service.Namespace).Delete(ctx, backupName(o.service.Name), metav1.DeleteOptions{}))
	case actDone, actWait: // nothing to write
	}
	return nil
}

// told is an act for the transcript, with the names of what it is about.
func (a act) told(o *observation) string {
	switch a {
	case actFence, actUnfence:
		return fmt.Sprintf("%s: %s in spec.excludeIps of Subnet %s", a, o.addresses(), o.subnet.Name)
	case actOrphanDeployment:
		return fmt.Sprintf("%s: %s", a, o.deployment.Name)
	case actBackUp:
		return fmt.Sprintf("%s: ConfigMap %s", a, backupName(o.service.Name))
	default:
		return string(a)
	}
}

// ignoreGone drops the errors that say that the object is gone, or another one.
func ignoreGone(err error) error {
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil
	}
	return err
}

// only lets a deletion be that of one object, not of one that has its name.
func only(uid types.UID) metav1.DeleteOptions {
	return metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}}
}

func (m *mover) backUp(ctx context.Context, o *observation) error {
	c, err := newBackup(o).configMap(o.service)
	if err != nil {
		return err
	}
	_, err = m.kube.CoreV1().ConfigMaps(c.Namespace).Create(ctx, c, metav1.CreateOptions{FieldManager: fieldManager})
	if apierrors.IsAlreadyExists(err) { // of a former Service of this name: observe did not take it
		_, err = m.kube.CoreV1().ConfigMaps(c.Namespace).Update(ctx, c, metav1.UpdateOptions{FieldManager: fieldManager})
	}
	return err
}

// mark writes the annotation by which kube-ovn-ccm knows of the move; nil takes
// it off.
func (m *mover) mark(ctx context.Context, o *observation, value any) error {
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{
		"resourceVersion": o.service.ResourceVersion,
		"annotations":     map[string]any{loadbalancer.AnnotationMigration: value},
	}})
	if err != nil {
		return err
	}
	_, err = m.kube.CoreV1().Services(o.service.Namespace).Patch(ctx, o.service.Name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: fieldManager})
	return err
}

// orphan deletes an object and leaves what it owns.
func (m *mover) orphan(ctx context.Context, kind string, obj metav1.Object) error {
	options := only(obj.GetUID())
	orphan := metav1.DeletePropagationOrphan
	options.PropagationPolicy = &orphan
	if kind == "Deployment" {
		return ignoreGone(m.kube.AppsV1().Deployments(obj.GetNamespace()).Delete(ctx, obj.GetName(), options))
	}
	return ignoreGone(m.kube.AppsV1().ReplicaSets(obj.GetNamespace()).Delete(ctx, obj.GetName(), options))
}

// excludeIPs writes a Subnet's list and our notes about it, unless somebody else
// has written in between.
func (m *mover) excludeIPs(ctx context.Context, o *observation, excludeIPs []string, notes fences) error {
	var annotation any
	if len(notes) > 0 {
		annotation = notes.String()
	}
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{
			"resourceVersion": o.subnet.ResourceVersion,
			"annotations":     map[string]any{AnnotationFences: annotation},
		},
		"spec": map[string]any{"excludeIps": excludeIPs},
	})
	if err != nil {
		return err
	}
	_, err = m.dyn.Resource(kubeovn.SubnetResource).Patch(ctx, o.subnet.Name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: fieldManager})
	return err
}

func (m *mover) endPods(ctx context.Context, o *observation) error {
	for _, pod := range o.ours.pods {
		if pod.DeletionTimestamp != nil {
			continue
		}
		if err := m.deletePod(ctx, pod); err != nil {
			return err
		}
	}
	return nil
}

func (m *mover) deletePod(ctx context.Context, pod *corev1.Pod) error {
	return ignoreGone(m.kube.CoreV1().Pods(pod.Namespace).Delete(ctx, pod.Name, only(pod.UID)))
}
