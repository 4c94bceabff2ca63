package suite

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
)

// warnings are the Warning Events on one Service by the controllers of its load
// balancer. The API server writes some of its own, when it repairs its book of
// cluster IPs.
func (c *cluster) warnings(ctx context.Context, ns, name string) ([]corev1.Event, error) {
	l, err := c.kube.CoreV1().Events(ns).List(ctx, metav1.ListOptions{FieldSelector: fields.Set{
		"involvedObject.kind": "Service", "involvedObject.name": name, "type": corev1.EventTypeWarning,
	}.String()})
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(l.Items, func(e corev1.Event) bool { return !byController(&e) }), nil
}

// byController reports whether an Event is said by a load balancer's controllers.
func byController(e *corev1.Event) bool {
	return e.Source.Component == "kube-ovn-ccm" || e.Source.Component == "service-controller"
}

// noWarnings fails the test for every Warning Event in a namespace that is about
// a load balancer: said by its controllers, or about an object made for it.
func (c *cluster) noWarnings(t *testing.T, ns string) {
	t.Helper()
	l, err := c.kube.CoreV1().Events(ns).List(t.Context(), metav1.ListOptions{FieldSelector: "type=" + corev1.EventTypeWarning})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range l.Items {
		if (byController(&e) || strings.HasPrefix(e.InvolvedObject.Name, "lb-svc-")) && !ofTheTestBed(&e) {
			t.Errorf("Warning on %s %s from %s: %s: %s", e.InvolvedObject.Kind, e.InvolvedObject.Name, e.Source.Component, e.Reason, e.Message)
		}
	}
}

// ofTheTestBed reports whether a Warning is about the machine that the cluster
// runs on, or about what a test did: multus, which gives the API server 250 ms,
// did not get its answer in time on a busy machine, nor did the kubelet (both try
// again); or a Pod was deleted while it was being probed.
func ofTheTestBed(e *corev1.Event) bool {
	switch e.Reason {
	case "FailedCreatePodSandBox":
		return strings.Contains(e.Message, "Multus") && strings.Contains(e.Message, "error waiting for pod")
	case "Unhealthy":
		return strings.Contains(e.Message, "context canceled")
	case "FailedMount":
		return strings.Contains(e.Message, "timed out waiting for the condition")
	default:
		return false
	}
}

// oneWarning complains unless a Service has exactly one Warning Event, with
// that reason.
func (c *cluster) oneWarning(ctx context.Context, ns, name, reason string) (corev1.Event, error) {
	ws, err := c.warnings(ctx, ns, name)
	if err != nil {
		return corev1.Event{}, err
	}
	if len(ws) != 1 || ws[0].Reason != reason {
		var all []string
		for _, w := range ws {
			all = append(all, w.Reason+": "+w.Message)
		}
		return corev1.Event{}, fmt.Errorf("%d Warning Events %q, want one %s", len(ws), all, reason)
	}
	return ws[0], nil
}
