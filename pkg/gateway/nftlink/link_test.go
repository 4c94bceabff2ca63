package nftlink_test

import (
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"testing"

	"github.com/vishvananda/netns"

	"github.com/kubeovn/kube-ovn-ccm/pkg/gateway/desired"
	"github.com/kubeovn/kube-ovn-ccm/pkg/gateway/nft"
	"github.com/kubeovn/kube-ovn-ccm/pkg/gateway/nftlink"
	"github.com/kubeovn/kube-ovn-ccm/pkg/gateway/spec"
)

// inNamespace runs the test in a network namespace of its own, which ends with
// it.
func inNamespace(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("the tests of nftables make network namespaces and need root")
	}
	runtime.LockOSThread()
	here, err := netns.Get()
	if err != nil {
		t.Fatal(err)
	}
	there, err := netns.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := netns.Set(here); err != nil {
			t.Fatal(err)
		}
		there.Close()
		here.Close()
		runtime.UnlockOSThread()
	})
}

// document is one of both families with a number of ports of four endpoints
// each, two for either family.
func document(ports int) *spec.Document {
	d := &spec.Document{
		Version: spec.Version, Target: spec.TargetEndpoints, Interface: "net1",
		Families: []spec.Family{
			{Address: netip.MustParsePrefix("172.18.0.18/16"), Gateway: netip.MustParseAddr("172.18.0.1"), ClusterIP: netip.MustParseAddr("10.96.0.10")},
			{Address: netip.MustParsePrefix("fd00::18/64"), Gateway: netip.MustParseAddr("fd00::1"), ClusterIP: netip.MustParseAddr("fd02::10")},
		},
	}
	for i := range ports {
		p := spec.Port{Protocol: []spec.Protocol{spec.TCP, spec.UDP, spec.SCTP}[i%3], Port: uint16(1000 + i)}
		for _, a := range []string{"10.16.0.5:8080", "10.16.0.6:8080", "[fd01::5]:8080", "[fd01::6]:8080"} {
			p.Endpoints = append(p.Endpoints, spec.Endpoint{Address: netip.MustParseAddrPort(a), KeepClient: i%2 == 0})
		}
		d.Ports = append(d.Ports, p)
	}
	return d
}

func table(t testing.TB, d *spec.Document) *nft.Table {
	t.Helper()
	if err := d.Validate(); err != nil {
		t.Fatal(err)
	}
	s, err := desired.Build(d, desired.Facts{
		Cluster:         desired.Link{Name: "eth0"},
		Attachment:      desired.Link{Name: "net1"},
		ClusterGateway4: netip.MustParseAddr("10.16.0.1"), ClusterGateway6: netip.MustParseAddr("fd01::1"),
	})
	if err != nil {
		t.Fatal(err)
	}
	return s.Table
}

// become changes the kernel's table and wants it read back as it should be.
func become(t testing.TB, c *nftlink.Conn, want *nft.Table) {
	t.Helper()
	have, err := c.Read(want)
	if err != nil {
		t.Fatal(err)
	}
	change := nft.Diff(want, have)
	if change.Empty() {
		return
	}
	if err := c.Apply(change); err != nil {
		t.Fatalf("%s: %v", change, err)
	}
	have, err = new(nftlink.Conn).Read(want)
	if err != nil {
		t.Fatal(err)
	}
	if rest := nft.Diff(want, have); !rest.Empty() {
		t.Fatalf("still to do: %s", rest)
	}
}

func TestEveryTableIsReadBackAsItWasWritten(t *testing.T) {
	inNamespace(t)
	var c nftlink.Conn
	if have, err := c.Read(nil); err != nil || have != nil {
		t.Fatalf("without a table: %v, %v", have, err)
	}
	affine, ranged, many := document(6), document(6), document(9)
	affine.AffinitySeconds = 86400
	for _, s := range []string{"0.0.0.0/1", "192.0.2.0/24", "255.255.255.255/32", "::/0"} {
		ranged.SourceRanges = append(ranged.SourceRanges, netip.MustParsePrefix(s))
	}
	many.AffinitySeconds = 1
	slices.Reverse(many.Ports)
	empty := document(3)
	for i := range empty.Ports {
		empty.Ports[i].Endpoints = nil
	}
	v6 := document(2)
	v6.Families = v6.Families[1:]
	for _, d := range []*spec.Document{document(0), document(6), affine, ranged, many, empty, v6, affine} {
		become(t, &c, table(t, d))
	}
	become(t, &c, nil)
}

func TestAThousandElementsGoInOneTransaction(t *testing.T) {
	inNamespace(t)
	d := document(1)
	for i := range 1200 {
		d.SourceRanges = append(d.SourceRanges, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i / 250), byte(i % 250), 0}), 25))
		d.Ports[0].Endpoints = append(d.Ports[0].Endpoints, spec.Endpoint{
			Address: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 17, byte(i / 250), byte(i % 250)}), 80), KeepClient: true,
		})
	}
	become(t, new(nftlink.Conn), table(t, d))
}

// Benchmark measures with small and large Services: the whole table from
// nothing, one endpoint of one port, and a look at a table that nobody changed.
func Benchmark(b *testing.B) {
	for _, ports := range []int{1, 50, 200} {
		d, other := document(ports), document(ports)
		other.Ports[0].Endpoints = other.Ports[0].Endpoints[1:]
		tables := [2]*nft.Table{table(b, d), table(b, other)}
		b.Run(fmt.Sprintf("%d ports/from nothing", ports), func(b *testing.B) {
			inNamespace(b)
			for b.Loop() {
				become(b, new(nftlink.Conn), tables[0])
				b.StopTimer()
				become(b, new(nftlink.Conn), nil)
				b.StartTimer()
			}
		})
		b.Run(fmt.Sprintf("%d ports/one endpoint", ports), func(b *testing.B) {
			inNamespace(b)
			var c nftlink.Conn
			become(b, &c, tables[0])
			for i := 0; b.Loop(); i++ {
				if err := c.Apply(nft.Diff(tables[(i+1)%2], tables[i%2])); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprintf("%d ports/read", ports), func(b *testing.B) {
			inNamespace(b)
			become(b, new(nftlink.Conn), tables[0])
			for b.Loop() {
				become(b, new(nftlink.Conn), tables[0])
			}
		})
		b.Run(fmt.Sprintf("%d ports/unchanged", ports), func(b *testing.B) {
			inNamespace(b)
			var c nftlink.Conn
			become(b, &c, tables[0])
			for b.Loop() {
				become(b, &c, tables[0])
			}
		})
	}
}
