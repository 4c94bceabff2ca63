package suite

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// caller is a client outside of the cluster: a host of the lab and one of its
// addresses; without an address the host chooses.
type caller struct {
	host string
	addr netip.Addr
}

func (who caller) String() string {
	if who.addr.IsValid() {
		return fmt.Sprintf("%s (%s)", who.host, who.addr)
	}
	return who.host
}

// at joins an address and a port.
func at(ip string, port int) string { return net.JoinHostPort(ip, strconv.Itoa(port)) }

func (who caller) dial(ctx context.Context, network, hostport string) (net.Conn, error) {
	if !who.addr.IsValid() {
		return c.Host(who.host).Dial(ctx, network, hostport)
	}
	var local net.Addr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(who.addr, 0))
	if network == "udp" {
		local = net.UDPAddrFromAddrPort(netip.AddrPortFrom(who.addr, 0))
	}
	return c.Host(who.host).DialFrom(ctx, local, network, hostport)
}

// get asks an HTTP server, on a connection of its own, and returns the body.
func (who caller) get(ctx context.Context, hostport, path string) (string, error) {
	code, body, err := who.fetch(ctx, hostport, path)
	if err == nil && code != http.StatusOK {
		err = fmt.Errorf("%s: status %d", hostport, code)
	}
	return body, err
}

// fetch is get with any status code.
func (who caller) fetch(ctx context.Context, hostport, path string) (code int, body string, err error) {
	client := &http.Client{
		Timeout:   5 * time.Second,
		Transport: &http.Transport{DisableKeepAlives: true, DialContext: who.dial},
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+hostport+path, nil)
	if err != nil {
		return 0, "", err
	}
	res, err := client.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return res.StatusCode, string(b), err
}

// say sends netexec one datagram from a port of its own and returns the answer.
func (who caller) say(ctx context.Context, hostport, message string) (string, error) {
	conn, err := who.dial(ctx, "udp", hostport)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	return say(conn, message, time.Second)
}

// say sends a datagram on a flow that is there and waits for the answer.
func say(conn net.Conn, message string, within time.Duration) (string, error) {
	if err := conn.SetDeadline(time.Now().Add(within)); err != nil {
		return "", err
	}
	if _, err := conn.Write([]byte(message)); err != nil {
		return "", err
	}
	b := make([]byte, 512)
	n, err := conn.Read(b)
	return strings.TrimSpace(string(b[:n])), err
}

// ask asks by TCP or by UDP for one of netexec's words: hostname, clientip.
func (who caller) ask(ctx context.Context, network, hostport, word string) (string, error) {
	if network == "udp" {
		return who.say(ctx, hostport, word)
	}
	return who.get(ctx, hostport, "/"+word)
}

// shutOut is nil when nobody answers the caller at all: neither a connection
// nor a datagram gets a word back, not even a refusal.
func (who caller) shutOut(ctx context.Context, network, hostport string) error {
	ctx, cancel := context.WithTimeout(ctx, 700*time.Millisecond)
	defer cancel()
	conn, err := who.dial(ctx, network, hostport)
	if err == nil {
		defer conn.Close()
		if network != "udp" {
			return fmt.Errorf("%s is let in to %s", who, hostport)
		}
		var answer string
		if answer, err = say(conn, "hostname", 500*time.Millisecond); err == nil {
			return fmt.Errorf("%s has an answer from %s: %q", who, hostport, answer)
		}
	}
	if !errors.Is(err, os.ErrDeadlineExceeded) && !errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("%s: %s by %s is not a time-out: %w", who, hostport, network, err)
	}
	return nil
}

// refusedAt is nil when the caller is refused at once: TCP by a reset, UDP by
// an ICMP message.
func (who caller) refusedAt(ctx context.Context, network, hostport string) error {
	start := time.Now()
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	conn, err := who.dial(ctx, network, hostport)
	if err == nil {
		defer conn.Close()
		if network != "udp" {
			return fmt.Errorf("%s still accepts", hostport)
		}
		var answer string
		if answer, err = say(conn, "hostname", 2*time.Second); err == nil {
			return fmt.Errorf("%s still answers %q", hostport, answer)
		}
	}
	if !errors.Is(err, unix.ECONNREFUSED) {
		return fmt.Errorf("%s by %s: %w, want a refusal", hostport, network, err)
	}
	if took := time.Since(start); took > time.Second {
		return fmt.Errorf("%s by %s: refused only after %s", hostport, network, took)
	}
	return nil
}

// own is a host's address of one family on its only network.
func (c *cluster) own(t *testing.T, host string, v4 bool) caller {
	t.Helper()
	who := caller{host: host}
	err := c.Host(host).Do(func() error {
		nic, err := net.InterfaceByName("eth0")
		if err != nil {
			return err
		}
		addrs, err := nic.Addrs()
		if err != nil {
			return err
		}
		for _, a := range addrs {
			p, err := netip.ParsePrefix(a.String())
			if err == nil && p.Addr().Is4() == v4 && p.Addr().IsGlobalUnicast() && p.Bits() < p.Addr().BitLen() {
				who.addr = p.Addr()
				return nil
			}
		}
		return fmt.Errorf("%s has no such address: %v", host, addrs)
	})
	if err != nil {
		t.Fatal(err)
	}
	return who
}

// callers gives a host n more addresses, from first on, for the time of the
// test.
func (c *cluster) callers(t *testing.T, host string, first netip.Addr, n int) []caller {
	t.Helper()
	var all []caller
	for addr := first; len(all) < n; addr = addr.Next() {
		all = append(all, caller{host: host, addr: addr})
	}
	edit := func(do func(link netlink.Link, addr *netlink.Addr) error) error {
		return c.Host(host).Do(func() error {
			link, err := netlink.LinkByName("eth0")
			if err != nil {
				return err
			}
			for _, who := range all {
				bits := who.addr.BitLen()
				ip := &net.IPNet{IP: who.addr.AsSlice(), Mask: net.CIDRMask(bits, bits)}
				addr := &netlink.Addr{IPNet: ip}
				if who.addr.Is6() {
					addr.Flags = unix.IFA_F_NODAD
				}
				if err := do(link, addr); err != nil {
					return fmt.Errorf("%s: %w", who, err)
				}
			}
			return nil
		})
	}
	t.Cleanup(func() {
		if err := edit(netlink.AddrDel); err != nil {
			t.Error(err)
		}
	})
	if err := edit(netlink.AddrReplace); err != nil {
		t.Fatal(err)
	}
	return all
}
