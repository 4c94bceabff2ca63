package provider

import (
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	coreinformers "k8s.io/client-go/informers/core/v1"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	servicecontroller "k8s.io/cloud-provider/controllers/service"
)

// nodeView is the Node informer that the service controller is given.
//
// The controller has in mind load balancers that send traffic to nodes. Ours
// stands on one node as a Pod, and the scheduler finds it a place. So
//
//   - the node set of the controller means nothing, and a cluster whose only
//     node is excluded from it (kubeadm labels every control-plane node) is
//     fine; the controller would write the Warning UnAvailableLoadBalancer at
//     each sync. The view shows nodes without the label and the taint by which
//     they are left out;
//   - node changes are nothing to update a load balancer for, and the
//     controller would do so beside the worker that handles the same Service.
//     The view registers no handlers.
type nodeView struct {
	shared coreinformers.NodeInformer
}

var _ coreinformers.NodeInformer = nodeView{}

// Informer returns the shared informer, to which no handler can be added.
func (v nodeView) Informer() cache.SharedIndexInformer {
	return silentInformer{v.shared.Informer()}
}

// Lister returns a lister of all nodes, none of them excluded.
func (v nodeView) Lister() corelisters.NodeLister {
	return nodeViewLister{v.shared.Lister()}
}

type silentInformer struct {
	cache.SharedIndexInformer
}

func (i silentInformer) AddEventHandler(cache.ResourceEventHandler) (cache.ResourceEventHandlerRegistration, error) {
	return i, nil
}

func (i silentInformer) AddEventHandlerWithResyncPeriod(cache.ResourceEventHandler, time.Duration) (cache.ResourceEventHandlerRegistration, error) {
	return i, nil
}

func (i silentInformer) AddEventHandlerWithOptions(cache.ResourceEventHandler, cache.HandlerOptions) (cache.ResourceEventHandlerRegistration, error) {
	return i, nil
}

type nodeViewLister struct {
	corelisters.NodeLister
}

func (l nodeViewLister) List(selector labels.Selector) ([]*v1.Node, error) {
	nodes, err := l.NodeLister.List(selector)
	for i, node := range nodes {
		nodes[i] = included(node)
	}
	return nodes, err
}

func (l nodeViewLister) Get(name string) (*v1.Node, error) {
	node, err := l.NodeLister.Get(name)
	if err != nil {
		return nil, err
	}
	return included(node), nil
}

// included returns the node without what makes the service controller leave
// it out: the node itself if there is nothing, else a copy.
func included(node *v1.Node) *v1.Node {
	_, labeled := node.Labels[v1.LabelNodeExcludeBalancers]
	isExcluding := func(t v1.Taint) bool { return t.Key == servicecontroller.ToBeDeletedTaint }
	tainted := false
	for _, t := range node.Spec.Taints {
		tainted = tainted || isExcluding(t)
	}
	if !labeled && !tainted {
		return node
	}
	shown := node.DeepCopy()
	delete(shown.Labels, v1.LabelNodeExcludeBalancers)
	var taints []v1.Taint
	for _, t := range node.Spec.Taints {
		if !isExcluding(t) {
			taints = append(taints, t)
		}
	}
	shown.Spec.Taints = taints
	return shown
}
