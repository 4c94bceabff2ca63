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

	"github.com/kubeovn/kube-ovn-ccm/pkg/gateway/spec"
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

func TestARouteIsWrittenAtOnceAndTakesItsTime(t *testing.T) {
	c := newCluster(t, vpcObject("ovn-cluster"))
	c.want("0 routed, 1 pending", ask("a", "10.16.1.2", at5))
	c.step(0)
	c.wantRoutes("at once", "ovn-cluster", "other", five+" > 10.16.1.2")
	c.want("0 routed, 1 pending", ask("a", "10.16.1.2", at5))
	if got := c.takeChanged(); len(got) > 0 {
		t.Errorf("told %v before it is in effect", got)
	}
	c.step(settling)
	if got := c.takeChanged(); !slices.Equal(got, []string{"a"}) {
		t.Errorf("told %v", got)
	}
	c.want("1 routed, 0 pending", ask("a", "10.16.1.2", at5))

	u, _ := c.api.Tracker().Get(kubeovn.VpcResource, "", "ovn-cluster")
	ours := vpcObject("ovn-cluster")
	got := u.(*unstructured.Unstructured)
	_ = unstructured.SetNestedSlice(ours.Object, append(ours.Object["spec"].(map[string]any)["policyRoutes"].([]any), route{five, "10.16.1.2"}.member()), "spec", "policyRoutes")
	ours.SetAnnotations(got.GetAnnotations())
	ours.SetResourceVersion(got.GetResourceVersion())
	ours.SetGeneration(got.GetGeneration())
	if d := cmp.Diff(ours.Object, got.Object); d != "" {
		t.Errorf("more has changed: %s", d)
	}
	if a := got.GetAnnotations(); a["a"] != "b" || len(a) != 2 {
		t.Errorf("annotations %v", a)
	}
}

func TestEditsKeepTheirPace(t *testing.T) {
	c := newCluster(t, vpcObject("ovn-cluster"))
	c.w.Want(ask("a", "10.16.1.2", at5))
	c.step(0)
	for i := range 10 {
		c.w.Want(ask("a", "10.16.1.2", at5, at(spec.TCP, fmt.Sprintf("10.16.0.%d:8080", 10+i))))
		c.step(50 * time.Millisecond)
	}
	if n := c.updates(); n != 1 {
		t.Errorf("%d edits in half a second", n)
	}
	c.step(500 * time.Millisecond)
	if n := c.updates(); n != 2 {
		t.Errorf("%d edits in a second", n)
	}
	// What stays routed is so all the time.
	c.want("1 routed, 1 pending", ask("a", "10.16.1.2", at5, at(spec.TCP, "10.16.0.19:8080")))
}

func TestOneGatewayForABackend(t *testing.T) {
	c := newCluster(t, vpcObject("ovn-cluster"))
	c.want("0 routed, 1 pending", ask("a", "10.16.1.2", at5))
	c.want("0 routed, 1 pending, held by default/a", ask("b", "10.16.1.3", at5, at7))
	c.step(settling)
	c.wantRoutes("both", "ovn-cluster", "other", five+" > 10.16.1.2", seven+" > 10.16.1.3")
	c.takeChanged()
	c.want("1 routed, 0 pending, held by default/a", ask("b", "10.16.1.3", at5, at7))
	c.want("0 routed, 0 pending", ask("a", "10.16.1.2")) // lets go
	c.step(settling)
	if got := c.takeChanged(); !slices.Contains(got, "b") {
		t.Errorf("told %v", got)
	}
	c.step(pace + settling)
	c.want("2 routed, 0 pending", ask("b", "10.16.1.3", at5, at7))
	c.want("0 routed, 0 pending, held by default/b", ask("a", "10.16.1.2", at5))
}

func TestARestartAdoptsTheRecord(t *testing.T) {
	c := newCluster(t, vpcObject("ovn-cluster"))
	c.w.Want(ask("a", "10.16.1.2", at5))
	c.w.Want(ask("gone", "10.16.1.3", at7))
	c.step(0)
	before := c.updates()
	c.unsynced = true
	c.restart()
	c.unsynced = false
	c.want("1 routed, 0 pending", ask("a", "10.16.1.2", at5))
	c.step(5 * time.Second)
	if n := c.updates(); n != before {
		t.Errorf("%d edits", n-before)
	}
	var owners []string
	for _, o := range c.w.Owners() {
		owners = append(owners, o.Key()+" "+string(o.UID))
	}
	slices.Sort(owners)
	if want := []string{"default/a uid-a", "default/gone uid-gone"}; !slices.Equal(owners, want) {
		t.Errorf("owners %q", owners)
	}
	if gone, err := c.w.Release(t.Context(), owner("gone")); !gone || err != nil {
		t.Errorf("released %v, %v", gone, err)
	}
	c.wantRoutes("after the sweep", "ovn-cluster", "other", five+" > 10.16.1.2")
}

func TestBeforeTheFirstReadingNothingIsSaid(t *testing.T) {
	c := newCluster(t)
	c.unsynced = true
	c.restart()
	c.want("0 routed, 1 pending", ask("a", "10.16.1.2", at5))
	c.unsynced = false
	c.want("0 routed, 1 pending: Vpc ovn-cluster does not exist: it is where the answers of the Pods are to be routed", ask("a", "10.16.1.2", at5))
}

