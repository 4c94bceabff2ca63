package kubeovn

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/klog/v2"
	"k8s.io/klog/v2/ktesting"
)

func fakeClient(objs ...runtime.Object) *fake.FakeDynamicClient {
	return fake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), map[schema.GroupVersionResource]string{
		SubnetResource: "SubnetList", VipResource: "VipList", IPResource: "IPList", NADResource: "NetworkAttachmentDefinitionList",
		VpcResource: "VpcList", IPPoolResource: "IPPoolList",
	}, objs...)
}

func thing(t testing.TB, kind, name, rest string) *unstructured.Unstructured {
	group := "kubeovn.io/v1"
	if kind == "NetworkAttachmentDefinition" {
		group = "k8s.cni.cncf.io/v1"
	}
	namespace, n, found := strings.Cut(name, "/")
	if !found {
		namespace, n = "", name
	}
	u := object(t, fmt.Sprintf(`{"apiVersion":%q,"kind":%q,%s}`, group, kind, rest))
	u.SetName(n)
	u.SetNamespace(namespace)
	return u
}

// recorder collects the changes.
type recorder struct {
	mu   sync.Mutex
	seen []string
}

func (r *recorder) add(c Change) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := fmt.Sprintf("%s %s", c.Kind, c.Object.GetName())
	if c.Deleted {
		s += " deleted"
	}
	if c.SpecChanged {
		s += " spec"
	}
	r.seen = append(r.seen, s)
}

func (r *recorder) take() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.seen
	r.seen = nil
	return s
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for range 500 {
		if ok() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("not in time: %s", what)
}

func started(t *testing.T, client dynamic.Interface) (*Cache, *recorder) {
	t.Helper()
	return startedIn(t.Context(), client)
}

func startedIn(ctx context.Context, client dynamic.Interface) (*Cache, *recorder) {
	c := NewCache(client)
	for _, s := range c.sources() {
		s.retry = 20 * time.Millisecond
	}
	r := &recorder{}
	c.OnChange(r.add)
	c.Start(ctx)
	return c, r
}

func names[T metav1.Object](objs []T) string {
	var out []string
	for _, o := range objs {
		out = append(out, o.GetName())
	}
	return strings.Join(out, " ")
}

