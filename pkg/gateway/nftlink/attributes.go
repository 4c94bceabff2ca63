package nftlink

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"
	"strings"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/kubeovn/kube-ovn-ccm/pkg/gateway/nft"
)

// attribute is a netlink attribute.
type attribute struct {
	kind   uint16
	nested bool
	value  []byte
}

type attributes []attribute

// parse reads attributes as far as they are well-formed.
func parse(b []byte) attributes {
	var out attributes
	for len(b) >= unix.SizeofRtAttr {
		length, kind := int(binary.NativeEndian.Uint16(b)), binary.NativeEndian.Uint16(b[2:])
		if length < unix.SizeofRtAttr || length > len(b) {
			break
		}
		out = append(out, attribute{
			kind:   kind &^ (unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER),
			nested: kind&unix.NLA_F_NESTED != 0,
			value:  b[unix.SizeofRtAttr:length],
		})
		b = b[min((length+3)&^3, len(b)):]
	}
	return out
}

// find returns the first attribute of a kind; one without a value if there is
// none.
func (a attributes) find(kind uint16) attribute {
	for _, x := range a {
		if x.kind == kind {
			return x
		}
	}
	return attribute{}
}

func (a attributes) text(kind uint16) string {
	return strings.TrimRight(string(a.find(kind).value), "\x00")
}

func (a attributes) number(kind uint16) (uint32, bool) {
	v := a.find(kind).value
	if len(v) != 4 {
		return 0, false
	}
	return binary.BigEndian.Uint32(v), true
}

// holds tells whether the kernel's attributes say what the wanted ones do. The
// kernel shows more than it was given, and leaves out what is zero.
func (a attributes) holds(want attributes) bool {
	for _, w := range want {
		h := a.find(w.kind)
		switch {
		case w.nested:
			if !parse(h.value).holds(parse(w.value)) {
				return false
			}
		case h.kind == 0 && len(bytes.Trim(w.value, "\x00")) == 0:
		case !bytes.Equal(h.value, w.value):
			return false
		}
	}
	return true
}

// isRule tells whether the kernel's expressions are those of a rule.
func isRule(have attributes, want nft.Rule) (bool, error) {
	exprs, err := encode(want)
	if err != nil || len(exprs) != len(have) {
		return false, err
	}
	for i, e := range exprs {
		b, err := expr.Marshal(unix.NFPROTO_INET, e)
		if err != nil {
			return false, err
		}
		if !parse(have[i].value).holds(parse(b)) {
			return false, nil
		}
	}
	return true, nil
}

// parseElement reads an element of a set of Services; the zero Element, which
// no set of ours has, is one of another kind.
func parseElement(a attributes) nft.Element {
	service, ok := parseKey(parse(a.find(unix.NFTA_SET_ELEM_KEY).value).find(unix.NFTA_DATA_VALUE).value)
	if !ok {
		return nft.Element{}
	}
	e := nft.Element{Service: service}
	if verdict := parse(parse(a.find(unix.NFTA_SET_ELEM_DATA).value).find(unix.NFTA_DATA_VERDICT).value); len(verdict) > 0 {
		code, _ := verdict.number(unix.NFTA_VERDICT_CODE)
		switch expr.VerdictKind(int32(code)) {
		case expr.VerdictDrop:
		case expr.VerdictGoto:
			e.Verdict.Goto = verdict.text(unix.NFTA_VERDICT_CHAIN)
		default:
			e.Verdict.Goto = "?"
		}
	}
	return e
}

// parseRanges reads the elements of a set of Ranges: beginnings and ends.
func parseRanges(raw []attributes) []nft.Element {
	type point struct {
		address netip.Addr
		end     bool
	}
	var points []point
	for _, a := range raw {
		address, ok := netip.AddrFromSlice(parse(a.find(unix.NFTA_SET_ELEM_KEY).value).find(unix.NFTA_DATA_VALUE).value)
		flags, _ := a.number(unix.NFTA_SET_ELEM_FLAGS)
		if ok {
			points = append(points, point{address, flags&unix.NFT_SET_ELEM_INTERVAL_END != 0})
		}
	}
	slices.SortFunc(points, func(a, b point) int { return a.address.Compare(b.address) })
	var out []nft.Element
	for _, p := range points {
		if !p.end {
			out = append(out, nft.Element{Range: nft.Range{First: p.address, Last: lastOf(p.address)}})
		} else if n := len(out); n > 0 && out[n-1].Range.Last == lastOf(p.address) {
			out[n-1].Range.Last = p.address.Prev()
		}
	}
	return out
}

// lastOf is the last address of an address's family.
func lastOf(a netip.Addr) netip.Addr {
	b := bytes.Repeat([]byte{0xff}, len(a.AsSlice()))
	last, _ := netip.AddrFromSlice(b)
	return last
}