func TestAVpcThatComesLater(t *testing.T) {
	c := newCluster(t)
	c.w.Want(ask("a", "10.16.1.2", at5))
	c.step(pace)
	u := vpcObject("ovn-cluster")
	if err := c.api.Tracker().Create(kubeovn.VpcResource, u, ""); err != nil {
		t.Fatal(err)
	}
	c.tell(u)
	c.step(pace + settling)
	c.want("1 routed, 0 pending", ask("a", "10.16.1.2", at5))
}

func TestReleaseRespectsThePaceAndEndsClean(t *testing.T) {
	c := newCluster(t, vpcObject("ovn-cluster"), vpcObject("v1"))
	c.w.Want(ask("a", "10.16.1.2", at5))
	c.step(0)
	moved := ask("a", "10.16.1.2", at5)
	moved.VPC = "v1"
	c.w.Want(moved) // one Vpc after the other, each at its pace
	c.step(0)
	c.wantRoutes("the new VPC", "v1", "other", five+" > 10.16.1.2")
	c.wantRoutes("the old VPC", "ovn-cluster", "other", five+" > 10.16.1.2")
	if gone, err := c.w.Release(t.Context(), owner("a")); gone || err != nil {
		t.Errorf("at once: %v, %v", gone, err)
	}
	c.step(pace)
	if gone, err := c.w.Release(t.Context(), owner("a")); !gone || err != nil {
		t.Errorf("a second later: %v, %v", gone, err)
	}
	for _, vpc := range []string{"ovn-cluster", "v1"} {
		c.wantRoutes("released", vpc, "other")
	}
	c.step(40 * time.Second)
	for _, vpc := range []string{"ovn-cluster", "v1"} {
		c.wantRoutes("confirmed", vpc, "other")
		if v, _ := c.Vpc(vpc); len(v.Annotations) > 0 {
			t.Errorf("the record of %s is %v", vpc, v.Annotations)
		}
	}
}

func TestARemovalIsConfirmedWhenKubeOVNIsBack(t *testing.T) {
	c := newCluster(t, vpcObject("ovn-cluster"))
	c.w.Want(ask("a", "10.16.1.2", at5))
	c.step(10 * time.Second)
	c.renewed = time.Time{} // kube-ovn-controller has ended
	if gone, err := c.w.Release(t.Context(), owner("a")); !gone || err != nil {
		t.Errorf("%v, %v", gone, err)
	}
	before := c.updates()
	c.step(time.Minute)
	if n := c.updates(); n != before {
		t.Errorf("%d edits while nobody reads them", n-before)
	}
	c.renewed = c.clock.Now()
	c.step(time.Minute)
	if n := c.updates() - before; n != 2*rounds+1 {
		t.Errorf("%d edits, want two in each of %d rounds and the end of the record", n, rounds)
	}
	c.wantRoutes("in the end", "ovn-cluster", "other")
}

func TestADeadKubeOVNIsTold(t *testing.T) {
	c := newCluster(t, vpcObject("ovn-cluster"))
	c.w.Want(ask("a", "10.16.1.2", at5))
	c.step(10 * time.Second)
	c.renewed = time.Time{}
	c.step(30 * time.Second)
	c.want("1 routed, 0 pending", ask("a", "10.16.1.2", at5))
	c.want("0 routed, 1 pending: kube-ovn-controller, which puts policyRoutes of a Vpc into effect, does not renew its Lease: check that it runs (kubectl -n kube-system get pods -l app=kube-ovn-controller)", ask("a", "10.16.1.3", at5))
	c.step(pace)
	c.takeChanged()
	c.renewed = c.clock.Now()
	c.step(startup + pollLate)
	if got := c.takeChanged(); !slices.Equal(got, []string{"a"}) {
		t.Errorf("told %v", got)
	}
	c.want("1 routed, 0 pending", ask("a", "10.16.1.3", at5))
}

func TestOthersEditTheList(t *testing.T) {
	c := newCluster(t, vpcObject("ovn-cluster"))
	c.w.Want(ask("a", "10.16.1.2", at5))
	c.step(2 * pace)

	// One that removes ours is healed, a second later.
	c.edit("ovn-cluster", func(list []any) []any { return addForeign(list[:1]) })
	c.want("0 routed, 1 pending", ask("a", "10.16.1.2", at5))
	c.step(pace - 50*time.Millisecond)
	c.wantRoutes("not at once", "ovn-cluster", "other", "other")
	c.step(50 * time.Millisecond)
	c.wantRoutes("healed", "ovn-cluster", "other", "other", five+" > 10.16.1.2")

	// One right after ours may have kept Kube-OVN from seeing it.
	c.edit("ovn-cluster", addForeign)
	c.step(2 * pace)
	c.wantRoutes("written anew", "ovn-cluster", "other", "other", "other", "tcp.src == 8080 && ip4.src == 10.16.0.5 > 10.16.1.2")
	c.want("1 routed, 0 pending", ask("a", "10.16.1.2", at5))

	// One between our reading and our writing.
	c.intruder = func() { c.edit("ovn-cluster", addForeign) }
	c.w.Want(ask("a", "10.16.1.2", at7))
	c.step(3 * pace)
	c.step(30 * time.Second) // until all is confirmed
	c.wantRoutes("after a conflict", "ovn-cluster", "other", "other", "other", "other", seven+" > 10.16.1.2")

	// One that the watch has not told yet when we read.
	c.quiet = true
	c.edit("ovn-cluster", addForeign)
	c.quiet = false
	before := c.updates()
	c.w.Want(ask("a", "10.16.1.2", at5))
	c.step(0)
	if n := c.updates(); n != before {
		t.Error("written right after somebody else")
	}
	c.step(pace)
	c.wantRoutes("a second later", "ovn-cluster", "other", "other", "other", "other", "other", five+" > 10.16.1.2")
}

