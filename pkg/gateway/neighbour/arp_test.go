package neighbour

import (
	"bytes"
	"encoding/hex"
	"net"
	"net/netip"
	"strings"
	"testing"
)

var (
	ours    = net.HardwareAddr{0, 0, 0, 0xaf, 0xaa, 0xbf}
	theirs  = net.HardwareAddr{2, 0, 0, 0, 0, 1}
	address = netip.MustParseAddr("172.18.0.18")
	client  = netip.MustParseAddr("172.18.0.5")
	nobody  = make(net.HardwareAddr, 6)
)

func TestARPOnTheWire(t *testing.T) {
	both := arpAnnouncements(ours, address)
	for sentence, tc := range map[string]struct {
		packet ARP
		want   string
	}{
		"a probe has no sender address": {arpProbe(ours, address),
			"ffffffffffff 000000afaabf 0806 0001 0800 06 04 0001 000000afaabf 00000000 000000000000 ac120012"},
		"an announcement as a request": {both[0],
			"ffffffffffff 000000afaabf 0806 0001 0800 06 04 0001 000000afaabf ac120012 000000000000 ac120012"},
		"an announcement as a reply": {both[1],
			"ffffffffffff 000000afaabf 0806 0001 0800 06 04 0002 000000afaabf ac120012 000000afaabf ac120012"},
	} {
		t.Run(sentence, func(t *testing.T) {
			if got := hex.EncodeToString(tc.packet.Frame()); got != strings.ReplaceAll(tc.want, " ", "") {
				t.Errorf("got  %s\nwant %s", got, tc.want)
			}
		})
	}
}

func TestWhoClaimsAnIPv4Address(t *testing.T) {
	for sentence, tc := range map[string]struct {
		packet ARP
		want   bool
	}{
		"a holder answers":               {ARP{ARPReply, theirs, address, ours, netip.IPv4Unspecified()}, true},
		"a holder announces itself":      {ARP{ARPRequest, theirs, address, nobody, address}, true},
		"a holder asks for somebody":     {ARP{ARPRequest, theirs, address, nobody, client}, true},
		"another one probes for it too":  {ARP{ARPRequest, theirs, netip.IPv4Unspecified(), nobody, address}, true},
		"another one probes for another": {ARP{ARPRequest, theirs, netip.IPv4Unspecified(), nobody, client}, false},
		"a client asks who has it":       {ARP{ARPRequest, theirs, client, nobody, address}, false},
		"our own probe comes back":       {ARP{ARPRequest, ours, netip.IPv4Unspecified(), nobody, address}, false},
		"our own announcement":           {ARP{ARPReply, ours, address, ours, address}, false},
	} {
		t.Run(sentence, func(t *testing.T) {
			mac, ok := arpProtocol.claimant(tc.packet.Frame(), ours, address)
			if ok != tc.want || ok && mac.String() != theirs.String() {
				t.Errorf("got %s, %v; want %v", mac, ok, tc.want)
			}
		})
	}
}

func FuzzParseARP(f *testing.F) {
	for _, p := range append(arpAnnouncements(ours, address), arpProbe(ours, address)) {
		f.Add(p.Frame())
		f.Add(append(p.Frame(), make([]byte, 18)...)) // padded to 60 bytes
	}
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := ParseARP(b)
		if err != nil {
			return
		}
		// The Ethernet header may name another sender than the packet does.
		if got := p.Frame(); !bytes.Equal(got[14:], b[14:arpLen]) {
			t.Errorf("%x was read as %x", b, got)
		}
	})
}
