package routes

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/kubeovn/kube-ovn-ccm/pkg/gateway/spec"
)

var comparers = cmp.Options{cmpopts.EquateComparable(netip.Addr{}, netip.AddrPort{})}

func at(protocol spec.Protocol, address string) Backend {
	return Backend{protocol, netip.MustParseAddrPort(address)}
}

func TestMatches(t *testing.T) {
	for match, want := range map[string]struct {
		spelling int
		backends []Backend
	}{
		"ip4.src == 10.16.0.5 && tcp.src == 8080":              {0, []Backend{at(spec.TCP, "10.16.0.5:8080")}},
		"ip4.src == {10.16.0.5, 10.16.0.17} && udp.src == 53":  {0, []Backend{at(spec.UDP, "10.16.0.5:53"), at(spec.UDP, "10.16.0.17:53")}},
		"sctp.src == 9 && ip4.src == 10.16.0.5":                {1, []Backend{at(spec.SCTP, "10.16.0.5:9")}},
		"ip6.src == {fd00::5, fd00::a} && tcp.src == 8080":     {0, []Backend{at(spec.TCP, "[fd00::5]:8080"), at(spec.TCP, "[fd00::a]:8080")}},
		"tcp.src == 8080 && ip6.src == {fd00:0:0:1::5, fd::1}": {1, []Backend{at(spec.TCP, "[fd00:0:0:1::5]:8080"), at(spec.TCP, "[fd::1]:8080")}},
	} {
		if got := backendsOf(match); !cmp.Equal(want.backends, got, comparers) {
			t.Errorf("%s is read as %v", match, got)
		}
		if got := backendsOf(match); len(got) > 0 {
			var addrs []netip.Addr
			for _, b := range got {
				addrs = append(addrs, b.Address.Addr())
			}
			if again := matchOf(got[0].Protocol, got[0].Address.Port(), addrs, want.spelling); again != match {
				t.Errorf("%s is rendered as %s", match, again)
			}
		}
	}
	for _, match := range []string{"", "ip4.src == 10.16.0.5", "ip4.dst == 10.16.0.5 && tcp.dst == 80", "ip4.src == 10.16.0.0/16 && tcp.src == 80", "ip4.src == $set && tcp.src == 80", "ip4.src == 10.16.0.5 && icmp.src == 80", "ip4.src == 10.16.0.5 && tcp.src == 99999"} {
		if got := backendsOf(match); got != nil {
			t.Errorf("%q is read as %v", match, got)
		}
	}
}

func FuzzMatch(f *testing.F) {
	f.Add("ip4.src == {10.16.0.5, 10.16.0.17} && udp.src == 53")
	f.Add("ip6.src == fd00::5 && sctp.src == 1")
	f.Fuzz(func(t *testing.T, match string) {
		for _, b := range backendsOf(match) {
			if !b.valid() {
				t.Errorf("%q is read as %v", match, b)
			}
		}
	})
}

func TestSplit(t *testing.T) {
	ours := route{"ip4.src == 10.16.0.5 && tcp.src == 8080", "10.16.1.2"}
	like := func(change func(map[string]any)) any {
		m := ours.member()
		change(m)
		return m
	}
	theirs := []any{
		map[string]any{"priority": int64(30000), "match": "ip4.dst == 10.0.0.0/8", "action": "allow"},
		like(func(m map[string]any) { m["priority"] = int64(29501) }),
		like(func(m map[string]any) { m["nextHopIP"] = "10.16.1.3" }),
		like(func(m map[string]any) { m["action"] = "drop" }),
		like(func(map[string]any) {}), // equal, but we have recorded one only
		"not even an object",
	}
	members := append(append([]any{}, theirs...), ours.member())
	others, present := split(members, record{Entries: []entry{{UID: "u1", route: ours}}})
	if d := cmp.Diff(theirs, others); d != "" {
		t.Error(d)
	}
	if present[ours] != 1 || len(present) != 1 {
		t.Errorf("present %v", present)
	}
	if others, present := split(members, record{}); len(others) != len(members) || len(present) != 0 {
		t.Errorf("without a record there are %v of ours", present)
	}
}