func TestTheWatchIsBehindOurOwnWrite(t *testing.T) {
	c := newCluster(t, vpcObject("ovn-cluster"))
	c.quiet = true
	c.w.Want(ask("a", "10.16.1.2", at5))
	c.step(5 * time.Second)
	if n := c.updates(); n != 1 {
		t.Errorf("%d edits", n)
	}
	c.want("1 routed, 0 pending", ask("a", "10.16.1.2", at5))
}

func TestAFailureIsToldAndTriedAgain(t *testing.T) {
	c := newCluster(t, vpcObject("ovn-cluster"))
	c.failing = apierrors.NewForbidden(kubeovn.VpcResource.GroupResource(), "ovn-cluster", errors.New("no role"))
	c.w.Want(ask("a", "10.16.1.2", at5))
	c.step(pace)
	if got := c.takeChanged(); !slices.Equal(got, []string{"a"}) {
		t.Errorf("told %v", got)
	}
	c.want(`0 routed, 1 pending: writing policyRoutes of Vpc ovn-cluster: vpcs.kubeovn.io "ovn-cluster" is forbidden: no role`, ask("a", "10.16.1.2", at5))
	if n := c.updates(); n != 1 {
		t.Errorf("%d tries in a second", n)
	}
	c.failing = nil
	c.step(errorRetry + settling)
	c.want("1 routed, 0 pending", ask("a", "10.16.1.2", at5))
}

func TestARecordThatCannotBeReadStopsEverything(t *testing.T) {
	u := vpcObject("ovn-cluster")
	u.SetAnnotations(map[string]string{kubeovn.AnnotationPolicyRoutes: "{"})
	c := newCluster(t, u)
	a := c.w.Want(ask("a", "10.16.1.2", at5))
	c.step(5 * time.Second)
	if a.Problem == "" || c.updates() != 0 {
		t.Errorf("%+v, %d edits", a, c.updates())
	}
	if gone, err := c.w.Release(t.Context(), owner("a")); gone || err == nil {
		t.Errorf("released %v, %v", gone, err)
	}
}

func TestAVpcThatIsGoneHoldsNothing(t *testing.T) {
	c := newCluster(t, vpcObject("v1"))
	req := ask("a", "10.16.1.2", at5)
	req.VPC = "v1"
	c.w.Want(req)
	c.step(0)
	vpc, _ := c.Vpc("v1")
	if err := c.api.Tracker().Delete(kubeovn.VpcResource, "", "v1"); err != nil {
		t.Fatal(err)
	}
	delete(c.watched, "v1")
	c.handlers[0](kubeovn.Change{Kind: kubeovn.KindVpc, Object: vpc, Deleted: true})
	if gone, err := c.w.Release(t.Context(), owner("a")); !gone || err != nil {
		t.Errorf("%v, %v", gone, err)
	}
	if owners := c.w.Owners(); len(owners) > 0 {
		t.Errorf("owners %v", owners)
	}
}

func TestAnswersAreInTheSpellingOfTheRequest(t *testing.T) {
	c := newCluster(t, vpcObject("ovn-cluster"))
	odd, senseless := at(spec.TCP, "[::ffff:10.16.0.5]:8080"), Backend{"ICMP", at5.Address}
	a := c.w.Want(ask("a", "10.16.1.2", odd, senseless))
	if !a.Pending[odd] || len(a.Pending) != 1 {
		t.Errorf("%+v", a)
	}
}

func TestRunWritesByItself(t *testing.T) {
	c := newCluster(t, vpcObject("ovn-cluster"))
	told := make(chan kubeovn.Owner, 10)
	ctx, cancel := context.WithCancel(t.Context())
	c.handlers = nil
	w := NewWriter(c.api, c, c, func(o kubeovn.Owner) { told <- o }, nil)
	ended := make(chan struct{})
	go func() { defer close(ended); w.Run(ctx) }()
	w.Want(ask("a", "10.16.1.2", at5))
	select {
	case <-told:
	case <-time.After(10 * time.Second):
		t.Fatal("nothing told")
	}
	if a := w.Want(ask("a", "10.16.1.2", at5)); summary(a) != "1 routed, 0 pending" {
		t.Errorf("%s", summary(a))
	}
	cancel()
	<-ended
}
