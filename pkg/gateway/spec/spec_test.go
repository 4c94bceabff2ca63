package spec

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// guide is the document of the guide's Service.
func guide() *Document {
	return &Document{
		Version:   Version,
		Service:   ServiceRef{Namespace: "default", Name: "test-service", UID: "161edee1-7f6e-40f5-9e09-5a52c44267d0"},
		Interface: "net1",
		Families: []Family{{
			Address:   netip.MustParsePrefix("172.18.0.18/16"),
			Gateway:   netip.MustParseAddr("172.18.0.1"),
			ClusterIP: netip.MustParseAddr("10.109.201.193"),
		}},
		Target: TargetClusterIP,
		Ports:  []Port{{Protocol: TCP, Port: 80}},
	}
}

const guideJSON = `{
  "version": 2,
  "service": {
    "namespace": "default",
    "name": "test-service",
    "uid": "161edee1-7f6e-40f5-9e09-5a52c44267d0"
  },
  "interface": "net1",
  "families": [
    {
      "address": "172.18.0.18/16",
      "gateway": "172.18.0.1",
      "clusterIP": "10.109.201.193"
    }
  ],
  "target": "ClusterIP",
  "ports": [
    {
      "protocol": "TCP",
      "port": 80
    }
  ]
}
`

var compareAddrs = cmpopts.EquateComparable(netip.Prefix{}, netip.Addr{})

func TestTheFormatIsStable(t *testing.T) {
	b, err := guide().Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(guideJSON, string(b)); diff != "" {
		t.Errorf("gateways that run read another format (-want +got):\n%s", diff)
	}
	if got := Hash(b); len(got) != 16 {
		t.Errorf("Hash is %q, want 16 digits", got)
	}
	d, err := Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(guide(), d, compareAddrs); diff != "" {
		t.Errorf("what was written is not what is read (-want +got):\n%s", diff)
	}
}

func TestHashTellsDocumentsApart(t *testing.T) {
	one, err := guide().Marshal()
	if err != nil {
		t.Fatal(err)
	}
	d := guide()
	d.Ports[0].Port = 81
	other, err := d.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if Hash(one) == Hash(other) || Hash(one) != Hash([]byte(guideJSON)) {
		t.Errorf("Hash: %s and %s for different documents, %s for the first again", Hash(one), Hash(other), Hash([]byte(guideJSON)))
	}
}

