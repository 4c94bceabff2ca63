package neighbour

import (
	"bytes"
	"encoding/hex"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

var (
	address6 = netip.MustParseAddr("fd00:18::a1:b2c3")
	other6   = netip.MustParseAddr("fd00:18::5")
	nobody6  = netip.IPv6Unspecified()
)

func TestNDPOnTheWire(t *testing.T) {
	for sentence, tc := range map[string]struct {
		packet NDP
		want   string
	}{
		"a probe has no sender address and names no hardware address": {ndpProbe(ours, address6),
			"3333ffa1b2c3 000000afaabf 86dd" +
				"60000000 0018 3a ff 00000000000000000000000000000000 ff0200000000000000000001ffa1b2c3" +
				"87 00 16c6 00000000 fd000018000000000000000000a1b2c3"},
		"an announcement overrides what all nodes know": {ndpAnnouncement(ours, address6),
			"333300000001 000000afaabf 86dd" +
				"60000000 0020 3a ff fd000018000000000000000000a1b2c3 ff020000000000000000000000000001" +
				"88 00 ca35 a0000000 fd000018000000000000000000a1b2c3" +
				"02 01 000000afaabf"},
	} {
		t.Run(sentence, func(t *testing.T) {
			if got := hex.EncodeToString(tc.packet.Frame()); got != strings.ReplaceAll(tc.want, " ", "") {
				t.Errorf("got  %s\nwant %s", got, strings.ReplaceAll(tc.want, " ", ""))
			}
		})
	}
}

func TestWhoClaimsAnIPv6Address(t *testing.T) {
	advertises := NDP{
		Type: NDPAdvertisement, Flags: NDPOverride, SourceMAC: theirs, DestinationMAC: allNodesMAC,
		Source: address6, Destination: allNodes, Target: address6, LinkLayer: theirs,
	}
	asks := func(sender, about netip.Addr) NDP {
		p := ndpProbe(theirs, about)
		p.Source = sender
		return p
	}
	for sentence, tc := range map[string]struct {
		packet NDP
		want   bool
	}{
		"a holder answers a probe": {advertises, true},
		"a holder answers without an option": {func() NDP {
			p := advertises
			p.LinkLayer = nil
			return p
		}(), true},
		"a proxy answers for the holder": {func() NDP {
			p := advertises
			p.Source = other6
			return p
		}(), true},
		"a holder asks for somebody":     {asks(address6, other6), true},
		"another one probes for it too":  {asks(nobody6, address6), true},
		"another one probes for another": {asks(nobody6, other6), false},
		"a client asks who has it":       {asks(other6, address6), false},
		"another one is announced":       {ndpAnnouncement(theirs, other6), false},
		"our own probe comes back":       {ndpProbe(ours, address6), false},
		"our own announcement":           {ndpAnnouncement(ours, address6), false},
	} {
		t.Run(sentence, func(t *testing.T) {
			mac, ok := ndpProtocol.claimant(tc.packet.Frame(), ours, address6)
			if ok != tc.want || ok && mac.String() != theirs.String() {
				t.Errorf("got %s, %v; want %v", mac, ok, tc.want)
			}
		})
	}
}

func TestWhatIsNoNDPIsRefused(t *testing.T) {
	good := ndpAnnouncement(theirs, address6).Frame()
	if _, err := ParseNDP(append(bytes.Clone(good), 0, 0, 0, 0)); err != nil {
		t.Fatalf("a padded frame: %v", err)
	}
	named := ndpProbe(theirs, address6)
	named.LinkLayer = theirs
	for sentence, tc := range map[string]struct {
		frame []byte
		want  string
	}{
		"a short frame":                {good[:77], "shorter than"},
		"IPv4":                         {changed(good, 12, 0x08), "not IPv6"},
		"TCP":                          {changed(good, 20, 6), "no neighbour"},
		"an echo request":              {changed(good, 54, 128), "no neighbour"},
		"what came through a router":   {changed(good, 21, 254), "not of this link"},
		"a length beyond the frame":    {changed(good, 19, 40), "wrong length"},
		"a damaged address":            {changed(good, 70, 0xff), "wrong checksum"},
		"a probe that names its owner": {named.Frame(), "names its hardware address"},
	} {
		t.Run(sentence, func(t *testing.T) {
			if _, err := ParseNDP(tc.frame); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
}

func changed(frame []byte, at int, to byte) []byte {
	frame = bytes.Clone(frame)
	frame[at] = to
	return frame
}

func FuzzParseNDP(f *testing.F) {
	for _, p := range []NDP{ndpProbe(ours, address6), ndpAnnouncement(ours, address6)} {
		f.Add(p.Frame())
		f.Add(append(p.Frame(), make([]byte, 18)...))
	}
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		// A fuzzer does not find checksums; the right one lets it go on.
		if len(b) >= ndpStart+ndpLen {
			size := min(int(b[18])<<8|int(b[19]), len(b)-ndpStart)
			message := b[ndpStart : ndpStart+size]
			if size >= ndpLen {
				message[2], message[3] = 0, 0
				sum := ^ndpSum(netip.AddrFrom16([16]byte(b[22:38])), netip.AddrFrom16([16]byte(b[38:54])), message)
				message[2], message[3] = byte(sum>>8), byte(sum)
			}
		}
		p, err := ParseNDP(b)
		if err != nil {
			return
		}
		again, err := ParseNDP(p.Frame())
		if err != nil {
			t.Fatalf("%+v cannot be read again: %v", p, err)
		}
		compare := []cmp.Option{cmpopts.EquateComparable(netip.Addr{}), cmp.Comparer(func(a, b net.HardwareAddr) bool { return bytes.Equal(a, b) })}
		if diff := cmp.Diff(p, again, compare...); diff != "" {
			t.Errorf("%x was read in two ways:\n%s", b, diff)
		}
	})
}
