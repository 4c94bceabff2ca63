package desired

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kubeovn/kube-ovn-ccm/pkg/gateway/nft"
	"github.com/kubeovn/kube-ovn-ccm/pkg/gateway/spec"
)

// at are endpoints.
func at(addresses ...string) []spec.Endpoint {
	var out []spec.Endpoint
	for _, a := range addresses {
		out = append(out, spec.Endpoint{Address: netip.MustParseAddrPort(a)})
	}
	return out
}

func port(protocol spec.Protocol, number uint16, addresses ...string) spec.Port {
	return spec.Port{Protocol: protocol, Port: number, Endpoints: at(addresses...)}
}

func endpointsGuide(ports ...spec.Port) *spec.Document {
	d := guide(ports...)
	d.Target = spec.TargetEndpoints
	return d
}

// withIPv6 adds the other family.
func withIPv6(d *spec.Document) *spec.Document {
	d.Families = append(d.Families, spec.Family{
		Address:   netip.MustParsePrefix("fd00::18/64"),
		Gateway:   netip.MustParseAddr("fd00::1"),
		ClusterIP: netip.MustParseAddr("fd02::1"),
	})
	return d
}

func TestTheTableOfAServiceIsReadable(t *testing.T) {
	d := withIPv6(endpointsGuide(port(spec.TCP, 80, "10.16.0.6:8080", "[fd01::6]:8080", "10.16.0.5:8080"), port(spec.UDP, 53)))
	d.Ports[0].Endpoints[0].KeepClient = true
	d.AffinitySeconds = 30
	d.SourceRanges = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("172.18.0.0/16")}
	want := `table inet kube-ovn-lb {
	set sources-ip-26331545 { type ipv4_addr; flags interval; elements = { 10.0.0.0-10.255.255.255, 172.18.0.0-172.18.255.255 } }
	set tcp/80/10.16.0.5/8080 { type ipv4_addr; flags dynamic,timeout }
	set tcp/80/10.16.0.6/8080 { type ipv4_addr; flags dynamic,timeout }
	map ports-ip { type ipv4_addr . inet_proto . inet_service : verdict; elements = { 172.18.0.18 . tcp . 80 : goto tcp/80/ip } }
	map guard-ip { type ipv4_addr . inet_proto . inet_service : verdict; elements = { 172.18.0.18 . udp . 53 : goto refuse, 172.18.0.18 . tcp . 80 : drop } }
	set keep-ip { type ipv4_addr . inet_proto . inet_service; elements = { 10.16.0.6 . tcp . 8080 } }
	set tcp/80/fd01..6/8080 { type ipv6_addr; flags dynamic,timeout }
	map ports-ip6 { type ipv6_addr . inet_proto . inet_service : verdict; elements = { fd00::18 . tcp . 80 : goto tcp/80/ip6 } }
	map guard-ip6 { type ipv6_addr . inet_proto . inet_service : verdict; elements = { fd00::18 . udp . 53 : goto refuse, fd00::18 . tcp . 80 : drop } }
	set keep-ip6 { type ipv6_addr . inet_proto . inet_service }
	chain sources {
		type filter hook prerouting priority -300; policy accept;
		meta nfproto ipv4 ip daddr 172.18.0.18 ip saddr != @sources-ip-26331545 goto outsiders
		meta nfproto ipv6 ip6 daddr fd00::18 goto outsiders
	}
	chain outsiders {
		meta l4proto tcp drop
		meta l4proto udp drop
		meta l4proto sctp drop
	}
	chain translate {
		type nat hook prerouting priority -100; policy accept;
		meta nfproto ipv4 ip daddr . meta l4proto . th dport vmap @ports-ip
		meta nfproto ipv6 ip6 daddr . meta l4proto . th dport vmap @ports-ip6
	}
	chain route {
		type filter hook prerouting priority -90; policy accept;
		iifname "net1" ct mark 0x4c42 ct direction original meta mark set 0x4c42
	}
	chain guard {
		type filter hook input priority 0; policy accept;
		iifname "eth0" ct state invalid drop
		meta nfproto ipv4 ip daddr . meta l4proto . th dport vmap @guard-ip
		meta nfproto ipv6 ip6 daddr . meta l4proto . th dport vmap @guard-ip6
	}
	chain refuse {
		meta l4proto tcp reject with tcp reset
		reject with icmpx port-unreachable
	}
	chain clamp {
		type filter hook forward priority -150; policy accept;
		tcp flags syn / syn,rst tcp option maxseg size set rt mtu
	}
	chain forward {
		type filter hook forward priority 0; policy accept;
		ct status dnat accept
		drop
	}
	chain masquerading {
		type nat hook postrouting priority 100; policy accept;
		oifname "eth0" meta nfproto ipv4 ip daddr . meta l4proto . th dport != @keep-ip ct status dnat masquerade
		oifname "eth0" meta nfproto ipv6 ip6 daddr . meta l4proto . th dport != @keep-ip6 ct status dnat masquerade
	}
	chain tcp/80/ip {
		meta nfproto ipv4 ip saddr @tcp/80/10.16.0.5/8080 goto tcp/80/10.16.0.5/8080
		meta nfproto ipv4 ip saddr @tcp/80/10.16.0.6/8080 goto tcp/80/10.16.0.6/8080
		meta nfproto ipv4 meta l4proto tcp meta mark set jhash ip saddr mod 2 seed 0x6b6f766e
		meta mark 0x0 goto tcp/80/10.16.0.5/8080
		meta mark 0x1 goto tcp/80/10.16.0.6/8080
	}
	chain tcp/80/10.16.0.5/8080 {
		meta nfproto ipv4 update @tcp/80/10.16.0.5/8080 { ip saddr timeout 30s }
		ct mark set 0x4c42
		meta nfproto ipv4 meta l4proto tcp dnat ip to 10.16.0.5:8080
	}
	chain tcp/80/10.16.0.6/8080 {
		meta nfproto ipv4 update @tcp/80/10.16.0.6/8080 { ip saddr timeout 30s }
		ct mark set 0x4c42
		meta nfproto ipv4 meta l4proto tcp dnat ip to 10.16.0.6:8080
	}
	chain tcp/80/ip6 {
		meta nfproto ipv6 ip6 saddr @tcp/80/fd01..6/8080 goto tcp/80/fd01..6/8080
		meta nfproto ipv6 meta l4proto tcp meta mark set jhash ip6 saddr mod 1 seed 0x6b6f766e
		meta mark 0x0 goto tcp/80/fd01..6/8080
	}
	chain tcp/80/fd01..6/8080 {
		meta nfproto ipv6 update @tcp/80/fd01..6/8080 { ip6 saddr timeout 30s }
		ct mark set 0x4c42
		meta nfproto ipv6 meta l4proto tcp dnat ip6 to [fd01::6]:8080
	}
}`
	if diff := cmp.Diff(want, table(d, pod).String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestAChangeTouchesOnlyWhatItConcerns(t *testing.T) {
	base := func() *spec.Document {
		return endpointsGuide(port(spec.TCP, 80, "10.16.0.5:8080", "10.16.0.6:8080"), port(spec.TCP, 81, "10.16.0.5:8081"), port(spec.UDP, 53))
	}
	for _, tc := range []struct {
		sentence string
		edit     func(d *spec.Document)
		want     string
	}{
		{"the order of endpoints and ports", func(d *spec.Document) { slices.Reverse(d.Ports); slices.Reverse(d.Ports[2].Endpoints) }, ""},
		{"an endpoint more", func(d *spec.Document) { d.Ports[0].Endpoints = append(d.Ports[0].Endpoints, at("10.16.0.7:8080")...) },
			"add chain tcp/80/10.16.0.7/8080; refill chain tcp/80/ip"},
		{"an endpoint less", func(d *spec.Document) { d.Ports[0].Endpoints = d.Ports[0].Endpoints[1:] },
			"refill chain tcp/80/ip; delete chain tcp/80/10.16.0.5/8080"},
		{"an endpoint drains", func(d *spec.Document) {
			d.Ports[1].Draining = []netip.AddrPort{netip.MustParseAddrPort("10.16.0.9:8081")}
		}, ""},
		{"the last endpoint of a port goes", func(d *spec.Document) { d.Ports[1].Endpoints = nil },
			"delete element ports-ip { 172.18.0.18 . tcp . 81 : goto tcp/81/ip }, guard-ip { 172.18.0.18 . tcp . 81 : drop }; " +
				"add element guard-ip { 172.18.0.18 . tcp . 81 : goto refuse }; delete chain tcp/81/ip, tcp/81/10.16.0.5/8081"},
		{"a port more", func(d *spec.Document) { d.Ports = append(d.Ports, port(spec.UDP, 54, "10.16.0.5:53")) },
			"add chain udp/54/ip, udp/54/10.16.0.5/53; add element ports-ip { 172.18.0.18 . udp . 54 : goto udp/54/ip }, guard-ip { 172.18.0.18 . udp . 54 : drop }"},
		{"an endpoint sees its clients", func(d *spec.Document) { d.Ports[0].Endpoints[0].KeepClient = true },
			"add element keep-ip { 10.16.0.5 . tcp . 8080 }"},
		{"ranges", func(d *spec.Document) { d.SourceRanges = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")} },
			"add set sources-ip-79f1c997; add chain sources, outsiders"},
		{"affinity", func(d *spec.Document) { d.Ports, d.AffinitySeconds = d.Ports[1:], 10 },
			"add set tcp/81/10.16.0.5/8081; refill chain tcp/81/ip, tcp/81/10.16.0.5/8081; " +
				"delete element ports-ip { 172.18.0.18 . tcp . 80 : goto tcp/80/ip }, guard-ip { 172.18.0.18 . tcp . 80 : drop }; " +
				"delete chain tcp/80/ip, tcp/80/10.16.0.5/8080, tcp/80/10.16.0.6/8080"},
	} {
		t.Run(tc.sentence, func(t *testing.T) {
			d := base()
			tc.edit(d)
			change := nft.Diff(table(d, pod), table(base(), pod))
			got := strings.TrimPrefix(strings.TrimPrefix(change.String(), "table inet kube-ovn-lb"), ": ")
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if change.Empty() != (tc.want == "") {
				t.Errorf("empty: %v", change.Empty())
			}
		})
	}
}

func TestAnotherTimeOfAffinityForgetsNobody(t *testing.T) {
	d := func(seconds int32) *spec.Document {
		d := endpointsGuide(port(spec.TCP, 80, "10.16.0.5:8080"))
		d.AffinitySeconds = seconds
		return d
	}
	change := nft.Diff(table(d(20), pod), table(d(10), pod))
	if len(change.RefillChains) != 1 || len(change.AddSets)+len(change.DeleteSets)+len(change.AddChains)+len(change.DeleteChains) > 0 {
		t.Errorf("got %s", change)
	}
}

func TestFromOneTargetToTheOtherThereIsAlwaysARule(t *testing.T) {
	clusterIP := build(t, guide(spec.Port{Protocol: spec.TCP, Port: 80}))
	endpoints := build(t, endpointsGuide(port(spec.TCP, 80, "10.16.0.5:8080")))
	for _, tc := range []struct {
		sentence   string
		want, have State
		steps      []string
	}{
		{"to the endpoints", endpoints, clusterIP, []string{
			"add route 0.0.0.0/0 via 10.16.0.1 dev eth0 table 101",
			"add rule 32762: fwmark 0x4c42 lookup 101",
			"add table inet kube-ovn-lb (3 sets, 9 chains)",
			"delete iptables -t filter -A INPUT -d 172.18.0.18/32 -p tcp -m tcp --dport 80 -j DROP",
			"delete iptables -t filter -A INPUT -s 10.109.201.193/32 -m conntrack --ctstate INVALID -j DROP",
			"delete iptables -t nat -A PREROUTING -d 172.18.0.18/32 -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.109.201.193:80",
			"delete iptables -t nat -A POSTROUTING -d 10.109.201.193/32 -j MASQUERADE",
			"delete iptables -t mangle -A FORWARD -p tcp -m tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu",
			"delete iptables -t filter -A FORWARD -m conntrack ! --ctstate DNAT -j DROP",
		}},
		{"to the ClusterIP", clusterIP, endpoints, []string{
			"add iptables -t filter -A INPUT -d 172.18.0.18/32 -p tcp -m tcp --dport 80 -j DROP",
			"add iptables -t filter -A INPUT -s 10.109.201.193/32 -m conntrack --ctstate INVALID -j DROP",
			"add iptables -t filter -A FORWARD -m conntrack ! --ctstate DNAT -j DROP",
			"add iptables -t mangle -A FORWARD -p tcp -m tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu",
			"add iptables -t nat -A POSTROUTING -d 10.109.201.193/32 -j MASQUERADE",
			"add iptables -t nat -A PREROUTING -d 172.18.0.18/32 -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.109.201.193:80",
			"delete table inet kube-ovn-lb",
			"delete rule 32762: fwmark 0x4c42 lookup 101",
			"delete route 0.0.0.0/0 via 10.16.0.1 dev eth0 table 101",
		}},
	} {
		t.Run(tc.sentence, func(t *testing.T) {
			if diff := cmp.Diff(tc.steps, steps(Diff(tc.want, tc.have))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

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

// TestConnectionsAfterTheClusterIPHavePortsOfTheirOwn: the cluster remembers for
// a while what it translated.
func TestConnectionsAfterTheClusterIPHavePortsOfTheirOwn(t *testing.T) {
	d := guide(spec.Port{Protocol: spec.TCP, Port: 80, Endpoints: []spec.Endpoint{{Address: netip.MustParseAddrPort("10.16.0.5:8080")}}})
	d.Target = spec.TargetEndpoints
	for former, want := range map[bool]string{false: "masquerade", true: "masquerade to :1024-32767"} {
		chains := endpointsTable(d, Facts{Cluster: Link{Name: "eth0"}, Attachment: Link{Name: "net1"}, FormerClusterIP: former}).Chains
		i := slices.IndexFunc(chains, func(c nft.Chain) bool { return c.Name == "masquerading" })
		if got := chains[i].Rules[0].Do.String(); got != want {
			t.Errorf("former connections %t: %q, want %q", former, got, want)
		}
	}
}
