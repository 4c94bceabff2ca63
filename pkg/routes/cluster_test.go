package routes

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic/fake"
	ktesting "k8s.io/client-go/testing"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
)

// cluster is an API server with Vpcs, the watch of them and a
// kube-ovn-controller that renews its Lease; and the Writer under test.
type cluster struct {
	t     *testing.T
	api   *fake.FakeDynamicClient
	clock *clocktesting.FakeClock
	w     *Writer

	mu       sync.Mutex
	version  int
	watched  map[string]*kubeovn.Vpc
	handlers []func(kubeovn.Change)
	unsynced bool
	quiet    bool // the watch does not tell
	renewed  time.Time
	changed  []string
	failing  error  // of updates
	intruder func() // runs once between a read and the write after it
}

func (c *cluster) Synced() bool { return !c.unsynced }

func (c *cluster) Vpc(name string) (*kubeovn.Vpc, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	v, ok := c.watched[name]
	return v, ok
}

func (c *cluster) Vpcs() (all []*kubeovn.Vpc) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, v := range c.watched {
		all = append(all, v)
	}
	return all
}

func (c *cluster) OnChange(fn func(kubeovn.Change)) { c.handlers = append(c.handlers, fn) }

func (c *cluster) Alive(context.Context) (time.Time, error) { return c.renewed, nil }

// vpcObject is a Vpc as the API server has it, with things that we do not know.
func vpcObject(name string) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "kubeovn.io/v1", "kind": "Vpc",
		"metadata": map[string]any{"name": name, "resourceVersion": "1", "generation": int64(1), "annotations": map[string]any{"a": "b"}},
		"spec": map[string]any{
			"namespaces":   []any{"default"},
			"policyRoutes": []any{map[string]any{"priority": int64(30000), "match": "ip4.dst == 10.9.0.0/16", "action": "allow", "note": "theirs"}},
		},
		"status": map[string]any{"router": name},
	}}
}

func newCluster(t *testing.T, vpcs ...*unstructured.Unstructured) *cluster {
	t.Helper()
	c := &cluster{t: t, clock: clocktesting.NewFakeClock(start), watched: map[string]*kubeovn.Vpc{}, version: 1, renewed: start}
	c.api = fake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), map[schema.GroupVersionResource]string{kubeovn.VpcResource: "VpcList"})
	for _, u := range vpcs {
		if err := c.api.Tracker().Create(kubeovn.VpcResource, u, ""); err != nil {
			t.Fatal(err)
		}
		c.watched[u.GetName()] = kubeovn.DecodeVpc(u)
	}
	c.api.PrependReactor("update", "vpcs", c.update)
	c.restart()
	c.step(pace) // the first look at a Vpc may be right after somebody's edit
	return c
}

// restart replaces the Writer by one that knows nothing.
func (c *cluster) restart() {
	c.handlers = nil
	c.w = NewWriter(c.api, c, c, func(o kubeovn.Owner) { c.changed = append(c.changed, o.Name) }, c.clock)
	c.w.round(c.t.Context())
}

// update does what the API server does: it refuses what was not read last.
func (c *cluster) update(action ktesting.Action) (bool, runtime.Object, error) {
	u := action.(ktesting.UpdateAction).GetObject().(*unstructured.Unstructured).DeepCopy()
	if run := c.intruder; run != nil {
		c.intruder = nil
		run()
	}
	if c.failing != nil {
		return true, nil, c.failing
	}
	written, err := c.write(u)
	return true, written, err
}

func (c *cluster) write(u *unstructured.Unstructured) (runtime.Object, error) {
	old, err := c.api.Tracker().Get(kubeovn.VpcResource, "", u.GetName())
	if err != nil {
		return nil, err
	}
	if was := old.(*unstructured.Unstructured); was.GetResourceVersion() != u.GetResourceVersion() {
		return nil, apierrors.NewConflict(kubeovn.VpcResource.GroupResource(), u.GetName(), errors.New("changed"))
	}
	c.version++
	u.SetResourceVersion(strconv.Itoa(c.version))
	u.SetGeneration(u.GetGeneration() + 1)
	if err := c.api.Tracker().Update(kubeovn.VpcResource, u, ""); err != nil {
		return nil, err
	}
	if !c.quiet {
		c.tell(u)
	}
	return u, nil
}

func (c *cluster) tell(u *unstructured.Unstructured) {
	vpc := kubeovn.DecodeVpc(u)
	c.mu.Lock()
	c.watched[vpc.Name] = vpc
	c.mu.Unlock()
	for _, fn := range c.handlers {
		fn(kubeovn.Change{Kind: kubeovn.KindVpc, Object: vpc, SpecChanged: true})
	}
}

// step lets time pass, and the Writer work.
func (c *cluster) step(d time.Duration) {
	c.t.Helper()
	for until := c.clock.Now().Add(d); ; c.clock.Step(50 * time.Millisecond) {
		if !c.renewed.IsZero() && c.clock.Since(c.renewed) >= 6*time.Second {
			c.renewed = c.clock.Now()
		}
		c.w.round(c.t.Context())
		if !c.clock.Now().Before(until) {
			return
		}
	}
}

// edit changes a Vpc as somebody else would.
func (c *cluster) edit(name string, change func(list []any) []any) {
	c.t.Helper()
	old, err := c.api.Tracker().Get(kubeovn.VpcResource, "", name)
	if err != nil {
		c.t.Fatal(err)
	}
	u := old.(*unstructured.Unstructured).DeepCopy()
	list, _, _ := unstructured.NestedSlice(u.Object, "spec", "policyRoutes")
	if err := unstructured.SetNestedSlice(u.Object, change(list), "spec", "policyRoutes"); err != nil {
		c.t.Fatal(err)
	}
	if _, err := c.write(u); err != nil {
		c.t.Fatal(err)
	}
}

func addForeign(list []any) []any {
	return append(list, map[string]any{"priority": int64(30001), "match": fmt.Sprintf("inport == \"p%d\"", len(list)), "action": "drop"})
}

// routes lists "match > hop" of what is in a Vpc, "other" for others' entries.
func (c *cluster) routes(name string) []string {
	c.t.Helper()
	u, err := c.api.Tracker().Get(kubeovn.VpcResource, "", name)
	if err != nil {
		c.t.Fatal(err)
	}
	return lists(outcome{members: kubeovn.DecodeVpc(u.(*unstructured.Unstructured)).PolicyRoutes})
}

func (c *cluster) wantRoutes(why, name string, want ...string) {
	c.t.Helper()
	if d := cmp.Diff(want, c.routes(name)); d != "" {
		c.t.Fatalf("%s: %s", why, d)
	}
}

func (c *cluster) takeChanged() []string {
	all := c.changed
	c.changed = nil
	return slices.Compact(slices.Sorted(slices.Values(all)))
}

func (c *cluster) updates() (n int) {
	for _, a := range c.api.Actions() {
		if a.GetVerb() == "update" {
			n++
		}
	}
	return n
}

// summary renders an answer: how many are routed, pending, held, by whom.
func summary(a Answer) string {
	text := fmt.Sprintf("%d routed, %d pending", len(a.Routed), len(a.Pending))
	for _, who := range a.Held {
		text += ", held by " + who
	}
	if a.Problem != "" {
		text += ": " + a.Problem
	}
	return text
}

func (c *cluster) want(expect string, req Request) {
	c.t.Helper()
	if got := summary(c.w.Want(req)); got != expect {
		c.t.Fatalf("Want: %s; expected %s", got, expect)
	}
}

func ask(name, hop string, backends ...Backend) Request {
	return asks(name, 0, hop, backends...).Request
}
