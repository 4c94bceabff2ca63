package neighbour

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"
)

// The types of NDP that a gateway speaks, RFC 4861 sections 4.3 and 4.4.
const (
	NDPSolicitation  uint8 = 135
	NDPAdvertisement uint8 = 136
)

// The flags of an advertisement.
const (
	NDPRouter    uint8 = 0x80
	NDPSolicited uint8 = 0x40
	NDPOverride  uint8 = 0x20
)

const (
	etherTypeIPv6 = 0x86dd
	icmpv6        = 58
	ndpHopLimit   = 255 // nobody off the link can forge it
	ndpLen        = 24  // of the ICMPv6 message without options
	ndpStart      = 14 + 40
)

// The options that name a link-layer address: the sender's in a solicitation,
// the target's in an advertisement.
const (
	optionSource = 1
	optionTarget = 2
)

var (
	allNodes    = netip.MustParseAddr("ff02::1")
	allNodesMAC = net.HardwareAddr{0x33, 0x33, 0, 0, 0, 1}
)

// NDP is a neighbour solicitation or advertisement over Ethernet.
type NDP struct {
	Type uint8
	// Flags are those of an advertisement.
	Flags uint8
	// SourceMAC and DestinationMAC are those of the Ethernet frame.
	SourceMAC, DestinationMAC net.HardwareAddr
	Source, Destination       netip.Addr
	// Target is the address that the packet is about.
	Target netip.Addr
	// LinkLayer is the address in the option, nil if there is none.
	LinkLayer net.HardwareAddr
}

// Frame renders the packet as an Ethernet frame. The addresses must be IPv6
// and the hardware addresses six bytes long.
func (p NDP) Frame() []byte {
	message := []byte{p.Type, 0, 0, 0, 0, 0, 0, 0}
	option := byte(optionSource)
	if p.Type == NDPAdvertisement {
		message[4] = p.Flags
		option = optionTarget
	}
	message = append(message, p.Target.AsSlice()...)
	if p.LinkLayer != nil {
		message = append(append(message, option, 1), p.LinkLayer...)
	}
	binary.BigEndian.PutUint16(message[2:], ^ndpSum(p.Source, p.Destination, message))

	b := make([]byte, 0, ndpStart+len(message))
	b = append(b, p.DestinationMAC...)
	b = append(b, p.SourceMAC...)
	b = binary.BigEndian.AppendUint16(b, etherTypeIPv6)
	b = append(b, 0x60, 0, 0, 0)
	b = binary.BigEndian.AppendUint16(b, uint16(len(message)))
	b = append(b, icmpv6, ndpHopLimit)
	b = append(b, p.Source.AsSlice()...)
	b = append(b, p.Destination.AsSlice()...)
	return append(b, message...)
}

// ParseNDP reads an Ethernet frame; the error says why it is no valid
// solicitation or advertisement. Frames may be padded.
func ParseNDP(b []byte) (NDP, error) {
	switch {
	case len(b) < ndpStart+ndpLen:
		return NDP{}, errors.New("frame is shorter than an NDP packet")
	case binary.BigEndian.Uint16(b[12:]) != etherTypeIPv6 || b[14]>>4 != 6:
		return NDP{}, errors.New("frame is not IPv6")
	case b[20] != icmpv6 || b[ndpStart] != NDPSolicitation && b[ndpStart] != NDPAdvertisement:
		return NDP{}, errors.New("packet is no neighbour solicitation or advertisement")
	case b[21] != ndpHopLimit || b[ndpStart+1] != 0:
		return NDP{}, errors.New("NDP packet is not of this link")
	}
	size := int(binary.BigEndian.Uint16(b[18:]))
	if size < ndpLen || size > len(b)-ndpStart {
		return NDP{}, errors.New("NDP packet has a wrong length")
	}
	message := b[ndpStart : ndpStart+size]
	p := NDP{
		Type:           message[0],
		DestinationMAC: bytes.Clone(b[0:6]),
		SourceMAC:      bytes.Clone(b[6:12]),
		Source:         netip.AddrFrom16([16]byte(b[22:38])),
		Destination:    netip.AddrFrom16([16]byte(b[38:54])),
		Target:         netip.AddrFrom16([16]byte(message[8:24])),
	}
	if p.Type == NDPAdvertisement {
		p.Flags = message[4] & (NDPRouter | NDPSolicited | NDPOverride)
	}
	if ndpSum(p.Source, p.Destination, message) != 0xffff {
		return NDP{}, errors.New("NDP packet has a wrong checksum")
	}
	err := p.readOptions(message[ndpLen:])
	if err == nil && p.Source.IsUnspecified() && p.LinkLayer != nil && p.Type == NDPSolicitation {
		err = errors.New("solicitation without a sender names its hardware address")
	}
	return p, err
}

