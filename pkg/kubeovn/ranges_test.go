package kubeovn

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
)

func TestRangesAreReadAsKubeOVNWritesThem(t *testing.T) {
	for list, want := range map[string]string{
		"10.0.0.9":                     "10.0.0.9-10.0.0.9",
		"10.0.0.2..10.0.0.5":           "10.0.0.2-10.0.0.5",
		"10.0.0.2-10.0.0.5,10.0.0.9":   "10.0.0.2-10.0.0.5 10.0.0.9-10.0.0.9",
		"10.0.0.8/30":                  "10.0.0.8-10.0.0.11",
		"fd00::/126,10.0.0.1":          "fd00::-fd00::3 10.0.0.1-10.0.0.1",
		"FD00::A..fd00::b":             "fd00::a-fd00::b",
		"10.0.0.5..10.0.0.2":           "",
		"10.0.0.5..fd00::1":            "",
		"10.0.0.0/33,x,10.0.0.1..,..1": "",
	} {
		var got []string
		for _, r := range ParseRanges(split(list)) {
			got = append(got, r.First.String()+"-"+r.Last.String())
		}
		if s := strings.Join(got, " "); s != want {
			t.Errorf("%s is read as %q, want %q", list, s, want)
		}
	}
}

func TestRangesContainWhatIsBetween(t *testing.T) {
	r := ParseRanges([]string{"10.0.0.2..10.0.0.5", "fd00::/126"})
	for addr, want := range map[string]bool{
		"10.0.0.1": false, "10.0.0.2": true, "10.0.0.4": true, "10.0.0.5": true, "10.0.0.6": false,
		"fd00::": true, "fd00::3": true, "fd00::4": false, "::ffff:10.0.0.4": false,
	} {
		if got := r.Contains(netip.MustParseAddr(addr)); got != want {
			t.Errorf("%s: %v", addr, got)
		}
	}
	if len(r.Of(true)) != 1 || len(r.Of(false)) != 1 || len(r) != 2 {
		t.Errorf("by family: %v, %v of %v", r.Of(true), r.Of(false), r)
	}
}

// What Kube-OVN has lost is told by the Subnet's status.
func TestLostIsWhatTheSubnetDoesNotCount(t *testing.T) {
	vip := func(status string) *Vip {
		return decodeVip(object(t, `{"kind":"Vip","metadata":{"name":"v"},"spec":{"subnet":"s"},"status":`+status+`}`))
	}
	both := `{"v4ip":"10.0.0.9","v6ip":"fd00::9","mac":"m"}`
	for _, tc := range []struct{ what, vip, status, want string }{
		{"nothing", both, `"v4usingIPrange":"10.0.0.9","v6usingIPrange":"fd00::2-fd00::a"`, ""},
		{"the IPv6 address", both, `"v4usingIPrange":"10.0.0.9","v6usingIPrange":"fd00::2"`, "fd00::9"},
		{"both", both, `"v4usingIPs":1,"v4usingIPrange":"","v6usingIPs":1,"v6usingIPrange":""`, "10.0.0.9,fd00::9"},
		{"the one of IPv6 alone", `{"v6ip":"FD00:0::9","mac":"m"}`, `"v6usingIPs":1,"v6usingIPrange":""`, "fd00::9"},
		{"nothing that is known", both, `"v4usingIPs":0,"v4usingIPrange":"","v6usingIPrange":""`, ""},
		{"nothing, as it is excluded and so not counted", `{"v4ip":"10.0.0.77","mac":"m"}`, `"v4usingIPrange":"10.0.0.9"`, ""},
	} {
		s := decodeSubnet(object(t, fmt.Sprintf(`{"kind":"Subnet","metadata":{"name":"s"},
			"spec":{"provider":"lan.kube-system","excludeIps":["10.0.0.70..10.0.0.80"]},"status":{%s}}`, tc.status)))
		if got := vip(tc.vip).Lost(s).String(); got != tc.want {
			t.Errorf("%s: %q is lost, want %q", tc.what, got, tc.want)
		}
	}
}

func TestAGuardedVipHasItsAddressesInTheirPlaces(t *testing.T) {
	for status, want := range map[string]string{
		`{"v4ip":"10.0.0.9,fd00::9","v6ip":"fd00::9","mac":"m"}`: "10.0.0.9 fd00::9",
		`{"v4ip":"fd00::9","v6ip":"fd00::9","mac":"m"}`:          " fd00::9",
		`{"v4ip":"10.0.0.9","v6ip":"fd00::9","mac":"m"}`:         "10.0.0.9 fd00::9",
		`{"v4ip":"10.0.0.9","mac":"m"}`:                          "10.0.0.9 ",
	} {
		v := decodeVip(object(t, `{"kind":"Vip","metadata":{"name":"v"},"spec":{"subnet":"s"},"status":`+status+`}`))
		if got := v.V4 + " " + v.V6; got != want || !v.Granted() {
			t.Errorf("%s: %q, want %q", status, got, want)
		}
	}
}
