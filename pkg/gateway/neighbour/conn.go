package neighbour

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

// The timing of a probe. RFC 5227 and RFC 4862 wait seconds; on a link inside
// a data centre answers come within a millisecond, and a Service waits for us.
const (
	probes        = 3
	probeInterval = 100 * time.Millisecond
	lastWait      = 200 * time.Millisecond
)

// Conn asks and tells the link of one interface about one address. It needs
// CAP_NET_RAW.
type Conn struct {
	protocol
	file    *os.File
	link    *net.Interface
	address netip.Addr
}

// Dial opens the named interface for the neighbours of an address, which the
// interface need not have.
func Dial(name string, address netip.Addr) (*Conn, error) {
	p := protocolOf(address)
	link, err := net.InterfaceByName(name)
	if err != nil {
		return nil, fmt.Errorf("open %s on %s: %w", p.name, name, err)
	}
	if len(link.HardwareAddr) != 6 {
		return nil, fmt.Errorf("open %s on %s: it is not an Ethernet interface", p.name, name)
	}
	// Until it is bound the socket receives nothing, so nothing gets past the
	// filter.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s on %s: packet socket: %w", p.name, name, err)
	}
	if len(p.filter) > 0 {
		program := unix.SockFprog{Len: uint16(len(p.filter)), Filter: &p.filter[0]}
		err = unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &program)
	}
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: networkOrder(p.etherType), Ifindex: link.Index})
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open %s on %s: %w", p.name, name, err), unix.Close(fd))
	}
	return &Conn{p, os.NewFile(uintptr(fd), p.name+"-"+name), link, address}, nil
}

// Close releases the socket.
func (c *Conn) Close() error { return c.file.Close() }

// Announce tells the link once, in every form there is, that the address is
// here.
func (c *Conn) Announce() error {
	for _, frame := range c.announcements(c.link.HardwareAddr, c.address) {
		if _, err := c.file.Write(frame); err != nil {
			return fmt.Errorf("announce %s on %s: %w", c.address, c.link.Name, err)
		}
	}
	return nil
}

// Probe asks whether another host has the address or is about to take it, and
// returns its hardware address, nil if nobody spoke up. It takes 0.4 s when
// the address is free.
func (c *Conn) Probe(ctx context.Context) (net.HardwareAddr, error) {
	leave, err := c.join()
	if err != nil {
		return nil, err
	}
	defer leave()
	for i := range probes {
		wait := probeInterval
		if i == probes-1 {
			wait = lastWait
		}
		holder, err := c.ask(ctx, wait)
		if holder != nil || err != nil {
			return holder, err
		}
	}
	return nil, nil
}

// Ask asks once whether another host has the address, as Probe does. Silence,
// which takes 0.1 s, may be a lost frame.
func (c *Conn) Ask(ctx context.Context) (net.HardwareAddr, error) {
	leave, err := c.join()
	if err != nil {
		return nil, err
	}
	defer leave()
	return c.ask(ctx, probeInterval)
}

func (c *Conn) ask(ctx context.Context, wait time.Duration) (net.HardwareAddr, error) {
	if _, err := c.file.Write(c.probe(c.link.HardwareAddr, c.address)); err != nil {
		return nil, fmt.Errorf("probe for %s on %s: %w", c.address, c.link.Name, err)
	}
	return c.listen(ctx, time.Now().Add(wait))
}

// join lets the interface receive what others ask about an IPv6 address that
// it does not have: two hosts that probe for it at once hear one another.
func (c *Conn) join() (leave func(), err error) {
	if c.address.Is4() {
		return func() {}, nil // ARP is broadcast
	}
	group, _ := solicitedNode(c.address)
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("listen to %s on %s: %w", group, c.link.Name, err)
	}
	membership := unix.IPv6Mreq{Multiaddr: group.As16(), Interface: uint32(c.link.Index)}
	if err := unix.SetsockoptIPv6Mreq(fd, unix.IPPROTO_IPV6, unix.IPV6_JOIN_GROUP, &membership); err != nil {
		return nil, errors.Join(fmt.Errorf("listen to %s on %s: %w", group, c.link.Name, err), unix.Close(fd))
	}
	return func() { _ = unix.Close(fd) }, nil
}

// listen returns the first other host that claims the address until deadline.
func (c *Conn) listen(ctx context.Context, deadline time.Time) (net.HardwareAddr, error) {
	for {
		frame, err := c.Receive(ctx, deadline)
		if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		if holder, ok := c.claimant(frame, c.link.HardwareAddr, c.address); ok {
			return holder, nil
		}
	}
}

// Receive returns the next frame of the protocol that arrives on the
// interface, whatever it is about. When the deadline is over the error is
// context.DeadlineExceeded; what arrived before counts, however late it is
// looked at: a busy machine must not take an answer for silence.
func (c *Conn) Receive(ctx context.Context, deadline time.Time) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	frame := make([]byte, 1514)
	n, err := c.queued(frame)
	if errors.Is(err, unix.EAGAIN) {
		n, err = c.wait(frame, deadline)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		n, err = c.queued(frame)
	}
	if errors.Is(err, unix.EAGAIN) {
		return nil, context.DeadlineExceeded
	}
	if err != nil {
		return nil, fmt.Errorf("receive %s on %s: %w", c.name, c.link.Name, err)
	}
	return frame[:n], nil
}

// queued reads a frame that is already there, else the error is EAGAIN.
func (c *Conn) queued(frame []byte) (n int, err error) {
	raw, err := c.file.SyscallConn()
	if err != nil {
		return 0, err
	}
	controlErr := raw.Control(func(fd uintptr) { n, err = unix.Read(int(fd), frame) })
	return n, errors.Join(err, controlErr)
}

func (c *Conn) wait(frame []byte, deadline time.Time) (int, error) {
	if err := c.file.SetReadDeadline(deadline); err != nil {
		return 0, err
	}
	return c.file.Read(frame)
}

func networkOrder(v uint16) uint16 {
	var b [2]byte
	binary.BigEndian.PutUint16(b[:], v)
	return binary.NativeEndian.Uint16(b[:])
}
