package ipam

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	ktesting "k8s.io/client-go/testing"

	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
)

// waited is the wait for a Vip of mine that something was seen of so long ago.
func waited(request string, since time.Duration) wait {
	return wait{request: request, since: start.Add(-since), vip: "v1", asked: start.Add(-since)}
}

func TestDecideGuardsAddressesAgainstRestarts(t *testing.T) {
	early := func(v *kubeovn.Vip) { v.Finalizers = nil }
	decisions{
		"IPv6 is guarded before it is used": {
			subnet: dual(), needs: needsBoth, vip: mine("", "172.18.0.40,fd00::40", unguarded),
			op: opGuard, state: Granted, held: "172.18.0.40,fd00::40",
		},
		"IPv6 alone is guarded, too": {
			subnet: only6(), needs: needs6, vip: mine("", "fd00::40", unguarded), op: opGuard, state: Granted, held: "fd00::40",
		},
		"what is guarded is left alone": {
			subnet: dual(), needs: needsBoth, vip: mine("", "172.18.0.40,fd00::40"), state: Granted, held: "172.18.0.40,fd00::40",
		},
		"IPv4 needs no guard": {
			vip: mine("", "172.18.0.40", unguarded), state: Granted, held: "172.18.0.40",
		},
		"Kube-OVN finishes its work first": {
			subnet: dual(), needs: needsBoth, vip: mine("", "172.18.0.40,fd00::40", unguarded, early),
			state: Pending, retry: staleRetry, held: "172.18.0.40,fd00::40", waits: true,
		},
		"Kube-OVN 1.12 puts no finalizer on a Vip, and is done soon": {
			subnet: dual(), needs: needsBoth, vip: mine("", "172.18.0.40,fd00::40", unguarded, early), wait: waited("attach-subnet ", patience),
			op: opGuard, state: Granted, held: "172.18.0.40,fd00::40",
		},
		"an impossible wish does not leave the addresses unguarded": {
			subnet: dual(), needs: needsBoth, wish: "9.9.9.9", vip: mine("", "172.18.0.40,fd00::40", unguarded),
			op: opGuard, state: Refused, reason: ReasonAddressOutOfRange, held: "172.18.0.40,fd00::40",
		},
	}.check(t)
}

func TestDecideAsksAgainForWhatKubeOVNHasLost(t *testing.T) {
	vip := mine("", "172.18.0.40,fd00::40")
	has, lacks := dual(using("172.18.0.40", "fd00::2..fd00::40")), dual(using("172.18.0.40", "fd00::2..fd00::3"))
	const lost = "return of fd00::40"
	decisions{
		"what is counted is not lost": {
			subnet: has, needs: needsBoth, vip: vip, state: Granted, held: "172.18.0.40,fd00::40",
		},
		"a count may be late": {
			subnet: lacks, needs: needsBoth, vip: vip, state: Granted, held: "172.18.0.40,fd00::40", retry: lostPatience, waits: true,
		},
		"a count that stays so is believed": {
			subnet: lacks, needs: needsBoth, vip: vip, wait: waited(lost, lostPatience),
			op: opRenew, state: Pending, held: "172.18.0.40,fd00::40", retry: staleRetry, waits: true,
		},
		"what somebody else has is lost": {
			subnet: has, needs: needsBoth, vip: vip, others: others{"fd00::40": "Pod a/b"}, wait: waited(lost, lostPatience),
			op: opRenew, state: Pending, held: "172.18.0.40,fd00::40", retry: staleRetry, waits: true,
		},
		"the wait begins anew for other addresses": {
			subnet: dual(using("172.18.0.41", "fd00::40")), needs: needsBoth, vip: vip, wait: waited(lost, lostPatience),
			state: Granted, held: "172.18.0.40,fd00::40", retry: lostPatience, waits: true,
		},
	}.check(t)
}

// A Subnet's status that never tells of an address does not make Vips for ever.
func TestRenewalsAreRare(t *testing.T) {
	in := input{
		request: Request{Owner: owner, Subnet: dual(using("172.18.0.2", "fd00::2")), Needs: needsBoth},
		vip:     mine("", "172.18.0.40,fd00::40"), holder: nobody, renewed: start, now: start,
	}
	var renewals int
	for in.now.Before(start.Add(time.Hour)) {
		a := decide(in)
		if in.wait = a.wait; a.op == opRenew {
			renewals++
			in.renewed, in.wait = in.now, wait{}
		}
		in.now = in.now.Add(a.result.RetryAfter)
	}
	if renewals < 11 || renewals > 12 {
		t.Errorf("%d renewals in an hour", renewals)
	}
}

// The guard is one patch of the very state that was seen, and nothing else.
func TestReserveWritesTheGuard(t *testing.T) {
	vip := mine("", "172.18.0.40,fd00::40", unguarded)
	api := client(apiVip(vip))
	r := NewReserver(&cacheOf{vips: []*kubeovn.Vip{vip}, grants: map[types.UID]time.Time{"v1": time.Now()}}, api, nil)
	res, err := r.Reserve(context.Background(), Request{Owner: owner, Subnet: dual(), Needs: needsBoth})
	if err != nil || res.State != Granted {
		t.Fatalf("%+v, %v", res, err)
	}
	acts := writes(api)
	if len(acts) != 1 {
		t.Fatalf("writes: %v", acts)
	}
	var got map[string]any
	if err := json.Unmarshal(acts[0].(ktesting.PatchAction).GetPatch(), &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"metadata": map[string]any{"uid": "v1", "resourceVersion": "7"},
		"status":   map[string]any{"v4ip": "172.18.0.40,fd00::40"},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// A Vip that is made anew asks for the addresses that it had.
func TestReserveRenewsForTheSameAddresses(t *testing.T) {
	vip := mine("", "172.18.0.40,fd00::40")
	api, cache, now := client(apiVip(vip)), &cacheOf{vips: []*kubeovn.Vip{vip}}, start
	r := NewReserver(cache, api, func() time.Time { return now })
	req := Request{Owner: owner, Subnet: dual(using("172.18.0.40", "fd00::2")), Needs: needsBoth, Sticky: vip.Addrs()}
	reserve := func() Result {
		t.Helper()
		res, err := r.Reserve(context.Background(), req)
		if err != nil {
			t.Fatal(err)
		}
		return res
	}
	if res := reserve(); res.State != Granted || len(writes(api)) != 0 {
		t.Fatalf("%+v, writes %v", res, writes(api))
	}
	now = now.Add(lostPatience)
	if res := reserve(); res.State != Pending || len(writes(api)) != 1 || writes(api)[0].GetVerb() != "delete" {
		t.Fatalf("%+v, writes %v", res, writes(api))
	}
	cache.vips = nil
	reserve()
	acts := writes(api)
	if len(acts) != 2 {
		t.Fatalf("writes %v", acts)
	}
	spec := acts[1].(ktesting.CreateAction).GetObject().(*unstructured.Unstructured).Object["spec"]
	if d := cmp.Diff(map[string]any{"subnet": "attach-subnet", "v4ip": "172.18.0.40", "v6ip": "fd00::40"}, spec); d != "" {
		t.Error(d)
	}
}
