package routes

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/types"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubeovn/kube-ovn-ccm/pkg/gateway/spec"
	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
)

func owner(name string) kubeovn.Owner {
	return kubeovn.Owner{Namespace: "default", Name: name, UID: types.UID("uid-" + name)}
}

// asks makes a request of the Service default/<name> whose gateway is hop.
func asks(name string, turn uint64, hop string, backends ...Backend) *request {
	hops, err := kubeovn.ParseAddrs(hop)
	if err != nil {
		panic(err)
	}
	r := &request{Request: Request{Owner: owner(name), VPC: "ovn-cluster", NextHops: hops, Backends: backends}, turn: map[Backend]uint64{}}
	for _, b := range backends {
		r.turn[b] = turn
	}
	return r
}

func recorded(name, match, hop string) entry {
	o := owner(name)
	return entry{o.Namespace, o.Name, o.UID, route{match, hop}}
}

const (
	fiveAndSeven = "ip4.src == {10.16.0.5, 10.16.0.7} && tcp.src == 8080"
	five         = "ip4.src == 10.16.0.5 && tcp.src == 8080"
	seven        = "ip4.src == 10.16.0.7 && tcp.src == 8080"
)

var (
	at5 = at(spec.TCP, "10.16.0.5:8080")
	at7 = at(spec.TCP, "10.16.0.7:8080")
)

// consistent makes a Vpc whose list holds others' entries and what is
// recorded.
func consistent(r record, others ...any) *kubeovn.Vpc {
	v := &kubeovn.Vpc{ObjectMeta: metav1.ObjectMeta{Name: "ovn-cluster"}, Default: true, PolicyRoutes: others}
	for _, o := range r.ours() {
		v.PolicyRoutes = append(v.PolicyRoutes, o.member())
	}
	if text := r.encode(); text != "" {
		v.Annotations = map[string]string{kubeovn.AnnotationPolicyRoutes: text}
	}
	return v
}

// lists renders what a plan lists and records: "match > hop", then what is
// removed with its step.
func lists(out outcome) []string {
	var all []string
	for _, m := range out.members {
		if r, ok := routeOf(m); ok {
			all = append(all, r.Match+" > "+r.NextHop)
		} else {
			all = append(all, "other")
		}
	}
	for _, t := range out.record.Removed {
		all = append(all, fmt.Sprintf("removed %s, step %d", t.Match, t.Step))
	}
	return all
}

