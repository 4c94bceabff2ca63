// Package netns makes, removes and enters named network namespaces (those that `ip netns` lists).
//
// A namespace belongs to a thread, Go's scheduler moves goroutines between threads. So everything here runs on a goroutine
// locked to its thread; a socket made there stays in its namespace and may then be used from anywhere.
package netns

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// Dir is where named namespaces are.
const Dir = "/run/netns"

// Path returns the file of the namespace of that name.
func Path(name string) string { return filepath.Join(Dir, name) }

// Create makes a new network namespace. A name in use is an error that wraps fs.ErrExist.
func Create(name string) error {
	if err := os.MkdirAll(Dir, 0o755); err != nil {
		return fmt.Errorf("create network namespace %s: %w", name, err)
	}
	f, err := os.OpenFile(Path(name), os.O_CREATE|os.O_EXCL, 0o444)
	if err != nil {
		return fmt.Errorf("create network namespace %s: %w", name, err)
	}
	f.Close()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine, and with it its stay in the new namespace
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			err = unix.Mount("/proc/thread-self/ns/net", Path(name), "", unix.MS_BIND, "")
		}
		done <- err
	}()
	if err := <-done; err != nil {
		return errors.Join(fmt.Errorf("create network namespace %s: %w", name, err), os.Remove(Path(name)))
	}
	return nil
}

// Delete removes the name; the kernel removes the namespace itself when nothing is in it any more. An absent one is fine.
func Delete(name string) error {
	for { // a name may have been mounted over more than once
		err := unix.Unmount(Path(name), unix.MNT_DETACH)
		if err == nil {
			continue
		}
		if !errors.Is(err, unix.EINVAL) && !errors.Is(err, fs.ErrNotExist) { // EINVAL: not a mount point
			return fmt.Errorf("delete network namespace %s: %w", name, err)
		}
		break
	}
	if err := os.Remove(Path(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("delete network namespace %s: %w", name, err)
	}
	return nil
}

// List returns the names that begin with prefix.
func List(prefix string) ([]string, error) {
	es, err := os.ReadDir(Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list network namespaces: %w", err)
	}
	var out []string
	for _, e := range es {
		if strings.HasPrefix(e.Name(), prefix) {
			out = append(out, e.Name())
		}
	}
	return out, nil
}

// Do runs fn inside the namespace, on a thread of its own. fn must not leave goroutines behind that expect to be there.
func Do(name string, fn func() error) error {
	ns, err := os.Open(Path(name))
	if err != nil {
		return fmt.Errorf("enter network namespace %s: %w", name, err)
	}
	defer ns.Close()
	done := make(chan error)
	go func() { done <- onThread(int(ns.Fd()), name, fn) }()
	return <-done
}

func onThread(ns int, name string, fn func() error) error {
	runtime.LockOSThread()
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return fmt.Errorf("enter network namespace %s: %w", name, err)
	}
	defer home.Close()
	if err := unix.Setns(ns, unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter network namespace %s: %w", name, err)
	}
	err = fn()
	if unix.Setns(int(home.Fd()), unix.CLONE_NEWNET) == nil {
		runtime.UnlockOSThread() // else the thread is spoilt and ends with this goroutine
	}
	return err
}

// Dial connects from inside the namespace. The address must be a literal "IP:port": names would be looked up on other
// threads, thus in the wrong namespace.
func Dial(ctx context.Context, name string, d net.Dialer, network, address string) (net.Conn, error) {
	if _, err := netip.ParseAddrPort(address); err != nil {
		return nil, fmt.Errorf("dial in network namespace %s: want IP:port: %w", name, err)
	}
	d.FallbackDelay = -1 // no second goroutine
	var c net.Conn
	err := Do(name, func() (err error) {
		c, err = d.DialContext(ctx, network, address)
		return err
	})
	return c, err
}

// Listen announces on a stream address inside the namespace.
func Listen(ctx context.Context, name, network, address string) (net.Listener, error) {
	var l net.Listener
	err := Do(name, func() (err error) {
		l, err = new(net.ListenConfig).Listen(ctx, network, address)
		return err
	})
	return l, err
}

// ListenPacket announces on a packet address inside the namespace.
func ListenPacket(ctx context.Context, name, network, address string) (net.PacketConn, error) {
	var c net.PacketConn
	err := Do(name, func() (err error) {
		c, err = new(net.ListenConfig).ListenPacket(ctx, network, address)
		return err
	})
	return c, err
}
