package routes

import "time"

// rounds is how often a removed route is put back and removed again. Once is
// enough if kube-ovn-controller sees the removal. It may restart just then, but
// not every time.
const rounds = 2

// tombstones returns what has been removed and is not confirmed gone from OVN,
// each with its next step taken if it is due, and when one will be due without
// anything happening.
//
// In the VPC of the nodes Kube-OVN deletes from OVN what was in the list at the
// last change of it and is not now. So what it has not deleted can only be
// deleted by putting it back and removing it once more. In other VPCs it
// compares the list with OVN.
func (in input) tombstones(entries []entry, others []any, present map[route]int) (out []tombstone, again time.Time) {
	if !in.vpc.Default {
		return nil, time.Time{}
	}
	// Adding a match replaces whatever OVN has of it, so what is wanted needs
	// no confirmation.
	done := map[string]bool{}
	hops := map[Backend]string{}
	for _, e := range entries {
		done[e.Match] = true
		for _, b := range backendsOf(e.Match) {
			hops[b] = e.NextHop
		}
	}
	for _, m := range others {
		if o, ok := m.(map[string]any); ok && hasPriority(o) {
			match, _ := o["match"].(string)
			done[match] = true
		}
	}
	for _, t := range in.record.Removed {
		if done[t.Match] {
			continue
		}
		done[t.Match] = true
		hop, possible := hopFor(t, hops)
		if t.back() && present[t.route] == 0 {
			t.Step, t.At = 0, in.now.UnixMilli() // somebody else took it away
		}
		next, keep := t.step(in, hop, possible)
		if !keep {
			continue
		}
		out = append(out, next)
		if due := next.at().Add(pace); next.back() && (again.IsZero() || due.Before(again)) {
			again = due
		}
	}
	for _, e := range in.record.Entries {
		if !done[e.Match] {
			done[e.Match] = true
			out = append(out, tombstone{route: e.route, At: in.now.UnixMilli()})
		}
	}
	return out, again
}

// hopFor returns a next hop with which a route can be put back without
// disturbing anybody: that of the entries for the same backends. There is none
// if those have several. A route for backends that no entry is for gets its
// own: Kube-OVN deletes by the match alone.
func hopFor(t tombstone, hops map[Backend]string) (hop string, possible bool) {
	for _, b := range backendsOf(t.Match) {
		switch of := hops[b]; {
		case of == "" || of == hop:
		case hop == "":
			hop = of
		default:
			return "", false
		}
	}
	if hop == "" {
		hop = t.NextHop
	}
	return hop, true
}

// step takes the next step with a removed route if it is due; keep is false
// when it is confirmed gone.
func (t tombstone) step(in input, hop string, possible bool) (next tombstone, keep bool) {
	if t.back() {
		// It is not for long, and for no longer than it is harmless.
		if in.now.Sub(t.at()) >= pace || !possible || hop != t.NextHop {
			t.Step, t.At = t.Step+1, in.now.UnixMilli()
		}
		return t, true
	}
	if in.doubted[t.Match] {
		t.Step = 0
	}
	lived, late := in.pulse.outlived(t.at())
	switch {
	case !lived:
		return t, true
	case late:
		t.Step = 0
	case t.Step >= 2*rounds:
		return t, false
	}
	if possible {
		t.Step, t.At, t.NextHop = t.Step+1, in.now.UnixMilli(), hop
	}
	return t, true
}