func TestValidate(t *testing.T) {
	v6 := Family{
		Address:   netip.MustParsePrefix("fd00:18::18/64"),
		Gateway:   netip.MustParseAddr("fe80::1"),
		ClusterIP: netip.MustParseAddr("fd00:10::1"),
	}
	for sentence, tc := range map[string]struct {
		change func(*Document)
		want   string // empty: valid
	}{
		"the guide's Service":     {func(*Document) {}, ""},
		"a Service without ports": {func(d *Document) { d.Ports = nil }, ""},
		"one port with three protocols": {func(d *Document) {
			d.Ports = []Port{{Protocol: TCP, Port: 53}, {Protocol: UDP, Port: 53}, {Protocol: SCTP, Port: 53}}
		}, ""},
		"two families, IPv6 with a link-local router": {func(d *Document) {
			d.Target, d.Families = TargetEndpoints, append(d.Families, v6)
		}, ""},
		"IPv6 alone":                                {func(d *Document) { d.Target, d.Families = TargetEndpoints, []Family{v6} }, ""},
		"IPv6 at the ClusterIP":                     {func(d *Document) { d.Families = append(d.Families, v6) }, "families[1]: IPv6 needs target Endpoints"},
		"a format of the future":                    {func(d *Document) { d.Version = 3 }, "version is 3"},
		"no interface":                              {func(d *Document) { d.Interface = "" }, "interface is empty"},
		"an interface that leaves /proc/sys":        {func(d *Document) { d.Interface = "../../x" }, "is not the name of an interface"},
		"an interface with a name that is too long": {func(d *Document) { d.Interface = "abcdefghijklmnop" }, "is not the name of an interface"},
		"no family":                                 {func(d *Document) { d.Families = nil }, "families is empty"},
		"a family twice":                            {func(d *Document) { d.Families = append(d.Families, d.Families[0]) }, "families[1]: a second entry"},
		"no address":                                {func(d *Document) { d.Families[0].Address = netip.Prefix{} }, "families[0].address is missing"},
		"no router":                                 {func(d *Document) { d.Families[0].Gateway = netip.Addr{} }, "families[0].gateway is missing"},
		"no ClusterIP":                              {func(d *Document) { d.Families[0].ClusterIP = netip.Addr{} }, "families[0].clusterIP is missing"},
		"a ClusterIP of the other family":           {func(d *Document) { d.Families[0].ClusterIP = v6.ClusterIP }, "families[0].clusterIP fd00:10::1 is of another IP family"},
		"a router outside the Subnet":               {func(d *Document) { d.Families[0].Gateway = netip.MustParseAddr("172.19.0.1") }, "families[0].gateway 172.19.0.1 is outside the Subnet"},
		"the router's address as the address":       {func(d *Document) { d.Families[0].Address = netip.MustParsePrefix("172.18.0.1/16") }, "families[0].gateway 172.18.0.1 is the load balancer's own address"},
		"an address of no host":                     {func(d *Document) { d.Families[0].Address = netip.MustParsePrefix("224.0.0.1/16") }, "families[0].address 224.0.0.1/16 is not an address of a host"},
		"port 0":                                    {func(d *Document) { d.Ports[0].Port = 0 }, "ports[0].port is 0"},
		"an unknown protocol":                       {func(d *Document) { d.Ports[0].Protocol = "tcp" }, `ports[0].protocol "tcp"`},
		"endpoints of both families": {func(d *Document) {
			d.Target = TargetEndpoints
			d.SourceRanges = []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24"), netip.MustParsePrefix("fd00::/8")}
			d.AffinitySeconds = 10800
			d.Ports[0].Endpoints = []Endpoint{{Address: netip.MustParseAddrPort("10.16.0.5:8080"), KeepClient: true}, {Address: netip.MustParseAddrPort("[fd00:10::5]:8080")}}
			d.Ports[0].Draining = []netip.AddrPort{netip.MustParseAddrPort("10.16.0.6:8080")}
		}, ""},
		"no target":                      {func(d *Document) { d.Target = "" }, `target "" is none of`},
		"source ranges at the ClusterIP": {func(d *Document) { d.SourceRanges = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")} }, "sourceRanges need target Endpoints"},
		"a source range with host bits":  {func(d *Document) { d.SourceRanges = []netip.Prefix{netip.MustParsePrefix("10.0.0.1/8")} }, "sourceRanges[0] 10.0.0.1/8 is not a network"},
		"affinity at the ClusterIP":      {func(d *Document) { d.AffinitySeconds = 1 }, "affinitySeconds needs target Endpoints"},
		"an affinity of more than a day": {func(d *Document) { d.Target, d.AffinitySeconds = TargetEndpoints, 86401 }, "affinitySeconds is 86401"},
		"endpoints at the ClusterIP":     {func(d *Document) { d.Ports[0].Draining = []netip.AddrPort{netip.MustParseAddrPort("10.16.0.6:80")} }, "ports[0]: endpoints need target Endpoints"},
		"a refused port with endpoints":  {func(d *Document) { d.Target, d.Ports[0].Refuse = TargetEndpoints, true }, "ports[0].refuse needs target ClusterIP"},
		"an endpoint without a port": {func(d *Document) {
			d.Target, d.Ports[0].Endpoints = TargetEndpoints, []Endpoint{{Address: netip.MustParseAddrPort("10.16.0.5:0")}}
		}, "ports[0].endpoints[0] 10.16.0.5:0 is not the address of an endpoint"},
		"an endpoint that drains and serves": {func(d *Document) {
			d.Target = TargetEndpoints
			a := netip.MustParseAddrPort("10.16.0.5:80")
			d.Ports[0].Endpoints, d.Ports[0].Draining = []Endpoint{{Address: a}}, []netip.AddrPort{a}
		}, "ports[0].draining[0]: 10.16.0.5:80 a second time"},
		"a port twice": {func(d *Document) { d.Ports = []Port{{Protocol: TCP, Port: 80}, {Protocol: TCP, Port: 80}} }, "ports[1]: TCP 80 a second time"},
	} {
		t.Run(sentence, func(t *testing.T) {
			d := guide()
			tc.change(d)
			err := d.Validate()
			if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
}

func TestEveryFaultIsNamed(t *testing.T) {
	_, err := Parse([]byte(`{"version":3,"ports":[{"protocol":"TCP","port":0}]}`))
	for _, want := range []string{"version is 3", "interface is empty", "families is empty", "ports[0].port is 0"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is missing in: %v", want, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(guideJSON))
	f.Add([]byte(`{"version":2,"target":"Endpoints","interface":"net1","families":[{"address":"fd00::2/64","gateway":"fe80::1%net1","clusterIP":"fd01::1"}]}`))
	f.Add([]byte(`{"version":2,"target":"ClusterIP","interface":"..","families":[{"address":"0.0.0.0/0","gateway":"::ffff:1.2.3.4","clusterIP":""}],"ports":[{"port":65536}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := Parse(b)
		if err != nil {
			return
		}
		canonical, err := d.Marshal()
		if err != nil {
			t.Fatalf("a valid document cannot be written: %v", err)
		}
		again, err := Parse(canonical)
		if err != nil {
			t.Fatalf("a valid document is not valid any more: %v\n%s", err, canonical)
		}
		if diff := cmp.Diff(d, again, compareAddrs, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("writing and reading changed the document:\n%s", diff)
		}
		for _, family := range d.Families {
			if a := family.Address; family.ClusterIP.Is4() != a.Addr().Is4() || !a.IsValid() {
				t.Fatalf("families are mixed: %+v", family)
			}
		}
		if strings.ContainsAny(d.Interface, "/ \n\x00") {
			t.Fatalf("interface %q", d.Interface)
		}
	})
}
