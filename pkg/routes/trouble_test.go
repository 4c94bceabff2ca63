package routes

import (
	"errors"
	"slices"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
)

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
