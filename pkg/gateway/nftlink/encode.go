package nftlink

import (
	"fmt"
	"net/netip"

	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/kubeovn/kube-ovn-ccm/pkg/gateway/nft"
	"github.com/kubeovn/kube-ovn-ccm/pkg/gateway/spec"
)

// Registers, by the numbers under which the kernel shows them. The 16-byte
// registers 1 and 2 begin where the 4-byte registers 8 and 12 do.
const (
	reg1 = 1
	reg2 = 2
)

// Bits of connection tracking, of linux/netfilter/nf_conntrack_common.h.
const (
	stateInvalid = 1 << 0
	statusDNAT   = 1 << 5
)

// layout is where an IP header has its addresses.
type layout struct {
	nfproto                byte
	source, target, length uint32
}

var layouts = map[nft.Family]layout{
	nft.IPv4: {unix.NFPROTO_IPV4, 12, 16, 4},
	nft.IPv6: {unix.NFPROTO_IPV6, 8, 24, 16},
}

// behind are the registers that follow an address in reg1.
func (l layout) behind() (first, second uint32) {
	if l.length == 4 {
		return 9, 10
	}
	return reg2, 13
}

var protocolNumbers = map[spec.Protocol]byte{
	spec.TCP:  unix.IPPROTO_TCP,
	spec.UDP:  unix.IPPROTO_UDP,
	spec.SCTP: unix.IPPROTO_SCTP,
}

// encoder translates a rule into the kernel's expressions.
type encoder []expr.Any

func encode(r nft.Rule) ([]expr.Any, error) {
	var e encoder
	e.match(r.Match)
	if err := e.action(r.Do); err != nil {
		return nil, fmt.Errorf("rule %q: %w", r, err)
	}
	return e, nil
}

func (e *encoder) add(x ...expr.Any) { *e = append(*e, x...) }

func (e *encoder) equal(data []byte) { e.add(&expr.Cmp{Op: expr.CmpOpEq, Register: reg1, Data: data}) }

func (e *encoder) meta(key expr.MetaKey, register uint32) {
	e.add(&expr.Meta{Key: key, Register: register})
}

// load loads from a packet's network or transport header.
func (e *encoder) load(base expr.PayloadBase, offset, length, register uint32) {
	e.add(&expr.Payload{DestRegister: register, Base: base, Offset: offset, Len: length})
}

func (e *encoder) source(f nft.Family) {
	l := layouts[f]
	e.load(expr.PayloadBaseNetworkHeader, l.source, l.length, reg1)
}

func (e *encoder) target(f nft.Family) {
	l := layouts[f]
	e.load(expr.PayloadBaseNetworkHeader, l.target, l.length, reg1)
}

// service loads address . protocol . port of the destination.
func (e *encoder) service(f nft.Family) {
	first, second := layouts[f].behind()
	e.target(f)
	e.meta(expr.MetaKeyL4PROTO, first)
	e.load(expr.PayloadBaseTransportHeader, 2, 2, second)
}

// bit compares one bit of what is in reg1 with zero.
func (e *encoder) bit(mask uint32) {
	e.add(
		&expr.Bitwise{SourceRegister: reg1, DestRegister: reg1, Len: 4, Mask: binaryutil.NativeEndian.PutUint32(mask), Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: reg1, Data: make([]byte, 4)},
	)
}

func interfaceName(s string) []byte {
	b := make([]byte, unix.IFNAMSIZ)
	copy(b, s)
	return b
}

func (e *encoder) match(m nft.Match) {
	if m.In != "" {
		e.meta(expr.MetaKeyIIFNAME, reg1)
		e.equal(interfaceName(m.In))
	}
	if m.Out != "" {
		e.meta(expr.MetaKeyOIFNAME, reg1)
		e.equal(interfaceName(m.Out))
	}
	if m.Family != "" {
		e.meta(expr.MetaKeyNFPROTO, reg1)
		e.equal([]byte{layouts[m.Family].nfproto})
	}
	if m.Protocol != "" {
		e.meta(expr.MetaKeyL4PROTO, reg1)
		e.equal([]byte{protocolNumbers[m.Protocol]})
	}
	if m.Marked {
		e.meta(expr.MetaKeyMARK, reg1)
		e.equal(binaryutil.NativeEndian.PutUint32(m.Mark))
	}
	if m.To.IsValid() {
		e.target(m.Family)
		e.equal(m.To.AsSlice())
	}
	if m.From != "" {
		e.source(m.Family)
		e.add(&expr.Lookup{SourceRegister: reg1, SetName: m.From})
	}
	if m.NotFrom != "" {
		e.source(m.Family)
		e.add(&expr.Lookup{SourceRegister: reg1, SetName: m.NotFrom, Invert: true})
	}
	if m.NotTo != "" {
		e.service(m.Family)
		e.add(&expr.Lookup{SourceRegister: reg1, SetName: m.NotTo, Invert: true})
	}
	if m.FlowMark != 0 {
		e.add(&expr.Ct{Register: reg1, Key: expr.CtKeyMARK})
		e.equal(binaryutil.NativeEndian.PutUint32(m.FlowMark))
	}
	if m.SYN {
		const synRST, syn = 0x06, 0x02
		e.load(expr.PayloadBaseTransportHeader, 13, 1, reg1)
		e.add(&expr.Bitwise{SourceRegister: reg1, DestRegister: reg1, Len: 1, Mask: []byte{synRST}, Xor: []byte{0}})
		e.equal([]byte{syn})
	}
	if m.Invalid {
		e.add(&expr.Ct{Register: reg1, Key: expr.CtKeySTATE})
		e.bit(stateInvalid)
	}
	if m.Original {
		e.add(&expr.Ct{Register: reg1, Key: expr.CtKeyDIRECTION})
		e.equal([]byte{0})
	}
	if m.Translated {
		e.add(&expr.Ct{Register: reg1, Key: expr.CtKeySTATUS})
		e.bit(statusDNAT)
	}
}

