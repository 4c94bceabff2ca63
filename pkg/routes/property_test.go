package routes

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kubeovn/kube-ovn-ccm/pkg/gateway/spec"
	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
)

// kubeOVN does with the policy routes of a VPC what kube-ovn-controller 1.16
// does: for the VPC of the nodes it knows the list of before the last change
// that it has seen, and nothing else.
type kubeOVN struct {
	custom bool // compares with OVN
	up     bool
	last   []any
	due    time.Time // when the change is handled; zero: there is none
	ovn    map[string]string
	lease  time.Time
}

// sees is the event of a change.
func (k *kubeOVN) sees(before, after []any, now time.Time, takes time.Duration) {
	if !k.up || reflect.DeepEqual(before, after) {
		return
	}
	k.last = before
	if k.due.IsZero() {
		k.due = now.Add(takes)
	}
}

func (k *kubeOVN) start(now time.Time, takes time.Duration) {
	k.up, k.last, k.due = true, nil, now.Add(takes)
}

func (k *kubeOVN) stop() { k.up, k.due = false, time.Time{} }

// tick handles what is due and renews the Lease.
func (k *kubeOVN) tick(list []any, now time.Time) {
	if !k.up {
		return
	}
	if now.Sub(k.lease) >= 6*time.Second {
		k.lease = now
	}
	if k.due.IsZero() || now.Before(k.due) {
		return
	}
	k.due = time.Time{}
	before := map[string]string{}
	for _, m := range k.last {
		before[textOf(m, "match")] = textOf(m, "nextHopIP")
	}
	if k.custom {
		before = map[string]string{}
		for match, hop := range k.ovn {
			before[match] = hop
		}
	}
	after := map[string]string{}
	for _, m := range list {
		after[textOf(m, "match")] = textOf(m, "nextHopIP")
	}
	for match, hop := range before {
		if after[match] != hop {
			delete(k.ovn, match)
		}
	}
	for match, hop := range after {
		if before[match] != hop {
			k.ovn[match] = hop
		}
	}
}

func textOf(member any, key string) string {
	s, _ := member.(map[string]any)[key].(string)
	return s
}

// history is a VPC with everything that happens to it.
type history struct {
	t        *testing.T
	rng      *rand.Rand
	now      time.Time
	vpc      *kubeovn.Vpc
	kubeOVN  kubeOVN
	n        *network
	requests requests
	leaving  map[types.UID]bool
	alive    pulse
	turns    uint64
	foreign  int
	unseen   bool // somebody has edited, and the watch has not told yet
	ourEdit  time.Time
	edits    int
	next     time.Time // when the writer looks again
}

func (h *history) change(members []any, annotation string) {
	v := *h.vpc
	v.Generation++
	v.ResourceVersion = fmt.Sprint(v.Generation)
	v.PolicyRoutes = members
	v.Annotations = map[string]string{kubeovn.AnnotationPolicyRoutes: annotation}
	h.kubeOVN.sees(h.vpc.PolicyRoutes, members, h.now, time.Duration(h.rng.IntN(150))*time.Millisecond)
	h.vpc = &v
}

func (h *history) others() []any {
	r, err := decodeRecord(h.vpc)
	if err != nil {
		h.t.Fatal(err)
	}
	others, _ := split(h.vpc.PolicyRoutes, r)
	return others
}

// somebody else edits the list.
func (h *history) edit() {
	list := slices.Clone(h.vpc.PolicyRoutes)
	annotation := h.vpc.Annotations[kubeovn.AnnotationPolicyRoutes]
	switch i := h.rng.IntN(len(list) + 1); {
	case i == len(list) || h.rng.IntN(2) == 0:
		h.foreign++
		list = slices.Insert(list, h.rng.IntN(len(list)+1), any(map[string]any{
			"priority": int64(30000 + h.foreign), "match": fmt.Sprintf("ip4.dst == 10.9.%d.%d", h.foreign/256, h.foreign%256), "action": "allow", "note": "theirs",
		}))
	default: // it may be one of ours
		list = slices.Delete(list, i, i+1)
	}
	h.change(list, annotation)
	h.unseen = true
}

