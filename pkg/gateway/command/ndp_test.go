package command_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kubeovn/kube-ovn-ccm/pkg/gateway/neighbour"
)

func TestAClientThatKnewAnotherHolderOfIPv6LearnsTheNewOne(t *testing.T) {
	l := newDualLab(t)
	const old = "02:00:00:00:00:01"
	// Reachable, so that only being told makes them look elsewhere.
	l.ip("client", "-6 neigh replace fd00:18::18 lladdr "+old+" dev eth0 nud reachable")
	l.ip("lan", "-6 neigh replace fd00:18::18 lladdr "+old+" dev br0 nud reachable")
	l.startServing(document6())
	want := l.mac("gw", "net1")
	for _, at := range []struct{ role, link string }{{"client", "eth0"}, {"lan", "br0"}} {
		l.eventually(at.role+" knows the new holder", func() error {
			if entry := l.ip(at.role, "-6 neigh show fd00:18::18 dev "+at.link); !strings.Contains(entry, want) {
				return fmt.Errorf("it knows: %s", entry)
			}
			return nil
		})
	}
	l.mustEcho6("client", "remote")
}

func TestAnIPv6AddressInUseIsNotTakenAndIPv4IsServed(t *testing.T) {
	l := newDualLab(t)
	l.ip("client", "-6 addr add fd00:18::18/64 dev eth0 nodad")
	l.publish(dualDocument())
	mac, announced := l.mac("gw", "net1"), 0
	for _, frame := range l.listen(lbAddress, func() {
		l.start()
		l.eventually("the reason is shown", l.notReady("address fd00:18::18 is in use on the network by MAC "+l.mac("client", "eth0")))
	}) {
		p, err := neighbour.ParseARP(frame)
		if err == nil && p.SenderMAC.String() == mac && p.Operation == neighbour.ARPReply && p.TargetIP.String() == lbAddress {
			announced++
		}
	}
	if announced != 3 {
		t.Errorf("the IPv4 address was announced %d times, want 3", announced)
	}
	if a := l.global6("gw", "net1"); a != "" {
		t.Errorf("net1 took %s", a)
	}
	l.exec("remote", "ping", "-c1", "-W2", lbAddress)
	l.ip("client", "-6 addr del fd00:18::18/64 dev eth0")
	l.eventually("it serves when the address is free", l.ready)
	l.mustEcho6("client", "remote")
}

func TestAnIPv6AddressThatAnotherOneIsAboutToTakeIsNotTaken(t *testing.T) {
	l := newDualLab(t)
	mac := l.mac("client", "eth0")
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- within(l.names["client"], func() error {
			for ctx.Err() == nil {
				conn, err := neighbour.Dial("eth0", netip.MustParseAddr(lbAddress6))
				if err != nil {
					return err
				}
				_, _ = conn.Probe(ctx)
				conn.Close()
			}
			return nil
		})
	}()
	t.Cleanup(cancel)
	l.publish(document6())
	l.start()
	l.eventually("the reason is shown", l.notReady("address fd00:18::18 is in use on the network by MAC "+mac))
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	l.eventually("it serves when nobody else wants the address", l.ready)
}

func TestTheAttachmentAnswersForItsIPv6AddressOnly(t *testing.T) {
	l := newDualLab(t)
	l.startServing(dualDocument())
	if holder, err := l.probe(podAddress6); err != nil || holder != nil {
		t.Errorf("%s answered for the Pod's address, %v", holder, err)
	}
	if holder, err := l.probe(lbAddress6); err != nil || holder.String() != l.mac("gw", "net1") {
		t.Errorf("%s answered for the load balancer's address, %v", holder, err)
	}
}

func TestIPv6IsAnnouncedToAllNodesMoreThanOnce(t *testing.T) {
	l := newDualLab(t)
	mac := l.mac("gw", "net1")
	seen := 0
	for _, frame := range l.listen(lbAddress6, func() { l.startServing(document6()) }) {
		p, err := neighbour.ParseNDP(frame)
		if err != nil {
			t.Errorf("%x came through the filter: %v", frame, err)
		}
		if p.Type == neighbour.NDPAdvertisement && p.LinkLayer.String() == mac && p.Target.String() == lbAddress6 &&
			p.Destination.String() == "ff02::1" && p.Flags&neighbour.NDPOverride != 0 && p.Flags&neighbour.NDPSolicited == 0 {
			seen++
		}
	}
	if seen != 3 {
		t.Errorf("announced %d times, want 3", seen)
	}
}

// advertise sends what a router on the attachment would: it offers itself as
// the default and a prefix to make addresses of.
func (l *lab) advertise() {
	l.t.Helper()
	message := []byte{134, 0, 0, 0, 64, 0, 0x07, 0x08, 0, 0, 0, 0, 0, 0, 0, 0} // for half an hour
	prefix := []byte{3, 4, 64, 0xc0}                                           // on the link, and for addresses
	for _, lifetime := range []uint32{3600, 1800, 0} {
		prefix = binary.BigEndian.AppendUint32(prefix, lifetime)
	}
	message = append(append(message, prefix...), netip.MustParseAddr("fd00:18::").AsSlice()...)
	l.inside("lan", func() error {
		fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_ICMPV6)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_HOPS, 255); err != nil {
			return err
		}
		if err := unix.BindToDevice(fd, "br0"); err != nil {
			return err
		}
		return unix.Sendto(fd, message, 0, &unix.SockaddrInet6{Addr: netip.MustParseAddr("ff02::1").As16()})
	})
}

func TestRoutersOnTheAttachmentAreNotListenedTo(t *testing.T) {
	l := newDualLab(t)
	autoconfigured := func() bool { return strings.Contains(l.global6("gw", "net1"), "dynamic") }
	// Before the agent comes the kernel believes what it hears.
	l.eventually("net1 has an address by itself", func() error {
		l.advertise()
		time.Sleep(50 * time.Millisecond)
		if !autoconfigured() {
			return fmt.Errorf("it has %v", l.addresses6("gw", "net1"))
		}
		return nil
	})
	if routes := l.ip("gw", "-6 route show default"); !strings.Contains(routes, "dev net1 proto ra") {
		t.Fatalf("no default route came with it, so this test proves little: %s", routes)
	}
	l.startServing(document6())
	l.sysctl("gw", "net/ipv6/conf/net1/accept_ra", "2")
	l.eventually("what somebody set is put right", func() error {
		if now := l.fingerprint6(); !strings.Contains(now, "net1/accept_ra=0") {
			return fmt.Errorf("the kernel has\n%s", now)
		}
		return nil
	})
	l.advertise()
	time.Sleep(200 * time.Millisecond)
	if routes := l.ip("gw", "-6 route show default"); strings.Contains(routes, "net1") {
		t.Errorf("there is a default route beside eth0's: %s", routes)
	}
	all := strings.Join(l.addresses6("gw", "net1"), "\n")
	if !autoconfigured() || !strings.Contains(all, "fe80:") {
		t.Errorf("the agent took the kernel's own addresses away:\n%s", all)
	}
	l.mustEcho6("client", "remote")
	if route := l.ip("gw", "-6 route get "+clusterIP6); !strings.Contains(route, "dev eth0 src "+podAddress6) {
		t.Errorf("the way to the cluster is %s", route)
	}
}
