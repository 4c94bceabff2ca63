package nft_test

import (
	"net/netip"
	"testing"

	"github.com/kubeovn/kube-ovn-ccm/pkg/gateway/nft"
	"github.com/kubeovn/kube-ovn-ccm/pkg/gateway/spec"
)

func TestDiff(t *testing.T) {
	service := nft.Service{Protocol: spec.TCP, Address: netip.MustParseAddrPort("172.18.0.18:80")}
	example := func() *nft.Table {
		return &nft.Table{
			Sets: []nft.Set{
				{Name: "ports", Kind: nft.Verdicts, Family: nft.IPv4, Elements: []nft.Element{{Service: service, Verdict: nft.Verdict{Goto: "web"}}}},
				{Name: "clients", Kind: nft.Clients, Family: nft.IPv4},
			},
			Chains: []nft.Chain{
				{Name: "input", Hook: nft.Hook{Type: "filter", Name: "input"}, Rules: []nft.Rule{{Do: nft.Accept{}}}},
				{Name: "web", Rules: []nft.Rule{{Do: nft.Drop{}}}},
			},
		}
	}
	changed := func(edit func(t *nft.Table)) *nft.Table {
		t := example()
		edit(t)
		return t
	}
	const anew, table = "table inet kube-ovn-lb (2 sets, 2 chains)", "table inet kube-ovn-lb: "
	for sentence, tc := range map[string]struct {
		want, have *nft.Table
		change     string // empty: nothing
	}{
		"no table":                        {nil, nil, ""},
		"the same table":                  {example(), example(), ""},
		"a new table":                     {example(), nil, anew},
		"a table that nobody wants":       {nil, example(), "table inet kube-ovn-lb"},
		"a table that was switched off":   {example(), changed(func(t *nft.Table) { t.Dormant = true }), anew},
		"a chain that hangs elsewhere":    {example(), changed(func(t *nft.Table) { t.Chains[0].Hook.Priority = 10 }), anew},
		"a set of another kind":           {example(), changed(func(t *nft.Table) { t.Sets[0].Kind = nft.Services }), anew},
		"a set of another family":         {example(), changed(func(t *nft.Table) { t.Sets[1].Family = nft.IPv6 }), anew},
		"a rule that is something else":   {example(), changed(func(t *nft.Table) { t.Chains[1].Rules[0].Do = nft.Other{} }), table + "refill chain web"},
		"a rule too many":                 {example(), changed(func(t *nft.Table) { t.Chains[1].Rules = append(t.Chains[1].Rules, nft.Rule{Do: nft.Other{}}) }), table + "refill chain web"},
		"a rule too few":                  {example(), changed(func(t *nft.Table) { t.Chains[0].Rules = nil }), table + "refill chain input"},
		"what packets add to a set":       {example(), changed(func(t *nft.Table) { t.Sets[1].Elements = []nft.Element{{Service: service}} }), ""},
		"an element that leads elsewhere": {example(), changed(func(t *nft.Table) { t.Sets[0].Elements[0].Verdict = nft.Verdict{} }), table + "delete element ports { 172.18.0.18 . tcp . 80 : drop }; add element ports { 172.18.0.18 . tcp . 80 : goto web }"},
		"a chain and a set of somebody": {example(), changed(func(t *nft.Table) {
			t.Chains = append(t.Chains, nft.Chain{Name: "x"})
			t.Sets = append(t.Sets, nft.Set{Name: "y"})
		}), table + "delete chain x; delete set y"},
	} {
		t.Run(sentence, func(t *testing.T) {
			c := nft.Diff(tc.want, tc.have)
			if c.Empty() != (tc.change == "") || !c.Empty() && c.String() != tc.change {
				t.Errorf("got %s", c)
			}
			if same := tc.want.Equal(tc.have); same != (tc.change == "") {
				t.Errorf("equal: %v", same)
			}
		})
	}
}