func (h *history) ask() {
	i := h.rng.IntN(4)
	owner := kubeovn.Owner{Namespace: "default", Name: fmt.Sprintf("s%d", i), UID: types.UID(fmt.Sprintf("u%d", i))}
	r := &request{turn: map[Backend]uint64{}, Request: Request{
		Owner: owner, VPC: "ovn-cluster", NextHops: kubeovn.Addrs{V4: netip.MustParseAddr(fmt.Sprintf("10.16.1.%d", 1+h.rng.IntN(5)))},
	}}
	if h.rng.IntN(10) == 0 {
		r.VPC = "another"
	}
	for range h.rng.IntN(4) {
		h.turns++
		b := Backend{spec.TCP, netip.AddrPortFrom(netip.MustParseAddr(fmt.Sprintf("10.16.0.%d", 1+h.rng.IntN(5))), uint16(8080+h.rng.IntN(2)))}
		r.turn[b] = h.turns
	}
	delete(h.leaving, owner.UID)
	h.requests[owner.UID], h.next = r, h.now
}

func (h *history) release() {
	uid := types.UID(fmt.Sprintf("u%d", h.rng.IntN(4)))
	delete(h.requests, uid)
	h.leaving[uid], h.next = true, h.now
}

// kill ends the writer, and starts another that knows nothing.
func (h *history) kill() {
	if h.unseen || len(h.n.doubted) > 0 {
		return // what others do in the same second is not recorded
	}
	for range 20 { // it takes the next a second
		h.kubeOVN.tick(h.vpc.PolicyRoutes, h.now)
		h.now = h.now.Add(50 * time.Millisecond)
	}
	h.n, h.alive, h.next = newNetwork("ovn-cluster"), pulse{}, time.Time{}
	kept := h.requests
	h.requests = requests{}
	for _, uid := range slices.Sorted(maps.Keys(kept)) {
		if h.rng.IntN(3) > 0 {
			h.requests[uid] = kept[uid]
		}
	}
	h.leaving = map[types.UID]bool{}
	h.n.see(h.vpc, h.now)
}

// look is one round of the writer.
func (h *history) look() {
	if h.alive.read.IsZero() || h.now.Sub(h.alive.read) >= pollSoon {
		h.alive = h.alive.beat(h.kubeOVN.lease, h.now)
		h.next = h.now
	}
	if !h.unseen && h.now.Before(h.next) {
		return
	}
	if h.unseen {
		h.n.see(h.vpc, h.now)
		h.unseen = false
	}
	h.n.settle(h.alive, h.now)
	in := h.n.input(h.requests, h.leaving, h.alive, h.now)
	out := plan(in)
	if h.next = out.again; out.edit {
		h.next = h.n.ready(h.alive)
	}
	if h.next.IsZero() {
		h.next = h.now.Add(time.Hour)
	}
	if !out.edit || h.now.Before(h.n.ready(h.alive)) {
		return
	}
	h.next = h.now
	if gap := h.now.Sub(h.ourEdit); gap < pace {
		h.t.Fatalf("an edit %s after the last", gap)
	}
	others := h.others()
	h.change(out.members, out.text)
	h.ourEdit = h.now
	h.edits++
	h.n.wrote(h.vpc, h.now)
	if got := h.others(); !reflect.DeepEqual(got, others) {
		h.t.Fatalf("others' entries:\n%v\nwere\n%v", got, others)
	}
	h.check()
	h.alive = h.alive.beat(h.kubeOVN.lease, h.now)
}

// check compares the record with the list.
func (h *history) check() {
	r, _ := decodeRecord(h.vpc)
	_, present := split(h.vpc.PolicyRoutes, r)
	for _, o := range r.ours() {
		if present[o] != 1 {
			h.t.Fatalf("%+v is %d times in the list", o, present[o])
		}
	}
	of := map[Backend]types.UID{}
	for _, e := range r.Entries {
		for _, b := range backendsOf(e.Match) {
			if other, taken := of[b]; taken {
				h.t.Fatalf("%v is routed for %s and %s", b, other, e.UID)
			}
			of[b] = e.UID
		}
	}
	for _, removed := range r.Removed {
		for _, b := range backendsOf(removed.Match) {
			for _, e := range r.Entries {
				if removed.back() && slices.Contains(backendsOf(e.Match), b) && e.NextHop != removed.NextHop {
					h.t.Fatalf("%+v is put back and disturbs %+v", removed, e)
				}
			}
		}
	}
}

