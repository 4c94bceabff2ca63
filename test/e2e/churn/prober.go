package churn

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kubeovn/kube-ovn-ccm/pkg/gateway/neighbour"
	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
)

// roundTime is how long answers to a question count, and after which the next one is sent.
const roundTime = 500 * time.Millisecond

// Prober asks on the LAN who has an address, by ARP and by neighbour discovery, and takes down who answers. It asks under
// an address that no host has, another one each time, to which the answer is addressed: so it is known what was answered,
// however late, and not taken for an answer to the client's kernel, which asks as well.
type Prober struct {
	control kubeovn.Addrs
	link    *net.Interface
	out     int
	in      [2]*neighbour.Conn

	mu sync.Mutex
	// asked are the rounds that go on, by address, and number is theirs.
	asked  map[netip.Addr]*Round
	number byte
}

// asker is the address under which round number n asks.
func asker(v4 bool, n byte) netip.Addr {
	if v4 {
		return netip.AddrFrom4([4]byte{172, 20, 255, n})
	}
	return netip.AddrFrom16([16]byte{0: 0xfd, 3: 0x01, 4: 0x72, 6: 0xff, 7: 0xff, 15: n})
}

// NewProber opens the interface of a host on the LAN; inside runs a function in the host's network namespace. control are
// the addresses, one of each family, of a host that is always there: while it is not heard in a family, nobody is.
func NewProber(inside func(fn func() error) error, device string, control kubeovn.Addrs) (*Prober, error) {
	p := &Prober{control: control, out: -1, asked: map[netip.Addr]*Round{}}
	err := inside(func() (err error) {
		if p.link, err = net.InterfaceByName(device); err != nil {
			return err
		}
		for i, v4 := range []bool{true, false} {
			if p.in[i], err = neighbour.Dial(device, asker(v4, 0)); err != nil {
				return err
			}
		}
		// Protocol 0: it sends only.
		if p.out, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		return unix.Bind(p.out, &unix.SockaddrLinklayer{Ifindex: p.link.Index})
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("asking for neighbours on %s: %w", device, err), p.Close())
	}
	return p, nil
}

// Close releases the sockets.
func (p *Prober) Close() error {
	var errs []error
	for _, c := range p.in {
		if c != nil {
			errs = append(errs, c.Close())
		}
	}
	if p.out >= 0 {
		errs = append(errs, unix.Close(p.out))
	}
	return errors.Join(errs...)
}

// Run asks for the addresses of the moment again and again, and hands over each round, until the context ends.
func (p *Prober) Run(ctx context.Context, addrs func() []netip.Addr, done func(Round)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	errs := make(chan error, 3)
	for i, c := range p.in {
		go func() { errs <- p.listen(ctx, c, i == 0) }()
	}
	go func() { errs <- p.askAll(ctx, addrs, done) }()
	err := <-errs
	cancel()
	for range 2 {
		err = errors.Join(err, <-errs)
	}
	return err
}

func (p *Prober) askAll(ctx context.Context, addrs func() []netip.Addr, done func(Round)) error {
	tick := time.NewTicker(roundTime)
	defer tick.Stop()
	for {
		for _, addr := range append(p.control.All(), addrs()...) {
			p.mu.Lock()
			p.asked[addr] = &Round{Addr: addr, Asked: time.Now()}
			p.mu.Unlock()
			if _, err := unix.Write(p.out, p.question(addr, p.number)); err != nil {
				return fmt.Errorf("asking who has %s: %w", addr, err)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		p.mu.Lock()
		rounds := p.asked
		p.asked = map[netip.Addr]*Round{}
		p.number++
		p.mu.Unlock()
		var heard kubeovn.Addrs
		for _, addr := range p.control.All() {
			if len(rounds[addr].Answers) > 0 {
				heard = heard.With(addr)
			}
			delete(rounds, addr)
		}
		for _, r := range rounds {
			r.Ended, r.Deaf = time.Now(), !heard.Of(r.Addr.Is4()).IsValid()
			done(*r)
		}
	}
}

// question is the frame by which round number n asks who has an address.
func (p *Prober) question(addr netip.Addr, n byte) []byte {
	mac := p.link.HardwareAddr
	if addr.Is4() {
		return neighbour.ARP{
			Operation: neighbour.ARPRequest, SenderMAC: mac, SenderIP: asker(true, n), TargetMAC: make(net.HardwareAddr, 6), TargetIP: addr,
		}.Frame()
	}
	a := addr.As16()
	return neighbour.NDP{
		Type: neighbour.NDPSolicitation, SourceMAC: mac, DestinationMAC: net.HardwareAddr{0x33, 0x33, 0xff, a[13], a[14], a[15]},
		Source: asker(false, n), Destination: group(addr), Target: addr, LinkLayer: mac,
	}.Frame()
}

// group is the multicast group that whoever has an address listens to, RFC 4291 section 2.7.1.
func group(addr netip.Addr) netip.Addr {
	a := addr.As16()
	g := [16]byte{0: 0xff, 1: 0x02, 11: 1, 12: 0xff}
	copy(g[13:], a[13:])
	return netip.AddrFrom16(g)
}

// listen takes the answers down.
func (p *Prober) listen(ctx context.Context, c *neighbour.Conn, arp bool) error {
	for ctx.Err() == nil {
		frame, err := c.Receive(ctx, time.Now().Add(roundTime))
		if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
			continue
		}
		if err != nil {
			return err
		}
		addr, to, mac := answer(frame, arp)
		p.mu.Lock()
		if r := p.asked[addr]; r != nil && to == asker(arp, p.number) {
			r.Answers = append(r.Answers, Answer{MAC: mac.String(), At: time.Now()})
		}
		p.mu.Unlock()
	}
	return nil
}

// answer reads an answer: which address is had, who asked, and who has it.
func answer(frame []byte, arp bool) (addr, asker netip.Addr, mac net.HardwareAddr) {
	if arp {
		if a, err := neighbour.ParseARP(frame); err == nil && a.Operation == neighbour.ARPReply {
			return a.SenderIP, a.TargetIP, a.SenderMAC
		}
		return addr, asker, nil
	}
	n, err := neighbour.ParseNDP(frame)
	if err != nil || n.Type != neighbour.NDPAdvertisement {
		return addr, asker, nil
	}
	if n.LinkLayer != nil {
		return n.Target, n.Destination, n.LinkLayer
	}
	return n.Target, n.Destination, n.SourceMAC
}
