package ipam

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic/fake"
	ktesting "k8s.io/client-go/testing"

	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
)

// cacheOf is a Cache with given content.
type cacheOf struct {
	vips []*kubeovn.Vip
	ips  []*kubeovn.IP

	pools  []*kubeovn.IPPool
	grants map[types.UID]time.Time
}

func (c *cacheOf) Vip(name string) (*kubeovn.Vip, bool) {
	i := slices.IndexFunc(c.vips, func(v *kubeovn.Vip) bool { return v.Name == name })
	if i < 0 {
		return nil, false
	}
	return c.vips[i], true
}

func (c *cacheOf) VipsAt(subnet string, a netip.Addr) []*kubeovn.Vip {
	var out []*kubeovn.Vip
	for _, v := range c.vips {
		if v.Subnet == subnet && v.Addrs().Of(a.Is4()) == a {
			out = append(out, v)
		}
	}
	return out
}

func (c *cacheOf) VipsOf(subnet string) []*kubeovn.Vip {
	return slices.DeleteFunc(slices.Clone(c.vips), func(v *kubeovn.Vip) bool { return v.Subnet != subnet })
}

func (c *cacheOf) IPPoolsOf(subnet string) []*kubeovn.IPPool {
	return slices.DeleteFunc(slices.Clone(c.pools), func(p *kubeovn.IPPool) bool { return p.Subnet != subnet })
}

func (c *cacheOf) IPsAt(subnet string, a netip.Addr) []*kubeovn.IP {
	var out []*kubeovn.IP
	for _, ip := range c.ips {
		if ip.Subnet == subnet && (ip.V4 == a.String() || ip.V6 == a.String()) {
			out = append(out, ip)
		}
	}
	return out
}

func (c *cacheOf) IPsOf(subnet string) []*kubeovn.IP {
	return slices.DeleteFunc(slices.Clone(c.ips), func(ip *kubeovn.IP) bool { return ip.Subnet != subnet })
}

func (c *cacheOf) LastGrant() time.Time { return time.Time{} }

func (c *cacheOf) GrantSeen(vip types.UID) time.Time { return c.grants[vip] }

// apiVip is a Vip as the API server has it.
func apiVip(v *kubeovn.Vip) *unstructured.Unstructured {
	u := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "kubeovn.io/v1", "kind": "Vip"}}
	u.SetName(v.Name)
	u.SetUID(v.UID)
	u.SetLabels(v.Labels)
	u.SetResourceVersion(v.ResourceVersion)
	u.SetDeletionTimestamp(v.DeletionTimestamp)
	return u
}

func client(objs ...runtime.Object) *fake.FakeDynamicClient {
	return fake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(),
		map[schema.GroupVersionResource]string{kubeovn.VipResource: "VipList"}, objs...)
}

// fail lets a verb fail.
func fail(c *fake.FakeDynamicClient, verb string, err error) {
	c.PrependReactor(verb, "vips", func(ktesting.Action) (bool, runtime.Object, error) { return true, nil, err })
}

func writes(c *fake.FakeDynamicClient) []ktesting.Action {
	return slices.DeleteFunc(slices.Clone(c.Actions()), func(a ktesting.Action) bool { return a.GetVerb() == "get" })
}

var resource = kubeovn.VipResource.GroupResource()

