package routes

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/kubeovn/kube-ovn-ccm/pkg/gateway/spec"
	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
)

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
