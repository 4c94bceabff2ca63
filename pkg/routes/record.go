package routes

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
)

// record is the annotation of a Vpc that says which members of
// spec.policyRoutes are ours. A member that is equal to one of ours and not
// recorded is somebody else's.
type record struct {
	// Entries are in spec.policyRoutes.
	Entries []entry `json:"entries,omitempty"`
	// Removed are to be confirmed gone from OVN.
	Removed []tombstone `json:"removed,omitempty"`
}

// entry is a route and whose it is.
type entry struct {
	Namespace string    `json:"namespace"`
	Name      string    `json:"name"`
	UID       types.UID `json:"uid"`
	route
}

func (e entry) owner() kubeovn.Owner {
	return kubeovn.Owner{Namespace: e.Namespace, Name: e.Name, UID: e.UID}
}

// tombstone is a route that was removed, with the next hop that it had last.
type tombstone struct {
	route
	// At is when the last step was taken, in milliseconds since 1970.
	At int64 `json:"at"`
	// Step counts the steps since the removal: after an odd one the route is in
	// spec.policyRoutes, put back so that it can be removed again.
	Step int `json:"step,omitempty"`
}

func (t tombstone) back() bool    { return t.Step%2 == 1 }
func (t tombstone) at() time.Time { return time.UnixMilli(t.At) }

// decodeRecord reads the record of a Vpc; there may be none.
func decodeRecord(vpc *kubeovn.Vpc) (record, error) {
	var r record
	text := vpc.Annotations[kubeovn.AnnotationPolicyRoutes]
	if text == "" {
		return r, nil
	}
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		return record{}, fmt.Errorf("annotation %s of Vpc %s cannot be read (%w): without it nobody knows which of its policyRoutes are ours; mend it, or remove it and the policyRoutes of priority %d that are not yours",
			kubeovn.AnnotationPolicyRoutes, vpc.Name, err, priority)
	}
	return r, nil
}

// encode renders the record in its canonical form; empty if there is nothing
// to record.
func (r record) encode() string {
	if len(r.Entries) == 0 && len(r.Removed) == 0 {
		return ""
	}
	slices.SortFunc(r.Entries, func(a, b entry) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name), cmp.Compare(a.UID, b.UID), cmp.Compare(a.Match, b.Match))
	})
	slices.SortFunc(r.Removed, func(a, b tombstone) int { return cmp.Compare(a.Match, b.Match) })
	return compact(r)
}

// compact renders JSON with "&&" as it is.
func compact(v any) string {
	var text strings.Builder
	e := json.NewEncoder(&text)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return "" // texts and numbers: cannot be
	}
	return strings.TrimSuffix(text.String(), "\n")
}

// ours are the routes that the record says are in spec.policyRoutes.
func (r record) ours() []route {
	var out []route
	for _, e := range r.Entries {
		out = append(out, e.route)
	}
	for _, t := range r.Removed {
		if t.back() {
			out = append(out, t.route)
		}
	}
	return out
}

// holds reports whether something is routed for a Service.
func (r record) holds(owner kubeovn.Owner) bool {
	return slices.ContainsFunc(r.Entries, func(e entry) bool { return e.UID == owner.UID })
}

// size is how much room a member of a record takes at most.
func size(member any) int {
	return len(compact(member)) + 1
}

// split parts spec.policyRoutes into others' members and the routes of ours
// that are there.
func split(members []any, r record) (others []any, present map[route]int) {
	left := map[route]int{}
	for _, o := range r.ours() {
		left[o]++
	}
	present = map[route]int{}
	for _, m := range slices.Backward(members) { // ours were put at the end
		if o, ok := routeOf(m); ok && left[o] > 0 {
			left[o]--
			present[o]++
			continue
		}
		others = append(others, m)
	}
	slices.Reverse(others)
	return others, present
}
