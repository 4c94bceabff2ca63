package ipam

import (
	"hash/fnv"
	"net/netip"
	"time"

	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
)

// A Vip cannot name an IPPool: Kube-OVN gives one that names no address any of
// the Subnet that is in no IPPool. So an address of a pool is picked here, from
// what nobody is known to hold, and asked for by name. If somebody else gets it
// first, the Vip stays empty, and the next one is asked for. Nothing is taken
// that Kube-OVN has not granted.

const (
	// pickRetry is when to look again at a Vip that asks for an address which
	// was picked here: who was faster is known by then.
	pickRetry = 500 * time.Millisecond
	// pickTries bounds how many addresses are looked at.
	pickTries = 1 << 16
)

// any returns an address to ask for, the zero one if Kube-OVN is to pick, or why
// there is none.
func (in input) any(v4 bool) (netip.Addr, *problem) {
	req := in.request
	ahead := req.Ahead
	if ahead == nil {
		ahead = nobodyAhead
	}
	if req.Pool != nil && len(req.Pool.IPs.Of(v4)) > 0 {
		addr, left := in.pick(req.Pool.IPs.Of(v4), ahead)
		switch {
		case addr.IsValid():
			return addr, nil
		case left > 0:
			return addr, in.poolFull(v4).inQueue()
		}
		return addr, in.poolFull(v4)
	}
	left := req.Subnet.Available(v4)
	switch {
	case left == 0:
		return netip.Addr{}, full(req, v4)
	case left > 0 && left <= crowded && left <= float64(ahead(int(left))):
		return netip.Addr{}, full(req, v4).inQueue()
	}
	cidr, _ := req.Subnet.CIDR(v4)
	switch {
	case !v4:
		addr, _ := in.pick(remote(cidr, req.Owner), nobodyAhead)
		return addr, nil
	case req.AvoidBuggyIPs:
		addr, _ := in.pick(startingAt(kubeovn.RangeOf(cidr), seed(req.Owner)), nobodyAhead)
		if !addr.IsValid() {
			return addr, full(req, v4)
		}
		return addr, nil
	}
	return netip.Addr{}, nil
}

// crowded is how many free addresses a Subnet has at most if it matters who
// asks first.
const crowded = 256

func nobodyAhead(int) int { return 0 }

// pick returns the first address that can be asked for, after as many as there
// are Services before this one, and as were asked for in vain. If there is none,
// left says how many there are for those before this one. It counts no more
// Services than there are addresses, and where there are many, a few at first.
func (in input) pick(ranges kubeovn.Ranges, ahead func(most int) int) (picked netip.Addr, left int) {
	if addr := in.pending(ranges); addr.IsValid() {
		return addr, 0
	}
	for most := 1; ; most *= 4 {
		found, before := in.pickables(ranges, most), 0
		if len(found) > 0 {
			before = ahead(len(found))
		}
		switch {
		case before+in.wait.nudges < len(found):
			return found[before+in.wait.nudges], 0
		case len(found) == most: // there may be more
		case before >= len(found):
			return netip.Addr{}, len(found)
		default: // from the beginning once more
			return found[before+in.wait.nudges%(len(found)-before)], 0
		}
	}
}

// pickables returns the first addresses that can be asked for.
func (in input) pickables(ranges kubeovn.Ranges, most int) (found []netip.Addr) {
	tries := 0
	for _, r := range ranges {
		for addr := r.First; addr.IsValid() && !r.Last.Less(addr) && tries < pickTries; addr = addr.Next() {
			tries++
			if !in.free(addr) || !in.pickable(addr) || in.elsewhere(addr) {
				continue
			}
			if found = append(found, addr); len(found) == most {
				return found
			}
		}
	}
	return found
}

// pending returns the address that the Service's Vip asks for, if that is still
// to be had.
func (in input) pending(ranges kubeovn.Ranges) netip.Addr {
	if in.vip == nil || in.vip.Granted() || in.vip.Subnet != in.request.Subnet.Name {
		return netip.Addr{}
	}
	for _, text := range []string{in.vip.WantV4, in.vip.WantV6} {
		addr, err := netip.ParseAddr(text)
		if err == nil && ranges.Contains(addr) && in.holder(addr) == "" && in.pickable(addr) && !in.elsewhere(addr) {
			return addr
		}
	}
	return netip.Addr{}
}

