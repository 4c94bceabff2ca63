package suite

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubeovn/kube-ovn-ccm/test/e2e/lab"
)

// fromPods pings an address from every Pod of a node, its gateways included, and
// prints who has no answer.
const fromPods = `for ns in /var/run/netns/*; do
	own=$(nsenter --net=$ns ip -brief address show eth0 2>/dev/null | awk '{print $3}')
	[ -z "$own" ] || nsenter --net=$ns ping -c 1 -W 1 -q %s >/dev/null 2>&1 || echo -n "lost from Pod $own; "
done`

// describeOverlay prints what the network between the nodes looks like from each
// of them: whether a Pod answers there, and to the Pods there, how many of OVN's
// flows are about it, and what Open vSwitch knows of the way to the other nodes.
// So a test that has failed because the lab's overlay was broken is told from one
// that has found a fault of ours.
func (c *cluster) describeOverlay(ctx context.Context, t *testing.T, ns string) {
	pods, err := c.kube.CoreV1().Pods(ns).List(ctx, metav1.ListOptions{})
	if err != nil {
		t.Logf("Pods: %v", err)
		return
	}
	run := func(host, command string) string {
		cmd, err := c.Host(host).Command(ctx, "sh", "-c", command)
		if err != nil {
			return err.Error()
		}
		out, err := cmd.CombinedOutput()
		if err != nil {
			return fmt.Sprintf("%s (%v)", bytes.TrimSpace(out), err)
		}
		return string(bytes.TrimSpace(out))
	}
	var out strings.Builder
	for _, node := range c.Nodes() {
		for _, command := range []string{
			"ovs-appctl tnl/neigh/show | grep br-phy", "ovs-appctl ovs/route/show | grep br-phy", "ovs-appctl tnl/ports/show -v",
		} {
			fmt.Fprintf(&out, "%s: %s\n%s\n", node, command, run(node, command))
		}
	}
	for _, pod := range pods.Items {
		mac := pod.Annotations["ovn.kubernetes.io/mac_address"]
		for _, ip := range pod.Status.PodIPs {
			fmt.Fprintf(&out, "%s on %s has %s, which OVN has for %s\n", pod.Name, pod.Spec.NodeName, ip.IP,
				run(lab.ControlPlane, "ovn-nbctl --format=csv --no-headings --columns=name,addresses list logical_switch_port | grep -wF "+ip.IP))
			for _, node := range c.Nodes() {
				fmt.Fprintf(&out, "  %s: %s; %sflows about %s: %s\n", node,
					run(node, "ping -c 2 -i 0.2 -W 1 -q "+ip.IP+" | grep -o '[0-9]* received'"),
					run(node, fmt.Sprintf(fromPods, ip.IP)), mac, run(node, "ovs-ofctl dump-flows br-int | grep -c -e "+mac))
			}
		}
	}
	t.Logf("the overlay:\n%s", &out)
}
