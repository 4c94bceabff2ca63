package migrate

import (
	"fmt"

	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
	"github.com/kubeovn/kube-ovn-ccm/pkg/loadbalancer"
)

// forward says what comes next on a Service's way from Kube-OVN's gateway to
// ours. Until the address changes hands Kube-OVN's Pod serves: it loses its
// owners, so that nobody makes another one, and ours is built beside it.
func forward(o *observation) step {
	switch {
	case o.phase() == loadbalancer.GivingBack:
		return wait("the end of a move in the other direction: run it with --rollback first")
	case o.backup == nil && o.theirDeployment() == nil:
		return step{}
	case o.backup == nil:
		return step{act: actBackUp}
	}
	if s := forwardPod(o); s.act != actDone {
		return s
	}
	return forwardEnd(o)
}

// forwardPod is the way until Kube-OVN's Pod is gone.
func forwardPod(o *observation) step {
	pod := o.theirPod()
	switch {
	case len(o.theirs.pods) > 1:
		return wait("Kube-OVN's gateway to have one Pod")
	case pod == nil && o.theirDeployment() != nil:
		return wait("Kube-OVN's gateway Pod")
	case pod == nil && len(o.theirs.sets) == 0:
		return step{}
	case pod != nil && loadbalancer.MigrationOf(o.service) != takingOver(pod.Name, o.addresses()):
		return step{act: actMarkTakingOver}
	case o.theirDeployment() != nil && o.deployment.DeletionTimestamp != nil:
		return wait("the end of Kube-OVN's Deployment")
	case o.theirDeployment() != nil:
		return step{act: actOrphanDeployment}
	case len(o.theirs.sets) > 0 && o.theirs.sets[0].DeletionTimestamp != nil:
		return wait("the end of Kube-OVN's ReplicaSet")
	case len(o.theirs.sets) > 0:
		return step{act: actOrphanSet}
	case pod.DeletionTimestamp != nil:
		return wait("the end of Kube-OVN's Pod " + pod.Name)
	case o.ourPod() == nil:
		return wait("our gateway Pod")
	case !o.awaits() && !o.serves():
		return wait("our gateway to be ready to take over" + o.agentSays())
	case !o.fenced():
		return step{act: actFence}
	}
	return step{act: actHandOver}
}

// forwardEnd is the way from there.
func forwardEnd(o *observation) step {
	switch {
	case o.vip == nil || !o.vip.Granted():
		return wait("Kube-OVN to grant the address to the Service's Vip")
	case o.hasFences():
		return step{act: actUnfence}
	case o.ourPod() == nil || !ready(o.ourPod()):
		return wait("our gateway Pod to be ready" + o.agentSays())
	case o.published() != o.addresses():
		return wait("the Service to show its address")
	case o.phase() != "":
		return step{act: actUnmark}
	}
	return step{}
}

// takingOver is the mark of a Service that is handed over.
func takingOver(pod string, addrs kubeovn.Addrs) loadbalancer.Migration {
	return loadbalancer.Migration{Phase: loadbalancer.TakingOver, Pod: pod, Addresses: addrs.String()}
}

// hasFences reports whether one of the addresses is fenced by us.
func (o *observation) hasFences() bool {
	for _, addr := range o.addresses().All() {
		for _, fence := range o.fences {
			if fence == addr.String() {
				return true
			}
		}
	}
	return false
}

func (o *observation) agentSays() string {
	if o.agent == nil || o.agent.Reason == "" {
		return ""
	}
	return fmt.Sprintf(" (it says: %s)", o.agent.Reason)
}
