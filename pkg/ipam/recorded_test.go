package ipam

import (
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic/fake"

	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn/recorded"
)

// recordedVersions are the versions of Kube-OVN whose controller ran.
func recordedVersions(t *testing.T) []*recorded.Version {
	t.Helper()
	all, err := recorded.Ran()
	if err != nil || len(all) == 0 {
		t.Fatalf("%d versions, %v", len(all), err)
	}
	return all
}

// replay is an API server with recorded objects, and a Reserver on it.
func replay(t *testing.T, objects []*unstructured.Unstructured) (*kubeovn.Cache, *Reserver, *fake.FakeDynamicClient) {
	t.Helper()
	resources := map[string]schema.GroupVersionResource{
		"Subnet": kubeovn.SubnetResource, "Vip": kubeovn.VipResource, "IP": kubeovn.IPResource,
		"NetworkAttachmentDefinition": kubeovn.NADResource, "Vpc": kubeovn.VpcResource,
		"IPPool": kubeovn.IPPoolResource,
	}
	kinds := map[schema.GroupVersionResource]string{}
	for kind, r := range resources {
		kinds[r] = kind + "List"
	}
	client := fake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), kinds)
	for _, u := range objects {
		if r, ok := resources[u.GetKind()]; ok {
			if err := client.Tracker().Create(r, u.DeepCopy(), u.GetNamespace()); err != nil {
				t.Fatal(err)
			}
		}
	}
	cache := kubeovn.NewCache(client)
	cache.Start(t.Context())
	for !cache.Synced() {
		select {
		case <-t.Context().Done():
			t.Fatal("not synced")
		case <-time.After(time.Millisecond):
		}
	}
	return cache, NewReserver(cache, client, nil), client
}

// settled asks until there is an answer; the clock stands where the last one
// said to ask again.
func settled(t *testing.T, reserver *Reserver, req Request) Result {
	t.Helper()
	now := time.Now()
	reserver.now = func() time.Time { return now }
	var got Result
	for range 5 {
		var err error
		if got, err = reserver.Reserve(t.Context(), req); err != nil {
			t.Errorf("%s: %v", req.Owner.Name, err)
		}
		if got.State != Pending {
			break
		}
		now = now.Add(got.RetryAfter)
	}
	return got
}

func requestOf(t *testing.T, cache *kubeovn.Cache, d recorded.Decision) Request {
	t.Helper()
	subnet, ok := cache.Subnet(d.Subnet)
	if !ok {
		t.Fatalf("no Subnet %s", d.Subnet)
	}
	req := Request{
		Owner:  kubeovn.Owner{Namespace: "default", Name: d.Service, UID: types.UID(d.Service)},
		Subnet: subnet, Wish: addrs(d.Wish), Field: "spec.loadBalancerIP", Sticky: addrs(d.Addresses),
		Needs: kubeovn.Families{V4: strings.Contains(d.Needs, "IPv4"), V6: strings.Contains(d.Needs, "IPv6")},
	}
	if d.Pool != "" {
		if req.Pool, _ = cache.IPPool(d.Pool); req.Pool == nil {
			t.Fatalf("no IPPool %s", d.Pool)
		}
		req.PoolField = "annotation ip_pool"
	}
	return req
}

// TestEveryVersionOfKubeOVNIsDecidedOnAsWhenItRan replays what was recorded: out
// of the objects as each version wrote them comes the decision that was made
// while it ran, and a Service that has its addresses leads to no write.
func TestEveryVersionOfKubeOVNIsDecidedOnAsWhenItRan(t *testing.T) {
	for _, v := range recordedVersions(t) {
		t.Run(v.Name, func(t *testing.T) {
			cache, reserver, client := replay(t, v.Objects)
			if len(v.Decisions) < 19 {
				t.Errorf("only %d decisions", len(v.Decisions))
			}
			for _, d := range v.Decisions {
				client.ClearActions()
				got := settled(t, reserver, requestOf(t, cache, d))
				if got.State.String() != d.State || got.Addrs.String() != d.Addresses || got.Reason != d.Reason {
					t.Errorf("%s: %s %s %s: %s; recorded %+v", d.Service, got.State, got.Addrs, got.Reason, got.Message, d)
				}
				for _, write := range client.Actions() {
					t.Errorf("%s: %v", d.Service, write)
				}
			}
		})
	}
}