func TestPlan(t *testing.T) {
	other := map[string]any{"priority": int64(30000), "match": "x", "action": "allow"}
	alive := pulse{since: start, read: after(8), lived: after(6), seen: after(8), renewed: after(1)}
	removed := func(match, hop string, seconds float64, step int) tombstone {
		return tombstone{route{match, hop}, after(seconds).UnixMilli(), step}
	}
	for name, tc := range map[string]struct {
		record   record
		others   []any
		vpc      func(*kubeovn.Vpc)
		requests []*request
		leaving  string
		doubted  string
		pulse    pulse
		want     []string // nil: no edit
	}{
		"nothing to do": {others: []any{other}},
		"backends of one port share an entry, which comes after others'": {
			others: []any{other}, requests: []*request{asks("a", 1, "10.16.1.2", at7, at5)},
			want: []string{"other", fiveAndSeven + " > 10.16.1.2"},
		},
		"each family, protocol and port has its entry": {
			requests: []*request{asks("a", 1, "10.16.1.2,fd00::2", at5, at(spec.UDP, "10.16.0.5:8080"), at(spec.TCP, "10.16.0.5:9090"), at(spec.TCP, "[fd00::5]:8080"))},
			want: []string{
				five + " > 10.16.1.2", "ip4.src == 10.16.0.5 && tcp.src == 9090 > 10.16.1.2",
				"ip4.src == 10.16.0.5 && udp.src == 8080 > 10.16.1.2", "ip6.src == fd00::5 && tcp.src == 8080 > fd00::2",
			},
		},
		"a family without next hop has none": {
			requests: []*request{asks("a", 1, "10.16.1.2", at5, at(spec.TCP, "[fd00::5]:8080"))}, want: []string{five + " > 10.16.1.2"},
		},
		"a request for another VPC is none of this one's": {
			requests: []*request{func() *request { r := asks("a", 1, "10.16.1.2", at5); r.VPC = "v1"; return r }()},
		},
		"what is recorded and wanted stays": {
			record: record{Entries: []entry{recorded("a", five, "10.16.1.2")}}, requests: []*request{asks("a", 1, "10.16.1.2", at5)},
		},
		"another next hop is changed in one step, as Kube-OVN deletes before it adds": {
			record: record{Entries: []entry{recorded("a", five, "10.16.1.2")}}, requests: []*request{asks("a", 1, "10.16.1.3", at5)},
			want: []string{five + " > 10.16.1.3"},
		},
		"another backend makes another entry, and the old one is to be confirmed gone": {
			record: record{Entries: []entry{recorded("a", five, "10.16.1.2")}}, requests: []*request{asks("a", 1, "10.16.1.2", at5, at7)},
			want: []string{fiveAndSeven + " > 10.16.1.2", "removed " + five + ", step 0"},
		},
		"the entries of a Service that has not come to it yet stay": {
			record: record{Entries: []entry{recorded("a", five, "10.16.1.2")}}, requests: []*request{asks("b", 1, "10.16.1.3", at5)},
		},
		"the entries of a Service that leaves go, and who waits for its backend gets it": {
			record: record{Entries: []entry{recorded("a", fiveAndSeven, "10.16.1.2")}}, leaving: "a", requests: []*request{asks("b", 1, "10.16.1.3", at5)},
			want: []string{five + " > 10.16.1.3", "removed " + fiveAndSeven + ", step 0"},
		},
		"who is recorded keeps a backend though another has asked before": {
			record:   record{Entries: []entry{recorded("b", five, "10.16.1.3")}},
			requests: []*request{asks("a", 1, "10.16.1.2", at5, at7), asks("b", 2, "10.16.1.3", at5)},
			want:     []string{seven + " > 10.16.1.2", five + " > 10.16.1.3"},
		},
		"of two new ones the first gets the backend": {
			requests: []*request{asks("b", 2, "10.16.1.3", at5, at7), asks("a", 1, "10.16.1.2", at5)},
			want:     []string{five + " > 10.16.1.2", seven + " > 10.16.1.3"},
		},
		"what others have removed is put back": {
			record: record{Entries: []entry{recorded("a", five, "10.16.1.2")}}, requests: []*request{asks("a", 1, "10.16.1.2", at5)},
			others: []any{other}, vpc: func(v *kubeovn.Vpc) { v.PolicyRoutes = v.PolicyRoutes[:1] },
			want: []string{"other", five + " > 10.16.1.2"},
		},
		"an equal entry that is not recorded is somebody else's": {
			others: []any{route{five, "10.16.1.2"}.member()}, requests: []*request{asks("a", 1, "10.16.1.2", at5)},
			want: []string{five + " > 10.16.1.2", five + " > 10.16.1.2"},
		},
		"what Kube-OVN may have overlooked is written in another spelling": {
			record: record{Entries: []entry{recorded("a", five, "10.16.1.2")}}, requests: []*request{asks("a", 1, "10.16.1.2", at5)}, doubted: five,
			want: []string{"tcp.src == 8080 && ip4.src == 10.16.0.5 > 10.16.1.2", "removed " + five + ", step 0"},
		},
		"a spelling is kept": {
			record:   record{Entries: []entry{recorded("a", "tcp.src == 8080 && ip4.src == 10.16.0.5", "10.16.1.2")}},
			requests: []*request{asks("a", 1, "10.16.1.2", at5)},
		},
		"a removal is not confirmed while Kube-OVN is not seen to live": {record: record{Removed: []tombstone{removed(five, "10.16.1.2", 1, 0)}}},
		"a removed route is put back as it was": {
			record: record{Removed: []tombstone{removed(five, "10.16.1.2", 1, 0)}}, pulse: alive,
			want: []string{five + " > 10.16.1.2", "removed " + five + ", step 1"},
		},
		"it is put back for a second": {record: record{Removed: []tombstone{removed(five, "10.16.1.2", 9.5, 1)}}, pulse: alive},
		"then it is removed again, whether Kube-OVN lives or not": {
			record: record{Removed: []tombstone{removed(five, "10.16.1.2", 9, 1)}},
			want:   []string{"removed " + five + ", step 2"},
		},
		"it is forgotten after the second round": {
			record: record{Removed: []tombstone{removed(five, "10.16.1.2", 5, 4)}}, pulse: alive, want: []string{},
		},
		"if Kube-OVN was away meanwhile the rounds begin again": {
			record: record{Removed: []tombstone{removed(five, "10.16.1.2", -20, 4)}}, pulse: alive,
			want: []string{five + " > 10.16.1.2", "removed " + five + ", step 1"},
		},
		"if somebody else's edit came between the rounds begin again": {
			record: record{Removed: []tombstone{removed(five, "10.16.1.2", 5, 4)}}, pulse: alive, doubted: five,
			want: []string{five + " > 10.16.1.2", "removed " + five + ", step 1"},
		},
		"if somebody else has removed it meanwhile the rounds begin again": {
			record: record{Removed: []tombstone{removed(five, "10.16.1.2", 9, 1)}}, pulse: alive,
			vpc:  func(v *kubeovn.Vpc) { v.PolicyRoutes = nil },
			want: []string{"removed " + five + ", step 0"},
		},
		"what is wanted again needs no confirmation": {
			record: record{Removed: []tombstone{removed(five, "10.16.1.2", 9, 1)}}, requests: []*request{asks("b", 1, "10.16.1.3", at5)},
			want: []string{five + " > 10.16.1.3"},
		},
		"nor does what others have of the same match": {
			record: record{Removed: []tombstone{removed(five, "10.16.1.2", 1, 0)}}, pulse: alive,
			others: []any{map[string]any{"priority": int64(29500), "match": five, "action": "drop"}},
			want:   []string{"other"},
		},
		"a route whose backends are in use is put back with the next hop in use": {
			record: record{Entries: []entry{recorded("b", five, "10.16.1.3")}, Removed: []tombstone{removed(fiveAndSeven, "10.16.1.2", 1, 0)}},
			pulse:  alive, want: []string{five + " > 10.16.1.3", fiveAndSeven + " > 10.16.1.3", "removed " + fiveAndSeven + ", step 1"},
		},
		"a route whose backends are in use by several gateways is not put back": {
			record: record{
				Entries: []entry{recorded("a", five, "10.16.1.2"), recorded("b", seven, "10.16.1.3")},
				Removed: []tombstone{removed(fiveAndSeven, "10.16.1.2", 1, 0)},
			},
			pulse: alive,
		},
		"what is put back goes at once if it would disturb a new route": {
			record:   record{Removed: []tombstone{removed(fiveAndSeven, "10.16.1.2", 9.5, 1)}},
			requests: []*request{asks("b", 1, "10.16.1.3", at5)},
			want:     []string{five + " > 10.16.1.3", "removed " + fiveAndSeven + ", step 2"},
		},
		"a custom VPC needs no confirmation": {
			record: record{Entries: []entry{recorded("a", five, "10.16.1.2")}}, leaving: "a",
			vpc: func(v *kubeovn.Vpc) { v.Default = false }, want: []string{},
		},
	} {
		t.Run(name, func(t *testing.T) {
			vpc := consistent(tc.record, tc.others...)
			if tc.vpc != nil {
				tc.vpc(vpc)
			}
			in := input{vpc: vpc, record: tc.record, requests: requests{}, pulse: tc.pulse, now: after(10),
				leaving: map[types.UID]bool{owner(tc.leaving).UID: true}, doubted: map[string]bool{tc.doubted: true}}
			for _, r := range tc.requests {
				in.requests[r.Owner.UID] = r
			}
			out := plan(in)
			if out.edit != (tc.want != nil) {
				t.Errorf("edit %v: %q", out.edit, lists(out))
			}
			if d := cmp.Diff(append([]string{}, tc.want...), lists(out)); tc.want != nil && len(tc.want)+len(lists(out)) > 0 && d != "" {
				t.Error(d)
			}
		})
	}
}

