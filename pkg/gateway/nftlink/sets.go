package nftlink

import (
	"encoding/binary"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"

	"github.com/kubeovn/kube-ovn-ccm/pkg/gateway/nft"
)

// keyTypes are the types of the keys of (address . protocol . port).
var keyTypes = map[nft.Family]nftables.SetDatatype{
	nft.IPv4: nftables.MustConcatSetType(nftables.TypeIPAddr, nftables.TypeInetProto, nftables.TypeInetService),
	nft.IPv6: nftables.MustConcatSetType(nftables.TypeIP6Addr, nftables.TypeInetProto, nftables.TypeInetService),
}

var addressTypes = map[nft.Family]nftables.SetDatatype{
	nft.IPv4: nftables.TypeIPAddr,
	nft.IPv6: nftables.TypeIP6Addr,
}

// declare is a set without its elements.
func declare(table *nftables.Table, s nft.Set) *nftables.Set {
	out := &nftables.Set{Table: table, Name: s.Name, KeyByteOrder: binaryutil.BigEndian}
	switch s.Kind {
	case nft.Verdicts:
		out.KeyType, out.IsMap, out.DataType = keyTypes[s.Family], true, nftables.TypeVerdict
	case nft.Services:
		out.KeyType = keyTypes[s.Family]
	case nft.Ranges:
		out.KeyType, out.Interval = addressTypes[s.Family], true
	case nft.Clients:
		// No size: the kernel then bounds it to 65535 all the same, but does not
		// make room for so many at once, which is 1 MiB for each endpoint.
		out.KeyType, out.Dynamic, out.HasTimeout = addressTypes[s.Family], true, true
	}
	return out
}

// key is a Service as the kernel keeps it: each part padded to 4 bytes.
func key(s nft.Service) []byte {
	b := s.Address.Addr().AsSlice()
	b = append(b, protocolNumbers[s.Protocol], 0, 0, 0)
	b = binary.BigEndian.AppendUint16(b, s.Address.Port())
	return append(b, 0, 0)
}

// parseKey reads a Service; false if it is none of the kind that we write.
func parseKey(b []byte) (nft.Service, bool) {
	if len(b) != 4+8 && len(b) != 16+8 {
		return nft.Service{}, false
	}
	n := len(b) - 8
	address, _ := netip.AddrFromSlice(b[:n])
	for protocol, number := range protocolNumbers {
		if number == b[n] {
			return nft.Service{Protocol: protocol, Address: netip.AddrPortFrom(address, binary.BigEndian.Uint16(b[n+4:]))}, true
		}
	}
	return nft.Service{}, false
}

// elements are the kernel's elements for those of a set.
func elements(s nft.Set) []nftables.SetElement {
	var out []nftables.SetElement
	for _, e := range s.Elements {
		switch s.Kind {
		case nft.Verdicts:
			verdict := &expr.Verdict{Kind: expr.VerdictDrop}
			if e.Verdict.Goto != "" {
				verdict = &expr.Verdict{Kind: expr.VerdictGoto, Chain: e.Verdict.Goto}
			}
			out = append(out, nftables.SetElement{Key: key(e.Service), VerdictData: verdict})
		case nft.Services:
			out = append(out, nftables.SetElement{Key: key(e.Service)})
		case nft.Ranges:
			out = append(out, nftables.SetElement{Key: e.Range.First.AsSlice()})
			// A range up to the last address of all has no end.
			if end := e.Range.Last.Next(); end.IsValid() {
				out = append(out, nftables.SetElement{Key: end.AsSlice(), IntervalEnd: true})
			}
		case nft.Clients:
		}
	}
	return out
}