// TestWhatTheVersionsAnswerIsWhatIsDocumented says what came out, version by
// version.
func TestWhatTheVersionsAnswerIsWhatIsDocumented(t *testing.T) {
	for _, v := range recordedVersions(t) {
		want := map[string]string{
			"any4":          "Granted",
			"static4":       "Granted 172.18.0.18",
			"excluded4":     "Granted 172.18.0.9", // what excludeIps keeps from Pods may be asked for
			"taken4":        "Refused AddressInUse: Service default/static4",
			"vip4":          "Refused AddressInUse: Vip by-hand",
			"pod4":          "Refused AddressInUse: Pod default/on-booked",
			"outside4":      "Refused AddressOutOfRange",
			"leaving4":      "Refused AddressInUse: Vip leaving", // whether or not Kube-OVN has it free
			"static-booked": "Granted 172.21.0.18",
			"pool4":         "Granted 172.18.9.1",
			"pool46":        "Granted 172.19.9.1,fd00:172:19::9:1",
			"any46":         "Granted",
			"static46":      "Granted 172.19.0.46,fd00:172:19::46",
			"static4-of-46": "Granted 172.19.0.44,",
			"static6-of-46": "Granted ,fd00:172:19::66",
			"any6":          "Granted",
			"static6":       "Granted fd00:172:20::66",
			"only":          "Granted 172.22.0.2",
			"none-left":     "Refused SubnetFull",
		}
		if v.Before(13) { // it heeds no IPv6 address of a Vip, and picks another
			for _, name := range []string{"static46", "static6-of-46", "static6", "pool46"} {
				want[name] = "Refused AddressNotGranted"
			}
		}
		t.Run(v.Name, func(t *testing.T) {
			for _, d := range v.Decisions {
				got := strings.TrimSpace(d.State + " " + d.Reason + " " + d.Message)
				if d.State == Granted.String() {
					got = "Granted " + d.Addresses
				}
				for _, part := range strings.Split(want[d.Service], ": ") {
					state, rest, _ := strings.Cut(part, " ")
					if part == "" || !strings.Contains(got, state) || !strings.Contains(got, rest) {
						t.Errorf("%s: %q, want %q", d.Service, got, want[d.Service])
					}
				}
				delete(want, d.Service)
			}
			if len(want) > 0 {
				t.Errorf("not recorded: %v", want)
			}
		})
	}
}

// TestNoTwoHoldersOfOneAddressWereRecorded looks at every Vip and IP that a version has
// written, before and after its restart.
func TestNoTwoHoldersOfOneAddressWereRecorded(t *testing.T) {
	for _, v := range recordedVersions(t) {
		for when, objects := range map[string][]*unstructured.Unstructured{"before the restart": v.Objects, "after it": v.Restarted} {
			cache, _, _ := replay(t, objects)
			for _, vip := range cache.Vips() {
				for _, a := range vip.Addrs().All() {
					if n := len(cache.VipsAt(vip.Subnet, a)) + len(cache.IPsAt(vip.Subnet, a)); n != 1 {
						t.Errorf("%s %s: %d holders of %s", v.Name, when, n, a)
					}
				}
			}
		}
	}
}

// TestAnAddressThatWasGivenBackIsSomebodyElses: a Vip that was released is gone
// after the restart, and the Service that asked next has its address. All
// others have kept theirs.
func TestAnAddressThatWasGivenBackIsSomebodyElses(t *testing.T) {
	for _, v := range recordedVersions(t) {
		t.Run(v.Name, func(t *testing.T) {
			cache, reserver, _ := replay(t, v.Restarted)
			if vip, ok := cache.Vip(VipName("static4")); ok {
				t.Errorf("the Vip is still there: %+v", vip)
			}
			again := recorded.Decision{Service: "again4", Subnet: "lan4", Wish: "172.18.0.18", Needs: "IPv4", State: "Granted", Addresses: "172.18.0.18"}
			for _, d := range append(slices.Clone(v.Decisions), again) {
				if d.State != Granted.String() || d.Service == "static4" {
					continue
				}
				if got := settled(t, reserver, requestOf(t, cache, d)); got.State != Granted || got.Addrs.String() != d.Addresses {
					t.Errorf("%s: %+v; it had %s", d.Service, got, d.Addresses)
				}
			}
		})
	}
}

// TestEveryVersionTakesWhatAVipAsksFor looks in each version's definitions for
// every field of the Vip that is made, with its type: the API server would drop
// one that is not there.
func TestEveryVersionTakesWhatAVipAsksFor(t *testing.T) {
	all, err := recorded.All()
	if err != nil || len(all) < 5 {
		t.Fatalf("%d versions, %v", len(all), err)
	}
	for _, v := range all {
		t.Run(v.Name, func(t *testing.T) {
			cache, reserver, client := replay(t, recordedVersions(t)[0].Objects)
			req := requestOf(t, cache, recorded.Decision{Service: "new", Subnet: "lan46", Wish: "172.19.0.99,fd00:172:19::99", Needs: "IPv4,IPv6"})
			if _, err := reserver.Reserve(t.Context(), req); err != nil {
				t.Fatal(err)
			}
			made, err := client.Resource(kubeovn.VipResource).Get(t.Context(), VipName("new"), metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			spec, _, _ := unstructured.NestedMap(made.Object, "spec")
			if len(spec) != 3 {
				t.Errorf("the Vip asks for %v", spec)
			}
			for field := range spec {
				if got := v.TypeOf("Vip", "spec", field); got != "string" {
					t.Errorf("spec.%s is %q", field, got)
				}
			}
		})
	}
}