func TestReserveCreatesACompleteVip(t *testing.T) {
	api := client()
	r := NewReserver(&cacheOf{}, api, nil)
	res, err := r.Reserve(context.Background(), Request{Owner: owner, Subnet: lan(), Wish: kubeovn.Addrs{V4: addr("172.18.0.18")}, Field: "spec.loadBalancerIP"})
	if err != nil || res.State != Pending || res.RetryAfter <= 0 || res.RetryAfter > 3*time.Second {
		t.Fatalf("%+v, %v", res, err)
	}
	acts := writes(api)
	if len(acts) != 1 {
		t.Fatalf("writes: %v", acts)
	}
	want := map[string]any{
		"apiVersion": "kubeovn.io/v1", "kind": "Vip",
		"metadata": map[string]any{"name": "lb-u1", "labels": map[string]any{
			"app.kubernetes.io/managed-by":  "kube-ovn-ccm",
			"kube-ovn.io/service-namespace": "default", "kube-ovn.io/service-name": "web", "kube-ovn.io/service-uid": "u1",
		}, "annotations": map[string]any{"kube-ovn.io/asked": "172.18.0.18"}},
		"spec": map[string]any{"subnet": "attach-subnet", "v4ip": "172.18.0.18"},
	}
	got := acts[0].(ktesting.CreateAction).GetObject().(*unstructured.Unstructured).Object
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestReserveNamesTheAddressesThatMatter(t *testing.T) {
	for name, tc := range map[string]struct {
		wish  string
		spec  map[string]any
		asked string
	}{
		"any will do":     {"", map[string]any{"subnet": "attach-subnet", "v6ip": "fd00::a4d6:34bb"}, "IPv4,fd00::a4d6:34bb"},
		"IPv6 is wished":  {"fd00::18", map[string]any{"subnet": "attach-subnet", "v6ip": "fd00::18"}, "IPv4,fd00::18"},
		"both are wished": {"172.18.0.18,fd00::18", map[string]any{"subnet": "attach-subnet", "v4ip": "172.18.0.18", "v6ip": "fd00::18"}, "172.18.0.18,fd00::18"},
	} {
		t.Run(name, func(t *testing.T) {
			api := client()
			if _, err := NewReserver(&cacheOf{}, api, nil).Reserve(context.Background(), Request{Owner: owner, Subnet: dual(), Wish: addrs(tc.wish)}); err != nil {
				t.Fatal(err)
			}
			u := created(t, api)
			if d := cmp.Diff(tc.spec, u.Object["spec"]); d != "" {
				t.Error(d)
			}
			if got := u.GetAnnotations()[kubeovn.AnnotationAsked]; got != tc.asked {
				t.Errorf("records %q", got)
			}
		})
	}
}

// created returns the Vip as the API server has it.
func created(t *testing.T, api *fake.FakeDynamicClient) *unstructured.Unstructured {
	t.Helper()
	u, err := api.Resource(kubeovn.VipResource).Get(context.Background(), "lb-u1", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func TestReserveTakesBackOnlyTheVipItHasSeen(t *testing.T) {
	vip := mine("172.18.0.18", "")
	api := client(apiVip(vip))
	cache := &cacheOf{vips: []*kubeovn.Vip{vip}, ips: []*kubeovn.IP{{PodName: "db-0", PodNamespace: "shop", Subnet: "attach-subnet", V4: "172.18.0.18"}}}
	res, err := NewReserver(cache, api, nil).Reserve(context.Background(), Request{Owner: owner, Subnet: lan(), Wish: kubeovn.Addrs{V4: addr("172.18.0.18")}})
	if err != nil || res.Reason != ReasonAddressInUse {
		t.Fatalf("%+v, %v", res, err)
	}
	acts := writes(api)
	if len(acts) != 1 {
		t.Fatalf("writes: %v", acts)
	}
	pre := acts[0].(ktesting.DeleteActionImpl).DeleteOptions.Preconditions
	if pre == nil || *pre.UID != "v1" || *pre.ResourceVersion != "7" {
		t.Errorf("preconditions %+v", pre)
	}
}

func TestReserveBehindTheAPIServer(t *testing.T) {
	boom := errors.New("boom")
	pending, inUse := mine("172.18.0.18", ""), []*kubeovn.IP{{PodName: "p", PodNamespace: "n", Subnet: "attach-subnet", V4: "172.18.0.18"}}
	for name, tc := range map[string]struct {
		verb    string
		err     error
		cache   *cacheOf
		state   State
		wantErr error
	}{
		"a Vip that is there already is waited for": {
			"create", apierrors.NewAlreadyExists(resource, "lb-u1"), &cacheOf{}, Pending, nil,
		},
		"another error of a creation is reported": {"create", boom, &cacheOf{}, Pending, boom},
		"a pending Vip that is gone already leaves the reason": {
			"delete", apierrors.NewNotFound(resource, "lb-u1"), &cacheOf{vips: []*kubeovn.Vip{pending}, ips: inUse}, Refused, nil,
		},
		"a pending Vip that has changed is looked at again": {
			"delete", apierrors.NewConflict(resource, "lb-u1", boom), &cacheOf{vips: []*kubeovn.Vip{pending}, ips: inUse}, Pending, nil,
		},
		"another error of a deletion is reported": {"delete", boom, &cacheOf{vips: []*kubeovn.Vip{pending}, ips: inUse}, Pending, boom},
	} {
		t.Run(name, func(t *testing.T) {
			api := client()
			fail(api, tc.verb, tc.err)
			res, err := NewReserver(tc.cache, api, nil).Reserve(context.Background(), Request{Owner: owner, Subnet: lan(), Wish: kubeovn.Addrs{V4: addr("172.18.0.18")}})
			if !errors.Is(err, tc.wantErr) || res.State != tc.state {
				t.Errorf("%+v, %v", res, err)
			}
			if err == nil && res.State == Pending && res.RetryAfter <= 0 {
				t.Errorf("waits without looking again: %+v", res)
			}
		})
	}
}

func TestReserveWithoutSubnetIsAnError(t *testing.T) {
	if res, err := NewReserver(&cacheOf{}, client(), nil).Reserve(context.Background(), Request{Owner: owner}); err == nil {
		t.Errorf("%+v", res)
	}
}

// The clock of the API server does not matter: silence is measured from when
// this process asked.
func TestReserveTellsOfSilence(t *testing.T) {
	now := start
	cache := &cacheOf{}
	api := client()
	r := NewReserver(cache, api, func() time.Time { return now })
	req := Request{Owner: owner, Subnet: lan()}
	if _, err := r.Reserve(context.Background(), req); err != nil {
		t.Fatal(err)
	}
	vip := mine("", "")
	vip.CreationTimestamp = metav1.Time{Time: start.Add(-time.Hour)}
	cache.vips = []*kubeovn.Vip{vip}
	for _, tc := range []struct {
		after time.Duration
		state State
	}{{time.Second, Pending}, {2 * time.Second, Refused}} {
		now = start.Add(tc.after)
		if res, err := r.Reserve(context.Background(), req); err != nil || res.State != tc.state {
			t.Errorf("after %s: %+v, %v", tc.after, res, err)
		}
	}
	if n := len(writes(api)); n != 1 {
		t.Errorf("%d writes, want the creation alone", n)
	}
}

func TestRelease(t *testing.T) {
	boom := errors.New("boom")
	for name, tc := range map[string]struct {
		vip       *kubeovn.Vip
		verb      string
		err       error
		gone      bool
		wantErr   error
		deletions int
	}{
		"a Vip that does not exist is gone":                 {gone: true},
		"a Vip is deleted and not yet gone":                 {vip: mine("", "172.18.0.40"), deletions: 1},
		"a Vip that is being deleted is waited for":         {vip: mine("", "172.18.0.40", deleting)},
		"somebody else's Vip of our name is left alone":     {vip: mine("", "172.18.0.40", foreign), gone: true},
		"a Vip that vanishes before the deletion is gone":   {vip: mine("", ""), verb: "delete", err: apierrors.NewNotFound(resource, "lb-u1"), gone: true, deletions: 1},
		"a Vip that was replaced is looked at again":        {vip: mine("", ""), verb: "delete", err: apierrors.NewConflict(resource, "lb-u1", boom), deletions: 1},
		"an error of the deletion is reported":              {vip: mine("", ""), verb: "delete", err: boom, wantErr: boom, deletions: 1},
		"while the API server does not answer nothing goes": {verb: "get", err: boom, wantErr: boom},
	} {
		t.Run(name, func(t *testing.T) {
			api := client()
			if tc.vip != nil {
				api = client(apiVip(tc.vip))
			}
			if tc.verb != "" {
				fail(api, tc.verb, tc.err)
			}
			gone, err := NewReserver(&cacheOf{}, api, func() time.Time { return start }).Release(context.Background(), owner)
			if gone != tc.gone || !errors.Is(err, tc.wantErr) {
				t.Errorf("gone %v, error %v", gone, err)
			}
			acts := writes(api)
			if len(acts) != tc.deletions {
				t.Fatalf("writes: %v", acts)
			}
			for _, a := range acts {
				if pre := a.(ktesting.DeleteActionImpl).DeleteOptions.Preconditions; pre == nil || *pre.UID != "v1" || pre.ResourceVersion != nil {
					t.Errorf("preconditions %+v", pre)
				}
			}
		})
	}
}

// Between the release and the watch that tells of it, the address in the cache
// is not the Service's any more.
func TestReserveDoesNotGrantWhatWasReleased(t *testing.T) {
	ctx := context.Background()
	vip := mine("", "172.18.0.40")
	cache := &cacheOf{vips: []*kubeovn.Vip{vip}}
	api := client(apiVip(vip))
	r := NewReserver(cache, api, nil)
	req := Request{Owner: owner, Subnet: lan()}

	if res, _ := r.Reserve(ctx, req); res.State != Granted {
		t.Fatalf("at first: %+v", res)
	}
	for _, want := range []bool{false, true} { // deleted, then seen to be gone
		if gone, err := r.Release(ctx, owner); gone != want || err != nil {
			t.Fatalf("gone %v, %v", gone, err)
		}
	}
	if res, err := r.Reserve(ctx, req); res.State != Pending || res.RetryAfter <= 0 || err != nil {
		t.Errorf("while the cache is behind: %+v, %v", res, err)
	}
	next := mine("", "172.18.0.41")
	next.UID = "v2"
	cache.vips = []*kubeovn.Vip{next}
	if res, err := r.Reserve(ctx, req); res.State != Granted || err != nil {
		t.Errorf("the next Vip: %+v, %v", res, err)
	}
}
