package neighbour

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
)

// The operations of ARP, RFC 826.
const (
	ARPRequest uint16 = 1
	ARPReply   uint16 = 2
)

const (
	etherTypeARP  = 0x0806
	etherTypeIPv4 = 0x0800
	arpLen        = 14 + 28
)

var broadcast = net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// ARP is an ARP packet for IPv4 over Ethernet.
type ARP struct {
	Operation uint16
	SenderMAC net.HardwareAddr
	SenderIP  netip.Addr
	TargetMAC net.HardwareAddr
	TargetIP  netip.Addr
}

// Frame renders the packet as a broadcast Ethernet frame. The addresses must
// be IPv4 and the hardware addresses six bytes long.
func (p ARP) Frame() []byte {
	b := make([]byte, 0, arpLen)
	b = append(b, broadcast...)
	b = append(b, p.SenderMAC...)
	b = binary.BigEndian.AppendUint16(b, etherTypeARP)
	b = binary.BigEndian.AppendUint16(b, 1) // hardware type: Ethernet
	b = binary.BigEndian.AppendUint16(b, etherTypeIPv4)
	b = append(b, 6, 4)
	b = binary.BigEndian.AppendUint16(b, p.Operation)
	b = append(b, p.SenderMAC...)
	b = append(b, p.SenderIP.AsSlice()...)
	b = append(b, p.TargetMAC...)
	return append(b, p.TargetIP.AsSlice()...)
}

// ParseARP reads an Ethernet frame; the error says why it is no ARP packet for
// IPv4 over Ethernet. Frames may be padded.
func ParseARP(b []byte) (ARP, error) {
	switch {
	case len(b) < arpLen:
		return ARP{}, errors.New("frame is shorter than an ARP packet")
	case binary.BigEndian.Uint16(b[12:]) != etherTypeARP:
		return ARP{}, errors.New("frame is not ARP")
	case binary.BigEndian.Uint16(b[14:]) != 1 || binary.BigEndian.Uint16(b[16:]) != etherTypeIPv4 || b[18] != 6 || b[19] != 4:
		return ARP{}, errors.New("ARP packet is not about IPv4 over Ethernet")
	}
	return ARP{
		Operation: binary.BigEndian.Uint16(b[20:]),
		SenderMAC: net.HardwareAddr(append([]byte(nil), b[22:28]...)),
		SenderIP:  netip.AddrFrom4([4]byte(b[28:32])),
		TargetMAC: net.HardwareAddr(append([]byte(nil), b[32:38]...)),
		TargetIP:  netip.AddrFrom4([4]byte(b[38:42])),
	}, nil
}

// arpProbe is the question of RFC 5227 section 2.1.1. Its sender has no address,
// so that nobody's cache changes.
func arpProbe(mac net.HardwareAddr, address netip.Addr) ARP {
	return ARP{ARPRequest, mac, netip.IPv4Unspecified(), make(net.HardwareAddr, 6), address}
}

// arpAnnouncements are the two forms of a gratuitous ARP. Some hosts update
// their cache by requests only and some by replies only, so both are sent.
func arpAnnouncements(mac net.HardwareAddr, address netip.Addr) []ARP {
	return []ARP{
		{ARPRequest, mac, address, make(net.HardwareAddr, 6), address},
		{ARPReply, mac, address, mac, address},
	}
}

// claims tells whether the sender uses the address or is about to: it speaks
// from it, or it probes for it too.
func (p ARP) claims(address netip.Addr) bool {
	probing := p.Operation == ARPRequest && p.SenderIP.IsUnspecified() && p.TargetIP == address
	return p.SenderIP == address || probing
}
