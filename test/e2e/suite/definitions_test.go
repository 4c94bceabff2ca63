package suite

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// TestADefinitionThatIsTooOldIsToldAtTheStart takes a field out of Kube-OVN's
// definition of Vips, as it is after an upgrade that left the definitions
// behind, starts kube-ovn-ccm, and puts the field back.
func TestADefinitionThatIsTooOldIsToldAtTheStart(t *testing.T) {
	ns := c.namespace(t)
	c.backends(t, ns, 1)
	c.quietVips(t)
	const field = "status.v6ip" // of no use for IPv4, which is all that there is now
	putBack := c.withoutField(t, "vips.kubeovn.io", "status", "v6ip")
	c.scaleController(t, 0)
	c.scaleController(t, 2)
	c.create(t, lbService(ns, "svc"))
	took := eventually(t, 10*time.Second, "one Event", func(ctx context.Context) error {
		event, err := c.oneWarning(ctx, ns, "svc", "KubeOVNUnreadable")
		if err == nil && !strings.Contains(event.Message, field) {
			err = fmt.Errorf("it does not name %s: %s", field, event.Message)
		}
		return err
	})
	t.Logf("the Service tells after %s", took.Round(10*time.Millisecond))
	contains(t, c.leaderLog(t), "A definition of Kube-OVN is too old", "Vip", field)

	putBack()
	start := time.Now()
	ip := c.externalIP(t, ns, "svc", 30*time.Second)
	t.Logf("served %s after the definition was whole", time.Since(start).Round(10*time.Millisecond))
	c.answers(t, 10*time.Second, onLink, ip+":80")
	contains(t, c.leaderLog(t), "The definitions of Kube-OVN have all fields now")
}

// quietVips waits until no Vip has an address of IPv6: it would look lost while
// the field is away.
func (c *cluster) quietVips(t *testing.T) {
	t.Helper()
	eventually(t, 2*time.Minute, "end of the Vips of both families", func(ctx context.Context) error {
		l, err := c.resource("Vip", "").List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		for _, vip := range l.Items {
			if v6, _, _ := unstructured.NestedString(vip.Object, "status", "v6ip"); v6 != "" {
				return fmt.Errorf("%s has %s", vip.GetName(), v6)
			}
		}
		return nil
	})
}

// withoutField takes a field out of a definition; what it returns puts it back,
// which happens at the end of the test at the latest.
func (c *cluster) withoutField(t *testing.T, definition string, path ...string) (putBack func()) {
	t.Helper()
	definitions := c.dyn.Resource(schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"})
	at := []string{"schema", "openAPIV3Schema"}
	for _, name := range path {
		at = append(at, "properties", name)
	}
	edit := func(do func(version map[string]any) error) {
		t.Helper()
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		crd := must(definitions.Get(ctx, definition, metav1.GetOptions{}))(t)
		versions, _, _ := unstructured.NestedSlice(crd.Object, "spec", "versions")
		if err := do(versions[0].(map[string]any)); err != nil {
			t.Fatal(err)
		}
		if err := unstructured.SetNestedSlice(crd.Object, versions, "spec", "versions"); err != nil {
			t.Fatal(err)
		}
		if _, err := definitions.Update(ctx, crd, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	var field map[string]any
	edit(func(version map[string]any) (err error) {
		if field, _, err = unstructured.NestedMap(version, at...); err == nil && field == nil {
			err = fmt.Errorf("%s has no %v", definition, at)
		}
		unstructured.RemoveNestedField(version, at...)
		return err
	})
	back := false
	putBack = func() {
		if !back {
			back = true
			edit(func(version map[string]any) error { return unstructured.SetNestedMap(version, field, at...) })
		}
	}
	t.Cleanup(putBack)
	return putBack
}

// leaderLog is what the leading kube-ovn-ccm has said.
func (c *cluster) leaderLog(t *testing.T) string {
	t.Helper()
	leader := must(c.leader(t.Context()))(t)
	return must(c.Kubectl(t.Context(), "-n", "kube-system", "logs", leader.Name))(t)
}
