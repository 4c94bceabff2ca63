package suite

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
)

// TestTheStatusTellsHowAServiceIsServed reads the status of a Service through
// its life: what it lacks, how it is served, and that nothing is left.
func TestTheStatusTellsHowAServiceIsServed(t *testing.T) {
	e := c.ipv4(t)
	ns := c.namespace(t)
	c.webs(t, ns, "web", 1)
	svc := e.service(ns, "told", port("http", corev1.ProtocolTCP, 80, "http"))
	svc.Annotations[kubeovn.AttachmentProvider] = "nowhere." + ns
	c.create(t, svc)

	t.Run("what it lacks", func(t *testing.T) {
		message := c.condition(t, ns, "told", metav1.ConditionFalse, "AttachmentNotFound")
		contains(t, message, "nowhere")
	})
	c.setAnnotation(t, ns, "told", kubeovn.AttachmentProvider, guideAttachment)
	ip := c.externalIP(t, ns, "told", 30*time.Second)
	t.Run("how it is served", func(t *testing.T) {
		message := c.condition(t, ns, "told", metav1.ConditionTrue, "Serving")
		pod := c.gatewayPod(t, ns, "told")
		t.Log(message)
		contains(t, message, ip, guideSubnet, pod.Name, pod.Spec.NodeName, "cluster IP")
	})
	t.Run("at which ports, and how the address is to be treated", func(t *testing.T) {
		c.change(t, ns, "told", func(s *corev1.Service) { s.Spec.Ports = e.service(ns, "told").Spec.Ports })
		want := []corev1.PortStatus{{Port: 80, Protocol: corev1.ProtocolTCP}, {Port: 80, Protocol: corev1.ProtocolUDP}}
		eventually(t, 10*time.Second, "the ports", func(ctx context.Context) error {
			got, err := c.kube.CoreV1().Services(ns).Get(ctx, "told", metav1.GetOptions{})
			if err != nil {
				return err
			}
			in := got.Status.LoadBalancer.Ingress
			if len(in) != 1 || in[0].IP != ip || in[0].IPMode == nil || *in[0].IPMode != corev1.LoadBalancerIPModeVIP || fmt.Sprint(in[0].Ports) != fmt.Sprint(want) {
				return fmt.Errorf("ingress is %+v", in)
			}
			return nil
		})
	})
	t.Run("which target and why", func(t *testing.T) {
		for _, s := range []struct {
			edit func(*corev1.Service)
			says []string
		}{
			{func(*corev1.Service) {}, []string{"endpoints", "UDP", "gateway's address"}},
			{func(s *corev1.Service) { s.Spec.SessionAffinity = corev1.ServiceAffinityClientIP }, []string{"sessionAffinity"}},
			{func(s *corev1.Service) {
				s.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
			}, []string{"externalTrafficPolicy Local", "client's address"}},
		} {
			c.change(t, ns, "told", s.edit)
			eventually(t, 20*time.Second, fmt.Sprintf("a condition that says %q", s.says), func(context.Context) error {
				message := c.condition(t, ns, "told", metav1.ConditionTrue, "Serving")
				for _, part := range s.says {
					if !strings.Contains(message, part) {
						return fmt.Errorf("it says %q", message)
					}
				}
				return nil
			})
		}
	})
	t.Run("what is wrong while it is served", func(t *testing.T) {
		c.setAnnotation(t, ns, "told", targetAnnotation, "ClusterIP")
		c.condition(t, ns, "told", metav1.ConditionTrue, "InvalidTarget")
		c.setAnnotation(t, ns, "told", targetAnnotation, "")
		c.condition(t, ns, "told", metav1.ConditionTrue, "Serving")
	})
	t.Run("nothing of what is no load balancer any more", func(t *testing.T) {
		c.change(t, ns, "told", func(s *corev1.Service) {
			s.Spec.Type = corev1.ServiceTypeClusterIP
			s.Spec.ExternalTrafficPolicy, s.Spec.HealthCheckNodePort, s.Spec.AllocateLoadBalancerNodePorts = "", 0, nil
			for i := range s.Spec.Ports {
				s.Spec.Ports[i].NodePort = 0
			}
		})
		eventually(t, 30*time.Second, "an empty status", func(ctx context.Context) error {
			got, err := c.kube.CoreV1().Services(ns).Get(ctx, "told", metav1.GetOptions{})
			if err == nil && (len(got.Status.Conditions) > 0 || published(got) != "") {
				err = fmt.Errorf("it is %+v", got.Status)
			}
			return err
		})
	})
}

func contains(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("%q does not say %q", text, part)
		}
	}
}
