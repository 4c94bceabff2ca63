// Package neighbour speaks the little ARP and NDP that a gateway needs: it
// asks whether an address is free and it tells the link who has it. It reads
// and writes whole Ethernet frames, because the question is asked before the
// address exists.
package neighbour

import (
	"bytes"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"
)

// protocol is how the neighbours of one IP family speak with one another.
type protocol struct {
	name      string
	etherType uint16
	// filter lets in the frames of the protocol, of those with its EtherType;
	// empty: all of them.
	filter []unix.SockFilter
	// probe is the frame that asks who has an address.
	probe func(self net.HardwareAddr, address netip.Addr) []byte
	// announcements are the frames that tell that self has an address.
	announcements func(self net.HardwareAddr, address netip.Addr) [][]byte
	// claimant returns the hardware address of a host other than self that
	// uses the address or is about to, as the frame tells.
	claimant func(frame []byte, self net.HardwareAddr, address netip.Addr) (net.HardwareAddr, bool)
}

func protocolOf(address netip.Addr) protocol {
	if address.Is4() {
		return arpProtocol
	}
	return ndpProtocol
}

var arpProtocol = protocol{
	name:      "ARP",
	etherType: etherTypeARP,
	probe: func(self net.HardwareAddr, address netip.Addr) []byte {
		return arpProbe(self, address).Frame()
	},
	announcements: func(self net.HardwareAddr, address netip.Addr) (frames [][]byte) {
		for _, p := range arpAnnouncements(self, address) {
			frames = append(frames, p.Frame())
		}
		return frames
	},
	claimant: func(frame []byte, self net.HardwareAddr, address netip.Addr) (net.HardwareAddr, bool) {
		p, err := ParseARP(frame)
		if err != nil || bytes.Equal(p.SenderMAC, self) {
			return nil, false
		}
		return p.SenderMAC, p.claims(address)
	},
}

var ndpProtocol = protocol{
	name:      "NDP",
	etherType: etherTypeIPv6,
	filter:    ndpFilter,
	probe: func(self net.HardwareAddr, address netip.Addr) []byte {
		return ndpProbe(self, address).Frame()
	},
	announcements: func(self net.HardwareAddr, address netip.Addr) [][]byte {
		return [][]byte{ndpAnnouncement(self, address).Frame()}
	},
	claimant: func(frame []byte, self net.HardwareAddr, address netip.Addr) (net.HardwareAddr, bool) {
		p, err := ParseNDP(frame)
		if err != nil || bytes.Equal(p.SourceMAC, self) {
			return nil, false
		}
		return p.holder(), p.claims(address)
	},
}
