package command_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/kubeovn/kube-ovn-ccm/pkg/gateway/neighbour"
)

func (l *lab) mac(role, link string) string {
	l.t.Helper()
	var mac string
	l.inside(role, func() error {
		i, err := net.InterfaceByName(link)
		if err == nil {
			mac = i.HardwareAddr.String()
		}
		return err
	})
	return mac
}

// probe asks from the client who has an address.
func (l *lab) probe(address string) (net.HardwareAddr, error) {
	var conn *neighbour.Conn
	dial := func() (err error) { conn, err = neighbour.Dial("eth0", netip.MustParseAddr(address)); return err }
	if err := within(l.names["client"], dial); err != nil {
		return nil, err
	}
	defer conn.Close()
	return conn.Probe(context.Background())
}

func TestAClientThatKnewAnotherHolderLearnsTheNewOne(t *testing.T) {
	l := newLab(t)
	l.echoServers(clusterIP, "a", tcp(80))
	const old = "02:00:00:00:00:01"
	l.ip("client", "neigh replace 172.18.0.18 lladdr "+old+" dev eth0 nud stale")
	l.ip("lan", "neigh replace 172.18.0.18 lladdr "+old+" dev br0 nud stale")
	time.Sleep(1100 * time.Millisecond) // a neighbour entry may not change twice within a second
	l.startServing(document(tcp(80)))
	want := l.mac("gw", "net1")
	for _, neighbour := range []struct{ role, link string }{{"client", "eth0"}, {"lan", "br0"}} {
		l.eventually(neighbour.role+" knows the new holder", func() error {
			entry := l.ip(neighbour.role, "neigh show 172.18.0.18 dev "+neighbour.link)
			if !strings.Contains(entry, want) {
				return fmt.Errorf("it knows: %s", entry)
			}
			return nil
		})
	}
	l.mustAsk("client", "tcp4", 80, "a")
	l.mustAsk("remote", "tcp4", 80, "a")
}

func TestAnAddressInUseIsNotTaken(t *testing.T) {
	l := newLab(t)
	l.echoServers(clusterIP, "a", tcp(80))
	l.ip("client", "addr add 172.18.0.18/16 dev eth0")
	l.publish(document(tcp(80)))
	l.start()
	l.eventually("the reason is shown", l.notReady("address 172.18.0.18 is in use on the network by MAC "+l.mac("client", "eth0")))
	if a := l.addresses("gw", "net1"); a != "" {
		t.Errorf("net1 took %s", a)
	}
	if rules := l.filters(); !strings.Contains(rules, "DNAT") {
		t.Errorf("the rules are not there before the address:\n%s", rules)
	}
	l.ip("client", "addr del 172.18.0.18/16 dev eth0")
	l.eventually("it serves when the address is free", l.ready)
	l.mustAsk("remote", "tcp4", 80, "a")
}

func TestTheAttachmentAnswersForTheLoadBalancerOnly(t *testing.T) {
	l := newLab(t)
	if holder, err := l.probe(podAddress); err != nil || holder == nil {
		t.Fatalf("without the agent the Pod's address is answered on net1: %v, %v; else this test proves nothing", holder, err)
	}
	l.startServing(document(tcp(80)))
	if holder, err := l.probe(podAddress); err != nil || holder != nil {
		t.Errorf("%s answered for the Pod's address, %v", holder, err)
	}
	if holder, err := l.probe(lbAddress); err != nil || holder.String() != l.mac("gw", "net1") {
		t.Errorf("%s answered for the load balancer's address, %v", holder, err)
	}
}

func TestAnAttachmentWithoutCarrierIsNoticed(t *testing.T) {
	l := newLab(t)
	l.echoServers(clusterIP, "a", tcp(80))
	l.ip("node", "link set eth0 down")
	l.publish(document(tcp(80)))
	l.start()
	noticed := l.notReady("interface net1 has no carrier")
	l.eventually("the reason is shown at the start", noticed)
	if a := l.addresses("gw", "net1"); a != "" {
		t.Errorf("net1 took %s although nobody could be asked", a)
	}
	l.ip("node", "link set eth0 up")
	l.eventually("it serves when the carrier is there", l.ready)
	l.ip("node", "link set eth0 down")
	l.eventually("the reason is shown when the carrier goes", noticed)
	l.ip("node", "link set eth0 up")
	l.eventually("it serves again", l.ready)
	l.eventually("clients get answers", func() error {
		_, err := l.ask("client", "tcp4", lbAddress, 80)
		return err
	})
}

// listen collects the frames of ARP or NDP, as the address's family has it,
// that reach the client while something is done and for some time after it: a
// busy machine makes announcements late.
func (l *lab) listen(address string, do func()) (frames [][]byte) {
	l.t.Helper()
	var conn *neighbour.Conn
	l.inside("client", func() (err error) {
		conn, err = neighbour.Dial("eth0", netip.MustParseAddr(address))
		return err
	})
	defer conn.Close()
	do()
	for deadline := time.Now().Add(2 * time.Second); ; {
		frame, err := conn.Receive(context.Background(), deadline)
		if errors.Is(err, context.DeadlineExceeded) {
			return frames
		}
		if err != nil {
			l.t.Fatal(err)
		}
		frames = append(frames, frame)
	}
}

func TestAnnouncementsComeInBothFormsAndMoreThanOnce(t *testing.T) {
	l := newLab(t)
	mac := l.mac("gw", "net1")
	seen := map[uint16]int{}
	for _, frame := range l.listen(lbAddress, func() { l.startServing(document(tcp(80))) }) {
		p, err := neighbour.ParseARP(frame)
		if err == nil && p.SenderMAC.String() == mac && p.SenderIP == p.TargetIP && p.SenderIP.String() == lbAddress {
			seen[p.Operation]++
		}
	}
	if seen[neighbour.ARPRequest] != 3 || seen[neighbour.ARPReply] != 3 {
		t.Errorf("announced %d times as a request and %d times as a reply, want 3 and 3", seen[neighbour.ARPRequest], seen[neighbour.ARPReply])
	}
}

func TestWhatArrivedInTimeCountsHoweverLateItIsLookedAt(t *testing.T) {
	l := newLab(t)
	address := netip.MustParseAddr(lbAddress)
	var hears, speaks *neighbour.Conn
	l.inside("client", func() (err error) { hears, err = neighbour.Dial("eth0", address); return err })
	defer hears.Close()
	l.inside("lan", func() (err error) { speaks, err = neighbour.Dial("br0", address); return err })
	defer speaks.Close()
	if err := speaks.Announce(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(50 * time.Millisecond)
	over := time.Now().Add(-time.Second)
	for range 2 { // forms
		if _, err := hears.Receive(context.Background(), over); err != nil {
			t.Errorf("an announcement: %v", err)
		}
	}
	if frame, err := hears.Receive(context.Background(), over); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("after them: %x, %v", frame, err)
	}
}
