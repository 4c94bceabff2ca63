package kubeovn

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
)

// Labels on every object that kube-ovn-ccm makes. None of them is "service":
// kube-ovn-controller deletes Deployments lb-svc-* whose Pods carry that label
// when it starts and finds no such Service (gc.go gcLbSvcPods).
const (
	LabelManagedBy        = "app.kubernetes.io/managed-by"
	LabelName             = "app.kubernetes.io/name"
	LabelServiceNamespace = "kube-ovn.io/service-namespace"
	LabelServiceName      = "kube-ovn.io/service-name"
	LabelServiceUID       = "kube-ovn.io/service-uid"
)

// AnnotationAsked on a Vip of ours records what it was made to ask for.
// Kube-OVN overwrites spec.v4ip and spec.v6ip by what it grants.
const AnnotationAsked = "kube-ovn.io/asked"

// AnnotationReminded on a Vip of ours that is being deleted says when Kube-OVN
// was last reminded of that.
const AnnotationReminded = "kube-ovn.io/reminded"

// ManagedBy is the value of LabelManagedBy and the field manager of our writes.
const ManagedBy = "kube-ovn-ccm"

// Owner names the Service that an object was made for.
type Owner struct {
	Namespace, Name string
	UID             types.UID
}

// Key is the Service's key in a work queue: "namespace/name".
func (o Owner) Key() string { return o.Namespace + "/" + o.Name }

// Labels are the labels that say for whom an object was made.
func (o Owner) Labels() map[string]string {
	return map[string]string{
		LabelManagedBy:        ManagedBy,
		LabelServiceNamespace: o.Namespace,
		LabelServiceName:      o.Name,
		LabelServiceUID:       string(o.UID),
	}
}

// OwnerOf reads the labels that Owner.Labels wrote; false if the object is not
// one of ours.
func OwnerOf(obj metav1.Object) (Owner, bool) {
	l := obj.GetLabels()
	o := Owner{Namespace: l[LabelServiceNamespace], Name: l[LabelServiceName], UID: types.UID(l[LabelServiceUID])}
	ours := l[LabelManagedBy] == ManagedBy && o.Namespace != "" && o.Name != "" && o.UID != ""
	return o, ours
}

// ManagedSelector selects everything that kube-ovn-ccm made.
func ManagedSelector() labels.Selector {
	return labels.SelectorFromSet(labels.Set{LabelManagedBy: ManagedBy})
}
