package command_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kubeovn/kube-ovn-ccm/pkg/gateway/spec"
)

func hostPort(address string, port uint16) string {
	return net.JoinHostPort(address, strconv.Itoa(int(port)))
}

// echoServers answer on ports of a ClusterIP with the name that they are given
// and then whatever they receive.
func (l *lab) echoServers(address, name string, ports ...spec.Port) {
	l.t.Helper()
	for _, p := range ports {
		switch p.Protocol {
		case spec.TCP:
			l.echoTCP(address, name, p.Port)
		case spec.UDP:
			l.echoUDP(address, name, p.Port)
		case spec.SCTP:
			l.answerSCTP(p.Port)
		}
	}
}

func (l *lab) echoTCP(address, name string, port uint16) {
	l.t.Helper()
	l.greetTCP(hostPort(address, port), func(net.Addr) string { return name })
}

func (l *lab) echoUDP(address, name string, port uint16) {
	l.t.Helper()
	l.greetUDP(hostPort(address, port), func(net.Addr) string { return name })
}

// greetTCP serves an address in the cluster: a client is greeted by a line and
// hears what it sends.
func (l *lab) greetTCP(at string, greeting func(client net.Addr) string) {
	l.t.Helper()
	var listener net.Listener
	l.inside("cluster", func() (err error) {
		listener, err = net.Listen("tcp", at)
		return err
	})
	l.t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				if _, err := io.WriteString(conn, greeting(conn.RemoteAddr())+"\n"); err == nil {
					_, _ = io.Copy(conn, conn)
				}
			}()
		}
	}()
}

// greetUDP does the same with each datagram.
func (l *lab) greetUDP(at string, greeting func(client net.Addr) string) {
	l.t.Helper()
	var conn net.PacketConn
	l.inside("cluster", func() (err error) {
		conn, err = net.ListenPacket("udp", at)
		return err
	})
	l.t.Cleanup(func() { conn.Close() })
	go func() {
		b := make([]byte, 2048)
		for {
			n, from, err := conn.ReadFrom(b)
			if err != nil {
				return
			}
			_, _ = conn.WriteTo(append([]byte(greeting(from)+"\n"), b[:n]...), from)
		}
	}()
}

// dial opens a connection from a namespace.
func (l *lab) dial(role, network, address string, port uint16) (net.Conn, error) {
	var conn net.Conn
	err := within(l.names[role], func() (err error) {
		conn, err = (&net.Dialer{Timeout: 2 * time.Second}).Dial(network, hostPort(address, port))
		return err
	})
	return conn, err
}

// ask sends a line to a served port and returns the name of who answered.
func (l *lab) ask(role, network, address string, port uint16) (string, error) {
	conn, err := l.dial(role, network, address, port)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	return talk(conn, "hello\n")
}

// talk sends a line and expects a greeting and the line back.
func talk(conn net.Conn, line string) (string, error) {
	if err := conn.SetDeadline(time.Now().Add(2 * time.Second)); err != nil {
		return "", err
	}
	if _, err := io.WriteString(conn, line); err != nil {
		return "", err
	}
	var got []byte
	b := make([]byte, 2048)
	for {
		n, err := conn.Read(b)
		if err != nil {
			return "", err
		}
		got = append(got, b[:n]...)
		if end := len(got) - len(line); end > 0 && string(got[end:]) == line {
			return string(got[:end-1]), nil
		}
	}
}

// mustAsk fails the test unless name answers.
func (l *lab) mustAsk(role, network string, port uint16, name string) {
	l.t.Helper()
	got, err := l.ask(role, network, lbAddress, port)
	if err != nil || got != name {
		l.t.Errorf("%s asks %s port %d: %q, %v; want an answer from %q", role, network, port, got, err, name)
	}
}

// refused reports whether a connection is refused, rather than unanswered.
func (l *lab) refused(role string, port uint16) error {
	conn, err := l.dial(role, "tcp4", lbAddress, port)
	if err == nil {
		conn.Close()
		return errors.New("it was accepted")
	}
	if !errors.Is(err, unix.ECONNREFUSED) {
		return fmt.Errorf("it was not refused but: %w", err)
	}
	return nil
}

// load opens connections at a steady rate and counts the failed ones.
type load struct {
	stop           context.CancelFunc
	wg             sync.WaitGroup
	opened, failed atomic.Int64
	mu             sync.Mutex
	first          error
}