// readOptions takes the link-layer address from the options. Others are
// skipped, as RFC 4861 wants it.
func (p *NDP) readOptions(b []byte) error {
	wanted := byte(optionSource)
	if p.Type == NDPAdvertisement {
		wanted = optionTarget
	}
	for len(b) > 0 {
		if len(b) < 8 || b[1] == 0 || len(b) < 8*int(b[1]) {
			return errors.New("NDP packet has a wrong option")
		}
		if b[0] == wanted && b[1] == 1 {
			p.LinkLayer = bytes.Clone(b[2:8])
		}
		b = b[8*int(b[1]):]
	}
	return nil
}

// ndpSum is the checksum of an ICMPv6 message with its pseudo header, before
// it is inverted: 0xffff if the message holds a right one.
func ndpSum(source, destination netip.Addr, message []byte) uint16 {
	header := append(source.AsSlice(), destination.AsSlice()...)
	sum := uint32(len(message)) + icmpv6
	for _, b := range [][]byte{header, message} {
		for len(b) > 1 {
			sum += uint32(binary.BigEndian.Uint16(b))
			b = b[2:]
		}
		if len(b) > 0 {
			sum += uint32(b[0]) << 8
		}
	}
	for sum > 0xffff {
		sum = sum&0xffff + sum>>16
	}
	return uint16(sum)
}

// solicitedNode is the multicast group that whoever has the address listens
// to, and its hardware address.
func solicitedNode(address netip.Addr) (netip.Addr, net.HardwareAddr) {
	a := address.As16()
	group := [16]byte{0: 0xff, 1: 0x02, 11: 1, 12: 0xff, 13: a[13], 14: a[14], 15: a[15]}
	return netip.AddrFrom16(group), net.HardwareAddr{0x33, 0x33, 0xff, a[13], a[14], a[15]}
}

// ndpProbe is the question of duplicate address detection, RFC 4862 section
// 5.4.2. Its sender has no address, so that nobody's cache changes.
func ndpProbe(mac net.HardwareAddr, address netip.Addr) NDP {
	group, groupMAC := solicitedNode(address)
	return NDP{
		Type: NDPSolicitation, SourceMAC: mac, DestinationMAC: groupMAC,
		Source: netip.IPv6Unspecified(), Destination: group, Target: address,
	}
}

// ndpAnnouncement is the unsolicited advertisement of RFC 4861 section 7.2.6:
// whoever has the address in its cache is to override it. The router flag is
// the one that the kernel's own answers have, for a gateway forwards.
func ndpAnnouncement(mac net.HardwareAddr, address netip.Addr) NDP {
	return NDP{
		Type: NDPAdvertisement, Flags: NDPRouter | NDPOverride, SourceMAC: mac, DestinationMAC: allNodesMAC,
		Source: address, Destination: allNodes, Target: address, LinkLayer: mac,
	}
}

// claims tells whether the sender uses the address or is about to: it
// advertises it, it speaks from it, or it probes for it too.
func (p NDP) claims(address netip.Addr) bool {
	if p.Type == NDPAdvertisement {
		return p.Target == address
	}
	return p.Source == address || p.Source.IsUnspecified() && p.Target == address
}

// holder is the hardware address of the host that the packet tells of.
func (p NDP) holder() net.HardwareAddr {
	if p.LinkLayer != nil {
		return p.LinkLayer
	}
	return p.SourceMAC
}

// ndpFilter lets solicitations and advertisements in: a busy gateway would
// else hand every packet of IPv6 to who waits for an answer.
var ndpFilter = []unix.SockFilter{
	{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: 20},
	{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: icmpv6, Jf: 4},
	{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: ndpStart},
	{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: uint32(NDPSolicitation), Jt: 1},
	{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: uint32(NDPAdvertisement), Jf: 1},
	{Code: unix.BPF_RET | unix.BPF_K, K: 0xffff},
	{Code: unix.BPF_RET | unix.BPF_K, K: 0},
}
