package suite

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"

	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
)

var resourceOf = map[string]schema.GroupVersionResource{
	"Subnet":                      kubeovn.SubnetResource,
	"Vip":                         kubeovn.VipResource,
	"IPPool":                      kubeovn.IPPoolResource,
	"NetworkAttachmentDefinition": kubeovn.NADResource,
	"Vpc":                         kubeovn.VpcResource,
}

func (c *cluster) resource(kind, ns string) dynamic.ResourceInterface {
	if ns == "" {
		return c.dyn.Resource(resourceOf[kind])
	}
	return c.dyn.Resource(resourceOf[kind]).Namespace(ns)
}

// customResource creates an object and removes it after the test.
func (c *cluster) customResource(t *testing.T, obj map[string]any) {
	t.Helper()
	u := &unstructured.Unstructured{Object: obj}
	r := c.resource(u.GetKind(), u.GetNamespace())
	if _, err := r.Create(t.Context(), u, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if err := r.Delete(ctx, u.GetName(), metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			t.Error(err)
		}
	})
}

// patchSpec merges fields into the spec of an object.
func (c *cluster) patchSpec(t *testing.T, kind, ns, name, json string) {
	t.Helper()
	patch := fmt.Appendf(nil, `{"spec":%s}`, json)
	if _, err := c.resource(kind, ns).Patch(t.Context(), name, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
}

// nothingLeft complains about anything that was made for a Service and is still
// there, in its namespace or in Kube-OVN's IPAM.
func (c *cluster) nothingLeft(ctx context.Context, uid types.UID) error {
	list := metav1.ListOptions{LabelSelector: kubeovn.LabelServiceUID + "=" + string(uid)}
	var left []error
	for what, r := range map[string]dynamic.ResourceInterface{
		"Vip":        c.dyn.Resource(kubeovn.VipResource),
		"NAD":        c.dyn.Resource(kubeovn.NADResource),
		"Deployment": c.dyn.Resource(schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "deployments"}),
		"ReplicaSet": c.dyn.Resource(schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "replicasets"}),
		"Pod":        c.dyn.Resource(schema.GroupVersionResource{Version: "v1", Resource: "pods"}),
		"ConfigMap":  c.dyn.Resource(schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}),
	} {
		l, err := r.List(ctx, list)
		if err != nil {
			return err
		}
		for _, o := range l.Items {
			left = append(left, fmt.Errorf("%s %s/%s is left", what, o.GetNamespace(), o.GetName()))
		}
	}
	return errors.Join(left...)
}

// holders are the names of the Vips that hold an address.
func (c *cluster) holders(ctx context.Context, ip string) ([]string, error) {
	l, err := c.dyn.Resource(kubeovn.VipResource).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	var names []string
	for _, o := range l.Items {
		if got, _, _ := unstructured.NestedString(o.Object, "status", "v4ip"); got == ip {
			names = append(names, o.GetName())
		}
	}
	return names, nil
}
