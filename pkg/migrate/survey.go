package migrate

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kubeovn/kube-ovn-ccm/pkg/ipam"
	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
	"github.com/kubeovn/kube-ovn-ccm/pkg/lbsvc"
	"github.com/kubeovn/kube-ovn-ccm/pkg/loadbalancer"
)

// selection says which Services are meant.
type selection struct {
	namespace string   // empty: all
	services  []string // "namespace/name" or, with a namespace, "name"; empty: all
}

func (s selection) includes(name types.NamespacedName) bool {
	if s.namespace != "" && s.namespace != name.Namespace {
		return false
	}
	return len(s.services) == 0 || slices.Contains(s.services, name.String()) ||
		s.namespace != "" && slices.Contains(s.services, name.Name)
}

// plan looks at the cluster and says what is to be done.
func (m *mover) plan(ctx context.Context, which selection, rollback bool) (*report, error) {
	r := &report{}
	var err error
	if r.Cluster, err = m.clusterObstacles(ctx); err != nil {
		return nil, err
	}
	names, err := m.candidates(ctx, which)
	if err != nil {
		return nil, err
	}
	addresses, err := m.readAddresses(ctx)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		o, err := m.observe(ctx, name.Namespace, name.Name)
		if apierrors.IsNotFound(err) {
			continue // a gateway that outlived its Service: kube-ovn-controller removes it when it starts
		}
		if err != nil {
			return nil, err
		}
		around, err := m.surroundings(ctx, o, addresses)
		if err != nil {
			return nil, err
		}
		if rollback {
			r.Services = append(r.Services, planBack(o, around))
		} else {
			r.Services = append(r.Services, planForward(o, around))
		}
	}
	return r, nil
}

// candidates are the Services that have a gateway of Kube-OVN's, or had one.
func (m *mover) candidates(ctx context.Context, which selection) ([]types.NamespacedName, error) {
	found := map[types.NamespacedName]bool{}
	deployments, err := m.kube.AppsV1().Deployments(which.namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("listing Deployments: %w", err)
	}
	for _, d := range deployments.Items {
		t := d.Spec.Template
		if service, ok := lbsvc.ServiceOf(d.Namespace, t.ObjectMeta, t.Spec); ok && d.Name == lbsvc.DeploymentName(service) {
			found[types.NamespacedName{Namespace: d.Namespace, Name: service}] = true
		}
	}
	pods, err := m.kube.CoreV1().Pods(which.namespace).List(ctx, metav1.ListOptions{LabelSelector: lbsvc.Selector().String()})
	if err != nil {
		return nil, fmt.Errorf("listing Pods: %w", err)
	}
	for _, pod := range pods.Items {
		if service, ok := lbsvc.ServiceOf(pod.Namespace, pod.ObjectMeta, pod.Spec); ok {
			found[types.NamespacedName{Namespace: pod.Namespace, Name: service}] = true
		}
	}
	backups, err := m.kube.CoreV1().ConfigMaps(which.namespace).List(ctx, metav1.ListOptions{LabelSelector: LabelBackup})
	if err != nil {
		return nil, fmt.Errorf("listing ConfigMaps: %w", err)
	}
	for _, c := range backups.Items {
		service := strings.TrimSuffix(strings.TrimPrefix(c.Name, loadbalancer.ObjectName("")), backupName("")[len(loadbalancer.ObjectName("")):])
		found[types.NamespacedName{Namespace: c.Namespace, Name: service}] = true
	}
	var out []types.NamespacedName
	for name := range found {
		if which.includes(name) {
			out = append(out, name)
		}
	}
	slices.SortFunc(out, func(a, b types.NamespacedName) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return out, nil
}

// holder is who has an address of a Subnet.
type holder struct {
	subnet, what string
	// vip or record is its name, to know the Service's own.
	name string
	has  kubeovn.Addrs
}

// readAddresses reads who has which address.
func (m *mover) readAddresses(ctx context.Context) ([]holder, error) {
	var out []holder
	vips, err := m.dyn.Resource(kubeovn.VipResource).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("listing Vips: %w", err)
	}
	for i := range vips.Items {
		v := kubeovn.DecodeVip(&vips.Items[i])
		out = append(out, holder{subnet: v.Subnet, what: "Vip " + v.Name, name: v.Name, has: v.Addrs()})
	}
	ips, err := m.dyn.Resource(kubeovn.IPResource).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("listing IPs: %w", err)
	}
	for i := range ips.Items {
		ip := kubeovn.DecodeIP(&ips.Items[i])
		o := observation{record: ip}
		out = append(out, holder{subnet: ip.Subnet, what: "Pod " + ip.PodNamespace + "/" + ip.PodName, name: ip.Name, has: o.recorded()})
	}
	return out, nil
}

// surroundings looks at what a Service depends on.
func (m *mover) surroundings(ctx context.Context, o *observation, addresses []holder) (surroundings, error) {
	s := surroundings{holders: func(subnet string, addr netip.Addr) (who []string) {
		for _, h := range addresses {
			own := h.name == ipam.VipName(o.service.UID) || o.record != nil && h.name == o.record.Name
			if h.subnet == subnet && h.has.Of(addr.Is4()) == addr && !own {
				who = append(who, h.what)
			}
		}
		return who
	}}
	subnets, err := m.dyn.Resource(kubeovn.SubnetResource).List(ctx, metav1.ListOptions{})
	if err != nil {
		return s, fmt.Errorf("listing Subnets: %w", err)
	}
	for i := range subnets.Items {
		if subnet := kubeovn.DecodeSubnet(&subnets.Items[i]); subnet.Provider == o.provider() {
			s.subnets = append(s.subnets, subnet)
		}
	}
	if s.nad, err = m.nad(ctx, o.provider()); err != nil {
		return s, err
	}
	if s.foreign, err = m.foreignObjects(ctx, o); err != nil {
		return s, err
	}
	if s.lost, err = m.lostNodes(ctx, o); err != nil {
		return s, err
	}
	s.refused, err = m.admission(ctx, o.service.Namespace)
	return s, err
}

