package desired

import (
	"net/netip"
	"testing"

	"github.com/kubeovn/kube-ovn-ccm/pkg/gateway/spec"
)

func TestStaleAtTheEndpoints(t *testing.T) {
	const client, lb, gateway = "172.18.0.5", "172.18.0.18", "10.16.0.2"
	const serving, keeping, drains, gone, clusterIP = "10.16.0.5:8080", "10.16.0.6:8080", "10.16.0.7:8080", "10.16.0.8:8080", "10.109.201.193"
	d := endpointsGuide(port(spec.TCP, 80, serving, keeping), port(spec.UDP, 80, serving, keeping), port(spec.SCTP, 80, serving), port(spec.UDP, 53))
	for i := range 2 {
		d.Ports[i].Endpoints[1].KeepClient = true
	}
	for i := range 3 {
		d.Ports[i].Draining = []netip.AddrPort{netip.MustParseAddrPort(drains)}
	}
	d.SourceRanges = []netip.Prefix{netip.MustParsePrefix("172.18.0.0/16")}
	stale := Stale(d)
	for sentence, tc := range map[string]struct {
		protocol               spec.Protocol
		client, to, by, backTo string
		want                   bool
	}{
		"a connection to an endpoint":                              {spec.TCP, client, lb + ":80", serving, gateway, false},
		"a connection to an endpoint that drains":                  {spec.TCP, client, lb + ":80", drains, gateway, false},
		"an association with an endpoint that drains":              {spec.SCTP, client, lb + ":80", drains, gateway, false},
		"a connection to an endpoint that is gone":                 {spec.TCP, client, lb + ":80", gone, gateway, true},
		"a connection from before its endpoint saw the client":     {spec.TCP, client, lb + ":80", keeping, gateway, false},
		"a connection that the ClusterIP has":                      {spec.TCP, client, lb + ":80", clusterIP + ":80", gateway, false},
		"a connection that came before its rule":                   {spec.TCP, client, lb + ":80", lb + ":80", client, true},
		"a connection of a client that is not let in any more":     {spec.TCP, "192.0.2.1", lb + ":80", serving, gateway, true},
		"a refused connection of a client that is not let in":      {spec.TCP, "192.0.2.1", lb + ":81", lb + ":81", "192.0.2.1", true},
		"a connection to a port that was removed":                  {spec.TCP, client, lb + ":81", serving, gateway, true},
		"a connection that the gateway itself refused":             {spec.TCP, client, lb + ":81", lb + ":81", client, false},
		"somebody else's connection":                               {spec.TCP, "192.0.2.1", "192.0.2.2:80", gone, gateway, false},
		"datagrams to an endpoint":                                 {spec.UDP, client, lb + ":80", serving, gateway, false},
		"datagrams to an endpoint that sees the client":            {spec.UDP, client, lb + ":80", keeping, client, false},
		"datagrams from before the endpoint saw the client":        {spec.UDP, client, lb + ":80", keeping, gateway, true},
		"datagrams from when the endpoint still saw the client":    {spec.UDP, client, lb + ":80", serving, client, true},
		"datagrams to an endpoint that drains":                     {spec.UDP, client, lb + ":80", drains, gateway, true},
		"datagrams to an endpoint that is gone":                    {spec.UDP, client, lb + ":80", gone, gateway, true},
		"datagrams that the ClusterIP has":                         {spec.UDP, client, lb + ":80", clusterIP + ":80", gateway, true},
		"datagrams that came before their rule":                    {spec.UDP, client, lb + ":80", lb + ":80", client, true},
		"datagrams of a port that has lost its endpoints":          {spec.UDP, client, lb + ":53", serving, gateway, true},
		"datagrams to the endpoint of another port with that name": {spec.UDP, client, lb + ":53", "10.16.0.5:53", gateway, true},
	} {
		t.Run(sentence, func(t *testing.T) {
			f := Flow{
				Protocol: tc.protocol, Client: netip.MustParseAddr(tc.client), To: netip.MustParseAddrPort(tc.to),
				Answers: netip.MustParseAddrPort(tc.by), AnswersTo: netip.MustParseAddr(tc.backTo),
			}
			if got := stale(f); got != tc.want {
				t.Errorf("got %v, want %v", got, tc.want)
			}
		})
	}
}

func TestStaleAtTheClusterIPAfterTheEndpoints(t *testing.T) {
	client, gateway := netip.MustParseAddr("172.18.0.5"), netip.MustParseAddr("10.16.0.2")
	lb, endpoint := netip.MustParseAddrPort("172.18.0.18:80"), netip.MustParseAddrPort("10.16.0.5:8080")
	clusterIP := netip.MustParseAddrPort("10.109.201.193:80")
	serving := guide(spec.Port{Protocol: spec.TCP, Port: 80}, spec.Port{Protocol: spec.UDP, Port: 80})
	refusing := guide(spec.Port{Protocol: spec.TCP, Port: 80, Refuse: true})
	for sentence, tc := range map[string]struct {
		document *spec.Document
		flow     Flow
		want     bool
	}{
		"a connection to an endpoint lingers":            {serving, Flow{spec.TCP, client, lb, endpoint, gateway, true}, false},
		"one whose endpoint sees the client ends":        {serving, Flow{spec.TCP, client, lb, endpoint, client, true}, true},
		"datagrams to an endpoint end":                   {serving, Flow{spec.UDP, client, lb, endpoint, gateway, true}, true},
		"a connection to a former ClusterIP ends":        {serving, Flow{spec.TCP, client, lb, endpoint, gateway, false}, true},
		"it ends with its port":                          {guide(), Flow{spec.TCP, client, lb, endpoint, gateway, true}, true},
		"what there is goes on when all else is refused": {refusing, Flow{spec.TCP, client, lb, clusterIP, gateway, false}, false},
		"what the stack refused is not stale":            {refusing, Flow{spec.TCP, client, lb, lb, client, false}, false},
	} {
		t.Run(sentence, func(t *testing.T) {
			if got := Stale(tc.document)(tc.flow); got != tc.want {
				t.Errorf("got %v, want %v", got, tc.want)
			}
		})
	}
}

func TestARefusedPortHasNoRules(t *testing.T) {
	refusing := guide(spec.Port{Protocol: spec.TCP, Port: 80, Refuse: true}, spec.Port{Protocol: spec.TCP, Port: 81})
	for _, f := range build(t, refusing).Filters {
		if f == guardPort(refusing.Families[0].Address.Addr(), refusing.Ports[0]) || f == translatePort(refusing.Families[0], refusing.Ports[0]) {
			t.Errorf("there is %s", f)
		}
	}
}

func TestLingeringConnectionsKeepTheirWayAndNothingElse(t *testing.T) {
	facts := pod
	facts.Lingering = true
	s, err := Build(guide(spec.Port{Protocol: spec.TCP, Port: 80}), facts)
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Table.Sets) > 0 || len(s.Table.Chains) != 2 {
		t.Errorf("got %s", s.Table)
	}
	rules := steps(Diff(s, build(t, guide(spec.Port{Protocol: spec.TCP, Port: 80}))))
	want := []string{"add route 0.0.0.0/0 via 10.16.0.1 dev eth0 table 101", "add rule 32762: fwmark 0x4c42 lookup 101", "add table inet kube-ovn-lb (0 sets, 2 chains)"}
	if len(rules) != len(want) {
		t.Fatalf("got %q, want %q", rules, want)
	}
	for i := range want {
		if rules[i] != want[i] {
			t.Errorf("got %q, want %q", rules[i], want[i])
		}
	}
}
