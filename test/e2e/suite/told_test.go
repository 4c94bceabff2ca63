package suite

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubeovn/kube-ovn-ccm/pkg/gateway/spec"
	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
)

// conditionReady is the type of the condition on a Service.
const conditionReady = "kube-ovn.io/LoadBalancerReady"

// document is what a Service's gateway has been told.
func (c *cluster) document(ctx context.Context, ns, service string) (*spec.Document, error) {
	m, err := c.kube.CoreV1().ConfigMaps(ns).Get(ctx, "lb-svc-"+service, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	return spec.Parse([]byte(m.Data[spec.ConfigMapKey]))
}

// serves complains unless the first port of a Service has that many endpoints
// and the kernel of its gateway agrees.
func (c *cluster) serves(ctx context.Context, ns, service string, endpoints int) error {
	d, err := c.document(ctx, ns, service)
	if err != nil {
		return err
	}
	if n := len(d.Ports[0].Endpoints); n != endpoints {
		return fmt.Errorf("the document has %d endpoints, want %d", n, endpoints)
	}
	return c.inKernel(ctx, ns, service, d)
}

// inKernel complains unless a gateway's kernel agrees with that document.
func (c *cluster) inKernel(ctx context.Context, ns, service string, d *spec.Document) error {
	out, err := c.Kubectl(ctx, "-n", ns, "exec", "deployment/lb-svc-"+service, "--", "cat", "/run/lb-gateway/status.json")
	if err != nil {
		return err
	}
	var status struct{ Applied string }
	if err := json.Unmarshal([]byte(out), &status); err != nil {
		return err
	}
	b, err := d.Marshal()
	if err == nil && status.Applied != spec.Hash(b) {
		err = fmt.Errorf("the kernel has document %s, not %s", status.Applied, spec.Hash(b))
	}
	return err
}

// keepsClients reports whether all endpoints of a Service see the clients'
// addresses, as far as the gateway has been told.
func (c *cluster) keepsClients(ctx context.Context, ns, service string) (bool, error) {
	d, err := c.document(ctx, ns, service)
	if err != nil {
		return false, err
	}
	n := 0
	for _, p := range d.Ports {
		for _, e := range p.Endpoints {
			n++
			if !e.KeepClient {
				return false, nil
			}
		}
	}
	return n > 0, nil
}

// condition waits until the Service's condition has that status and reason, and
// returns its message.
func (c *cluster) condition(t *testing.T, ns, service string, status metav1.ConditionStatus, reason string) string {
	t.Helper()
	var message string
	eventually(t, 30*time.Second, fmt.Sprintf("condition %s %s", status, reason), func(ctx context.Context) error {
		svc, err := c.kube.CoreV1().Services(ns).Get(ctx, service, metav1.GetOptions{})
		if err != nil {
			return err
		}
		for _, cond := range svc.Status.Conditions {
			if cond.Type != conditionReady {
				continue
			}
			message = cond.Message
			if cond.Status != status || cond.Reason != reason {
				return fmt.Errorf("it is %s %s: %s", cond.Status, cond.Reason, cond.Message)
			}
			return nil
		}
		return fmt.Errorf("there is none in %v", svc.Status.Conditions)
	})
	return message
}

// warned waits until a Service has a Warning Event with that reason, and
// returns the Event.
func (c *cluster) warned(t *testing.T, ns, service, reason string) corev1.Event {
	t.Helper()
	var event corev1.Event
	eventually(t, 20*time.Second, "Warning "+reason, func(ctx context.Context) error {
		events, err := c.warnings(ctx, ns, service)
		if err != nil {
			return err
		}
		var seen []string
		for _, e := range events {
			if e.Reason == reason {
				event = e
				return nil
			}
			seen = append(seen, e.Reason)
		}
		return fmt.Errorf("there are %v", seen)
	})
	t.Logf("%s: %s", event.Reason, event.Message)
	return event
}

// gatewayAddress is the address by which a gateway reaches the Pods.
func (c *cluster) gatewayAddress(t *testing.T, ns, service string, v4 bool) string {
	t.Helper()
	pod := c.gatewayPod(t, ns, service)
	for _, ip := range pod.Status.PodIPs {
		if strings.Contains(ip.IP, ":") != v4 {
			return ip.IP
		}
	}
	t.Fatalf("gateway Pod %s has only %v", pod.Name, pod.Status.PodIPs)
	return ""
}

// externalIPs waits until a Service shows that many addresses.
func (c *cluster) externalIPs(t *testing.T, ns, service string, n int, within time.Duration) []string {
	t.Helper()
	var ips []string
	eventually(t, within, fmt.Sprintf("%d addresses of %s", n, service), func(ctx context.Context) error {
		svc, err := c.kube.CoreV1().Services(ns).Get(ctx, service, metav1.GetOptions{})
		if err != nil {
			return err
		}
		ips = nil
		for _, in := range svc.Status.LoadBalancer.Ingress {
			ips = append(ips, in.IP)
		}
		if len(ips) != n {
			return fmt.Errorf("it shows %v", ips)
		}
		return nil
	})
	return ips
}

// setAnnotation sets an annotation of a Service, or removes it if value is empty.
func (c *cluster) setAnnotation(t *testing.T, ns, service, key, value string) {
	t.Helper()
	c.change(t, ns, service, func(s *corev1.Service) {
		if value == "" {
			delete(s.Annotations, key)
		} else {
			s.Annotations[key] = value
		}
	})
}

// The annotations that say how a Service is served.
const (
	targetAnnotation        = "kube-ovn.io/target"
	clientAddressAnnotation = "kube-ovn.io/client-address"
	subnetAnnotation        = kubeovn.LogicalSwitch
)
