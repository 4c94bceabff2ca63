package suite

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
)

// local is a Service whose Pods are to see the client's address.
func (e entrance) local(ns, name string, ports ...corev1.ServicePort) *corev1.Service {
	svc := e.service(ns, name, ports...)
	svc.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
	return svc
}

// TestTwoGatewaysCannotKeepTheClientsAddressForOnePod has two Services ask for
// the client's address at the same port of the same Pods: their answers can go
// to one gateway only.
func TestTwoGatewaysCannotKeepTheClientsAddressForOnePod(t *testing.T) {
	e := c.ipv4(t)
	ns := c.namespace(t)
	pods := c.webs(t, ns, "web", 2)
	c.create(t, e.local(ns, "older"))
	older := at(c.externalIP(t, ns, "older", 30*time.Second), 80)
	c.seen(t, e, ns, "older", older, pods, true)

	c.create(t, e.local(ns, "younger"))
	younger := at(c.externalIP(t, ns, "younger", 30*time.Second), 80)
	c.warned(t, ns, "younger", "ClientAddressConflict")
	c.seen(t, e, ns, "younger", younger, pods, false)
	c.condition(t, ns, "younger", metav1.ConditionTrue, "ClientAddressConflict")
	c.seen(t, e, ns, "older", older, pods, true)

	c.remove(t, ns, "older")
	c.seen(t, e, ns, "younger", younger, pods, true)
	c.condition(t, ns, "younger", metav1.ConditionTrue, "Serving")
}

// TestPortSecurityOnTheGatewayIsToldAndServed has OVN drop what the gateway
// sends with the client's address.
func TestPortSecurityOnTheGatewayIsToldAndServed(t *testing.T) {
	e := c.ipv4(t)
	ns := c.namespace(t)
	pods := c.webs(t, ns, "web", 2)
	c.create(t, e.local(ns, "secured"))
	address := at(c.externalIP(t, ns, "secured", 30*time.Second), 80)
	c.seen(t, e, ns, "secured", address, pods, true)

	security := func(value string) {
		pod := c.gatewayPod(t, ns, "secured")
		patch := fmt.Appendf(nil, `{"metadata":{"annotations":{"ovn.kubernetes.io/port_security":%s}}}`, value)
		if _, err := c.kube.CoreV1().Pods(ns).Patch(t.Context(), pod.Name, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	security(`"true"`)
	c.warned(t, ns, "secured", "ClientAddressNotKept")
	c.seen(t, e, ns, "secured", address, pods, false)
	security("null")
	c.seen(t, e, ns, "secured", address, pods, true)
	c.condition(t, ns, "secured", metav1.ConditionTrue, "Serving")
}

// TestPodsInTheirNodesNetworkAreToldAndServed has endpoints that no route of
// Kube-OVN's can bring back.
func TestPodsInTheirNodesNetworkAreToldAndServed(t *testing.T) {
	e := c.ipv4(t)
	ns := c.namespace(t)
	pods := c.webs(t, ns, "host", 2, listens(18080, 18081), hostNetwork)
	c.create(t, e.local(ns, "host"))
	address := at(c.externalIP(t, ns, "host", 30*time.Second), 80)
	c.warned(t, ns, "host", "ClientAddressNotKept")
	for _, who := range e.hosts() {
		for _, network := range []string{"tcp", "udp"} {
			// They have their nodes' names.
			who.answeredBy(t, 20*time.Second, network, address, pods[0].Spec.NodeName, pods[1].Spec.NodeName)
		}
	}
}

// TestNodePortsBesideTheClientsAddress looks at the ports of the nodes: without
// them there is nothing that the way back could disturb, and with
// externalTrafficPolicy Cluster it disturbs nothing.
func TestNodePortsBesideTheClientsAddress(t *testing.T) {
	e := c.ipv4(t)
	ns := c.namespace(t)
	pods := c.webs(t, ns, "web", 2)
	svc := e.local(ns, "ports")
	svc.Spec.AllocateLoadBalancerNodePorts = ptr.To(false)
	c.create(t, svc)
	address := at(c.externalIP(t, ns, "ports", 30*time.Second), 80)

	t.Run("a Service without any", func(t *testing.T) {
		got := must(c.kube.CoreV1().Services(ns).Get(t.Context(), "ports", metav1.GetOptions{}))(t)
		for _, p := range got.Spec.Ports {
			if p.NodePort != 0 {
				t.Errorf("port %s has node port %d", p.Name, p.NodePort)
			}
		}
		c.seen(t, e, ns, "ports", address, pods, true)
	})
	nodes := must(c.kube.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{}))(t)
	asked := func(t *testing.T, service string) (answered, total int) {
		got := must(c.kube.CoreV1().Services(ns).Get(t.Context(), service, metav1.GetOptions{}))(t)
		for i := range nodes.Items {
			for range 4 {
				total++
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				if _, err := e.near.get(ctx, at(nodeAddress(&nodes.Items[i]), int(got.Spec.Ports[0].NodePort)), "/hostname"); err == nil {
					answered++
				}
				cancel()
			}
		}
		return answered, total
	}
	t.Run("those of a Service with Cluster and Keep answer", func(t *testing.T) {
		c.change(t, ns, "ports", func(s *corev1.Service) {
			s.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyCluster
			s.Spec.AllocateLoadBalancerNodePorts = ptr.To(true)
			s.Annotations[clientAddressAnnotation] = "Keep"
		})
		c.seen(t, e, ns, "ports", address, pods, true)
		eventually(t, 20*time.Second, "answers at the nodes' ports", func(context.Context) error {
			if answered, total := asked(t, "ports"); answered != total {
				return fmt.Errorf("%d of %d", answered, total)
			}
			return nil
		})
	})
	t.Run("those of a Service with Local do not all answer, as documented", func(t *testing.T) {
		c.change(t, ns, "ports", func(s *corev1.Service) {
			s.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
			delete(s.Annotations, clientAddressAnnotation)
		})
		for i := range nodes.Items { // when they know of Local
			c.healthAt(t, e.near, ns, "ports", nodes.Items[i].Name, http.StatusOK)
		}
		c.seen(t, e, ns, "ports", address, pods, true)
		answered, total := asked(t, "ports")
		t.Logf("%d of %d answered", answered, total) // none, or those whose answer went another way
	})
	c.noWarnings(t, ns)
}

// nodeAddress is a node's address on the LAN, IPv4.
func nodeAddress(node *corev1.Node) string {
	for _, a := range node.Status.Addresses {
		if a.Type == corev1.NodeInternalIP {
			return a.Address
		}
	}
	return ""
}
