package suite

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
)

// TestAMoveWithSomethingInItsWayTouchesNothing puts into the way of a move what
// really happens, and takes it out again as the program says.
func TestAMoveWithSomethingInItsWayTouchesNothing(t *testing.T) {
	c.quiet(t)
	ns := c.namespace(t)
	c.backends(t, ns, 1)
	proxy := newKillProxy(t)
	c.lbSvc(t, true)
	defer c.lbSvc(t, false)
	services := c.servedByKubeOVN(t, ns, "doubled", "shared", "fallen")
	doubled, shared, fallen := services[0], services[1], services[2]

	t.Run("Kube-OVN's lb-svc is on", func(t *testing.T) {
		c.moveRefused(t, proxy, ns,
			"in the way of all: Kube-OVN's lb-svc is on, and would make its gateways again: set --enable-lb-svc=false on Deployment kube-system/kube-ovn-controller")
	})
	c.lbSvc(t, false)

	// Somebody has deleted Kube-OVN's records of the gateways' addresses, so that
	// Kube-OVN gives them away while they are in use.
	c.forget(t, ns, doubled)
	c.vip(t, "by-hand-"+ns, guideSubnet, doubled.ip)
	c.forget(t, ns, shared)
	c.podWithAddress(t, ns, "holder", shared.ip)
	// And one gateway's Pod finds no node any more.
	c.cordon(t, true)
	open := func() { c.cordon(t, false) }
	defer func() { open() }()
	pending := c.fall(t, ns, fallen)

	t.Run("the addresses are held by others, and a gateway does not run", func(t *testing.T) {
		c.moveRefused(t, proxy, ns,
			fmt.Sprintf("in the way of %s/doubled: %s is held by Vip by-hand-%s, too: delete that", ns, doubled.ip, ns),
			fmt.Sprintf("in the way of %s/doubled: Kube-OVN's record of the Pod has no address, and not %s: restart kube-ovn-controller", ns, doubled.ip),
			fmt.Sprintf("in the way of %s/shared: %s is held by Pod %s/holder, too: delete that", ns, shared.ip, ns),
			fmt.Sprintf("in the way of %s/fallen: Kube-OVN's gateway Pod %s does not run: see why", ns, pending),
		)
		for _, m := range []moved{doubled, shared} { // Kube-OVN's gateways go on
			if err := m.attempt(t.Context()); err != nil {
				t.Errorf("%s: %v", m.name, err)
			}
		}
	})
	t.Run("what the program says helps", func(t *testing.T) {
		open()
		open = func() {}
		if err := c.resource("Vip", "").Delete(t.Context(), "by-hand-"+ns, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		if err := c.kube.CoreV1().Pods(ns).Delete(t.Context(), "holder", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		eventually(t, 20*time.Second, "end of the other holders", func(ctx context.Context) error {
			holders, err := c.holders(ctx, doubled.ip)
			if err == nil && len(holders) > 0 {
				err = fmt.Errorf("%s is held by %v", doubled.ip, holders)
			}
			if err == nil {
				err = c.unrecorded(ctx, "holder."+ns+"."+guideAttachment)
			}
			return err
		})
		if err := c.kube.AppsV1().Deployments(ns).Delete(t.Context(), "lb-svc-fallen", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		c.restartKubeOVN(t)
		c.recordedAgain(t, ns, doubled)
		c.recordedAgain(t, ns, shared)
		out, err := c.migrate(t, proxy, "--apply", ns+"/doubled", ns+"/shared")
		t.Logf("\n%s", out)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range services {
			eventually(t, 30*time.Second, m.name+" is served by kube-ovn-ccm", func(ctx context.Context) error { return c.onOurs(ctx, ns, m) })
		}
	})
}

// moveRefused runs the program, first to look and then to move, and fails the test
// unless both say what is in the way, neither writes anything, and all that they
// could have touched is as it was.
func (c *cluster) moveRefused(t *testing.T, proxy *killProxy, ns string, says ...string) {
	t.Helper()
	before := c.touchable(t, ns)
	for _, args := range [][]string{{"migrate", "-n", ns}, {"migrate", "-n", ns, "--apply"}} {
		run := proxy.run(t, nil, args...)
		if !run.endsWithin(time.Minute) {
			t.Fatalf("%v does not end", args)
		}
		out := run.log.String()
		t.Logf("%v:\n%s", args, out)
		if run.cmd.ProcessState.Success() {
			t.Errorf("%v ends well", args)
		}
		for _, want := range says {
			if !strings.Contains(out, want) {
				t.Errorf("%v does not say %q", args, want)
			}
		}
		if writes, _ := run.written(); len(writes) > 0 {
			t.Errorf("%v wrote %q", args, writes)
		}
	}
	after := c.touchable(t, ns)
	for what := range maps.Keys(before) {
		if after[what] != before[what] {
			t.Errorf("%s was\n%s\nand is\n%s", what, before[what], after[what])
		}
	}
	if len(after) != len(before) {
		t.Errorf("there were %v, and are %v", slices.Sorted(maps.Keys(before)), slices.Sorted(maps.Keys(after)))
	}
}

// touchable is everything that a move may write: what there is in a namespace,
// the Subnet and the Vips, without what others say about it.
func (c *cluster) touchable(t *testing.T, ns string) map[string]string {
	t.Helper()
	apps := func(resource string) schema.GroupVersionResource {
		return appsv1.SchemeGroupVersion.WithResource(resource)
	}
	core := func(resource string) schema.GroupVersionResource {
		return corev1.SchemeGroupVersion.WithResource(resource)
	}
	out := map[string]string{}
	for _, of := range []struct {
		resource schema.GroupVersionResource
		ns       string
	}{
		{core("services"), ns}, {core("pods"), ns}, {core("configmaps"), ns}, {apps("deployments"), ns}, {apps("replicasets"), ns},
		{kubeovn.NADResource, ns}, {kubeovn.SubnetResource, ""}, {kubeovn.VipResource, ""},
	} {
		list := must(c.dyn.Resource(of.resource).Namespace(of.ns).List(t.Context(), metav1.ListOptions{}))(t)
		for _, o := range list.Items {
			key := of.resource.Resource + " " + o.GetName()
			o.SetManagedFields(nil)
			o.SetResourceVersion("")
			delete(o.Object, "status")
			out[key] = string(must(json.Marshal(o.Object))(t))
		}
	}
	return out
}

// forget deletes Kube-OVN's record of the address of its gateway Pod, as somebody
// may do by hand: Kube-OVN then takes the address for free.
func (c *cluster) forget(t *testing.T, ns string, m moved) {
	t.Helper()
	record := c.recordOf(t, ns, m)
	if err := c.dyn.Resource(kubeovn.IPResource).Delete(t.Context(), record, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, 10*time.Second, "end of record "+record, func(ctx context.Context) error { return c.unrecorded(ctx, record) })
}

// recordOf is the name of Kube-OVN's record of the address of its own gateway.
func (c *cluster) recordOf(t *testing.T, ns string, m moved) string {
	t.Helper()
	return c.kubeOVNGateway(t, ns, m.name).Name + "." + ns + "." + guideAttachment
}

// recordedAgain waits until a Kube-OVN that was restarted has written such a
// record anew.
func (c *cluster) recordedAgain(t *testing.T, ns string, m moved) {
	t.Helper()
	record := c.recordOf(t, ns, m)
	eventually(t, 20*time.Second, "record "+record, func(ctx context.Context) error {
		u, err := c.dyn.Resource(kubeovn.IPResource).Get(ctx, record, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if ip, _, _ := unstructured.NestedString(u.Object, "spec", "v4IpAddress"); ip != m.ip {
			return fmt.Errorf("it has %q", ip)
		}
		return nil
	})
}

// unrecorded complains while Kube-OVN has a record of that name.
func (c *cluster) unrecorded(ctx context.Context, name string) error {
	_, err := c.dyn.Resource(kubeovn.IPResource).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return fmt.Errorf("it is there: %w", err)
}

// fall ends the Pod of a gateway of Kube-OVN's, and waits for the next one, for
// which there is no node. It returns its name.
func (c *cluster) fall(t *testing.T, ns string, m moved) string {
	t.Helper()
	old := c.kubeOVNGateway(t, ns, m.name)
	c.end(t, old, 0)
	var name string
	eventually(t, 30*time.Second, "another Pod of "+m.name, func(ctx context.Context) error {
		l, err := c.kube.CoreV1().Pods(ns).List(ctx, metav1.ListOptions{LabelSelector: "service=" + m.name})
		if err != nil {
			return err
		}
		if len(l.Items) != 1 || l.Items[0].UID == old.UID || len(l.Items[0].Status.Conditions) == 0 {
			return fmt.Errorf("there are %d Pods", len(l.Items))
		}
		name = l.Items[0].Name
		return nil
	})
	return name
}
