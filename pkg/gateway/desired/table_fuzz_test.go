package desired

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kubeovn/kube-ovn-ccm/pkg/gateway/nft"
	"github.com/kubeovn/kube-ovn-ccm/pkg/gateway/spec"
)

func TestMergeRanges(t *testing.T) {
	for _, tc := range []struct{ in, want string }{
		{"", ""},
		{"10.0.0.0/8", "10.0.0.0-10.255.255.255"},
		{"10.0.0.0/8 10.1.0.0/16 10.0.0.0/8", "10.0.0.0-10.255.255.255"},
		{"10.0.1.0/24 10.0.0.0/24", "10.0.0.0-10.0.1.255"},
		{"10.0.2.0/24 10.0.0.0/24", "10.0.0.0-10.0.0.255 10.0.2.0-10.0.2.255"},
		{"0.0.0.0/0 255.255.255.255/32", "0.0.0.0-255.255.255.255"},
		{"255.255.255.0/24 255.255.255.255/32 254.0.0.0/8", "254.0.0.0-254.255.255.255 255.255.255.0-255.255.255.255"},
		{"fd00::/8 10.0.0.1/32", "10.0.0.1-10.0.0.1"},
	} {
		var in []netip.Prefix
		for _, s := range strings.Fields(tc.in) {
			in = append(in, netip.MustParsePrefix(s))
		}
		var got []string
		for _, r := range mergeRanges(in, nft.IPv4) {
			got = append(got, fmt.Sprintf("%s-%s", r.First, r.Last))
		}
		if s := strings.Join(got, " "); s != tc.want {
			t.Errorf("%s: got %s, want %s", tc.in, s, tc.want)
		}
	}
}

// FuzzMergeRanges wants ranges that the kernel takes and that hold exactly the
// addresses of the networks.
func FuzzMergeRanges(f *testing.F) {
	f.Add([]byte{10, 0, 0, 0, 8, 10, 1, 0, 0, 16}, uint32(0x0a000001))
	f.Add([]byte{255, 255, 255, 255, 32, 0, 0, 0, 0, 0}, uint32(0xffffffff))
	f.Fuzz(func(t *testing.T, b []byte, address uint32) {
		var networks []netip.Prefix
		for ; len(b) >= 5; b = b[5:] {
			networks = append(networks, netip.PrefixFrom(netip.AddrFrom4([4]byte(b[:4])), int(b[4])%33).Masked())
		}
		ranges := mergeRanges(networks, nft.IPv4)
		for i, r := range ranges {
			if r.First.Compare(r.Last) > 0 || i > 0 && ranges[i-1].Last.Next().Compare(r.First) >= 0 {
				t.Fatalf("%v: %v", networks, ranges)
			}
		}
		a := netip.AddrFrom4([4]byte{byte(address >> 24), byte(address >> 16), byte(address >> 8), byte(address)})
		in := slices.ContainsFunc(networks, func(n netip.Prefix) bool { return n.Contains(a) })
		if got := slices.ContainsFunc(ranges, func(r nft.Range) bool { return r.First.Compare(a) <= 0 && a.Compare(r.Last) <= 0 }); got != in {
			t.Errorf("%s in %v is %v, in %v %v", a, networks, in, ranges, got)
		}
	})
}

// FuzzTable wants that whatever refers to something finds it, that a table
// follows from its document, and that changes lead from any table to any other.
func FuzzTable(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 4}, []byte{4, 3}, int32(0))
	f.Add([]byte{17, 18, 200, 3}, []byte{}, int32(30))
	f.Fuzz(func(t *testing.T, a, b []byte, affinity int32) {
		from, to := fuzzDocument(a, 0), fuzzDocument(b, affinity)
		for _, d := range []*spec.Document{from, to} {
			if d.Validate() != nil {
				return // no gateway has such a document
			}
		}
		have, want := table(from, pod), table(to, pod)
		checkReferences(t, want)
		if change := nft.Diff(table(to, pod), want); !change.Empty() {
			t.Errorf("twice the same document: %s", change)
		}
		if change := nft.Diff(want, replay(have, nft.Diff(want, have))); !change.Empty() {
			t.Errorf("after the change there is still to do: %s", change)
		}
	})
}

