package suite

import (
	"context"
	"fmt"
	"net/netip"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
)

// vpc makes a virtual network of its own for the time of the test, and returns
// the name of its one Subnet when Pods can be put there.
func (c *cluster) vpc(t *testing.T, name, cidr, gateway string) (subnet string) {
	t.Helper()
	subnet = "in-" + name
	c.customResource(t, map[string]any{
		"apiVersion": "kubeovn.io/v1", "kind": "Vpc", "metadata": map[string]any{"name": name}, "spec": map[string]any{},
	})
	c.customResource(t, map[string]any{
		"apiVersion": "kubeovn.io/v1", "kind": "Subnet", "metadata": map[string]any{"name": subnet},
		"spec": map[string]any{"vpc": name, "protocol": "IPv4", "cidrBlock": cidr, "gateway": gateway},
	})
	eventually(t, 30*time.Second, "Subnet "+subnet, func(ctx context.Context) error {
		u, err := c.resource("Subnet", "").Get(ctx, subnet, metav1.GetOptions{})
		if err != nil {
			return err
		}
		conditions, _, _ := unstructured.NestedSlice(u.Object, "status", "conditions")
		for _, cond := range conditions {
			if m, ok := cond.(map[string]any); ok && m["type"] == "Ready" && m["status"] == "True" {
				return nil
			}
		}
		return fmt.Errorf("status %v", u.Object["status"])
	})
	return subnet
}

// inSubnet puts a Pod into a Subnet. The kubelet cannot reach it in a network
// of its own, so it has no probe.
func inSubnet(name string) func(*corev1.Pod) {
	return func(pod *corev1.Pod) {
		pod.Annotations = map[string]string{kubeovn.LogicalSwitch: name}
		pod.Spec.Containers[0].ReadinessProbe = nil
	}
}

// TestPodsInACustomVpcAreServed does what the guide says cannot be done: the
// Pods are in a network of their own, which has no way to the nodes.
func TestPodsInACustomVpcAreServed(t *testing.T) {
	e := c.ipv4(t)
	ns := c.namespace(t)
	vpc := "v-" + ns
	const cidr = "10.60.0.0/24"
	subnet := c.vpc(t, vpc, cidr, "10.60.0.1")
	pods := c.webs(t, ns, "web", 2, inSubnet(subnet))
	defer c.endAll(t, ns)

	in := func(t *testing.T, svc *corev1.Service) (address string) {
		t.Helper()
		c.create(t, svc)
		address = at(c.externalIP(t, ns, svc.Name, 30*time.Second), 80)
		pod := c.gatewayPod(t, ns, svc.Name)
		if !netip.MustParsePrefix(cidr).Contains(netip.MustParseAddr(pod.Status.PodIP)) {
			t.Errorf("eth0 of gateway Pod %s has %s, want an address of %s", pod.Name, pod.Status.PodIP, cidr)
		}
		for _, who := range e.hosts() {
			who.answeredBy(t, 20*time.Second, "tcp", address, names(pods)...)
		}
		return address
	}
	http := port("http", corev1.ProtocolTCP, 80, "http")
	t.Run("where an annotation says they are", func(t *testing.T) {
		svc := e.service(ns, "named", http)
		svc.Annotations[subnetAnnotation] = subnet
		in(t, svc)
		c.remove(t, ns, "named")
	})
	t.Run("where they are found", func(t *testing.T) {
		address := in(t, e.service(ns, "found", http))
		t.Run("at their endpoints", func(t *testing.T) {
			c.change(t, ns, "found", func(s *corev1.Service) { s.Spec.Ports = e.service(ns, "found").Spec.Ports })
			c.seen(t, e, ns, "found", address, pods, false)
		})
		t.Run("with the client's address kept", func(t *testing.T) {
			c.change(t, ns, "found", func(s *corev1.Service) { s.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal })
			c.seen(t, e, ns, "found", address, pods, true)
		})
		c.condition(t, ns, "found", metav1.ConditionTrue, "Serving")
		c.remove(t, ns, "found")
		c.noPolicies(t, vpc, 20*time.Second)
	})
	c.noWarnings(t, ns)
}

// TestPodsInTwoVpcsAreTold has Pods of which one gateway can reach only some.
func TestPodsInTwoVpcsAreTold(t *testing.T) {
	e := c.ipv4(t)
	ns := c.namespace(t)
	vpc := "v-" + ns
	subnet := c.vpc(t, vpc, "10.61.0.0/24", "10.61.0.1")
	c.run(t, web(ns, "inside", inSubnet(subnet)))
	outside := c.run(t, web(ns, "outside"))[0]
	defer c.endAll(t, ns)
	c.create(t, e.service(ns, "torn"))
	event := c.warned(t, ns, "torn", "PodsInSeveralVpcs")
	contains(t, event.Message, vpc, kubeovn.DefaultVPC)
	c.condition(t, ns, "torn", metav1.ConditionFalse, "PodsInSeveralVpcs")
	c.end(t, outside, 0)
	address := at(c.externalIP(t, ns, "torn", 30*time.Second), 80)
	e.near.answeredBy(t, 20*time.Second, "tcp", address, "inside")
	c.remove(t, ns, "torn")
}

// endAll deletes the Pods of a namespace and waits until they are gone: a
// Subnet goes only after them.
func (c *cluster) endAll(t *testing.T, ns string) {
	t.Helper()
	pods := c.kube.CoreV1().Pods(ns)
	if err := pods.DeleteCollection(t.Context(), metav1.DeleteOptions{}, metav1.ListOptions{LabelSelector: "app=web"}); err != nil {
		t.Error(err)
	}
	eventually(t, 30*time.Second, "end of the Pods", func(ctx context.Context) error {
		l, err := pods.List(ctx, metav1.ListOptions{LabelSelector: "app=web"})
		if err == nil && len(l.Items) > 0 {
			err = fmt.Errorf("%d are there", len(l.Items))
		}
		return err
	})
}