func TestPlanSaysWhenToLookAgain(t *testing.T) {
	back := record{Removed: []tombstone{{route{five, "10.16.1.2"}, after(9.5).UnixMilli(), 1}}}
	out := plan(input{vpc: consistent(back), record: back, now: after(10)})
	if want := after(10.5); out.edit || !out.again.Equal(want) {
		t.Errorf("again at %s, want %s; edit %v", out.again, want, out.edit)
	}
}

func TestTheRecordDoesNotOutgrowAnObject(t *testing.T) {
	in := input{vpc: consistent(record{}), requests: requests{}, now: after(0)}
	for i := range 40 {
		var all []Backend
		for j := range 600 {
			addr := netip.AddrFrom4([4]byte{10, byte(i), byte(j / 256), byte(j % 256)})
			all = append(all, Backend{spec.TCP, netip.AddrPortFrom(addr, 8080)})
		}
		r := asks(fmt.Sprintf("s%d", i), uint64(i), "10.16.1.2", all...)
		in.requests[r.Owner.UID] = r
	}
	out := plan(in)
	if n := len(out.text); n > recordLimit+1024 || n < recordLimit/2 {
		t.Errorf("the record takes %d bytes", n)
	}
	if fit := len(out.record.Entries); len(out.excess) != 40-fit || fit == 0 {
		t.Errorf("%d fit and %d do not", fit, len(out.excess))
	}
	// What is written stays, and with every Service gone the record holds no
	// more than before.
	in.record, in.vpc = out.record, consistent(out.record)
	if again := plan(in); again.edit {
		t.Error("the same again is an edit")
	}
	in.requests, in.leaving = requests{}, map[types.UID]bool{}
	for _, e := range in.record.Entries {
		in.leaving[e.UID] = true
	}
	if gone := plan(in); len(gone.text) > len(out.text) || len(gone.record.Entries) > 0 {
		t.Errorf("%d bytes have become %d", len(out.text), len(gone.text))
	}
}

