package desired

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kubeovn/kube-ovn-ccm/pkg/gateway/spec"
)

func guide(ports ...spec.Port) *spec.Document {
	return &spec.Document{
		Version:   spec.Version,
		Target:    spec.TargetClusterIP,
		Interface: "net1",
		Families: []spec.Family{{
			Address:   netip.MustParsePrefix("172.18.0.18/16"),
			Gateway:   netip.MustParseAddr("172.18.0.1"),
			ClusterIP: netip.MustParseAddr("10.109.201.193"),
		}},
		Ports: ports,
	}
}

var pod = Facts{
	Cluster:         Link{Name: "eth0", Up: true, Carrier: true},
	Attachment:      Link{Name: "net1", Up: true, Carrier: true},
	ClusterGateway4: netip.MustParseAddr("10.16.0.1"),
	ClusterGateway6: netip.MustParseAddr("fd00:10:16::1"),
}

func build(t *testing.T, d *spec.Document) State {
	t.Helper()
	s, err := Build(d, pod)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func steps(ops []Op) []string {
	out := []string{}
	for _, op := range ops {
		out = append(out, op.String())
	}
	return out
}

func TestAGatewayComesUpRulesFirstAddressLast(t *testing.T) {
	got := steps(Diff(build(t, guide(spec.Port{Protocol: spec.TCP, Port: 80})), State{}))
	want := []string{
		"add iptables -t filter -A INPUT -d 172.18.0.18/32 -p tcp -m tcp --dport 80 -j DROP",
		"add iptables -t filter -A INPUT -s 10.109.201.193/32 -m conntrack --ctstate INVALID -j DROP",
		"add iptables -t filter -A FORWARD -m conntrack ! --ctstate DNAT -j DROP",
		"add iptables -t mangle -A FORWARD -p tcp -m tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu",
		"add iptables -t nat -A POSTROUTING -d 10.109.201.193/32 -j MASQUERADE",
		"add iptables -t nat -A PREROUTING -d 172.18.0.18/32 -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.109.201.193:80",
		"set link eth0 up",
		"set link net1 up",
		"set net.ipv4.conf.eth0.forwarding=1",
		"set net.ipv4.conf.net1.forwarding=1",
		"set net.ipv4.conf.eth0.rp_filter=2",
		"set net.ipv4.conf.net1.rp_filter=2",
		"set net.ipv4.conf.net1.arp_ignore=1",
		"set net.ipv4.conf.net1.arp_announce=2",
		"add route 172.18.0.0/16 dev net1 table 100",
		"add route 10.109.201.193/32 via 10.16.0.1 dev eth0 table 100",
		"add route 0.0.0.0/0 via 172.18.0.1 dev net1 table 100",
		"add rule 32764: iif eth0 lookup 100",
		"add rule 32765: iif net1 lookup 100",
		"add rule 32763: from 172.18.0.18/32 lookup 100",
		"add address 172.18.0.18/16 dev net1",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestDiff(t *testing.T) {
	tcp80, tcp81, udp53 := spec.Port{Protocol: spec.TCP, Port: 80}, spec.Port{Protocol: spec.TCP, Port: 81}, spec.Port{Protocol: spec.UDP, Port: 53}
	base := build(t, guide(tcp80))
	elsewhere := guide(tcp80)
	elsewhere.Families[0].ClusterIP = netip.MustParseAddr("10.109.201.194")
	moved := guide(tcp80)
	moved.Families[0].Address = netip.MustParsePrefix("172.18.0.19/16")
	router := guide(tcp80)
	router.Families[0].Gateway = netip.MustParseAddr("172.18.0.2")
	doubled := base
	doubled.Filters = append(slices.Clone(base.Filters), base.Filters[0])
	strayDefault := base
	strayDefault.Routes = append(slices.Clone(base.Routes), Route{Table: Table, To: netip.MustParsePrefix("0.0.0.0/0"), Via: netip.MustParseAddr("172.18.0.9"), Link: "net1"})
	empty := guide()

	for sentence, tc := range map[string]struct {
		want, have State
		steps      []string
	}{
		"nothing is done when the kernel agrees": {base, base, []string{}},
		"the order of what is there does not matter": {base, func() State {
			s := base
			s.Filters = slices.Clone(s.Filters)
			slices.Reverse(s.Filters)
			return s
		}(), []string{}},
		"a new port is guarded before it is translated": {build(t, guide(tcp80, udp53)), base, []string{
			"add iptables -t filter -A INPUT -d 172.18.0.18/32 -p udp -m udp --dport 53 -j DROP",
			"add iptables -t nat -A PREROUTING -d 172.18.0.18/32 -p udp -m udp --dport 53 -j DNAT --to-destination 10.109.201.193:53",
		}},
		"a port is renumbered by adding the new one first": {build(t, guide(tcp81)), base, []string{
			"add iptables -t filter -A INPUT -d 172.18.0.18/32 -p tcp -m tcp --dport 81 -j DROP",
			"add iptables -t nat -A PREROUTING -d 172.18.0.18/32 -p tcp -m tcp --dport 81 -j DNAT --to-destination 10.109.201.193:81",
			"delete iptables -t filter -A INPUT -d 172.18.0.18/32 -p tcp -m tcp --dport 80 -j DROP",
			"delete iptables -t nat -A PREROUTING -d 172.18.0.18/32 -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.109.201.193:80",
		}},
		"the last port goes and the address stays": {build(t, empty), base, []string{
			"delete iptables -t filter -A INPUT -d 172.18.0.18/32 -p tcp -m tcp --dport 80 -j DROP",
			"delete iptables -t nat -A PREROUTING -d 172.18.0.18/32 -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.109.201.193:80",
		}},
		"the way to a new ClusterIP is there before the old one goes": {build(t, elsewhere), base, []string{
			"add iptables -t filter -A INPUT -s 10.109.201.194/32 -m conntrack --ctstate INVALID -j DROP",
			"add iptables -t nat -A POSTROUTING -d 10.109.201.194/32 -j MASQUERADE",
			"add iptables -t nat -A PREROUTING -d 172.18.0.18/32 -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.109.201.194:80",
			"add route 10.109.201.194/32 via 10.16.0.1 dev eth0 table 100",
			"delete iptables -t filter -A INPUT -s 10.109.201.193/32 -m conntrack --ctstate INVALID -j DROP",
			"delete iptables -t nat -A PREROUTING -d 172.18.0.18/32 -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.109.201.193:80",
			"delete iptables -t nat -A POSTROUTING -d 10.109.201.193/32 -j MASQUERADE",
			"delete route 10.109.201.193/32 via 10.16.0.1 dev eth0 table 100",
		}},
		"an old address goes before its rules, a new one comes after them": {build(t, moved), base, []string{
			"add iptables -t filter -A INPUT -d 172.18.0.19/32 -p tcp -m tcp --dport 80 -j DROP",
			"add iptables -t nat -A PREROUTING -d 172.18.0.19/32 -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.109.201.193:80",
			"add rule 32763: from 172.18.0.19/32 lookup 100",
			"delete address 172.18.0.18/16 dev net1",
			"delete iptables -t filter -A INPUT -d 172.18.0.18/32 -p tcp -m tcp --dport 80 -j DROP",
			"delete iptables -t nat -A PREROUTING -d 172.18.0.18/32 -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.109.201.193:80",
			"delete rule 32763: from 172.18.0.18/32 lookup 100",
			"add address 172.18.0.19/16 dev net1",
		}},
		"a route that leads elsewhere is replaced": {build(t, router), base, []string{
			"replace route 0.0.0.0/0 via 172.18.0.2 dev net1 table 100",
		}},
		"a stray route beside the right one is deleted": {base, strayDefault, []string{
			"delete route 0.0.0.0/0 via 172.18.0.9 dev net1 table 100",
		}},
		"what is there twice is deleted once": {base, doubled, []string{
			"delete iptables -t filter -A INPUT -d 172.18.0.18/32 -p tcp -m tcp --dport 80 -j DROP",
		}},
	} {
		t.Run(sentence, func(t *testing.T) {
			if diff := cmp.Diff(tc.steps, steps(Diff(tc.want, tc.have))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestWhatCannotBeBuiltSaysWhy(t *testing.T) {
	no4, no6 := pod, pod
	no4.ClusterGateway4 = netip.Addr{}
	no6.ClusterGateway6 = netip.Addr{}
	for sentence, tc := range map[string]struct {
		document *spec.Document
		facts    Facts
		want     string
	}{
		"no way to the cluster":            {guide(), no4, "the Pod has no default route on eth0 for IPv4"},
		"no way to the cluster by IPv6":    {dual(), no6, "the Pod has no default route on eth0 for IPv6"},
		"only the way that is not needed":  {guide(), no6, ""},
		"IPv4 is not needed for IPv6 only": {v6only(), no4, ""},
	} {
		t.Run(sentence, func(t *testing.T) {
			_, err := Build(tc.document, tc.facts)
			if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
}

func TestStale(t *testing.T) {
	const lb, old, other = "172.18.0.18", "10.109.201.192", "192.0.2.1"
	stale := Stale(guide(spec.Port{Protocol: spec.TCP, Port: 80}, spec.Port{Protocol: spec.UDP, Port: 53}))
	for sentence, tc := range map[string]struct {
		protocol    spec.Protocol
		to, answers string
		want        bool
	}{
		"a served flow on its way":                           {spec.TCP, lb + ":80", "10.109.201.193:80", false},
		"a served flow that came before its rule":            {spec.UDP, lb + ":53", lb + ":53", true},
		"a served flow to an old ClusterIP":                  {spec.UDP, lb + ":53", old + ":53", true},
		"a served flow to another port":                      {spec.TCP, lb + ":80", "10.109.201.193:8080", true},
		"a flow of a port that was removed":                  {spec.TCP, lb + ":81", "10.109.201.193:81", true},
		"a flow of a protocol that was removed":              {spec.SCTP, lb + ":80", "10.109.201.193:80", true},
		"a flow that the gateway itself refused":             {spec.TCP, lb + ":81", lb + ":81", false},
		"a flow of somebody else":                            {spec.UDP, other + ":53", old + ":53", false},
		"an answered question of the gateway to the outside": {spec.UDP, other + ":53", other + ":53", false},
	} {
		t.Run(sentence, func(t *testing.T) {
			f := Flow{Protocol: tc.protocol, To: netip.MustParseAddrPort(tc.to), Answers: netip.MustParseAddrPort(tc.answers)}
			if got := stale(f); got != tc.want {
				t.Errorf("got %v, want %v", got, tc.want)
			}
		})
	}
}

func TestParseFilterKnowsOursAndOnlyOurs(t *testing.T) {
	for _, f := range build(t, guide(spec.Port{Protocol: spec.TCP, Port: 80}, spec.Port{Protocol: spec.SCTP, Port: 9899})).Filters {
		if got, ok := ParseFilter(f.Table, "-A "+f.Chain+" "+f.Spec); !ok || got != f {
			t.Errorf("%s is read as %v, %v", f, got, ok)
		}
	}
	for _, line := range []string{
		"", "-P INPUT ACCEPT", "-A INPUT", "-N LB", "-A LB -j DROP",
		"-A PREROUTING -d 172.18.0.18/32 -p tcp -m tcp --dport 80 -m comment --comment mine -j DNAT --to-destination 10.0.0.1:80",
		"-A PREROUTING -i net1 -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.0.0.1:80",
		"-A POSTROUTING -o eth0 -j MASQUERADE",
	} {
		if got, ok := ParseFilter("nat", line); ok {
			t.Errorf("%q is taken for ours: %v", line, got)
		}
	}
}

func FuzzParseFilter(f *testing.F) {
	f.Add("nat", "-A PREROUTING -d 172.18.0.18/32 -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.0.0.1:80")
	f.Add("filter", "-A INPUT -j DROP")
	f.Fuzz(func(t *testing.T, table, line string) {
		got, ok := ParseFilter(table, line)
		if !ok {
			return
		}
		again, ok := ParseFilter(table, "-A "+got.Chain+" "+got.Spec)
		if !ok || again != got {
			t.Errorf("%q was read as %v and then as %v, %v", line, got, again, ok)
		}
	})
}
