package loadbalancer

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/kubeovn/kube-ovn-ccm/pkg/ipam"
	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
)

// selectorOf selects the objects made for one Service.
func selectorOf(owner kubeovn.Owner) labels.Selector {
	return labels.SelectorFromSet(labels.Set{kubeovn.LabelServiceUID: string(owner.UID)})
}

// gather reads from the caches what a decision about a Service depends on.
func (b *Balancer) gather(svc *corev1.Service) (*world, error) {
	owner, name := ownerOf(svc), ObjectName(svc.Name)
	w := &world{
		now:           b.Clock.Now(),
		owner:         owner,
		service:       svc,
		config:        b.Config,
		unreadable:    b.KubeOVN.Missing(),
		synced:        b.KubeOVN.Synced() && b.LbSvc.Synced(),
		lbSvcEnabled:  b.LbSvc.Enabled(),
		subnets:       b.KubeOVN,
		pools:         b.KubeOVN,
		past:          func(subnet string) kubeovn.Addrs { return b.past(owner, subnet) },
		holder:        func(subnet string, addr netip.Addr) string { return b.holder(svc, subnet, addr) },
		ahead:         func(most int) int { return b.ahead(svc, most) },
		source:        func(a attachment) (*kubeovn.NAD, bool) { return b.KubeOVN.NAD(a.Namespace, a.Name) },
		nodes:         map[string]*corev1.Node{},
		isNodeAddress: b.isNodeAddress,
		slices:        b.EndpointSlices(owner.Namespace, owner.Name),
		subnetOfPod: func(p backend) (string, bool) {
			if p.podName == "" {
				return "", false
			}
			return b.KubeOVN.SubnetOfPodIP(p.address.Addr(), p.podNamespace, p.podName)
		},
	}
	var err error
	if w.deployment, err = found(b.Deployments.Deployments(owner.Namespace).Get(name)); err != nil {
		return nil, fmt.Errorf("reading Deployment %s: %w", name, err)
	}
	if w.configMap, err = found(b.ConfigMaps.ConfigMaps(owner.Namespace).Get(name)); err != nil {
		return nil, fmt.Errorf("reading ConfigMap %s: %w", name, err)
	}
	w.nad, _ = b.KubeOVN.NAD(owner.Namespace, name)
	w.vip, _ = b.KubeOVN.Vip(ipam.VipName(owner.UID))

	pods, err := b.Pods.Pods(owner.Namespace).List(selectorOf(owner))
	if err != nil {
		return nil, fmt.Errorf("listing gateway Pods: %w", err)
	}
	for _, pod := range pods {
		p := gatewayPod{Pod: pod}
		p.sandboxFailure, _ = b.SandboxFailure(pod)
		w.pods = append(w.pods, p)
	}
	w.nodes, err = b.nodesOf(pods)
	return w, err
}

// isNodeAddress reports whether a node has an address.
func (b *Balancer) isNodeAddress(addr netip.Addr) bool {
	nodes, err := b.Nodes.List(labels.Everything())
	if err != nil {
		return false // cannot be: the lister reads memory
	}
	return slices.ContainsFunc(nodes, func(node *corev1.Node) bool {
		return slices.ContainsFunc(node.Status.Addresses, func(a corev1.NodeAddress) bool { return a.Address == addr.String() })
	})
}

// nodesOf returns the nodes that the Pods run on.
func (b *Balancer) nodesOf(pods []*corev1.Pod) (map[string]*corev1.Node, error) {
	nodes := map[string]*corev1.Node{}
	for _, pod := range pods {
		node, err := found(b.Nodes.Get(pod.Spec.NodeName))
		if err != nil {
			return nil, fmt.Errorf("reading node %s: %w", pod.Spec.NodeName, err)
		}
		if node != nil {
			nodes[node.Name] = node
		}
	}
	return nodes, nil
}

// found turns "not found" into nil.
func found[T any](obj *T, err error) (*T, error) {
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return obj, nil
}

// lookAgain asks the API server itself before anything is created: whether the
// Service still wants it (a late call must not bring back what has just been
// deleted), and what stands at the places that look empty (the caches hold
// only what carries our labels). False if the Service wants nothing any more.
func (b *Balancer) lookAgain(ctx context.Context, w *world) (bool, error) {
	owner, name := w.owner, ObjectName(w.owner.Name)
	svc, err := found(b.Kube.CoreV1().Services(owner.Namespace).Get(ctx, owner.Name, metav1.GetOptions{}))
	if err != nil {
		return false, fmt.Errorf("reading the Service: %w", err)
	}
	if svc == nil || svc.UID != owner.UID || !wanted(svc, b.Config) || MigrationOf(svc) != MigrationOf(w.service) {
		return false, nil
	}
	if w.deployment == nil {
		var d *appsv1.Deployment
		if d, err = found(b.Kube.AppsV1().Deployments(owner.Namespace).Get(ctx, name, metav1.GetOptions{})); err != nil {
			return false, fmt.Errorf("reading Deployment %s: %w", name, err)
		}
		w.deployment = d
	}
	if w.configMap == nil {
		var c *corev1.ConfigMap
		if c, err = found(b.Kube.CoreV1().ConfigMaps(owner.Namespace).Get(ctx, name, metav1.GetOptions{})); err != nil {
			return false, fmt.Errorf("reading ConfigMap %s: %w", name, err)
		}
		w.configMap = c
	}
	return true, nil
}