func TestRecord(t *testing.T) {
	r := record{
		Entries: []entry{recorded("b", seven, "10.16.1.3"), recorded("a", five, "10.16.1.2")},
		Removed: []tombstone{{route{fiveAndSeven, "10.16.1.2"}, 1_700_000_000_000, 1}},
	}
	text := `{"entries":[{"namespace":"default","name":"a","uid":"uid-a","match":"` + five + `","nextHop":"10.16.1.2"},` +
		`{"namespace":"default","name":"b","uid":"uid-b","match":"` + seven + `","nextHop":"10.16.1.3"}],` +
		`"removed":[{"match":"` + fiveAndSeven + `","nextHop":"10.16.1.2","at":1700000000000,"step":1}]}`
	if got := r.encode(); got != text {
		t.Errorf("%s", got)
	}
	vpc := &kubeovn.Vpc{ObjectMeta: metav1.ObjectMeta{Name: "v", Annotations: map[string]string{kubeovn.AnnotationPolicyRoutes: text}}}
	if got, err := decodeRecord(vpc); err != nil || got.encode() != text {
		t.Errorf("%+v, %v", got, err)
	}
	vpc.Annotations[kubeovn.AnnotationPolicyRoutes] = "{"
	if _, err := decodeRecord(vpc); err == nil || !strings.Contains(err.Error(), "Vpc v") {
		t.Errorf("%v", err)
	}
	if got := (record{}).encode(); got != "" {
		t.Errorf("nothing is recorded as %q", got)
	}
	if d := time.UnixMilli(1_700_000_000_000).Sub(r.Removed[0].at()); d != 0 {
		t.Errorf("off by %s", d)
	}
}
