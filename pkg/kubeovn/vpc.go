package kubeovn

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// VpcResource is Kube-OVN's kind of a virtual network with a router of its own.
var VpcResource = schema.GroupVersionResource{Group: "kubeovn.io", Version: "v1", Resource: "vpcs"}

// DefaultVPC is the usual name of the VPC that the cluster's nodes are in.
const DefaultVPC = "ovn-cluster"

// AnnotationPolicyRoutes on a Vpc records which members of spec.policyRoutes
// are ours. It must not contain ".kubernetes.io/": kube-ovn-controller takes a
// change of such an annotation for a change of the Vpc.
const AnnotationPolicyRoutes = "kube-ovn.io/lb-svc-policy-routes"

// Vpc is the part of a Kube-OVN Vpc that a load balancer needs.
type Vpc struct {
	// ObjectMeta holds name, UID, resourceVersion, generation, timestamps and
	// the annotation AnnotationPolicyRoutes only.
	metav1.ObjectMeta
	// Default is set if the cluster's nodes are in this VPC.
	Default bool
	// PolicyRoutes is spec.policyRoutes as it came, with every field of every
	// member.
	PolicyRoutes []any
}

// DecodeVpc reads a Vpc. It never fails: what is malformed is left empty.
func DecodeVpc(u *unstructured.Unstructured) *Vpc {
	v := &Vpc{ObjectMeta: meta(u)}
	v.Generation = u.GetGeneration()
	if record, ok := u.GetAnnotations()[AnnotationPolicyRoutes]; ok {
		v.Annotations = map[string]string{AnnotationPolicyRoutes: record}
	}
	byStatus, _ := field(u, "status", "default").(bool)
	v.Default = byStatus || v.Name == DefaultVPC
	v.PolicyRoutes, _ = field(u, "spec", "policyRoutes").([]any)
	return v
}

// Vpc returns a Vpc by name.
func (c *Cache) Vpc(name string) (*Vpc, bool) { return get[*Vpc](c.vpcs, name) }

// Vpcs returns all Vpcs, by name.
func (c *Cache) Vpcs() []*Vpc {
	var out []*Vpc
	for _, obj := range c.vpcs.informer.GetStore().List() {
		if v, ok := obj.(*Vpc); ok {
			out = append(out, v)
		}
	}
	return byName(out)
}