// lostNodes are the nodes of a Service's gateway Pods that are not ready. Where a
// Node is gone its Pods go, too.
func (m *mover) lostNodes(ctx context.Context, o *observation) (lost []string, err error) {
	for _, pod := range slices.Concat(o.theirs.pods, o.ours.pods) {
		name := pod.Spec.NodeName
		if name == "" || slices.Contains(lost, name) {
			continue
		}
		node, err := m.kube.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			return nil, fmt.Errorf("reading node %s: %w", name, err)
		}
		if err != nil || !slices.ContainsFunc(node.Status.Conditions, func(c corev1.NodeCondition) bool {
			return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
		}) {
			lost = append(lost, name)
		}
	}
	return lost, nil
}

// nad reads the attachment that a provider names; nil if there is none.
func (m *mover) nad(ctx context.Context, provider string) (*kubeovn.NAD, error) {
	i := strings.LastIndexByte(provider, '.')
	if i < 0 {
		return nil, nil
	}
	u, err := m.dyn.Resource(kubeovn.NADResource).Namespace(provider[i+1:]).Get(ctx, provider[:i], metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("reading NetworkAttachmentDefinition %s: %w", provider, err)
	}
	return kubeovn.DecodeNAD(u), nil
}

// foreignObjects are those at the names of ours that are somebody else's.
func (m *mover) foreignObjects(ctx context.Context, o *observation) (out []string, err error) {
	name := loadbalancer.ObjectName(o.service.Name)
	c, err := m.kube.CoreV1().ConfigMaps(o.service.Namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return nil, fmt.Errorf("reading ConfigMap %s: %w", name, err)
	}
	if err == nil && !isOurs(c, o.service) {
		out = append(out, "ConfigMap "+name)
	}
	n, err := m.dyn.Resource(kubeovn.NADResource).Namespace(o.service.Namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return nil, fmt.Errorf("reading NetworkAttachmentDefinition %s: %w", name, err)
	}
	if err == nil && !isOurs(n, o.service) {
		out = append(out, "NetworkAttachmentDefinition "+name)
	}
	if d := o.deployment; d != nil && o.theirDeployment() == nil && o.ourDeployment() == nil {
		out = append(out, "Deployment "+name)
	}
	return out, nil
}

// leaseName and leaseAge tell whether kube-ovn-ccm runs: its leader renews the
// Lease every few seconds.
const (
	leaseNamespace = "kube-system"
	leaseName      = kubeovn.ManagedBy
	leaseAge       = 30 * time.Second
)

// clusterObstacles are what stands in the way of all Services.
func (m *mover) clusterObstacles(ctx context.Context) (out []string, err error) {
	controller, err := m.kube.AppsV1().Deployments(lbsvc.ControllerNamespace).Get(ctx, lbsvc.ControllerName, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		out = append(out, fmt.Sprintf("there is no Deployment %s/%s, so it cannot be known whether Kube-OVN's lb-svc is off", lbsvc.ControllerNamespace, lbsvc.ControllerName))
	case err != nil:
		return nil, fmt.Errorf("reading Deployment %s: %w", lbsvc.ControllerName, err)
	case lbsvc.Enabled(controller):
		out = append(out, fmt.Sprintf("Kube-OVN's lb-svc is on, and would make its gateways again: set --enable-lb-svc=false on Deployment %s/%s and wait for its rollout; its gateways go on serving", lbsvc.ControllerNamespace, lbsvc.ControllerName))
	case controller.Status.ObservedGeneration < controller.Generation || controller.Status.UpdatedReplicas < controller.Status.Replicas:
		out = append(out, fmt.Sprintf("Deployment %s/%s is being rolled out: wait for its end", lbsvc.ControllerNamespace, lbsvc.ControllerName))
	}
	lease, err := m.kube.CoordinationV1().Leases(leaseNamespace).Get(ctx, leaseName, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		out = append(out, fmt.Sprintf("kube-ovn-ccm does not run: there is no Lease %s/%s", leaseNamespace, leaseName))
	case err != nil:
		return nil, fmt.Errorf("reading Lease %s: %w", leaseName, err)
	case lease.Spec.RenewTime == nil || time.Since(lease.Spec.RenewTime.Time) > leaseAge:
		out = append(out, fmt.Sprintf("kube-ovn-ccm does not run: nobody has renewed Lease %s/%s for %s", leaseNamespace, leaseName, leaseAge))
	}
	return out, nil
}

// hasIPAM reports whether a CNI configuration gives addresses itself.
func hasIPAM(config string) bool {
	var c struct {
		IPAM    json.RawMessage `json:"ipam"`
		Plugins []struct {
			IPAM json.RawMessage `json:"ipam"`
		} `json:"plugins"`
	}
	if err := json.Unmarshal([]byte(config), &c); err != nil {
		return false
	}
	has := func(raw json.RawMessage) bool { return len(raw) > 0 && string(raw) != "{}" && string(raw) != "null" }
	for _, p := range c.Plugins {
		if has(p.IPAM) {
			return true
		}
	}
	return has(c.IPAM)
}
