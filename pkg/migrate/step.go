package migrate

import "github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"

// act is one write, or one short piece of work, of a move.
type act string

const (
	actDone act = "" // nothing is left to do
	actWait act = "wait"

	actBackUp           act = "put Kube-OVN's Deployment aside"
	actMarkTakingOver   act = "tell kube-ovn-ccm to build its gateway beside Kube-OVN's"
	actOrphanDeployment act = "delete the Deployment and leave its Pod"
	actOrphanSet        act = "delete Kube-OVN's ReplicaSet and leave its Pod"
	actFence            act = "keep the address from others"
	actHandOver         act = "take the address off Kube-OVN's Pod and end it: it changes hands"
	actUnfence          act = "take the fence away"
	actUnmark           act = "tell kube-ovn-ccm that the move is over"

	actMarkGivingBack   act = "tell kube-ovn-ccm to let go"
	actOrphanOurSet     act = "delete our ReplicaSet and leave its Pod"
	actDeleteVip        act = "give the Vip back"
	actCreatePod        act = "make Kube-OVN's Pod with the address"
	actCreateSet        act = "make the ReplicaSet that owns it"
	actCreateDeployment act = "make Kube-OVN's Deployment"
	actRemoveTheirs     act = "delete Kube-OVN's gateway, whose Pod was made anew with another address"
	actHandBack         act = "delete our Pod and put the address on Kube-OVN's: it changes hands"
	actEndPods          act = "delete our Pod"
	actMarkGivenBack    act = "tell kube-ovn-ccm to clean up"
	actForget           act = "delete the backup"
)

// step is what comes next for a Service.
type step struct {
	act act
	// waitsFor says in words what is awaited, with actWait.
	waitsFor string
	// freed is the deleted Vip of which Kube-OVN is reminded while its end is
	// awaited; nil: something else is.
	freed *kubeovn.Vip
}

func wait(what string) step { return step{act: actWait, waitsFor: what} }

// serves reports whether our gateway has the addresses, by its own word.
func (o *observation) serves() bool { return o.agent != nil && o.agent.Serving }

// awaits reports whether everything of our gateway is in place but the
// addresses, which others still answer for.
func (o *observation) awaits() bool {
	return o.agent != nil && len(o.agent.Awaited) > 0
}
