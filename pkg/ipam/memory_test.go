package ipam

import (
	"context"
	"testing"

	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
)

// While it moves, nothing but the Reserver knows which addresses a Service had.
func TestAServiceThatIsToGetIPv6KeepsItsIPv4Address(t *testing.T) {
	ctx := context.Background()
	vip := mine("", "172.18.0.40")
	cache := &cacheOf{vips: []*kubeovn.Vip{vip}}
	api := client(apiVip(vip))
	r := NewReserver(cache, api, nil)
	req := Request{Owner: owner, Subnet: dual(), Needs: needsBoth}

	if res, err := r.Reserve(ctx, req); !res.MustMove || err != nil {
		t.Fatalf("%+v, %v", res, err)
	}
	releaseAll(t, r)
	cache.vips = nil
	if _, err := r.Reserve(ctx, req); err != nil {
		t.Fatal(err)
	}
	if got := created(t, api).GetAnnotations()[kubeovn.AnnotationAsked]; got != "172.18.0.40,fd00::a4d6:34bb" {
		t.Errorf("asks for %s", got)
	}
}

// A process that starts while the old Vip goes finds there what to keep.
func TestTheAddressesOfAVipThatGoesAreKept(t *testing.T) {
	ctx := context.Background()
	cache := &cacheOf{vips: []*kubeovn.Vip{mine("", "172.18.0.40", deleting)}}
	api := client()
	r := NewReserver(cache, api, nil)
	req := Request{Owner: owner, Subnet: dual(), Needs: needsBoth, Sticky: addrs("fd00::30")}

	if res, err := r.Reserve(ctx, req); res.State != Pending || err != nil {
		t.Fatalf("%+v, %v", res, err)
	}
	cache.vips = nil
	if _, err := r.Reserve(ctx, req); err != nil {
		t.Fatal(err)
	}
	if got := created(t, api).GetAnnotations()[kubeovn.AnnotationAsked]; got != "172.18.0.40,fd00::30" {
		t.Errorf("asks for %s", got)
	}
}

func TestNothingIsKeptOfAServiceThatWantsNoMore(t *testing.T) {
	vip := mine("", "172.18.0.40")
	cache := &cacheOf{vips: []*kubeovn.Vip{vip}}
	r := NewReserver(cache, client(apiVip(vip)), nil)
	if _, err := r.Reserve(context.Background(), Request{Owner: owner, Subnet: lan()}); err != nil {
		t.Fatal(err)
	}
	releaseAll(t, r)
	if len(r.had) != 0 {
		t.Errorf("remembers %v", r.had)
	}
}

func releaseAll(t *testing.T, r *Reserver) {
	t.Helper()
	for range 2 { // deleted, then seen to be gone
		if _, err := r.Release(context.Background(), owner); err != nil {
			t.Fatal(err)
		}
	}
}
