package migrate

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
	"github.com/kubeovn/kube-ovn-ccm/pkg/lbsvc"
	"github.com/kubeovn/kube-ovn-ccm/pkg/loadbalancer"
)

// handOverPatience is for how long our gateway may take to have the address once
// Kube-OVN's is silent; it takes it some 0.6 s. Then Kube-OVN's has it again.
const handOverPatience = 5 * time.Second

// changeHands gives the address from one gateway to the other. Whoever interrupts
// the program meanwhile waits until one of them has it.
func (m *mover) changeHands(ctx context.Context, o *observation, a act) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), m.patience)
	defer cancel()
	if a == actHandOver {
		return m.handOver(ctx, o)
	}
	return m.handBack(ctx, o)
}

// handOver takes the address off Kube-OVN's gateway Pod, and ends the Pod when
// ours has it. If the Pod were ended first, Kube-OVN would cut it off from the
// cluster at once, while it answers for the address until its network is taken
// down, seconds later.
func (m *mover) handOver(ctx context.Context, o *observation) error {
	if !o.serves() {
		if err := m.takeOver(ctx, o); err != nil {
			return err
		}
	}
	options := only(o.theirPod().UID)
	now := int64(0)
	options.GracePeriodSeconds = &now
	return ignoreGone(m.kube.CoreV1().Pods(o.service.Namespace).Delete(ctx, o.theirPod().Name, options))
}

func (m *mover) takeOver(ctx context.Context, o *observation) error {
	theirs, ours := o.theirPod(), o.ourPod()
	program, err := programOf(o.service, theirs)
	if err != nil {
		return err
	}
	if _, err := m.exec.run(ctx, theirs.Namespace, theirs.Name, lbsvc.ContainerName, "ip", "addr", "flush", "dev", loadbalancer.Interface); err != nil {
		return err
	}
	for start := time.Now(); time.Since(start) < handOverPatience; {
		if status := m.agentIn(ctx, ours); status != nil && status.Serving {
			m.say("our gateway has the address, %s after it was taken off Kube-OVN's", time.Since(start).Round(time.Millisecond))
			return nil
		}
		if pause(ctx, poll/2) != nil {
			break
		}
	}
	return errors.Join(
		fmt.Errorf("our gateway has not taken the address within %s, so Kube-OVN's was given it again", handOverPatience),
		m.script(context.WithoutCancel(ctx), theirs, program.address))
}

// handBack does in Kube-OVN's gateway Pod what kube-ovn-controller does (v1.16,
// service_lb.go updatePodAttachNets), in an order that keeps the gap short: the
// rules first, then our gateway ends, then the address is put on.
func (m *mover) handBack(ctx context.Context, o *observation) error {
	pod := o.theirPod()
	program, err := programOf(o.service, pod)
	if err != nil {
		return err
	}
	for _, arguments := range program.rules {
		if err := m.script(ctx, pod, arguments); err != nil {
			return err
		}
	}
	if err := m.endPods(ctx, o); err != nil {
		return err
	}
	last := m.lastServed(ctx, o)
	if err := m.script(ctx, pod, program.address); err != nil {
		return err
	}
	m.say("Kube-OVN's gateway has the address, %s after ours was last seen to have it", time.Since(last).Round(time.Millisecond))
	patch := fmt.Appendf(nil, `{"metadata":{"uid":%q,"annotations":{%q:%q}}}`, pod.UID, AnnotationRestored, restoredServing)
	_, err = m.kube.CoreV1().Pods(pod.Namespace).Patch(ctx, pod.Name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: fieldManager})
	return err
}

// lastServed waits until our gateway has given its addresses back: its agent
// says so, or cannot be asked any more. It returns when it last had them.
func (m *mover) lastServed(ctx context.Context, o *observation) time.Time {
	last := time.Now()
	for _, pod := range o.ours.pods {
		for ctx.Err() == nil {
			asked := time.Now()
			status := m.agentIn(ctx, pod)
			if status == nil || !status.Serving {
				break
			}
			last = asked
		}
	}
	return last
}

// script runs Kube-OVN's lb-svc.sh in its gateway Pod.
func (m *mover) script(ctx context.Context, pod *corev1.Pod, arguments string) error {
	_, err := m.exec.run(ctx, pod.Namespace, pod.Name, lbsvc.ContainerName, "/bin/bash", "-c", "bash /kube-ovn/lb-svc.sh "+arguments)
	return err
}

// program is what lb-svc.sh is called with: without an address nobody is
// answered, so the rules may come first.
type program struct {
	rules   []string
	address string
}

// programOf renders the calls as kube-ovn-controller does.
func programOf(svc *corev1.Service, pod *corev1.Pod) (program, error) {
	provider := svc.Annotations[kubeovn.AttachmentProvider]
	annotation := func(field string) string { return pod.Annotations[kubeovn.AnnotationKey(provider, field)] }
	addr, err := netip.ParseAddr(annotation(kubeovn.FieldIPAddress))
	if err != nil {
		return program{}, fmt.Errorf("address of Pod %s: %w", pod.Name, err)
	}
	cidr, err := netip.ParsePrefix(annotation(kubeovn.FieldCIDR))
	if err != nil {
		return program{}, fmt.Errorf("range of Pod %s: %w", pod.Name, err)
	}
	p := program{
		rules:   []string{"init "},
		address: fmt.Sprintf("eip-add %s,%s", netip.PrefixFrom(addr, cidr.Bits()), annotation(kubeovn.FieldGateway)),
	}
	for _, port := range svc.Spec.Ports {
		p.rules = append(p.rules, fmt.Sprintf("dnat-add %s,%d,%s,%s,%d,%s", addr, port.Port,
			strings.ToLower(string(port.Protocol)), svc.Spec.ClusterIP, theirTarget(port), pod.Annotations["ovn.kubernetes.io/gateway"]))
	}
	return p, nil
}

// theirTarget is the port of the cluster IP to which Kube-OVN's gateway sends:
// the target port by its number, where it has one. That is the Service's port only
// if the two are the same; else the connection goes nowhere.
func theirTarget(port corev1.ServicePort) int {
	if n := port.TargetPort.IntValue(); n != 0 {
		return n
	}
	return int(port.Port)
}
