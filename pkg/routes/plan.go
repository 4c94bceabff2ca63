package routes

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/kubeovn/kube-ovn-ccm/pkg/gateway/spec"
	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
)

// input is all that a decision about one Vpc depends on.
type input struct {
	vpc *kubeovn.Vpc
	// record is the Vpc's own, decoded.
	record record
	// requests are those of all Services, for this Vpc and others.
	requests requests
	// leaving are the Services whose entries are to go. The entries of one that
	// neither leaves nor requests anything stay: it has not come to it yet.
	leaving map[types.UID]bool
	// doubted are the matches that Kube-OVN may have overlooked.
	doubted map[string]bool
	pulse   pulse
	now     time.Time
}

// outcome is how a Vpc is to be.
type outcome struct {
	// edit reports whether the Vpc is different now.
	edit bool
	// members is spec.policyRoutes.
	members []any
	// record and text are what is recorded; no text if there is nothing.
	record record
	text   string
	// excess are the Services for some of whose entries there is no room.
	excess map[types.UID]bool
	// again is when to decide anew if nothing happens; zero: never.
	again time.Time
}

// plan decides how a Vpc is to be.
func plan(in input) outcome {
	others, present := split(in.vpc.PolicyRoutes, in.record)
	var out outcome
	out.record.Entries, out.excess = in.entries()
	out.record.Removed, out.again = in.tombstones(out.record.Entries, others, present)

	out.text = out.record.encode()
	out.members = others
	want := map[route]int{}
	for _, o := range out.record.ours() {
		want[o]++
		out.members = append(out.members, o.member())
	}
	out.edit = out.text != in.vpc.Annotations[kubeovn.AnnotationPolicyRoutes] || !maps.Equal(present, want)
	return out
}

// holders decides for which Service a backend is routed: the one that has it
// keeps it, else it is for the first that has asked for it.
func (in input) holders() map[Backend]types.UID {
	holders := map[Backend]types.UID{}
	for _, e := range in.record.Entries {
		r := in.requests[e.UID]
		if in.leaving[e.UID] {
			continue
		}
		for _, b := range backendsOf(e.Match) {
			if _, taken := holders[b]; !taken && (r == nil || r.wants(in.vpc.Name, b)) {
				holders[b] = e.UID
			}
		}
	}
	claims := map[Backend]uint64{}
	for uid, r := range in.requests {
		for b, turn := range r.turn {
			if !r.wants(in.vpc.Name, b) {
				continue
			}
			_, taken := holders[b]
			first, claimed := claims[b]
			if taken && !claimed || claimed && first < turn {
				continue
			}
			holders[b], claims[b] = uid, turn
		}
	}
	return holders
}

// slot is what one entry is for.
type slot struct {
	owner    types.UID
	v4       bool
	protocol spec.Protocol
	port     uint16
}

// entries returns the entries that are to be, as far as there is room.
func (in input) entries() (entries []entry, excess map[types.UID]bool) {
	recorded := map[string]bool{}
	for _, e := range in.record.Entries {
		recorded[e.Match] = true
		if in.requests[e.UID] == nil && !in.leaving[e.UID] {
			entries = append(entries, e)
		}
	}
	groups := map[slot][]netip.Addr{}
	for b, uid := range in.holders() {
		if in.requests[uid] != nil {
			s := slot{uid, b.Address.Addr().Is4(), b.Protocol, b.Address.Port()}
			groups[s] = append(groups[s], b.Address.Addr())
		}
	}
	for s, addrs := range groups {
		r := in.requests[s.owner]
		entries = append(entries, entry{
			Namespace: r.Owner.Namespace, Name: r.Owner.Name, UID: s.owner,
			route: route{Match: in.match(s, sorted(addrs)), NextHop: r.NextHops.Of(s.v4).String()},
		})
	}
	return in.fitting(entries, recorded)
}

// match renders the match of an entry in the spelling that is recorded, or in
// another one if Kube-OVN may have overlooked that.
func (in input) match(s slot, addrs []netip.Addr) string {
	for spelling := range spellings {
		match := matchOf(s.protocol, s.port, addrs, spelling)
		for _, e := range in.record.Entries {
			if e.UID == s.owner && e.Match == match {
				if in.doubted[match] {
					return matchOf(s.protocol, s.port, addrs, spelling+1)
				}
				return match
			}
		}
	}
	return matchOf(s.protocol, s.port, addrs, 0)
}

// fitting leaves out the entries for which there is no room in the record:
// what is there stays, of the rest the smaller come first.
func (in input) fitting(entries []entry, recorded map[string]bool) (fit []entry, excess map[types.UID]bool) {
	used := 0
	for _, t := range in.record.Removed {
		used += size(t)
	}
	wanted := map[string]bool{}
	for _, e := range entries {
		wanted[e.Match] = true
	}
	for _, e := range in.record.Entries {
		if !wanted[e.Match] {
			used += size(e) // becomes a tombstone, which is smaller
		}
	}
	slices.SortFunc(entries, func(a, b entry) int {
		if recorded[a.Match] != recorded[b.Match] {
			if recorded[a.Match] {
				return -1
			}
			return 1
		}
		return cmp.Or(cmp.Compare(len(a.Match), len(b.Match)), cmp.Compare(a.Match, b.Match))
	})
	for _, e := range entries {
		n := size(e)
		if used+n > recordLimit && !recorded[e.Match] {
			if excess == nil {
				excess = map[types.UID]bool{}
			}
			excess[e.UID] = true
			continue
		}
		used += n
		fit = append(fit, e)
	}
	return fit, excess
}
