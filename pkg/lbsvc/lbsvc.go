// Package lbsvc knows what Kube-OVN's own implementation of LoadBalancer
// Services is: kube-ovn-controller with --enable-lb-svc. It says which Services
// that serves, which gateways are its, and whether it is switched on; as pure
// functions of objects as they stand in the API.
//
// Everything here is as in Kube-OVN 1.13 to 1.16 (pkg/controller/service.go and
// service_lb.go there). Kube-OVN 1.12 also serves Services without the
// annotation, which cannot be told from the outside.
package lbsvc

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"

	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
)

const (
	// ContainerName is the name of the one container of a gateway Pod.
	ContainerName = "lb-svc"
	// namePrefix begins the name of a gateway's Deployment, which is also the
	// name that kube-ovn-ccm gives to its own.
	namePrefix = "lb-svc-"

	// The labels of a gateway's Pods and ReplicaSets. Its Deployment has none,
	// but they are its selector. The value of app is the Deployment's name,
	// from Kube-OVN 1.16 on cut to the length of a label with a hash at its end.
	labelApp       = "app"
	labelNamespace = "namespace"
	labelService   = "service"
)

// DeploymentName returns the name of the Deployment that Kube-OVN makes for a
// Service, in the Service's namespace.
func DeploymentName(service string) string { return namePrefix + service }

// Serves reports whether Kube-OVN serves a Service when its lb-svc is switched
// on: it is of type LoadBalancer and has the attachment annotation, be it
// empty. Kube-OVN takes no notice of spec.loadBalancerClass.
func Serves(svc *corev1.Service) bool {
	_, attached := svc.Annotations[kubeovn.AttachmentProvider]
	return attached && svc.Spec.Type == corev1.ServiceTypeLoadBalancer
}

// Selector selects the Pods and ReplicaSets that may be of Kube-OVN's gateways,
// and none that kube-ovn-ccm made; ServiceOf says which of them are.
func Selector() labels.Selector {
	s := labels.NewSelector()
	for _, key := range []string{labelApp, labelNamespace, labelService} {
		s = s.Add(*requirement(key, selection.Exists))
	}
	return s.Add(*requirement(kubeovn.LabelManagedBy, selection.NotEquals, kubeovn.ManagedBy))
}

func requirement(key string, op selection.Operator, values ...string) *labels.Requirement {
	r, err := labels.NewRequirement(key, op, values)
	if err != nil {
		panic(err) // the keys and values are constants
	}
	return r
}

// ServiceOf returns the name of the Service for which Kube-OVN made a gateway
// with these labels and containers; false if it is none of Kube-OVN's. Labels
// and containers are a Pod's or a Pod template's: of a Deployment
// d.Spec.Template, of a ReplicaSet rs.Spec.Template.
func ServiceOf(namespace string, meta metav1.ObjectMeta, spec corev1.PodSpec) (service string, ok bool) {
	l := meta.Labels
	switch {
	case l[kubeovn.LabelManagedBy] == kubeovn.ManagedBy,
		l[labelNamespace] != namespace,
		l[labelService] == "",
		!strings.HasPrefix(l[labelApp], namePrefix),
		len(spec.Containers) == 0 || spec.Containers[0].Name != ContainerName:
		return "", false
	}
	return l[labelService], true
}
