package migrate

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/kubeovn/kube-ovn-ccm/pkg/ipam"
	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
	"github.com/kubeovn/kube-ovn-ccm/pkg/lbsvc"
	"github.com/kubeovn/kube-ovn-ccm/pkg/loadbalancer"
)

const conditionReady = loadbalancer.ConditionReady

// observe asks the API server for everything about one Service.
func (m *mover) observe(ctx context.Context, namespace, name string) (*observation, error) {
	svc, err := m.kube.CoreV1().Services(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("reading Service %s/%s: %w", namespace, name, err)
	}
	o := &observation{service: svc}
	for _, read := range []func(context.Context, *observation) error{
		m.readDeployment, m.readGateways, m.readBackup, m.readReservation, m.readSubnet, m.readLeftovers,
	} {
		if err := read(ctx, o); err != nil {
			return nil, fmt.Errorf("looking at Service %s/%s: %w", namespace, name, err)
		}
	}
	m.askAgent(ctx, o)
	return o, nil
}

func (m *mover) readDeployment(ctx context.Context, o *observation) error {
	name := loadbalancer.ObjectName(o.service.Name)
	d, err := m.kube.AppsV1().Deployments(o.service.Namespace).Get(ctx, name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return nil
	case err != nil:
		return fmt.Errorf("reading Deployment %s: %w", name, err)
	}
	o.deployment = d
	return nil
}

// ourSelector selects what kube-ovn-ccm made for a Service.
func ourSelector(svc *corev1.Service) string {
	return labels.SelectorFromSet(labels.Set{kubeovn.LabelServiceUID: string(svc.UID)}).String()
}

func (m *mover) readGateways(ctx context.Context, o *observation) error {
	svc := o.service
	if err := m.readGateway(ctx, svc.Namespace, ourSelector(svc), &o.ours, func(metav1.ObjectMeta, corev1.PodSpec) bool { return true }); err != nil {
		return err
	}
	return m.readGateway(ctx, svc.Namespace, lbsvc.Selector().String(), &o.theirs, func(meta metav1.ObjectMeta, spec corev1.PodSpec) bool {
		return isTheirs(meta, spec, svc)
	})
}

func (m *mover) readGateway(ctx context.Context, namespace, selector string, to *gateway, of func(metav1.ObjectMeta, corev1.PodSpec) bool) error {
	options := metav1.ListOptions{LabelSelector: selector}
	sets, err := m.kube.AppsV1().ReplicaSets(namespace).List(ctx, options)
	if err != nil {
		return fmt.Errorf("listing ReplicaSets: %w", err)
	}
	for i, set := range sets.Items {
		if of(set.Spec.Template.ObjectMeta, set.Spec.Template.Spec) {
			to.sets = append(to.sets, &sets.Items[i])
		}
	}
	pods, err := m.kube.CoreV1().Pods(namespace).List(ctx, options)
	if err != nil {
		return fmt.Errorf("listing Pods: %w", err)
	}
	for i, pod := range pods.Items {
		ended := pod.Status.Phase == corev1.PodFailed || pod.Status.Phase == corev1.PodSucceeded
		if !ended && of(pod.ObjectMeta, pod.Spec) {
			to.pods = append(to.pods, &pods.Items[i])
		}
	}
	return nil
}

func (m *mover) readBackup(ctx context.Context, o *observation) error {
	name := backupName(o.service.Name)
	c, err := m.kube.CoreV1().ConfigMaps(o.service.Namespace).Get(ctx, name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return nil
	case err != nil:
		return fmt.Errorf("reading ConfigMap %s: %w", name, err)
	}
	o.backup, err = readBackup(c, o.service)
	return err
}

// readReservation reads who holds the address in Kube-OVN's IPAM: our Vip, or
// its own gateway Pod.
func (m *mover) readReservation(ctx context.Context, o *observation) error {
	vip, err := m.get(ctx, kubeovn.VipResource, ipam.VipName(o.service.UID))
	if err != nil {
		return err
	}
	if vip != nil {
		o.vip = kubeovn.DecodeVip(vip)
	}
	pod := o.theirPod()
	if pod == nil {
		return nil
	}
	record, err := m.get(ctx, kubeovn.IPResource, pod.Name+"."+pod.Namespace+"."+o.provider())
	if err != nil {
		return err
	}
	if record != nil {
		o.record = kubeovn.DecodeIP(record)
	}
	return nil
}

func (m *mover) readSubnet(ctx context.Context, o *observation) error {
	name := ""
	switch {
	case o.record != nil:
		name = o.record.Subnet
	case o.vip != nil:
		name = o.vip.Subnet
	case o.backup != nil:
		name = o.backup.Subnet
	}
	if name == "" {
		return nil
	}
	subnet, err := m.get(ctx, kubeovn.SubnetResource, name)
	if err != nil || subnet == nil {
		return err
	}
	o.subnet, o.fences = kubeovn.DecodeSubnet(subnet), parseFences(subnet.GetAnnotations()[AnnotationFences])
	return nil
}

func (m *mover) readLeftovers(ctx context.Context, o *observation) error {
	options := metav1.ListOptions{LabelSelector: ourSelector(o.service)}
	configMaps, err := m.kube.CoreV1().ConfigMaps(o.service.Namespace).List(ctx, options)
	if err != nil {
		return fmt.Errorf("listing ConfigMaps: %w", err)
	}
	for _, c := range configMaps.Items {
		o.leftovers = append(o.leftovers, "ConfigMap "+c.Name)
	}
	nads, err := m.dyn.Resource(kubeovn.NADResource).Namespace(o.service.Namespace).List(ctx, options)
	if err != nil {
		return fmt.Errorf("listing NetworkAttachmentDefinitions: %w", err)
	}
	for _, n := range nads.Items {
		o.leftovers = append(o.leftovers, "NetworkAttachmentDefinition "+n.GetName())
	}
	return nil
}

// get reads a cluster-scoped object; nil if there is none.
func (m *mover) get(ctx context.Context, resource schema.GroupVersionResource, name string) (*unstructured.Unstructured, error) {
	obj, err := m.dyn.Resource(resource).Get(ctx, name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("reading %s %s: %w", resource.Resource, name, err)
	}
	return obj, nil
}

// askAgent asks the agent of our gateway while the gateways change places. One
// that does not answer says nothing.
func (m *mover) askAgent(ctx context.Context, o *observation) {
	pod := o.ourPod()
	if pod == nil || !running(pod) || ready(pod) && len(o.theirs.pods) == 0 {
		return
	}
	o.agent = m.agentIn(ctx, pod)
}

// agentPatience is how long an agent may take to answer; one that ends may not
// answer at all.
const agentPatience = 2 * time.Second

func (m *mover) agentIn(ctx context.Context, pod *corev1.Pod) *agentStatus {
	ctx, cancel := context.WithTimeout(ctx, agentPatience)
	defer cancel()
	out, err := m.exec.run(ctx, pod.Namespace, pod.Name, loadbalancer.AppName, "/usr/bin/lb-gateway", "status")
	if err != nil {
		return nil
	}
	var status agentStatus
	if err := json.Unmarshal([]byte(out), &status); err != nil {
		return nil
	}
	return &status
}
