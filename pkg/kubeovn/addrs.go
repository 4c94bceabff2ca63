package kubeovn

import (
	"fmt"
	"net/netip"
	"strings"
)

// Families is a set of IP families.
type Families struct{ V4, V6 bool }

// Of reports whether one of the families is in the set.
func (f Families) Of(v4 bool) bool {
	if v4 {
		return f.V4
	}
	return f.V6
}

// With returns the set with one more family.
func (f Families) With(v4 bool) Families {
	if v4 {
		f.V4 = true
	} else {
		f.V6 = true
	}
	return f
}

// String names the families: "IPv4,IPv6".
func (f Families) String() string {
	var names []string
	for _, v4 := range []bool{true, false} {
		if f.Of(v4) {
			names = append(names, FamilyName(v4))
		}
	}
	return strings.Join(names, ",")
}

// FamilyName is how a family is called in a Service's spec.ipFamilies.
func FamilyName(v4 bool) string {
	if v4 {
		return "IPv4"
	}
	return "IPv6"
}

// Addrs holds at most one address of each family, the zero netip.Addr where
// there is none. Two of them are equal when their addresses are, however those
// were spelled.
type Addrs struct{ V4, V6 netip.Addr }

// ParseAddrs reads what Addrs.String writes: "v4", "v6" or both in any order
// with a comma. Blanks around an address do not matter. An empty text is none.
func ParseAddrs(text string) (Addrs, error) {
	var out Addrs
	if strings.TrimSpace(text) == "" {
		return out, nil
	}
	for part := range strings.SplitSeq(text, ",") {
		part = strings.TrimSpace(part)
		addr, err := netip.ParseAddr(part)
		switch {
		case part == "":
			return Addrs{}, fmt.Errorf("%q has a comma too many", text)
		case err != nil:
			return Addrs{}, fmt.Errorf("%q is not an IP address", part)
		case addr.Zone() != "":
			return Addrs{}, fmt.Errorf("%q has a zone, which only makes sense on one machine", part)
		}
		addr = addr.Unmap()
		if out.Of(addr.Is4()).IsValid() {
			return Addrs{}, fmt.Errorf("%q holds two %s addresses, and at most one of each family is possible", text, FamilyName(addr.Is4()))
		}
		out = out.With(addr)
	}
	return out, nil
}

// Of returns the address of one family; zero if there is none.
func (a Addrs) Of(v4 bool) netip.Addr {
	if v4 {
		return a.V4
	}
	return a.V6
}

// With returns the addresses with these put in the place of their family. An
// IPv4 address in IPv6 clothing is the IPv4 address; a zero one changes nothing.
func (a Addrs) With(addrs ...netip.Addr) Addrs {
	for _, addr := range addrs {
		switch addr = addr.Unmap(); {
		case addr.Is4():
			a.V4 = addr
		case addr.Is6():
			a.V6 = addr
		}
	}
	return a
}

// All returns the addresses that there are, IPv4 first.
func (a Addrs) All() []netip.Addr {
	var out []netip.Addr
	for _, addr := range []netip.Addr{a.V4, a.V6} {
		if addr.IsValid() {
			out = append(out, addr)
		}
	}
	return out
}

// Families returns the families of which there is an address.
func (a Addrs) Families() Families { return Families{V4: a.V4.IsValid(), V6: a.V6.IsValid()} }

// IsZero reports whether there is no address.
func (a Addrs) IsZero() bool { return a == Addrs{} }

// String lists the addresses as Kube-OVN does: "v4,v6".
func (a Addrs) String() string {
	var out []string
	for _, addr := range a.All() {
		out = append(out, addr.String())
	}
	return strings.Join(out, ",")
}
