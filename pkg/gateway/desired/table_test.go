package desired

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

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