func fuzzDocument(b []byte, affinity int32) *spec.Document {
	d := withIPv6(endpointsGuide())
	d.AffinitySeconds = affinity
	protocols := []spec.Protocol{spec.TCP, spec.UDP, spec.SCTP}
	for i, x := range b {
		p := spec.Port{Protocol: protocols[int(x)%3], Port: uint16(1 + i/3)}
		for n := range x % 5 {
			address := netip.AddrFrom4([4]byte{10, 0, x, n})
			if x&0x10 != 0 {
				address = netip.AddrFrom16([16]byte{0: 0xfd, 14: x, 15: n})
			}
			p.Endpoints = append(p.Endpoints, spec.Endpoint{Address: netip.AddrPortFrom(address, 1+uint16(x)), KeepClient: x&0x20 != 0})
		}
		if x&0x40 != 0 {
			d.SourceRanges = append(d.SourceRanges, netip.PrefixFrom(netip.AddrFrom4([4]byte{x, 0, 0, 0}), 8))
		}
		d.Ports = append(d.Ports, p)
	}
	return d
}

// checkReferences wants every name once, and every reference to have a target.
func checkReferences(t *testing.T, table *nft.Table) {
	t.Helper()
	chains, sets := map[string]bool{}, map[string]bool{}
	for _, s := range table.Sets {
		if sets[s.Name] {
			t.Errorf("two sets %s", s.Name)
		}
		sets[s.Name] = true
	}
	for _, c := range table.Chains {
		if chains[c.Name] {
			t.Errorf("two chains %s", c.Name)
		}
		chains[c.Name] = true
	}
	need := func(names map[string]bool, name string) {
		if name != "" && !names[name] {
			t.Errorf("nothing has the name %s", name)
		}
	}
	for _, s := range table.Sets {
		for _, e := range s.Elements {
			need(chains, e.Verdict.Goto)
		}
	}
	for _, c := range table.Chains {
		for _, r := range c.Rules {
			need(sets, r.Match.From)
			need(sets, r.Match.NotFrom)
			need(sets, r.Match.NotTo)
			switch do := r.Do.(type) {
			case nft.Goto:
				need(chains, do.Chain)
			case nft.Dispatch:
				need(sets, do.Map)
			case nft.Remember:
				need(sets, do.Set)
			}
		}
	}
}

// replay makes a change as the kernel would.
func replay(t *nft.Table, c nft.Change) *nft.Table {
	if c.Create {
		return &nft.Table{Sets: c.AddSets, Chains: c.AddChains}
	}
	out := &nft.Table{}
	for _, s := range t.Sets {
		named := func(o nft.Set) bool { return o.Name == s.Name }
		if slices.ContainsFunc(c.DeleteSets, named) {
			continue
		}
		for _, o := range c.DeleteElements {
			if named(o) {
				s.Elements = slices.DeleteFunc(slices.Clone(s.Elements), func(e nft.Element) bool { return slices.Contains(o.Elements, e) })
			}
		}
		for _, o := range c.AddElements {
			if named(o) {
				s.Elements = slices.Concat(s.Elements, o.Elements)
			}
		}
		out.Sets = append(out.Sets, s)
	}
	for _, x := range t.Chains {
		named := func(o nft.Chain) bool { return o.Name == x.Name }
		if slices.ContainsFunc(c.DeleteChains, named) {
			continue
		}
		if i := slices.IndexFunc(c.RefillChains, named); i >= 0 {
			x = c.RefillChains[i]
		}
		out.Chains = append(out.Chains, x)
	}
	out.Sets, out.Chains = append(out.Sets, c.AddSets...), append(out.Chains, c.AddChains...)
	return out
}

// manyPorts is a document with a number of ports of four endpoints each.
func manyPorts(n int) *spec.Document {
	d := endpointsGuide()
	for i := range n {
		d.Ports = append(d.Ports, port(spec.TCP, uint16(1000+i), "10.16.0.5:8080", "10.16.0.6:8080", "10.16.0.7:8080", "10.16.0.8:8080"))
	}
	return d
}

// BenchmarkTable builds the tables of small and of large Services and compares
// them with what they were before one endpoint changed.
func BenchmarkTable(b *testing.B) {
	for _, n := range []int{1, 50, 200} {
		b.Run(fmt.Sprintf("%d ports", n), func(b *testing.B) {
			d := manyPorts(n)
			before := table(d, pod)
			d.Ports[0].Endpoints = d.Ports[0].Endpoints[1:]
			for b.Loop() {
				if nft.Diff(table(d, pod), before).Empty() {
					b.Fatal("no difference")
				}
			}
			b.ReportMetric(float64(b.Elapsed())/float64(b.N)/float64(n)/float64(time.Microsecond), "µs/port")
		})
	}
}
