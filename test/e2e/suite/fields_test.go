package suite

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// TestFieldsOfAService changes one field after the other on one Service.
func TestFieldsOfAService(t *testing.T) {
	e := c.ipv4(t)
	ns := c.namespace(t)
	pods := c.webs(t, ns, "web", 2)
	c.create(t, e.service(ns, "fields"))
	address := at(c.externalIP(t, ns, "fields", 30*time.Second), 80)

	t.Run("one port number with two protocols", func(t *testing.T) {
		for _, who := range e.hosts() {
			who.answeredBy(t, 20*time.Second, "tcp", address, names(pods)...)
			who.answeredBy(t, 20*time.Second, "udp", address, names(pods)...)
		}
	})
	t.Run("internalTrafficPolicy Local is nothing to clients outside", func(t *testing.T) {
		c.change(t, ns, "fields", func(s *corev1.Service) {
			s.Spec.Ports = s.Spec.Ports[:1] // plain HTTP, so that this field alone decides
			s.Spec.InternalTrafficPolicy = ptr.To(corev1.ServiceInternalTrafficPolicyLocal)
		})
		eventually(t, 10*time.Second, "the UDP port is gone", func(ctx context.Context) error {
			return e.near.refusedAt(ctx, "udp", address)
		})
		e.near.answeredBy(t, 20*time.Second, "tcp", address, names(pods)...)
		e.far.answeredBy(t, 20*time.Second, "tcp", address, names(pods)...)
		c.change(t, ns, "fields", func(s *corev1.Service) { s.Spec.InternalTrafficPolicy = nil })
	})
	t.Run("publishNotReadyAddresses", func(t *testing.T) {
		unready := c.webs(t, ns, "unready", 2, gated)
		c.change(t, ns, "fields", func(s *corev1.Service) { s.Spec.PublishNotReadyAddresses = true })
		e.near.answeredBy(t, 20*time.Second, "tcp", address, append(names(pods), names(unready)...)...)
		c.change(t, ns, "fields", func(s *corev1.Service) { s.Spec.PublishNotReadyAddresses = false })
		e.near.onlyAnsweredBy(t, 20*time.Second, 20, "tcp", address, names(pods)...)
	})
	t.Run("allocateLoadBalancerNodePorts false", func(t *testing.T) {
		c.change(t, ns, "fields", func(s *corev1.Service) {
			s.Spec.AllocateLoadBalancerNodePorts = ptr.To(false)
			for i := range s.Spec.Ports {
				s.Spec.Ports[i].NodePort = 0
			}
		})
		c.settled(t, ns, "fields")
		e.far.answeredBy(t, 20*time.Second, "tcp", address, names(pods)...)
	})
	t.Run("healthCheckNodePort says where Pods are", func(t *testing.T) {
		c.change(t, ns, "fields", func(s *corev1.Service) { s.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal })
		c.healthAt(t, e.near, ns, "fields", pods[0].Spec.NodeName, http.StatusOK)
		c.healthAt(t, e.near, ns, "fields", pods[1].Spec.NodeName, http.StatusOK)
		c.end(t, pods[1], 0)
		c.healthAt(t, e.near, ns, "fields", pods[1].Spec.NodeName, http.StatusServiceUnavailable)
		c.healthAt(t, e.near, ns, "fields", pods[0].Spec.NodeName, http.StatusOK)
		e.far.onlyAnsweredBy(t, 20*time.Second, 10, "tcp", address, pods[0].Name)
	})
	c.noWarnings(t, ns)
}

// healthAt waits until a node answers at a Service's healthCheckNodePort with
// that status.
func (c *cluster) healthAt(t *testing.T, who caller, ns, service, node string, want int) {
	t.Helper()
	eventually(t, 20*time.Second, fmt.Sprintf("health of %s is %d", node, want), func(ctx context.Context) error {
		svc, err := c.kube.CoreV1().Services(ns).Get(ctx, service, metav1.GetOptions{})
		if err != nil {
			return err
		}
		n, err := c.kube.CoreV1().Nodes().Get(ctx, node, metav1.GetOptions{})
		if err != nil {
			return err
		}
		got, _, err := who.fetch(ctx, at(nodeAddress(n), int(svc.Spec.HealthCheckNodePort)), "/healthz")
		if err == nil && got != want {
			err = fmt.Errorf("it is %d", got)
		}
		return err
	})
}

// TestNamedPortsThatDifferBetweenPods has Pods that serve the port of one name
// at different numbers, with both targets.
func TestNamedPortsThatDifferBetweenPods(t *testing.T) {
	e := c.ipv4(t)
	ns := c.namespace(t)
	c.run(t, web(ns, "usual"), web(ns, "unusual", listens(9090, 9091)))
	for _, target := range []string{"ClusterIP", "Endpoints"} {
		svc := e.service(ns, strings.ToLower(target), port("http", corev1.ProtocolTCP, 80, "http"))
		svc.Annotations[targetAnnotation] = target
		c.create(t, svc)
	}
	for _, name := range []string{"clusterip", "endpoints"} {
		address := at(c.externalIP(t, ns, name, 30*time.Second), 80)
		e.near.answeredBy(t, 20*time.Second, "tcp", address, "usual", "unusual")
	}
	c.noWarnings(t, ns)
}

// TestAPodReachesItsOwnService has Pods call the address of the load balancer
// that they are behind, the last time with nobody else there.
func TestAPodReachesItsOwnService(t *testing.T) {
	e := c.ipv4(t)
	ns := c.namespace(t)
	pods := c.webs(t, ns, "web", 2)
	c.create(t, e.service(ns, "own", port("http", corev1.ProtocolTCP, 80, "http")))
	ip := c.externalIP(t, ns, "own", 30*time.Second)
	reach := func(t *testing.T, pods ...*corev1.Pod) {
		for _, pod := range pods {
			eventually(t, 20*time.Second, pod.Name+" reaches its own Service", func(ctx context.Context) error {
				for range 4 {
					out, err := c.Kubectl(ctx, "-n", ns, "exec", pod.Name, "--", "curl", "-sS", "--max-time", "2", "http://"+at(ip, 80)+"/hostname")
					if err != nil {
						return fmt.Errorf("%w: %s", err, out)
					}
				}
				return nil
			})
		}
	}
	for _, policy := range []corev1.ServiceExternalTrafficPolicy{corev1.ServiceExternalTrafficPolicyCluster, corev1.ServiceExternalTrafficPolicyLocal} {
		t.Run(string(policy), func(t *testing.T) {
			c.change(t, ns, "own", func(s *corev1.Service) { s.Spec.ExternalTrafficPolicy = policy })
			c.settled(t, ns, "own")
			reach(t, pods...)
		})
	}
	t.Run("alone", func(t *testing.T) {
		c.end(t, pods[1], 0)
		e.near.onlyAnsweredBy(t, 20*time.Second, 10, "tcp", at(ip, 80), pods[0].Name)
		reach(t, pods[0])
	})
}