// pass lets time pass, with nobody but the writer and Kube-OVN at work.
func (h *history) pass(d time.Duration) {
	for until := h.now.Add(d); h.now.Before(until); h.now = h.now.Add(50 * time.Millisecond) {
		h.kubeOVN.tick(h.vpc.PolicyRoutes, h.now)
		h.look()
	}
}

// After any history everything that is said to be routed is so in OVN, and
// after the end of all Services nothing of ours is left anywhere.
func TestAnyHistoryEndsClean(t *testing.T) {
	for seed := range uint64(40) {
		for _, custom := range []bool{false, true} {
			t.Run(fmt.Sprint(seed, custom), func(t *testing.T) { runHistory(t, seed, custom) })
		}
	}
}

func runHistory(t *testing.T, seed uint64, custom bool) {
	start := time.UnixMilli(1_700_000_000_000)
	h := &history{
		t: t, rng: rand.New(rand.NewPCG(seed, 1)), now: start, requests: requests{}, leaving: map[types.UID]bool{},
		vpc: &kubeovn.Vpc{ObjectMeta: metav1.ObjectMeta{Name: "ovn-cluster", ResourceVersion: "1", Generation: 1}, Default: !custom},
		n:   newNetwork("ovn-cluster"),
	}
	h.kubeOVN = kubeOVN{custom: custom, up: true, ovn: map[string]string{}, lease: start}
	h.n.see(h.vpc, h.now)
	var stopped time.Time
	for range 150 {
		h.pass(time.Duration(h.rng.IntN(1500)) * time.Millisecond)
		switch h.rng.IntN(12) {
		case 0, 1, 2, 3, 4:
			h.ask()
		case 5:
			h.release()
		case 6, 7, 8:
			h.edit()
		case 9:
			h.kill()
		case 10: // Kube-OVN is away for so long that it can be told
			if !h.kubeOVN.up || h.now.Sub(stopped) < 2*time.Minute {
				break
			}
			h.kubeOVN.stop()
			stopped = h.now
			h.pass(time.Duration(5+h.rng.IntN(3)*20) * time.Second)
			h.ask()
			h.release()
			h.pass(30 * time.Second)
			h.kubeOVN.start(h.now, time.Duration(h.rng.IntN(4000))*time.Millisecond)
			h.pass(5 * time.Second)
		}
	}
	h.pass(15 * time.Second)
	in := h.n.input(h.requests, h.leaving, h.alive, h.now)
	holders, routed := in.holders(), 0
	for uid, r := range h.requests {
		var asked []Backend
		for b := range r.turn {
			asked = append(asked, b)
		}
		if r.VPC != "ovn-cluster" {
			continue
		}
		a := h.n.answer(r, asked, holders, in)
		if len(a.Pending) > 0 {
			t.Fatalf("%s waits for %v: %q", uid, a.Pending, a.Problem)
		}
		for b := range a.Routed {
			routed++
			for match, hop := range h.kubeOVN.ovn {
				if slices.Contains(backendsOf(match), b) && hop == r.NextHops.V4.String() {
					routed--
					break
				}
			}
		}
	}
	if routed != 0 {
		t.Fatalf("%d backends that are said to be routed are not", routed)
	}
	for i := range 4 {
		h.leaving[types.UID(fmt.Sprintf("u%d", i))] = true
	}
	clear(h.requests)
	h.next = h.now
	h.pass(90 * time.Second)
	if a := h.vpc.Annotations[kubeovn.AnnotationPolicyRoutes]; a != "" {
		t.Fatalf("the record holds %s", a)
	}
	if _, present := split(h.vpc.PolicyRoutes, record{}); len(present) > 0 || len(h.vpc.PolicyRoutes) != len(h.others()) {
		t.Fatalf("the list holds %v", h.vpc.PolicyRoutes)
	}
	for match := range h.kubeOVN.ovn {
		if backendsOf(match) != nil {
			t.Fatalf("OVN holds %s", match)
		}
	}
	edits := h.edits
	if h.pass(10 * time.Second); h.edits != edits {
		t.Fatal("the writer does not come to rest")
	}
}
