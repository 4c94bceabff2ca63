package churn

import (
	"net/netip"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// subnet is what Kube-OVN says of a Subnet.
type subnet struct {
	cidrs []netip.Prefix
	// using and excluded are addresses "a" and ranges "a-b" or "a..b".
	using, excluded []string
}

func subnetOf(u *unstructured.Unstructured) subnet {
	var s subnet
	for part := range strings.SplitSeq(text(u, "spec", "cidrBlock"), ",") {
		if p, err := netip.ParsePrefix(strings.TrimSpace(part)); err == nil {
			s.cidrs = append(s.cidrs, p.Masked())
		}
	}
	for _, field := range []string{"v4usingIPrange", "v6usingIPrange"} {
		s.using = append(s.using, strings.Split(text(u, "status", field), ",")...)
	}
	s.excluded, _, _ = unstructured.NestedStringSlice(u.Object, "spec", "excludeIps")
	return s
}

// knows reports whether Kube-OVN's IPAM has the address as used. Of those that are excluded it says nothing.
func (s subnet) knows(addr netip.Addr) bool {
	return inRanges(s.using, addr) || inRanges(s.excluded, addr)
}

func (s subnet) contains(addr netip.Addr) bool {
	for _, p := range s.cidrs {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}

func inRanges(ranges []string, addr netip.Addr) bool {
	for _, r := range ranges {
		first, last, isRange := strings.Cut(strings.ReplaceAll(r, "..", "-"), "-")
		if !isRange {
			last = first
		}
		from, err1 := netip.ParseAddr(strings.TrimSpace(first))
		to, err2 := netip.ParseAddr(strings.TrimSpace(last))
		if err1 == nil && err2 == nil && from.Compare(addr) <= 0 && addr.Compare(to) <= 0 {
			return true
		}
	}
	return false
}

// revision reads a resourceVersion.
func revision(text string) uint64 {
	rev, _ := strconv.ParseUint(text, 10, 64)
	return rev
}

// Forgotten returns the addresses that Services show and that Kube-OVN's IPAM does not have as used: anybody may get them.
func (o *Observer) Forgotten() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	var out []string
	for _, c := range o.book.open(kindService) {
		for _, name := range o.scope.Subnets {
			if s := o.subnets[name]; s.contains(c.addr) && !s.knows(c.addr) {
				out = append(out, c.addr.String()+" of "+c.Holder)
			}
		}
	}
	return out
}