func TestCacheAnswers(t *testing.T) {
	client := fakeClient(
		thing(t, "Subnet", "b", `"spec":{"provider":"lan.kube-system"}`),
		thing(t, "Subnet", "a", `"spec":{"provider":"lan.kube-system","cidrBlock":"10.0.0.0/8"}`),
		thing(t, "Subnet", "ovn-default", `"spec":{"provider":"ovn"}`),
		thing(t, "Vip", "lb-1", `"spec":{"subnet":"a","v4ip":"10.0.0.9"},"status":{"v4ip":"10.0.0.9"}`),
		thing(t, "Vip", "lb-2", `"spec":{"subnet":"a","v4ip":"10.0.0.9"}`),
		thing(t, "Vip", "lb-3", `"spec":{"subnet":"b"},"status":{"v6ip":"FD00:0::9"}`),
		thing(t, "IP", "p.n.lan.kube-system", `"spec":{"subnet":"a","podName":"p","namespace":"n","v4IpAddress":"10.0.0.7"}`),
	)
	for _, nad := range []*unstructured.Unstructured{
		thing(t, "NetworkAttachmentDefinition", "kube-system/lan", `"spec":{"config":"{}"}`),
		thing(t, "NetworkAttachmentDefinition", "default/lb-svc-web", `"metadata":{"labels":{"app.kubernetes.io/managed-by":"kube-ovn-ccm"}},"spec":{"config":"{}"}`),
	} {
		if _, err := client.Resource(NADResource).Namespace(nad.GetNamespace()).Create(context.Background(), nad, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	c, _ := started(t, client)
	eventually(t, "synced", c.Synced)
	if m := c.Missing(); len(m) != 0 {
		t.Errorf("missing %q", m)
	}
	if s, ok := c.Subnet("a"); !ok || s.Provider != "lan.kube-system" || len(s.CIDRs) != 1 {
		t.Errorf("Subnet a: %+v", s)
	}
	if s, ok := c.Subnet("none"); ok || s != nil {
		t.Errorf("Subnet none: %+v", s)
	}
	if v, ok := c.Vip("lb-1"); !ok || v.V4 != "10.0.0.9" {
		t.Errorf("Vip lb-1: %+v", v)
	}
	if n, ok := c.NAD("kube-system", "lan"); !ok || n.Config != "{}" {
		t.Errorf("NAD: %+v", n)
	}
	if _, ok := c.NAD("default", "lan"); ok {
		t.Error("a NAD of another namespace")
	}
	for what, pair := range map[string][2]string{
		"SubnetsOf":     {names(c.SubnetsOf("lan.kube-system")), "a b"},
		"Vips":          {names(c.Vips()), "lb-1 lb-2 lb-3"},
		"VipsOf":        {names(c.VipsOf("a")), "lb-1 lb-2"},
		"VipsAt":        {names(c.VipsAt("a", netip.MustParseAddr("10.0.0.9"))), "lb-1"},
		"VipsAt in v6":  {names(c.VipsAt("b", netip.MustParseAddr("fd00::9"))), "lb-3"},
		"VipsAt others": {names(c.VipsAt("b", netip.MustParseAddr("10.0.0.9"))), ""},
		"IPsOf":         {names(c.IPsOf("a")), "p.n.lan.kube-system"},
		"IPsAt":         {names(c.IPsAt("a", netip.MustParseAddr("10.0.0.7"))), "p.n.lan.kube-system"},
		"ManagedNADs":   {names(c.ManagedNADs()), "lb-svc-web"},
	} {
		if pair[0] != pair[1] {
			t.Errorf("%s: %q, want %q", what, pair[0], pair[1])
		}
	}
}

func TestCacheTellsOfChanges(t *testing.T) {
	client := fakeClient(thing(t, "Subnet", "a", `"spec":{"provider":"p"},"status":{"v4availableIPs":4}`))
	c, changes := started(t, client)
	eventually(t, "synced", c.Synced)
	ctx := context.Background()
	subnets, vips := client.Resource(SubnetResource), client.Resource(VipResource)
	put := func(r dynamic.ResourceInterface, kind, name, rest string) func() error {
		return func() error {
			_, err := r.Update(ctx, thing(t, kind, name, rest), metav1.UpdateOptions{})
			return err
		}
	}
	create := func(rest string) func() error {
		return func() error {
			_, err := vips.Create(ctx, thing(t, "Vip", "v", rest), metav1.CreateOptions{})
			return err
		}
	}
	const finalized = `"metadata":{"finalizers":["kubeovn.io/kube-ovn-controller"]},`
	for _, step := range []struct {
		what   string
		do     func() error
		want   string
		worked bool // Kube-OVN was seen to work
	}{
		{"what is there at the start", func() error { return nil }, "Subnet a spec", false},
		{"the status of a Subnet", put(subnets, "Subnet", "a", `"spec":{"provider":"p"},"status":{"v4availableIPs":3}`), "Subnet a", false},
		{"the spec of a Subnet", put(subnets, "Subnet", "a", `"spec":{"provider":"p","gateway":"10.0.0.1"},"status":{"v4availableIPs":3}`), "Subnet a spec", false},
		{"a new Vip", create(`"spec":{"subnet":"a"}`), "Vip v spec", false},
		{"a label on a Vip", put(vips, "Vip", "v", `"metadata":{"labels":{"a":"b"}},"spec":{"subnet":"a"}`), "Vip v", false},
		{"the finalizer", put(vips, "Vip", "v", finalized+`"spec":{"subnet":"a"}`), "Vip v", true},
		{"the grant", put(vips, "Vip", "v", finalized+`"spec":{"subnet":"a"},"status":{"v4ip":"10.0.0.9"}`), "Vip v", true},
		{"the end of a Vip", func() error { return vips.Delete(ctx, "v", metav1.DeleteOptions{}) }, "Vip v deleted spec", true},
		{"a Vip that was granted before it was seen", create(`"spec":{"subnet":"a"},"status":{"v4ip":"10.0.0.9"}`), "Vip v spec", true},
		{"the end of a Vip without finalizer", func() error { return vips.Delete(ctx, "v", metav1.DeleteOptions{}) }, "Vip v deleted spec", false},
	} {
		before := c.LastGrant()
		if err := step.do(); err != nil {
			t.Fatalf("%s: %v", step.what, err)
		}
		var got []string
		eventually(t, step.what, func() bool { got = append(got, changes.take()...); return len(got) > 0 })
		if !slices.Equal(got, []string{step.want}) {
			t.Errorf("%s: %q, want %q", step.what, got, step.want)
		}
		if worked := c.LastGrant() != before; worked != step.worked {
			t.Errorf("%s: Kube-OVN seen to work: %v", step.what, worked)
		}
	}
	// What is not kept is not told: the next change told is the last of these.
	for _, rest := range []string{`"metadata":{"annotations":{"x":"y"}},"spec":{"provider":"p","gateway":"10.0.0.1"},"status":{"v4availableIPs":3,"mcastQuerierIP":"10.0.0.7"}`,
		`"spec":{"provider":"q"}`} {
		if err := put(subnets, "Subnet", "a", rest)(); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	eventually(t, "the visible change", func() bool { got = append(got, changes.take()...); return len(got) > 0 })
	time.Sleep(20 * time.Millisecond)
	if got = append(got, changes.take()...); !slices.Equal(got, []string{"Subnet a spec"}) {
		t.Errorf("changes %q", got)
	}
}

func TestCacheDoesNotTakeTheFirstListForWork(t *testing.T) {
	c, _ := started(t, fakeClient(thing(t, "Vip", "v", `"spec":{"subnet":"a"},"status":{"v4ip":"10.0.0.9"}`)))
	eventually(t, "read", func() bool { _, ok := c.Vip("v"); return ok && c.Synced() })
	if at := c.LastGrant(); !at.IsZero() {
		t.Errorf("last grant %s", at)
	}
	if at := c.GrantSeen(""); !at.IsZero() {
		t.Errorf("the grant was seen at %s", at)
	}
}

func TestCacheTellsWhenAGrantWasSeen(t *testing.T) {
	vip := func(name, rest string) *unstructured.Unstructured {
		u := thing(t, "Vip", name, rest)
		u.SetUID(types.UID("uid-of-" + name))
		return u
	}
	const asks, has = `"spec":{"subnet":"a"}`, `"spec":{"subnet":"a"},"status":{"v4ip":"10.0.0.9"}`
	client := fakeClient(vip("asks", asks))
	c, changes := started(t, client)
	eventually(t, "read", c.Synced)
	ctx, vips := t.Context(), client.Resource(VipResource)
	before := time.Now()
	for _, step := range []struct {
		vip  string
		do   func() error
		seen bool
	}{
		{"asks", func() error { return nil }, false},
		{"asks", func() error { _, err := vips.Update(ctx, vip("asks", has), metav1.UpdateOptions{}); return err }, true},
		{"asks", func() error {
			_, err := vips.Update(ctx, vip("asks", `"metadata":{"labels":{"a":"b"}},`+has), metav1.UpdateOptions{})
			return err
		}, true},
		{"asks", func() error { return vips.Delete(ctx, "asks", metav1.DeleteOptions{}) }, false},
		{"had", func() error { _, err := vips.Create(ctx, vip("had", has), metav1.CreateOptions{}); return err }, false},
	} {
		if err := step.do(); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the change of "+step.vip, func() bool { return len(changes.take()) > 0 })
		at := c.GrantSeen(types.UID("uid-of-" + step.vip))
		if at.IsZero() == step.seen || step.seen && (at.Before(before) || at.After(time.Now())) {
			t.Errorf("the grant of %s was seen at %s, want %t", step.vip, at, step.seen)
		}
	}
}

func TestCacheSaysWhatIsMissingAndHeals(t *testing.T) {
	for name, tc := range map[string]struct {
		verb string
		err  error
		says []string
	}{
		"the CRD is not installed": {
			"list", apierrors.NewGenericServerResponse(404, "list", VipResource.GroupResource(), "", "the server could not find the requested resource", 0, true),
			[]string{"Vip cannot be read", "vips.kubeovn.io", "is not installed: install Kube-OVN"},
		},
		"listing is forbidden": {
			"list", apierrors.NewForbidden(VipResource.GroupResource(), "", fmt.Errorf("no role")),
			[]string{"Vip cannot be read", "RBAC must allow kube-ovn-ccm to list vips.kubeovn.io"},
		},
		"watching is forbidden": {
			"watch", apierrors.NewForbidden(VipResource.GroupResource(), "", fmt.Errorf("no role")),
			[]string{"Vip cannot be read", "to watch vips.kubeovn.io"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			client := fakeClient(thing(t, "Vip", "v", `"spec":{"subnet":"a"}`))
			var mended atomic.Bool
			if tc.verb == "list" {
				client.PrependReactor("list", "vips", func(clienttesting.Action) (bool, runtime.Object, error) {
					return !mended.Load(), nil, tc.err
				})
			} else {
				client.PrependWatchReactor("vips", func(clienttesting.Action) (bool, watch.Interface, error) {
					return !mended.Load(), nil, tc.err
				})
			}
			log := ktesting.NewLogger(t, ktesting.NewConfig(ktesting.BufferLogs(true)))
			c, changes := startedIn(klog.NewContext(t.Context(), log), client)
			eventually(t, "missing", func() bool { return len(c.Missing()) == 1 })
			time.Sleep(100 * time.Millisecond) // several tries
			for _, part := range tc.says {
				if !strings.Contains(c.Missing()[0], part) {
					t.Errorf("%q does not say %q", c.Missing()[0], part)
				}
			}
			if tc.verb == "list" && c.Synced() {
				t.Error("synced without having read the Vips")
			}
			mended.Store(true)
			eventually(t, "healed", func() bool { _, ok := c.Vip("v"); return ok && c.Synced() && len(c.Missing()) == 0 })
			if !slices.Contains(changes.take(), "Vip v spec") {
				t.Error("the Vip was not told")
			}
			said := log.GetSink().(ktesting.Underlier).GetBuffer().String()
			for _, line := range []string{"Load balancers cannot be made", "Readable again"} {
				if n := strings.Count(said, line); n != 1 {
					t.Errorf("%q is in the log %d times:\n%s", line, n, said)
				}
			}
		})
	}
}

// Kube-OVN had no IPPools before 1.12, and RBAC may be older than this program.
func TestCacheDoesWithoutIPPools(t *testing.T) {
	client := fakeClient(thing(t, "Vip", "v", `"spec":{"subnet":"a"}`), thing(t, "IPPool", "p", `"spec":{"subnet":"a","ips":["10.0.0.2..10.0.0.3","x"]}`))
	var mended atomic.Bool
	client.PrependReactor("list", "ippools", func(clienttesting.Action) (bool, runtime.Object, error) {
		return !mended.Load(), nil, apierrors.NewNotFound(IPPoolResource.GroupResource(), "")
	})
	c, _ := started(t, client)
	eventually(t, "synced", c.Synced)
	if missing := c.Missing(); len(missing) > 0 {
		t.Errorf("missing: %q", missing)
	}
	if pool, missing := c.IPPool("p"); pool != nil || !strings.Contains(missing, "ippools.kubeovn.io") {
		t.Errorf("pool %v, %q", pool, missing)
	}
	mended.Store(true)
	eventually(t, "the IPPool", func() bool { pool, missing := c.IPPool("p"); return pool != nil && missing == "" })
	if pool, _ := c.IPPool("p"); len(pool.IPs) != 1 || names(c.IPPoolsOf("a")) != "p" || names(c.IPPoolsOf("b")) != "" {
		t.Errorf("%+v, %v", pool, c.IPPoolsOf("a"))
	}
}

// TestCacheKeepsNoRawObjects: what the API sent is not held on to.
func TestCacheKeepsNoRawObjects(t *testing.T) {
	c, _ := started(t, fakeClient(
		thing(t, "IP", "p", `"metadata":{"managedFields":[{"manager":"x"}],"labels":{"a":"b"}},"spec":{"subnet":"a"}`)))
	eventually(t, "read", func() bool { return len(c.IPsOf("a")) == 1 })
	for _, obj := range c.ips.informer.GetStore().List() {
		if ip, ok := obj.(*IP); !ok || ip.ManagedFields != nil || ip.Labels != nil {
			t.Errorf("the store holds %T %+v", obj, obj)
		}
	}
}
