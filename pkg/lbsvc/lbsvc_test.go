package lbsvc

import (
	"maps"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

func TestServes(t *testing.T) {
	attached := map[string]string{"ovn.kubernetes.io/attachmentprovider": "lb-svc-attachment.kube-system"}
	class := "kube-ovn.io/lb-svc"
	for sentence, c := range map[string]struct {
		svc  corev1.Service
		want bool
	}{
		"an attached LoadBalancer Service is served": {
			corev1.Service{ObjectMeta: metav1.ObjectMeta{Annotations: attached}, Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer}}, true,
		},
		"whatever its class": {
			corev1.Service{ObjectMeta: metav1.ObjectMeta{Annotations: attached}, Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer, LoadBalancerClass: &class}}, true,
		},
		"so is one whose annotation is empty": {
			corev1.Service{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{"ovn.kubernetes.io/attachmentprovider": ""}}, Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer}}, true,
		},
		"one without the annotation is not": {
			corev1.Service{Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer}}, false,
		},
		"nor one of another type": {
			corev1.Service{ObjectMeta: metav1.ObjectMeta{Annotations: attached}, Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeNodePort}}, false,
		},
	} {
		t.Run(sentence, func(t *testing.T) {
			if got := Serves(&c.svc); got != c.want {
				t.Errorf("got %t", got)
			}
		})
	}
}

// theirs are the labels that Kube-OVN 1.16 gives to the Pods of a gateway.
var theirs = map[string]string{"app": "lb-svc-web", "namespace": "shop", "service": "web"}

func with(m map[string]string, key, value string) map[string]string {
	m = maps.Clone(m)
	m[key] = value
	return m
}

func TestServiceOf(t *testing.T) {
	const long = "a-service-with-a-name-that-is-too-long-for-the-label-of-its-pod"
	for sentence, c := range map[string]struct {
		labels    map[string]string
		container string
		want      string
	}{
		"a Pod of Kube-OVN's says its Service":                 {theirs, "lb-svc", "web"},
		"further labels do not matter":                         {with(theirs, "pod-template-hash", "12ab"), "lb-svc", "web"},
		"a long name is cut in one label only":                 {map[string]string{"app": "lb-svc-a-service-with-a-name-that-is-too-long-for-the-1a2b3c4d", "namespace": "shop", "service": long}, "lb-svc", long},
		"one that is marked as ours is not Kube-OVN's":         {with(theirs, "app.kubernetes.io/managed-by", "kube-ovn-ccm"), "lb-svc", ""},
		"somebody else's marked one is":                        {with(theirs, "app.kubernetes.io/managed-by", "helm"), "lb-svc", "web"},
		"labels of another namespace are somebody else's":      {with(theirs, "namespace", "elsewhere"), "lb-svc", ""},
		"an application's own labels are somebody else's":      {with(theirs, "app", "web"), "lb-svc", ""},
		"so is another container":                              {theirs, "web", ""},
		"and a Pod without one":                                {theirs, "", ""},
		"a Pod that names no Service is no gateway of anybody": {with(theirs, "service", ""), "lb-svc", ""},
	} {
		t.Run(sentence, func(t *testing.T) {
			spec := corev1.PodSpec{}
			if c.container != "" {
				spec.Containers = []corev1.Container{{Name: c.container}}
			}
			got, ok := ServiceOf("shop", metav1.ObjectMeta{Labels: c.labels}, spec)
			if got != c.want || ok != (c.want != "") {
				t.Errorf("got %q, %t", got, ok)
			}
		})
	}
}

func TestSelector(t *testing.T) {
	for sentence, c := range map[string]struct {
		labels map[string]string
		want   bool
	}{
		"Kube-OVN's gateways are selected":  {theirs, true},
		"an application's Pods are not":     {map[string]string{"app": "web"}, false},
		"ours are not, whatever they carry": {with(theirs, "app.kubernetes.io/managed-by", "kube-ovn-ccm"), false},
	} {
		t.Run(sentence, func(t *testing.T) {
			if got := Selector().Matches(labels.Set(c.labels)); got != c.want {
				t.Errorf("got %t", got)
			}
		})
	}
}

func TestDeploymentName(t *testing.T) {
	if got := DeploymentName("web"); got != "lb-svc-web" {
		t.Errorf("got %s", got)
	}
}