// free reports whether nobody is known to hold an address or to be about to.
func (in input) free(addr netip.Addr) bool {
	return in.holder(addr) == "" && (in.asked == nil || !in.asked(addr))
}

// pickable reports whether an address may be picked: some are reserved, some
// the operator keeps for other uses, and some old clients cannot reach.
func (in input) pickable(addr netip.Addr) bool {
	req := in.request
	if usable(req, addr) != nil || kubeovn.ParseRanges(req.Subnet.ExcludeIPs).Contains(addr) {
		return false
	}
	return !req.AvoidBuggyIPs || !buggy(addr)
}

// elsewhere reports whether an address belongs to another IPPool than the one
// to pick from.
func (in input) elsewhere(addr netip.Addr) bool {
	for _, pool := range in.pools {
		if (in.request.Pool == nil || pool.Name != in.request.Pool.Name) && pool.IPs.Contains(addr) {
			return true
		}
	}
	return false
}

// buggy reports whether an IPv4 address looks like that of a network or a
// broadcast to software that knows only classes.
func buggy(addr netip.Addr) bool {
	if !addr.Is4() {
		return false
	}
	last := addr.As4()[3]
	return last == 0 || last == 255
}

// seed is a number that is the same for all Services of one name.
func seed(owner kubeovn.Owner) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(owner.Key())) // a hash never fails
	return h.Sum64()
}

// startingAt returns a range as two, so that it begins somewhere in its middle:
// Kube-OVN hands out the lowest free address, and who picks elsewhere seldom
// picks the same.
func startingAt(r kubeovn.Range, seed uint64) kubeovn.Ranges {
	first := plus(r.First, seed%count(r))
	if first == r.First {
		return kubeovn.Ranges{r}
	}
	return kubeovn.Ranges{{First: first, Last: r.Last}, {First: r.First, Last: first.Prev()}}
}

// remote returns a part of an IPv6 range that Kube-OVN does not come to by
// itself, from an address on that the Service's name leads to. Kube-OVN hands
// out the lowest free address; after a restart, too, to every Vip whose IPv6
// address it has forgotten, which would be that of a Service otherwise.
func remote(cidr netip.Prefix, owner kubeovn.Owner) kubeovn.Ranges {
	r := kubeovn.RangeOf(netip.PrefixFrom(cidr.Addr(), max(cidr.Bits(), 96)))
	return startingAt(kubeovn.Range{First: plus(r.First, count(r)/2), Last: r.Last}, seed(owner))
}

// count is the number of addresses in a range, at most 1<<32.
func count(r kubeovn.Range) uint64 {
	return min(low(r.Last)-low(r.First), 1<<32-1) + 1
}

// low are the last 64 bits of an address.
func low(addr netip.Addr) uint64 {
	var n uint64
	for _, b := range addr.AsSlice()[max(0, addr.BitLen()/8-8):] {
		n = n<<8 | uint64(b)
	}
	return n
}

// plus returns the address that is n further, within the last 64 bits.
func plus(addr netip.Addr, n uint64) netip.Addr {
	raw := addr.AsSlice()
	for i := len(raw) - 1; i >= 0 && n > 0; i-- {
		n += uint64(raw[i])
		raw[i] = byte(n)
		n >>= 8
	}
	out, _ := netip.AddrFromSlice(raw)
	return out
}

// soon has a Vip looked at again soon that asks for what was picked here.
func (in input) soon(a action, want kubeovn.Addrs) action {
	picked := want != in.keep().With(in.request.Wish.All()...)
	asks := in.vip == nil || in.vip.WantV4 != "" || in.vip.WantV6 != ""
	if picked && asks && a.result.State == Pending && a.result.RetryAfter > pickRetry {
		a.result.RetryAfter = pickRetry
	}
	return a
}
