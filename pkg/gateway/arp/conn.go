package arp

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// The timing of a probe. RFC 5227 waits seconds; on a link inside a data
// centre answers come within a millisecond, and a Service waits for us.
const (
	probes        = 3
	probeInterval = 100 * time.Millisecond
	lastWait      = 200 * time.Millisecond
)

// Conn sends and receives ARP on one interface. It needs CAP_NET_RAW.
type Conn struct {
	file *os.File
	link *net.Interface
}

// Dial opens ARP on the named interface.
func Dial(name string) (*Conn, error) {
	link, err := net.InterfaceByName(name)
	if err != nil {
		return nil, fmt.Errorf("open ARP on %s: %w", name, err)
	}
	if len(link.HardwareAddr) != 6 {
		return nil, fmt.Errorf("open ARP on %s: it is not an Ethernet interface", name)
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, int(networkOrder(etherTypeARP)))
	if err != nil {
		return nil, fmt.Errorf("open ARP on %s: packet socket: %w", name, err)
	}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: networkOrder(etherTypeARP), Ifindex: link.Index}); err != nil {
		return nil, errors.Join(fmt.Errorf("open ARP on %s: bind: %w", name, err), unix.Close(fd))
	}
	return &Conn{file: os.NewFile(uintptr(fd), "arp-"+name), link: link}, nil
}

// Close releases the socket.
func (c *Conn) Close() error { return c.file.Close() }

// Announce tells the link once, in both forms, that address is here.
func (c *Conn) Announce(address netip.Addr) error {
	for _, p := range announcements(c.link.HardwareAddr, address) {
		if _, err := c.file.Write(p.Frame()); err != nil {
			return fmt.Errorf("announce %s on %s: %w", address, c.link.Name, err)
		}
	}
	return nil
}

// Probe asks whether another host has the address or is about to take it, and
// returns its hardware address, nil if nobody spoke up. It takes 0.4 s when
// the address is free.
func (c *Conn) Probe(ctx context.Context, address netip.Addr) (net.HardwareAddr, error) {
	question := probe(c.link.HardwareAddr, address).Frame()
	for i := range probes {
		if _, err := c.file.Write(question); err != nil {
			return nil, fmt.Errorf("probe for %s on %s: %w", address, c.link.Name, err)
		}
		wait := probeInterval
		if i == probes-1 {
			wait = lastWait
		}
		holder, err := c.listen(ctx, address, time.Now().Add(wait))
		if holder != nil || err != nil {
			return holder, err
		}
	}
	return nil, nil
}

// listen returns the first other host that claims the address until deadline.
func (c *Conn) listen(ctx context.Context, address netip.Addr, deadline time.Time) (net.HardwareAddr, error) {
	for {
		packet, err := c.Receive(ctx, deadline)
		if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		if holder, ok := packet.claimant(c.link.HardwareAddr, address); ok {
			return holder, nil
		}
	}
}

// Receive returns the next ARP packet that arrives on the interface. When the
// deadline is over the error is context.DeadlineExceeded.
func (c *Conn) Receive(ctx context.Context, deadline time.Time) (Packet, error) {
	if err := c.file.SetReadDeadline(deadline); err != nil {
		return Packet{}, fmt.Errorf("receive ARP on %s: %w", c.link.Name, err)
	}
	frame := make([]byte, 1514)
	for {
		if err := ctx.Err(); err != nil {
			return Packet{}, err
		}
		n, err := c.file.Read(frame)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return Packet{}, context.DeadlineExceeded
		}
		if err != nil {
			return Packet{}, fmt.Errorf("receive ARP on %s: %w", c.link.Name, err)
		}
		// What is no ARP about IPv4 is none of our business.
		if packet, err := Parse(frame[:n]); err == nil {
			return packet, nil
		}
	}
}

func networkOrder(v uint16) uint16 {
	var b [2]byte
	binary.BigEndian.PutUint16(b[:], v)
	return binary.NativeEndian.Uint16(b[:])
}
