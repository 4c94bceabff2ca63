package kubeovn

import (
	"math/big"
	"net/netip"
	"slices"
	"strings"
)

// Range is all addresses from First to Last, both of one family.
type Range struct{ First, Last netip.Addr }

// Contains reports whether an address is in the range.
func (r Range) Contains(addr netip.Addr) bool {
	return addr.BitLen() == r.First.BitLen() && !addr.Less(r.First) && !r.Last.Less(addr)
}

// RangeOf returns a prefix as a range, its first and last address included.
func RangeOf(p netip.Prefix) Range {
	raw := p.Masked().Addr().AsSlice()
	for bit := p.Bits(); bit < 8*len(raw); bit++ {
		raw[bit/8] |= 0x80 >> (bit % 8)
	}
	last, _ := netip.AddrFromSlice(raw)
	return Range{First: p.Masked().Addr(), Last: last}
}

// Ranges is a list of ranges.
type Ranges []Range

// ParseRanges reads lists of Kube-OVN: "a", "a..b" (spec.excludeIps, spec.ips of
// an IPPool), "a-b" (status) and prefixes. What is none of them is left out.
func ParseRanges(list []string) Ranges {
	var out Ranges
	for _, item := range list {
		if p, err := netip.ParsePrefix(item); err == nil {
			out = append(out, RangeOf(p))
			continue
		}
		first, last, found := strings.Cut(strings.ReplaceAll(item, "..", "-"), "-")
		if !found {
			last = first
		}
		a, err1 := netip.ParseAddr(strings.TrimSpace(first))
		b, err2 := netip.ParseAddr(strings.TrimSpace(last))
		if a, b = a.Unmap(), b.Unmap(); err1 == nil && err2 == nil && a.BitLen() == b.BitLen() && !b.Less(a) {
			out = append(out, Range{First: a, Last: b})
		}
	}
	return out
}

// Contains reports whether an address is in one of the ranges.
func (r Ranges) Contains(addr netip.Addr) bool {
	return slices.ContainsFunc(r, func(one Range) bool { return one.Contains(addr) })
}

// Of returns the ranges of one family.
func (r Ranges) Of(v4 bool) Ranges {
	return slices.DeleteFunc(slices.Clone(r), func(one Range) bool { return one.First.Is4() != v4 })
}

// size is the number of addresses in all ranges, which do not overlap.
func (r Ranges) size() float64 {
	sum := new(big.Int)
	for _, one := range r {
		last, first := new(big.Int).SetBytes(one.Last.AsSlice()), new(big.Int).SetBytes(one.First.AsSlice())
		sum.Add(sum, last.Sub(last, first)).Add(sum, big.NewInt(1))
	}
	n, _ := sum.Float64()
	return n
}
