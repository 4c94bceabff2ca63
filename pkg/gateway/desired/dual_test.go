package desired

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kubeovn/kube-ovn-ccm/pkg/gateway/spec"
)

func v6only() *spec.Document {
	d := guide()
	d.Target = spec.TargetEndpoints
	d.Families = []spec.Family{{
		Address:   netip.MustParsePrefix("fd00:18::18/64"),
		Gateway:   netip.MustParseAddr("fe80::1"),
		ClusterIP: netip.MustParseAddr("fd00:10:96::c1"),
	}}
	return d
}

func dual() *spec.Document {
	d := v6only()
	d.Families = append(guide().Families, d.Families...)
	return d
}

// routing are the steps that are not about packet filters.
func routing(ops []Op) []string {
	return steps(slices.DeleteFunc(ops, func(op Op) bool {
		switch op.Object.(type) {
		case Up, Setting, Route, Rule, Address:
			return false
		}
		return true
	}))
}

func TestAnIPv6GatewayComesUpAddressLast(t *testing.T) {
	got := routing(Diff(build(t, v6only()), State{}))
	want := []string{
		"set link eth0 up",
		"set link net1 up",
		"set net.ipv6.conf.all.forwarding=1",
		"set net.ipv6.conf.net1.accept_ra=0",
		"set net.ipv6.conf.net1.disable_ipv6=0",
		"set net.ipv4.conf.net1.arp_ignore=1",
		"set net.ipv4.conf.net1.arp_announce=2",
		"add route fd00:18::/64 dev net1 table 100",
		"add route fd00:10:96::c1/128 via fd00:10:16::1 dev eth0 table 100",
		"add route ::/0 via fe80::1 dev net1 table 100",
		"add route ::/0 via fd00:10:16::1 dev eth0 table 101",
		"add IPv6 rule 32764: iif eth0 lookup 100",
		"add IPv6 rule 32765: iif net1 lookup 100",
		"add IPv6 rule 32763: from fd00:18::18/128 lookup 100",
		"add IPv6 rule 32762: fwmark 0x4c42 lookup 101",
		"add address fd00:18::18/64 dev net1",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestEachFamilyHasItsOwnRulesAndRoutes(t *testing.T) {
	both := build(t, dual())
	v4 := dual()
	v4.Families = v4.Families[:1]
	for _, tc := range []struct {
		sentence   string
		want, have State
		steps      []string
	}{
		{"IPv6 is added beside IPv4", both, build(t, v4), []string{
			"set net.ipv6.conf.all.forwarding=1",
			"set net.ipv6.conf.net1.accept_ra=0",
			"set net.ipv6.conf.net1.disable_ipv6=0",
			"add route fd00:18::/64 dev net1 table 100",
			"add route fd00:10:96::c1/128 via fd00:10:16::1 dev eth0 table 100",
			"add route ::/0 via fe80::1 dev net1 table 100",
			"add route ::/0 via fd00:10:16::1 dev eth0 table 101",
			"add IPv6 rule 32764: iif eth0 lookup 100",
			"add IPv6 rule 32765: iif net1 lookup 100",
			"add IPv6 rule 32763: from fd00:18::18/128 lookup 100",
			"add IPv6 rule 32762: fwmark 0x4c42 lookup 101",
			"add address fd00:18::18/64 dev net1",
		}},
		{"IPv4 goes and IPv6 stays", build(t, v6only()), both, []string{
			"delete address 172.18.0.18/16 dev net1",
			"delete rule 32764: iif eth0 lookup 100",
			"delete rule 32765: iif net1 lookup 100",
			"delete rule 32763: from 172.18.0.18/32 lookup 100",
			"delete rule 32762: fwmark 0x4c42 lookup 101",
			"delete route 172.18.0.0/16 dev net1 table 100",
			"delete route 10.109.201.193/32 via 10.16.0.1 dev eth0 table 100",
			"delete route 0.0.0.0/0 via 172.18.0.1 dev net1 table 100",
			"delete route 0.0.0.0/0 via 10.16.0.1 dev eth0 table 101",
		}},
	} {
		t.Run(tc.sentence, func(t *testing.T) {
			if diff := cmp.Diff(tc.steps, routing(Diff(tc.want, tc.have))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestAnAddressThatTheKernelHoldsBackIsAddedAnew(t *testing.T) {
	want := build(t, v6only())
	have := want
	have.Addresses = []Address{{Link: "net1", Prefix: want.Addresses[0].Prefix, Unused: true}}
	got := steps(Diff(want, have))
	if diff := cmp.Diff([]string{"delete address fd00:18::18/64 dev net1", "add address fd00:18::18/64 dev net1"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
