package desired

import (
	"fmt"
	"slices"

	"github.com/kubeovn/kube-ovn-ccm/pkg/gateway/nft"
)

// Verb is what an operation does with its object.
type Verb string

// The verbs. Set is for what always has a value: settings and links.
const (
	Add     Verb = "add"
	Replace Verb = "replace"
	Delete  Verb = "delete"
	Set     Verb = "set"
)

// Op is one step towards the desired state.
type Op struct {
	Verb Verb
	// Object is an Up, Setting, Filter, nft.Change, Route, Rule or Address.
	Object fmt.Stringer
}

// String says what the step does.
func (o Op) String() string { return string(o.Verb) + " " + o.Object.String() }

// Diff returns the steps from what the kernel has to what it should have, in
// an order in which nobody notices: everything that an address needs is there
// before the address, the address goes before what it needs, and a new rule
// comes before the one it replaces goes. From one target to the other there is a
// moment with the rules of both: whichever translates a connection first has it.
func Diff(want, have State) []Op {
	var ops []Op
	ops = append(ops, each(Add, missing(want.Filters, have.Filters))...)
	ops = append(ops, each(Set, missing(want.Up, have.Up))...)
	ops = append(ops, each(Set, missing(want.Settings, have.Settings))...)
	newRoutes := missing(want.Routes, have.Routes)
	for _, r := range newRoutes {
		ops = append(ops, Op{routeVerb(r, have.Routes), r})
	}
	ops = append(ops, each(Add, missing(want.Rules, have.Rules))...)

	ops = append(ops, each(Delete, missing(have.Addresses, want.Addresses))...)
	if change := nft.Diff(want.Table, have.Table); !change.Empty() {
		ops = append(ops, Op{changeVerb(change), change})
	}
	ops = append(ops, each(Delete, withdrawalOrder(missing(have.Filters, want.Filters)))...)
	ops = append(ops, each(Delete, missing(have.Rules, want.Rules))...)
	for _, r := range missing(have.Routes, want.Routes) {
		if !slices.ContainsFunc(newRoutes, r.sameKey) {
			ops = append(ops, Op{Delete, r})
		}
	}
	return append(ops, each(Add, missing(want.Addresses, have.Addresses))...)
}

func changeVerb(c nft.Change) Verb {
	switch {
	case c.Create && !c.Remove:
		return Add
	case c.Remove && !c.Create:
		return Delete
	default:
		return Replace
	}
}

// sameKey tells whether the kernel keeps only one of two routes, so that
// replacing is the way from one to the other.
func (r Route) sameKey(o Route) bool {
	return r.Table == o.Table && r.To == o.To && r.Metric == o.Metric
}

func routeVerb(r Route, have []Route) Verb {
	if slices.ContainsFunc(have, r.sameKey) {
		return Replace
	}
	return Add
}

// withdrawalOrder sorts rules into the order in which they are deleted. A
// port's guard goes before its translation: were it the other way round, a
// client that connects in between would hear nothing instead of a refusal.
func withdrawalOrder(fs []Filter) []Filter {
	rank := func(f Filter) int {
		return slices.Index([]string{"filter INPUT", "nat PREROUTING", "nat POSTROUTING", "mangle FORWARD", "filter FORWARD"}, f.Table+" "+f.Chain)
	}
	slices.SortStableFunc(fs, func(a, b Filter) int { return rank(a) - rank(b) })
	return fs
}

// missing returns the elements of a that b lacks, counting duplicates: what a
// has twice and b once is missing once.
func missing[T comparable](a, b []T) []T {
	count := map[T]int{}
	for _, x := range b {
		count[x]++
	}
	var out []T
	for _, x := range a {
		if count[x] > 0 {
			count[x]--
			continue
		}
		out = append(out, x)
	}
	return out
}

func each[T fmt.Stringer](verb Verb, objects []T) []Op {
	ops := make([]Op, 0, len(objects))
	for _, o := range objects {
		ops = append(ops, Op{verb, o})
	}
	return ops
}

// Objects lists everything that a state holds, in the order in which it is
// brought about.
func (s State) Objects() []fmt.Stringer {
	var out []fmt.Stringer
	for _, op := range Diff(s, State{}) {
		out = append(out, op.Object)
	}
	return out
}