func (e *encoder) action(a nft.Action) error {
	switch a := a.(type) {
	case nft.Accept:
		e.add(&expr.Verdict{Kind: expr.VerdictAccept})
	case nft.Drop:
		e.add(&expr.Verdict{Kind: expr.VerdictDrop})
	case nft.Goto:
		e.add(&expr.Verdict{Kind: expr.VerdictGoto, Chain: a.Chain})
	case nft.Dispatch:
		e.service(a.Family)
		e.add(&expr.Lookup{SourceRegister: reg1, SetName: a.Map, IsDestRegSet: true, DestRegister: unix.NFT_REG_VERDICT})
	case nft.Choose:
		l := layouts[a.Family]
		e.source(a.Family)
		length := l.length
		if a.Port {
			first, _ := l.behind()
			e.load(expr.PayloadBaseTransportHeader, 0, 2, first)
			length += 4
		}
		e.add(
			&expr.Hash{SourceRegister: reg1, DestRegister: reg1, Length: length, Modulus: uint32(a.Of), Seed: nft.Seed, Type: expr.HashTypeJenkins},
			&expr.Meta{Key: expr.MetaKeyMARK, SourceRegister: true, Register: reg1},
		)
	case nft.Remember:
		e.source(a.Family)
		e.add(&expr.Dynset{SrcRegKey: reg1, SetName: a.Set, Operation: unix.NFT_DYNSET_OP_UPDATE, Timeout: a.For})
	case nft.Translate:
		e.translate(a.To)
	case nft.Masquerade:
		e.masquerade(a)
	case nft.SetMark:
		e.add(
			&expr.Immediate{Register: reg1, Data: binaryutil.NativeEndian.PutUint32(a.Mark)},
			&expr.Meta{Key: expr.MetaKeyMARK, SourceRegister: true, Register: reg1},
		)
	case nft.MarkFlow:
		e.add(
			&expr.Immediate{Register: reg1, Data: binaryutil.NativeEndian.PutUint32(a.Mark)},
			&expr.Ct{Key: expr.CtKeyMARK, SourceRegister: true, Register: reg1},
		)
	case nft.Reset:
		e.add(&expr.Reject{Type: unix.NFT_REJECT_TCP_RST})
	case nft.Unreachable:
		e.add(&expr.Reject{Type: unix.NFT_REJECT_ICMPX_UNREACH, Code: unix.NFT_REJECT_ICMPX_PORT_UNREACH})
	case nft.ClampMSS:
		const optionMaxSeg = 2
		e.add(
			&expr.Rt{Register: reg1, Key: expr.RtTCPMSS},
			&expr.Byteorder{SourceRegister: reg1, DestRegister: reg1, Op: expr.ByteorderHton, Len: 2, Size: 2},
			&expr.Exthdr{SourceRegister: reg1, Type: optionMaxSeg, Offset: 2, Len: 2, Op: expr.ExthdrOpTcpopt},
		)
	default:
		return fmt.Errorf("no encoding for a %T", a)
	}
	return nil
}

func (e *encoder) masquerade(a nft.Masquerade) {
	if a.Last == 0 {
		e.add(&expr.Masq{})
		return
	}
	e.add(
		&expr.Immediate{Register: reg1, Data: binaryutil.BigEndian.PutUint16(a.First)},
		&expr.Immediate{Register: reg2, Data: binaryutil.BigEndian.PutUint16(a.Last)},
		&expr.Masq{ToPorts: true, RegProtoMin: reg1, RegProtoMax: reg2},
	)
}

func (e *encoder) translate(to netip.AddrPort) {
	e.add(
		&expr.Immediate{Register: reg1, Data: to.Addr().AsSlice()},
		&expr.Immediate{Register: reg2, Data: binaryutil.BigEndian.PutUint16(to.Port())},
		&expr.NAT{
			Type: expr.NATTypeDestNAT, Family: uint32(layouts[nft.FamilyOf(to.Addr())].nfproto),
			RegAddrMin: reg1, RegProtoMin: reg2,
		},
	)
}
