package migrate

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
)

func TestAFenceIsTakenAwayAndNothingElse(t *testing.T) {
	for sentence, tc := range map[string]struct {
		list, during, fenced, after []string
		meanwhile                   func([]string) []string
	}{
		"the list is as before": {
			list: []string{"172.18.0.1..172.18.0.9"}, during: []string{"172.18.0.1..172.18.0.9", "172.18.0.18"},
			fenced: []string{"172.18.0.18"}, after: []string{"172.18.0.1..172.18.0.9"},
		},
		"what the operator excludes stays excluded": {
			list: []string{"172.18.0.18"}, during: []string{"172.18.0.18"}, after: []string{"172.18.0.18"},
		},
		"also in a range": {
			list: []string{"172.18.0.10..172.18.0.30"}, during: []string{"172.18.0.10..172.18.0.30"}, after: []string{"172.18.0.10..172.18.0.30"},
		},
		"what others add meanwhile stays": {
			list: []string{"172.18.0.1"}, during: []string{"172.18.0.1", "172.18.0.18"}, fenced: []string{"172.18.0.18"},
			meanwhile: func(l []string) []string { return append(l, "172.18.0.40") },
			after:     []string{"172.18.0.1", "172.18.0.40"},
		},
		"what others take away meanwhile stays away": {
			list: []string{"172.18.0.1", "172.18.0.2"}, during: []string{"172.18.0.1", "172.18.0.2", "172.18.0.18"}, fenced: []string{"172.18.0.18"},
			meanwhile: func(l []string) []string {
				return slices.DeleteFunc(l, func(s string) bool { return s == "172.18.0.2" })
			},
			after: []string{"172.18.0.1"},
		},
		"an IPv6 range does not exclude it": {
			list: []string{"fd00::1..fd00::ff"}, during: []string{"fd00::1..fd00::ff", "172.18.0.18"}, fenced: []string{"172.18.0.18"}, after: []string{"fd00::1..fd00::ff"},
		},
	} {
		t.Run(sentence, func(t *testing.T) {
			s, addrs := &kubeovn.Subnet{ExcludeIPs: tc.list}, []netip.Addr{netip.MustParseAddr("172.18.0.18")}
			list, notes := fence(s, nil, addrs)
			if !slices.Equal(list, tc.during) || !slices.Equal(notes, tc.fenced) {
				t.Fatalf("fenced: %v, notes %v", list, notes)
			}
			notes = parseFences(notes.String())
			s.ExcludeIPs = list
			if !excludes(s, addrs[0]) {
				t.Errorf("%v does not exclude it", list)
			}
			again, twice := fence(s, notes, addrs)
			if !slices.Equal(again, list) || !slices.Equal(twice, notes) {
				t.Errorf("a second fence changes something: %v, %v", again, twice)
			}
			if tc.meanwhile != nil {
				s.ExcludeIPs = tc.meanwhile(list)
			}
			list, notes = unfence(s, notes, addrs)
			if !slices.Equal(list, tc.after) || len(notes) > 0 {
				t.Errorf("without fence: %v, notes %v", list, notes)
			}
		})
	}
}

func TestTwoFencesDoNotKnowOneAnother(t *testing.T) {
	s := &kubeovn.Subnet{}
	a, b := []netip.Addr{netip.MustParseAddr("172.18.0.18")}, []netip.Addr{netip.MustParseAddr("172.18.0.19")}
	list, notes := fence(s, nil, a)
	s.ExcludeIPs = list
	s.ExcludeIPs, notes = fence(s, notes, b)
	list, notes = unfence(s, notes, a)
	if !slices.Equal(list, []string{"172.18.0.19"}) || notes.String() != "172.18.0.19" {
		t.Errorf("left: %v, notes %v", list, notes)
	}
}
