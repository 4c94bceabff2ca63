package routes

import (
	"fmt"
	"maps"
	"strconv"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
)

// network is what is known of one Vpc.
type network struct {
	name string
	// vpc is its newest known state; nil: there is none. The rest of this
	// paragraph is read from it.
	vpc        *kubeovn.Vpc
	record     record
	unreadable error
	live       map[hop]bool

	// edited is when the Vpc was last changed, by anybody.
	edited time.Time
	// fresh are the matches that our last edit has added or removed; doubted
	// are those of which Kube-OVN may have overlooked that.
	fresh, doubted map[string]bool
	// unsettled says when a route was written that may not be in effect yet.
	unsettled map[hop]time.Time
	// writing is set while we write; meanwhile is the newest state that was
	// seen then, ours or somebody else's.
	writing   bool
	meanwhile *kubeovn.Vpc

	// trouble is why the Vpc could not be written; it is tried again at retry.
	trouble string
	retry   time.Time
	excess  map[types.UID]bool
	// again is when to decide anew although nothing has happened.
	again time.Time
}

// hop is the way of a backend's answers.
type hop struct {
	backend Backend
	nextHop string
}

func newNetwork(name string) *network {
	return &network{name: name, fresh: map[string]bool{}, doubted: map[string]bool{}, unsettled: map[hop]time.Time{}}
}

// learn takes a state of the Vpc as the newest.
func (n *network) learn(vpc *kubeovn.Vpc) {
	n.vpc, n.live = vpc, map[hop]bool{}
	n.record, n.unreadable = decodeRecord(vpc)
	_, present := split(vpc.PolicyRoutes, n.record)
	for _, e := range n.record.Entries {
		if present[e.route] > 0 {
			for _, b := range backendsOf(e.Match) {
				n.live[hop{b, e.NextHop}] = true
			}
		}
	}
}

// forget is called when the Vpc is gone.
func (n *network) forget() { *n = *newNetwork(n.name) }

// see takes notice of a state that the watch has brought.
func (n *network) see(vpc *kubeovn.Vpc, now time.Time) {
	switch {
	case n.writing:
		if n.meanwhile == nil || newer(vpc, n.meanwhile) {
			n.meanwhile = vpc
		}
		return
	case n.vpc != nil && !newer(vpc, n.vpc):
		return
	case n.vpc != nil && vpc.Default && vpc.Generation != n.vpc.Generation && now.Sub(n.edited) < pace:
		// Somebody else's edit so soon after ours: Kube-OVN may have taken both
		// for one, and not have done what we did.
		maps.Copy(n.doubted, n.fresh)
		for _, e := range n.record.Entries {
			if !n.fresh[e.Match] {
				continue
			}
			for _, b := range backendsOf(e.Match) {
				n.unsettled[hop{b, e.NextHop}] = now.Add(pace)
			}
		}
	}
	n.edited = now
	clear(n.fresh)
	n.learn(vpc)
}

// wrote takes notice of our own edit.
func (n *network) wrote(vpc *kubeovn.Vpc, now time.Time) {
	before, had, stood := n.live, map[route]int{}, map[tombstone]bool{}
	if n.vpc != nil {
		_, had = split(n.vpc.PolicyRoutes, n.record)
	}
	for _, t := range n.record.Removed {
		stood[t] = true
	}
	n.learn(vpc)
	n.edited = now
	clear(n.fresh)
	clear(n.doubted)
	for _, e := range n.record.Entries {
		if had[e.route] == 0 {
			n.fresh[e.Match] = true
		}
	}
	for _, t := range n.record.Removed {
		if !stood[t] {
			n.fresh[t.Match] = true
		}
	}
	for h := range n.live {
		if !before[h] {
			n.unsettled[h] = now
		}
	}
	for h := range n.unsettled {
		if !n.live[h] {
			delete(n.unsettled, h)
		}
	}
}

// settle forgets what has settled, and returns when something else will; zero
// if nothing is left.
func (n *network) settle(p pulse, now time.Time) (next time.Time) {
	for h, written := range n.unsettled {
		if p.took(written, now) {
			delete(n.unsettled, h)
			continue
		}
		next = sooner(next, written.Add(settling))
	}
	return next
}

// ready is when the Vpc may be edited next.
func (n *network) ready(p pulse) time.Time {
	at := n.edited.Add(pace)
	for _, t := range []time.Time{p.ready(), n.retry} {
		if t.After(at) {
			at = t
		}
	}
	return at
}

// blocked reports whether a state that was just read is one that the watch has
// not brought yet: somebody else is editing.
func (n *network) blocked(vpc *kubeovn.Vpc, now time.Time) bool {
	if n.vpc != nil && !newer(vpc, n.vpc) {
		return false
	}
	n.see(vpc, now)
	return true
}

// input gathers what a decision depends on.
func (n *network) input(all requests, leaving map[types.UID]bool, p pulse, now time.Time) input {
	return input{vpc: n.vpc, record: n.record, requests: all, leaving: leaving, doubted: n.doubted, pulse: p, now: now}
}

// answer says how far a request is.
func (n *network) answer(r *request, asked []Backend, holders map[Backend]types.UID, in input) Answer {
	a := Answer{Routed: map[Backend]bool{}, Pending: map[Backend]bool{}, Held: map[Backend]string{}}
	for _, spelled := range asked {
		b := spelled.plain()
		h := hop{b, r.NextHops.Of(b.Address.Addr().Is4()).String()}
		holder, held := holders[b]
		_, unsettled := n.unsettled[h]
		switch {
		case !r.wants(r.VPC, b):
		case held && holder != r.Owner.UID:
			a.Held[spelled] = in.nameOf(holder)
		case held && n.live[h] && !unsettled:
			a.Routed[spelled] = true
		default:
			a.Pending[spelled] = true
		}
	}
	if len(a.Pending) > 0 {
		a.Problem = n.problem(r, in)
	}
	return a
}

// problem says why a request makes no progress.
func (n *network) problem(r *request, in input) string {
	switch {
	case n.vpc == nil:
		return fmt.Sprintf("Vpc %s does not exist: it is where the answers of the Pods are to be routed", n.name)
	case n.unreadable != nil:
		return n.unreadable.Error()
	case n.trouble != "":
		return n.trouble
	case n.excess[r.Owner.UID]:
		return fmt.Sprintf("annotation %s of Vpc %s has no room for more routes: keep clients' addresses for fewer Services or Pods", kubeovn.AnnotationPolicyRoutes, n.name)
	case in.pulse.dead(in.now):
		return "kube-ovn-controller, which puts policyRoutes of a Vpc into effect, does not renew its Lease: check that it runs (kubectl -n kube-system get pods -l app=kube-ovn-controller)"
	}
	return ""
}

// nameOf returns a Service's "namespace/name".
func (in input) nameOf(uid types.UID) string {
	if r := in.requests[uid]; r != nil {
		return r.Owner.Key()
	}
	for _, e := range in.record.Entries {
		if e.UID == uid {
			return e.owner().Key()
		}
	}
	return string(uid)
}

// newer compares states of one Vpc. The API server counts its versions up.
func newer(a, b *kubeovn.Vpc) bool {
	va, errA := strconv.ParseUint(a.ResourceVersion, 10, 64)
	vb, errB := strconv.ParseUint(b.ResourceVersion, 10, 64)
	if errA != nil || errB != nil {
		return a.ResourceVersion != b.ResourceVersion
	}
	return va > vb
}

// sooner returns the earlier of two times, of which zero is never.
func sooner(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
