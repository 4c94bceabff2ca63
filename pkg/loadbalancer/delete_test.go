package loadbalancer

import (
	"errors"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	clienttesting "k8s.io/client-go/testing"

	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
)

func TestDeletion(t *testing.T) {
	c := serving(t)
	svc := c.service()
	c.kubeOVN.keep = true
	err := c.balancer.EnsureLoadBalancerDeleted(t.Context(), "", svc)
	if err == nil || !strings.HasSuffix(err.Error(), `is not gone yet: Deployment lb-svc-test-service, Pod lb-svc-test-service-1 on node "n1"`) {
		t.Fatalf("got %v", err)
	}
	c.wantObjects("ConfigMap NAD Vip", "the Pod still needs the rest")
	if _, exists, err := c.balancer.GetLoadBalancer(t.Context(), "", svc); err != nil || !exists {
		t.Errorf("exists: %v, %v", exists, err)
	}
	c.stopPod()
	err = c.balancer.EnsureLoadBalancerDeleted(t.Context(), "", svc)
	if err == nil || !strings.Contains(err.Error(), "is not gone yet: Vip lb-5e7c, which Kube-OVN has to release") {
		t.Fatalf("got %v", err)
	}
	c.kubeOVN.keep = false
	c.must(c.balancer.EnsureLoadBalancerDeleted(t.Context(), "", svc))
	c.wantObjects("", "everything is gone")
	if _, exists, err := c.balancer.GetLoadBalancer(t.Context(), "", svc); err != nil || exists {
		t.Errorf("exists: %v, %v", exists, err)
	}
	svc.Finalizers = []string{CleanupFinalizer}
	if _, exists, err := c.balancer.GetLoadBalancer(t.Context(), "", svc); err != nil || !exists {
		t.Errorf("with the finalizer on, exists: %v, %v", exists, err)
	}
	c.must(c.balancer.EnsureLoadBalancerDeleted(t.Context(), "", svc))
	if got := c.balancer.Pending(); len(got) != 0 {
		t.Errorf("pending: %v", got)
	}
	c.wantEvents()
}

func TestDeletionOutlivesMultus(t *testing.T) {
	c := serving(t)
	c.stopPod()
	c.dynamic.PrependReactor("*", kubeovn.NADResource.Resource, func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewNotFound(kubeovn.NADResource.GroupResource(), "")
	})
	_ = c.balancer.EnsureLoadBalancerDeleted(t.Context(), "", c.service()) // deletes the Deployment
	c.must(c.balancer.EnsureLoadBalancerDeleted(t.Context(), "", c.service()))
}

func TestDeletionDoesNotWaitForADeadNode(t *testing.T) {
	c := serving(t)
	_, err := c.kube.CoreV1().Nodes().UpdateStatus(t.Context(), node("n1", corev1.ConditionUnknown), metav1.UpdateOptions{})
	c.must(err)
	c.sync()
	_ = c.balancer.EnsureLoadBalancerDeleted(t.Context(), "", c.service()) // deletes the Deployment
	c.must(c.balancer.EnsureLoadBalancerDeleted(t.Context(), "", c.service()))
	c.wantObjects("", "everything is gone but the Pod")
}

func TestAnEarlierServicesObjectsGoFirst(t *testing.T) {
	c := serving(t)
	c.stopPod()
	again := c.service()
	again.UID, again.Status = "new", corev1.ServiceStatus{}
	c.must(c.kube.Tracker().Update(corev1.SchemeGroupVersion.WithResource("services"), again, "default"))
	c.sync()
	c.kubeOVN.vip = nil
	c.wantShown("", "the earlier Service's objects are in the way")
	c.wantObjects("", "they are gone, and nothing is made yet")
	c.grant("172.18.0.19")
	c.ensure()
	if got := c.deployment().Labels[kubeovn.LabelServiceUID]; got != "new" {
		t.Errorf("the Deployment is for %s", got)
	}
	c.wantEvents()
}

func TestSweep(t *testing.T) {
	for name, tc := range map[string]struct {
		change    func(*corev1.Service) // nil: delete it
		finalized bool                  // by us
		kept      bool
	}{
		"the Service is served":                              {change: func(*corev1.Service) {}, kept: true},
		"the Service is gone, and nobody was asked":          {},
		"another Service has its name":                       {change: func(s *corev1.Service) { s.UID = "another" }},
		"the Service is of another type, finalizer taken":    {change: func(s *corev1.Service) { s.Spec.Type = corev1.ServiceTypeClusterIP }},
		"the Service is of another type, to be cleaned up":   {change: func(s *corev1.Service) { s.Spec.Type = corev1.ServiceTypeClusterIP }, finalized: true, kept: true},
		"the Service is deleted, the clean-up is on its way": {change: func(s *corev1.Service) { s.DeletionTimestamp = &metav1.Time{Time: time.Unix(1, 0)} }, finalized: true, kept: true},
	} {
		t.Run(name, func(t *testing.T) {
			c := serving(t)
			c.stopPod()
			if tc.change == nil {
				c.must(c.kube.CoreV1().Services("default").Delete(t.Context(), "test-service", metav1.DeleteOptions{}))
			} else {
				svc := c.service()
				tc.change(svc)
				c.must(c.kube.Tracker().Update(corev1.SchemeGroupVersion.WithResource("services"), svc, "default"))
			}
			c.sync()
			for range 2 { // the Deployment goes first
				if tc.finalized { // the fake API server does not say who owns a field
					svc := c.service()
					svc.Finalizers = []string{CleanupFinalizer}
					svc.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "kube-ovn-ccm", FieldsType: "FieldsV1", FieldsV1: &metav1.FieldsV1{Raw: []byte(ownsFinalizerFields)}}}
					c.must(c.services.Update(svc))
				}
				c.must(c.balancer.Sweep(t.Context()))
				c.sync()
			}
			want := ""
			if tc.kept {
				want = "ConfigMap Deployment NAD Vip"
			}
			c.wantObjects(want, name)
		})
	}
}

func TestWhatIsGoneNeedsNoDeletion(t *testing.T) {
	pods := schema.GroupResource{Resource: "pods"}
	kind := schema.GroupKind{Kind: "Pod"}
	for name, tc := range map[string]struct {
		err  error
		gone bool
	}{
		"no error":                       {gone: true},
		"it is not there":                {err: apierrors.NewNotFound(pods, "p"), gone: true},
		"another one was to be deleted":  {err: apierrors.NewConflict(pods, "p", errors.New("UID in precondition")), gone: true},
		"another one was to be patched":  {err: apierrors.NewInvalid(kind, "p", field.ErrorList{field.Invalid(field.NewPath("metadata", "uid"), "x", "field is immutable")}), gone: true},
		"the patch itself is wrong":      {err: apierrors.NewInvalid(kind, "p", field.ErrorList{field.Invalid(field.NewPath("status"), "x", "no")})},
		"the API server does not permit": {err: apierrors.NewForbidden(pods, "p", errors.New("no"))},
	} {
		t.Run(name, func(t *testing.T) {
			if got := ignoreGone(tc.err); (got == nil) != tc.gone {
				t.Errorf("got %v", got)
			}
		})
	}
}
