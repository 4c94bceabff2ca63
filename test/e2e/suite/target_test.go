package suite

import (
	"context"
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestTheTargetChangesUnderLoad sends a plain Service from the cluster IP to its
// endpoints and back while a hundred connections a second are made. Affinity is
// not among the ways: for it Kube-OVN moves the cluster IP from one of its load
// balancers to another, and who is sent there meanwhile hears nothing.
func TestTheTargetChangesUnderLoad(t *testing.T) {
	e := c.ipv4(t)
	ns := c.namespace(t)
	pods := names(c.webs(t, ns, "web", 2))
	c.create(t, e.service(ns, "target", port("http", corev1.ProtocolTCP, 80, "http")))
	address := at(c.externalIP(t, ns, "target", 30*time.Second), 80)
	e.near.answeredBy(t, 20*time.Second, "tcp", address, pods...)
	open := e.far.talk(t, "tcp", address)
	if _, err := open.ask("hostname"); err != nil {
		t.Fatal(err)
	}

	for _, step := range []struct {
		name   string
		edit   func(*corev1.Service)
		target string
	}{
		{"the annotation", func(s *corev1.Service) { s.Annotations[targetAnnotation] = "Endpoints" }, "Endpoints"},
		{"no annotation", func(s *corev1.Service) { delete(s.Annotations, targetAnnotation) }, "ClusterIP"},
		{"Local", func(s *corev1.Service) { s.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal }, "Endpoints"},
		{"Cluster", func(s *corev1.Service) {
			s.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyCluster
		}, "ClusterIP"},
		{"everybody's range", func(s *corev1.Service) { s.Spec.LoadBalancerSourceRanges = []string{"0.0.0.0/0"} }, "Endpoints"},
		{"no range", func(s *corev1.Service) { s.Spec.LoadBalancerSourceRanges = nil }, "ClusterIP"},
	} {
		t.Run(step.name, func(t *testing.T) {
			load := c.connect(t, onLink, address, 100)
			c.change(t, ns, "target", step.edit)
			took := eventually(t, 30*time.Second, "target "+step.target, func(ctx context.Context) error {
				d, err := c.document(ctx, ns, "target")
				if err == nil && string(d.Target) != step.target {
					err = fmt.Errorf("the target is %s", d.Target)
				}
				if err != nil {
					return err
				}
				return c.inKernel(ctx, ns, "target", d)
			})
			t.Logf("target %s in the kernel after %s", step.target, took.Round(10*time.Millisecond))
			c.answers(t, 5*time.Second, behindRouter, address)
			load.withoutFailure(t)
		})
	}
	if got, err := open.ask("hostname"); err != nil {
		t.Errorf("a connection that was open has the answer %q, %v", got, err)
	}
	c.condition(t, ns, "target", metav1.ConditionTrue, "Serving")
	c.noWarnings(t, ns)
}
