package kubeovn

import (
	"net/netip"
	"strings"
	"testing"
)

func TestParseAddrs(t *testing.T) {
	for name, tc := range map[string]struct{ text, want, says string }{
		"nothing":                          {text: " "},
		"IPv4":                             {text: "172.18.0.18", want: "172.18.0.18"},
		"IPv6 in capitals and written out": {text: "FD00:0:0::00AB", want: "fd00::ab"},
		"both in any order, with blanks":   {text: " fd00::18 , 172.18.0.18 ", want: "172.18.0.18,fd00::18"},
		"IPv4 in IPv6 clothing":            {text: "::ffff:172.18.0.18", want: "172.18.0.18"},
		"two of a family":                  {text: "172.18.0.18,172.18.0.19", says: "two IPv4 addresses"},
		"the same twice, in two spellings": {text: "fd00::1,fd00:0::1", says: "two IPv6 addresses"},
		"twice, one of them clothed":       {text: "172.18.0.18,::ffff:172.18.0.19", says: "two IPv4 addresses"},
		"a zone":                           {text: "fe80::1%eth0", says: "has a zone"},
		"a word":                           {text: "172.18.0.18,any", says: `"any" is not an IP address`},
		"a range":                          {text: "172.18.0.0/16", says: `"172.18.0.0/16" is not an IP address`},
		"a comma too many":                 {text: "172.18.0.18,", says: "a comma too many"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := ParseAddrs(tc.text)
			if got.String() != tc.want || (err != nil) != (tc.says != "") {
				t.Fatalf("got %q, %v", got, err)
			}
			if err != nil && !strings.Contains(err.Error(), tc.says) {
				t.Errorf("%q does not say %q", err, tc.says)
			}
		})
	}
}

func TestAddrsByFamily(t *testing.T) {
	v4, v6 := netip.MustParseAddr("172.18.0.18"), netip.MustParseAddr("fd00::18")
	both := Addrs{}.With(v6, netip.MustParseAddr("::ffff:172.18.0.18"))
	if both != (Addrs{V4: v4, V6: v6}) || both.Of(true) != v4 || both.Of(false) != v6 {
		t.Errorf("got %v", both)
	}
	if got := both.With(netip.Addr{}); got != both {
		t.Errorf("nothing changes %v to %v", both, got)
	}
	if got := both.Families().String(); got != "IPv4,IPv6" {
		t.Errorf("families %s", got)
	}
	one := Addrs{V6: v6}
	if got := one.Families(); got != (Families{V6: true}) || got.Of(true) || !got.Of(false) || got.String() != "IPv6" {
		t.Errorf("families %v", got)
	}
	if all := one.All(); len(all) != 1 || all[0] != v6 || one.IsZero() || !(Addrs{}).IsZero() {
		t.Errorf("all %v", all)
	}
}

// FuzzParseAddrs: what is read is written so that it is read again.
func FuzzParseAddrs(f *testing.F) {
	for _, s := range []string{"", "172.18.0.18,fd00::18", "::ffff:1.2.3.4", "fe80::1%x,", "::"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		a, err := ParseAddrs(text)
		if err != nil {
			return
		}
		if again, err := ParseAddrs(a.String()); again != a || err != nil {
			t.Errorf("%q is %v and then %v, %v", text, a, again, err)
		}
		if a.V4.IsValid() && !a.V4.Is4() || a.V6.IsValid() && (!a.V6.Is6() || a.V6.Is4In6() || a.V6.Zone() != "") {
			t.Errorf("%q is %#v", text, a)
		}
	})
}

func TestVipAddrs(t *testing.T) {
	for name, tc := range map[string]struct {
		vip  Vip
		want string
	}{
		"nothing is granted":             {Vip{WantV4: "172.18.0.18"}, ""},
		"both families":                  {Vip{V4: "172.18.0.18", V6: "FD00:0:0:0:0:0:0:18"}, "172.18.0.18,fd00::18"},
		"IPv6 alone":                     {Vip{V6: "fd00::18"}, "fd00::18"},
		"no address":                     {Vip{V4: "x", V6: "y"}, ""},
		"one in the place of the other":  {Vip{V4: "fd00::18", V6: "172.18.0.18"}, ""},
		"both in one field are not read": {Vip{V4: "172.18.0.18,fd00::18"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			if got := tc.vip.Addrs().String(); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

func TestSubnetIsOVN(t *testing.T) {
	for provider, want := range map[string]bool{"": true, "ovn": true, "lan.kube-system.ovn": true, "lan.kube-system": false, "lan.ovns": false} {
		if got := (&Subnet{Provider: provider}).IsOVN(); got != want {
			t.Errorf("provider %q: %v", provider, got)
		}
	}
}
