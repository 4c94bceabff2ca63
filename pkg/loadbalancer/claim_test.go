package loadbalancer

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
)

func TestClaims(t *testing.T) {
	annotated := map[string]string{kubeovn.AttachmentProvider: "lb.kube-system"}
	for name, tc := range map[string]struct {
		kind        corev1.ServiceType
		class       *string
		annotations map[string]string
		config      Config
		want        bool
	}{
		"the annotation makes a class-less LoadBalancer ours": {kind: corev1.ServiceTypeLoadBalancer, annotations: annotated, want: true},
		"a malformed annotation is ours to complain about":    {kind: corev1.ServiceTypeLoadBalancer, annotations: map[string]string{kubeovn.AttachmentProvider: ""}, want: true},
		"our class makes it ours without the annotation":      {kind: corev1.ServiceTypeLoadBalancer, class: ptr.To(Class), want: true},
		"another class is another's, annotation or not":       {kind: corev1.ServiceTypeLoadBalancer, class: ptr.To("metallb"), annotations: annotated},
		"another class is another's, default or not":          {kind: corev1.ServiceTypeLoadBalancer, class: ptr.To("metallb"), config: Config{DefaultAttachment: "a.b"}},
		"without class, annotation and default: not ours":     {kind: corev1.ServiceTypeLoadBalancer},
		"a default attachment makes the class-less ones ours": {kind: corev1.ServiceTypeLoadBalancer, config: Config{DefaultAttachment: "a.b"}, want: true},
		"another type is never ours":                          {kind: corev1.ServiceTypeNodePort, annotations: annotated, config: Config{DefaultAttachment: "a.b"}},
	} {
		t.Run(name, func(t *testing.T) {
			svc := &corev1.Service{
				ObjectMeta: metav1.ObjectMeta{Annotations: tc.annotations},
				Spec:       corev1.ServiceSpec{Type: tc.kind, LoadBalancerClass: tc.class},
			}
			if got := Claims(svc, tc.config); got != tc.want {
				t.Errorf("got %v, want %v", got, tc.want)
			}
		})
	}
}

// ownsFinalizerFields is what the API server notes of a finalizer's writer.
const ownsFinalizerFields = `{"f:metadata":{"f:finalizers":{".":{},"v:\"service.kubernetes.io/load-balancer-cleanup\"":{}}}}`

func TestFinalizedByUs(t *testing.T) {
	entry := func(manager, fields string) metav1.ManagedFieldsEntry {
		return metav1.ManagedFieldsEntry{Manager: manager, Subresource: "status", FieldsType: "FieldsV1", FieldsV1: &metav1.FieldsV1{Raw: []byte(fields)}}
	}
	for name, tc := range map[string]struct {
		finalizers []string
		managed    []metav1.ManagedFieldsEntry
		want       bool
	}{
		"we put it there":                    {finalizers: []string{"x", CleanupFinalizer}, managed: []metav1.ManagedFieldsEntry{entry("kubectl", `{}`), entry("kube-ovn-ccm", ownsFinalizerFields)}, want: true},
		"somebody else put it there":         {finalizers: []string{CleanupFinalizer}, managed: []metav1.ManagedFieldsEntry{entry("cloud-controller-manager", ownsFinalizerFields), entry("kube-ovn-ccm", `{"f:status":{}}`)}},
		"it is not there any more":           {managed: []metav1.ManagedFieldsEntry{entry("kube-ovn-ccm", ownsFinalizerFields)}},
		"nothing is known of who wrote what": {finalizers: []string{CleanupFinalizer}},
		"fields that cannot be read own nothing": {finalizers: []string{CleanupFinalizer},
			managed: []metav1.ManagedFieldsEntry{entry("kube-ovn-ccm", `["service.kubernetes.io/load-balancer-cleanup"`), {Manager: "kube-ovn-ccm"}}},
		"the finalizer named elsewhere does not count": {finalizers: []string{CleanupFinalizer},
			managed: []metav1.ManagedFieldsEntry{entry("kube-ovn-ccm", `{"f:metadata":{"f:annotations":{"f:service.kubernetes.io/load-balancer-cleanup":{}}}}`)}},
	} {
		t.Run(name, func(t *testing.T) {
			svc := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Finalizers: tc.finalizers, ManagedFields: tc.managed}}
			if got := FinalizedByUs(svc); got != tc.want {
				t.Errorf("got %v, want %v", got, tc.want)
			}
		})
	}
}
