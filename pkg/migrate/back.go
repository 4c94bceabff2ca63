package migrate

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubeovn/kube-ovn-ccm/pkg/loadbalancer"
)

// AnnotationRestored is on a gateway Pod of Kube-OVN's that was made by a move
// back. Its value says whether the Pod has been given rules and address inside:
// "pending", then "serving".
const AnnotationRestored = "kube-ovn.io/lb-svc-restored"

const (
	restoredPending = "pending"
	restoredServing = "serving"
)

// back says what comes next on a Service's way back to Kube-OVN's gateway. Our
// Pod serves on without owners until the address changes hands; Kube-OVN's is
// made beside it, with the address in Kube-OVN's IPAM and an interface without.
func back(o *observation) step {
	switch {
	case o.backup == nil:
		return step{}
	case o.phase() == loadbalancer.GivenBack:
		return backEnd(o)
	case o.phase() != loadbalancer.GivingBack:
		return step{act: actMarkGivingBack}
	case letNotGo(o.service):
		return wait("kube-ovn-ccm to let the Service go (does it run?)")
	case o.ourDeployment() != nil && o.deployment.DeletionTimestamp != nil:
		return wait("the end of our Deployment")
	case o.ourDeployment() != nil:
		return step{act: actOrphanDeployment}
	case len(o.ours.sets) > 0 && o.ours.sets[0].DeletionTimestamp != nil:
		return wait("the end of our ReplicaSet")
	case len(o.ours.sets) > 0:
		return step{act: actOrphanOurSet}
	}
	return backPods(o)
}

// letNotGo reports whether kube-ovn-ccm may still be at work on a Service: it
// takes its condition off one that it has let go.
func letNotGo(svc *corev1.Service) bool {
	for _, c := range svc.Status.Conditions {
		if c.Type == loadbalancer.ConditionReady {
			return true
		}
	}
	return false
}

// backPods is the way from one Pod to the other.
func backPods(o *observation) step {
	pod := o.theirPod()
	switch {
	case o.theirDeployment() != nil && o.deployment.DeletionTimestamp != nil:
		return wait("the end of Kube-OVN's former Deployment")
	case len(o.theirs.pods) > 1:
		return wait("Kube-OVN's gateway to have one Pod")
	case pod != nil && !o.annotated().IsZero() && o.annotated() != o.addresses() && o.theirDeployment() != nil:
		return step{act: actRemoveTheirs}
	case pod == nil && o.theirDeployment() != nil:
		return wait("Kube-OVN's gateway Pod")
	case pod == nil && !o.fenced():
		return step{act: actFence}
	case pod == nil && o.vip != nil && o.vip.DeletionTimestamp == nil:
		return step{act: actDeleteVip}
	case pod == nil && o.vip != nil:
		return step{act: actWait, waitsFor: "Kube-OVN to free the address (does kube-ovn-controller run?)", freed: o.vip}
	case pod == nil:
		return step{act: actCreatePod}
	case !running(pod):
		return wait("Kube-OVN's Pod " + pod.Name + " to run")
	case o.recorded().IsZero() || o.recorded() != o.annotated():
		return wait("Kube-OVN to give the address to Pod " + pod.Name)
	}
	if s := backOwners(o, pod); s.act != actDone {
		return s
	}
	switch {
	case o.hasFences():
		return step{act: actUnfence}
	case pod.Annotations[AnnotationRestored] == restoredPending:
		return step{act: actHandBack}
	case len(o.ours.pods) > 0:
		return endPods(o)
	}
	return step{act: actMarkGivenBack}
}

// backOwners gives Kube-OVN's Pod its owners again, one after the other: each
// must have been seen by Kubernetes' controllers before the next is made, which
// would else make what it does not find.
func backOwners(o *observation, pod *corev1.Pod) step {
	if len(o.theirs.sets) == 0 {
		return step{act: actCreateSet}
	}
	set := o.theirs.sets[0]
	switch {
	case set.DeletionTimestamp != nil:
		return wait("the end of Kube-OVN's former ReplicaSet")
	case !metav1.IsControlledBy(pod, set) || set.Status.Replicas != 1:
		return wait("ReplicaSet " + set.Name + " to adopt Pod " + pod.Name)
	case o.deployment == nil:
		return step{act: actCreateDeployment}
	case o.deployment.DeletionTimestamp != nil:
		return wait("the end of Kube-OVN's former Deployment")
	case !metav1.IsControlledBy(set, o.deployment) || o.deployment.Status.UpdatedReplicas != 1:
		return wait("Deployment " + o.deployment.Name + " to adopt ReplicaSet " + set.Name)
	}
	return step{}
}

// backEnd is what is left to do when Kube-OVN's gateway serves.
func backEnd(o *observation) step {
	switch {
	case len(o.leftovers) > 0 || loadbalancer.FinalizedByUs(o.service):
		return wait("kube-ovn-ccm to clean up after itself")
	default:
		return step{act: actForget}
	}
}

// endPods ends Pods of ours that have no address.
func endPods(o *observation) step {
	for _, pod := range o.ours.pods {
		if pod.DeletionTimestamp == nil {
			return step{act: actEndPods}
		}
	}
	return wait("the end of our gateway Pod")
}
