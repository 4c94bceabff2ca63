package ipam

import (
	"net/netip"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
)

var (
	start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	owner = kubeovn.Owner{Namespace: "default", Name: "web", UID: "u1"}
)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func addrs(s string) kubeovn.Addrs {
	a, err := kubeovn.ParseAddrs(s)
	if err != nil {
		panic(err)
	}
	return a
}

var (
	needs6    = kubeovn.Families{V6: true}
	needsBoth = kubeovn.Families{V4: true, V6: true}
)

func lan(edit ...func(*kubeovn.Subnet)) *kubeovn.Subnet {
	s := &kubeovn.Subnet{
		ObjectMeta:  metav1.ObjectMeta{Name: "attach-subnet"},
		CIDRs:       []netip.Prefix{netip.MustParsePrefix("172.18.0.0/16")},
		Gateways:    []netip.Addr{addr("172.18.0.1")},
		V4Available: 65523,
	}
	for _, e := range edit {
		e(s)
	}
	return s
}

func available(n float64) func(*kubeovn.Subnet) {
	return func(s *kubeovn.Subnet) { s.V4Available = n }
}

func available6(n float64) func(*kubeovn.Subnet) {
	return func(s *kubeovn.Subnet) { s.V6Available = n }
}

// cidr replaces the ranges.
func cidr(prefixes ...string) func(*kubeovn.Subnet) {
	return func(s *kubeovn.Subnet) {
		s.CIDRs = nil
		for _, p := range prefixes {
			s.CIDRs = append(s.CIDRs, netip.MustParsePrefix(p))
		}
	}
}

// v6 gives the Subnet an IPv6 range beside its own.
func v6(s *kubeovn.Subnet) {
	s.CIDRs = append(s.CIDRs, netip.MustParsePrefix("fd00::/64"))
	s.Gateways = append(s.Gateways, addr("fd00::1"))
	s.V6Available = 18446744073709551616
}

// only6 is a Subnet of IPv6 alone.
func only6(edit ...func(*kubeovn.Subnet)) *kubeovn.Subnet {
	none := func(s *kubeovn.Subnet) { s.CIDRs, s.Gateways, s.V4Available = nil, nil, 0 }
	return lan(append([]func(*kubeovn.Subnet){none, v6}, edit...)...)
}

func dual(edit ...func(*kubeovn.Subnet)) *kubeovn.Subnet {
	return lan(append([]func(*kubeovn.Subnet){v6}, edit...)...)
}

func gateway(a string) func(*kubeovn.Subnet) {
	return func(s *kubeovn.Subnet) { s.Gateways = []netip.Addr{addr(a)} }
}

func named(n string) func(*kubeovn.Subnet) { return func(s *kubeovn.Subnet) { s.Name = n } }

func deletingSubnet(s *kubeovn.Subnet) { s.DeletionTimestamp = &metav1.Time{Time: start} }

// mine is the Service's Vip: what its spec asks for and what its status holds,
// each "" or "v4,v6" in any spelling.
func mine(wanted, granted string, edit ...func(*kubeovn.Vip)) *kubeovn.Vip {
	v := &kubeovn.Vip{
		ObjectMeta: metav1.ObjectMeta{Name: VipName(owner.UID), UID: "v1", ResourceVersion: "7", Labels: owner.Labels()},
		Subnet:     "attach-subnet",
	}
	v.WantV4, v.WantV6 = byFamily(wanted)
	v.V4, v.V6 = byFamily(granted)
	if granted != "" {
		v.MAC = "00:00:00:0a:0b:0c"
		v.Finalizers = []string{kubeovn.Finalizer}
		v.Restored = v.Addrs().String()
	}
	for _, e := range edit {
		e(v)
	}
	return v
}

func byFamily(text string) (v4, v6 string) {
	for part := range strings.SplitSeq(text, ",") {
		if strings.Contains(part, ":") {
			v6 = part
		} else {
			v4 = part
		}
	}
	return v4, v6
}

// askedFor is what the Vip's annotation records.
func askedFor(text string) func(*kubeovn.Vip) { return func(v *kubeovn.Vip) { v.Asked = text } }

func deleting(v *kubeovn.Vip) {
	v.DeletionTimestamp = &metav1.Time{Time: start}
	v.Finalizers = []string{kubeovn.Finalizer}
}

// unguarded is a Vip as Kube-OVN has granted it.
func unguarded(v *kubeovn.Vip) { v.Restored = v.V4 }

func foreign(v *kubeovn.Vip) { v.Labels = map[string]string{"app": "x"} }

// using is what the Subnet's status says to be given out, "v4" ranges, then "v6".
func using(v4, v6 string) func(*kubeovn.Subnet) {
	return func(s *kubeovn.Subnet) {
		s.V4Using, s.V6Using = kubeovn.ParseRanges([]string{v4}), kubeovn.ParseRanges([]string{v6})
	}
}

// nobody holds anything.
func nobody(netip.Addr) string { return "" }