// startLoad opens rate connections a second from the client to a port, each
// with a question and an answer.
func (l *lab) startLoad(rate int, port uint16) *load {
	const workers = 20
	ctx, cancel := context.WithCancel(context.Background())
	load := &load{stop: cancel}
	l.t.Cleanup(func() { load.end() })
	for range workers {
		load.wg.Go(func() {
			_ = within(l.names["client"], func() error {
				// By the clock and not by a ticker: what a busy machine
				// delays is made up for.
				for next := time.Now(); ctx.Err() == nil; next = next.Add(time.Second * workers / time.Duration(rate)) {
					time.Sleep(time.Until(next))
					load.once(port)
				}
				return nil
			})
		})
	}
	return load
}

func (d *load) once(port uint16) {
	d.opened.Add(1)
	conn, err := (&net.Dialer{Timeout: 2 * time.Second}).Dial("tcp4", hostPort(lbAddress, port))
	if err == nil {
		_, err = talk(conn, "hello\n")
		conn.Close()
	}
	if err != nil {
		d.failed.Add(1)
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.first == nil {
			d.first = err
		}
	}
}

// proves reports whether there were that many connections, which a busy machine
// needs more time for.
func (d *load) proves(connections int64) bool { return d.opened.Load() >= connections }

// end stops the load and returns how many connections there were.
func (d *load) end() int64 {
	d.stop()
	d.wg.Wait()
	return d.opened.Load()
}

// sctpInit is an SCTP packet with an INIT chunk (or INIT ACK).
func sctpPacket(from, to uint16, chunk byte, tag uint32) []byte {
	b := make([]byte, 12+20)
	binary.BigEndian.PutUint16(b[0:], from)
	binary.BigEndian.PutUint16(b[2:], to)
	if chunk != 1 { // only an INIT has no verification tag
		binary.BigEndian.PutUint32(b[4:], tag)
	}
	b[12] = chunk
	binary.BigEndian.PutUint16(b[14:], 20)
	binary.BigEndian.PutUint32(b[16:], tag)     // initiate tag
	binary.BigEndian.PutUint32(b[20:], 1<<16)   // window
	binary.BigEndian.PutUint16(b[24:], 1)       // streams out
	binary.BigEndian.PutUint16(b[26:], 1)       // streams in
	binary.BigEndian.PutUint32(b[28:], 0x01020) // initial TSN
	binary.LittleEndian.PutUint32(b[8:], crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
	return b
}

// rawSCTP opens a raw socket for SCTP: the kernel of the tests need not have
// SCTP sockets, only its connection tracking.
func rawSCTP() (*net.IPConn, error) {
	return net.ListenIP("ip4:132", &net.IPAddr{IP: net.IPv4zero})
}

// answerSCTP answers INIT with INIT ACK, once, in the cluster.
func (l *lab) answerSCTP(port uint16) {
	l.t.Helper()
	var conn *net.IPConn
	l.inside("cluster", func() (err error) { conn, err = rawSCTP(); return err })
	l.t.Cleanup(func() { conn.Close() })
	go func() {
		b := make([]byte, 2048)
		for {
			n, oob, from, err := readFromTo(conn, b)
			if err != nil {
				return
			}
			if n < 32 || binary.BigEndian.Uint16(b[2:]) != port || b[12] != 1 {
				continue
			}
			answer := sctpPacket(port, binary.BigEndian.Uint16(b), 2, binary.BigEndian.Uint32(b[16:]))
			_ = sendFrom(conn, answer, oob, from)
		}
	}()
}

// readFromTo reads a packet with the source; the destination is the ClusterIP.
func readFromTo(conn *net.IPConn, b []byte) (int, netip.Addr, *net.IPAddr, error) {
	n, from, err := conn.ReadFromIP(b)
	return n, netip.MustParseAddr(clusterIP), from, err
}

// sendFrom sends with a source address of choice.
func sendFrom(conn *net.IPConn, b []byte, source netip.Addr, to *net.IPAddr) error {
	info := unix.Inet4Pktinfo{Spec_dst: source.As4()}
	_, _, err := conn.WriteMsgIP(b, unix.PktInfo4(&info), to)
	return err
}

// askSCTP sends an INIT and waits for the INIT ACK from the same address.
func (l *lab) askSCTP(role string, port uint16) error {
	var conn *net.IPConn
	if err := within(l.names[role], func() (err error) { conn, err = rawSCTP(); return err }); err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(2 * time.Second)); err != nil {
		return err
	}
	const source, tag = 40000, 0x1234
	if _, err := conn.WriteToIP(sctpPacket(source, port, 1, tag), &net.IPAddr{IP: net.ParseIP(lbAddress)}); err != nil {
		return err
	}
	b := make([]byte, 2048)
	for {
		n, from, err := conn.ReadFromIP(b)
		if err != nil {
			return err
		}
		if from.String() == lbAddress && n >= 32 && binary.BigEndian.Uint16(b[2:]) == source && b[12] == 2 {
			return nil
		}
	}
}
