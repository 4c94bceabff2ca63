// Package lab runs a real Kubernetes cluster with real Kube-OVN on one machine: every node in network, mount, pid, uts
// and ipc namespaces of its own, with its own containerd and kubelet and with Open vSwitch's userspace datapath.
// It needs root and neither a container engine nor systemd nor the openvswitch kernel module.
//
// A lab is made and removed by cmd/lab. Tests open one by name and act on it: dial from a client outside of the
// cluster, cut a node's power, stop the API server.
package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kubeovn/kube-ovn-ccm/test/e2e/assets"
	"github.com/kubeovn/kube-ovn-ccm/test/e2e/lab/cgroup"
)

// Root is the directory that holds the state of all labs, one directory each.
const Root = "/var/lib/kube-ovn-ccm-lab"

// Lab is a cluster on this machine, found by its name. Its methods may be used by several goroutines.
type Lab struct {
	name  string
	tree  cgroup.Tree
	state state
}

// state is what is known of a lab that has been begun; it lies in its directory.
type state struct {
	// Nodes is how many nodes the lab has.
	Nodes int
	// Assets are the programs and images it runs with.
	Assets assets.Set
	// Up is when the lab became usable; zero while it is being made.
	Up time.Time
}

// ErrNotUp is returned (wrapped) by Open when there is no such lab.
var ErrNotUp = errors.New("is not up")

// Open finds a running lab by its name.
func Open(name string) (*Lab, error) {
	l, err := byName(name)
	if err != nil {
		return nil, err
	}
	if err := l.readState(); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("lab %q %w (`lab up --name %s` makes it)", name, ErrNotUp, name)
		}
		return nil, err
	}
	if l.state.Up.IsZero() {
		return nil, fmt.Errorf("lab %q %w: it is being made, or `lab up` was killed (`lab down --name %s` removes it)", name, ErrNotUp, name)
	}
	return l, nil
}

// byName returns the lab of that name whether it exists or not.
func byName(name string) (*Lab, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	if os.Geteuid() != 0 {
		return nil, errors.New("a lab needs root: it makes namespaces, mounts and cgroups")
	}
	tree, err := cgroup.Open("ccmlab-" + name)
	if err != nil {
		return nil, err
	}
	return &Lab{name: name, tree: tree}, nil
}

// Name returns the lab's name.
func (l *Lab) Name() string { return l.name }

// Nodes returns the names of the nodes: n1, n2...
func (l *Lab) Nodes() []string {
	var out []string
	for i := 1; i <= l.state.Nodes; i++ {
		out = append(out, nodeName(i))
	}
	return out
}

// Dir is the directory of the lab's state.
func (l *Lab) Dir() string { return filepath.Join(Root, l.name) }

// LogDir is the directory of the programs' logs: <host>/<program>.log.
func (l *Lab) LogDir() string { return l.path("logs") }

// Kubeconfig is the administrator's; its server is reachable on the lab's LAN only.
func (l *Lab) Kubeconfig() string { return l.path("admin.kubeconfig") }

func (l *Lab) path(elem ...string) string {
	return filepath.Join(append([]string{l.Dir()}, elem...)...)
}

func (l *Lab) readState() error {
	b, err := os.ReadFile(l.path("lab.json"))
	if err != nil {
		return fmt.Errorf("read the state of lab %q: %w", l.name, err)
	}
	if err := json.Unmarshal(b, &l.state); err != nil {
		return fmt.Errorf("read the state of lab %q: %w", l.name, err)
	}
	return nil
}

func (l *Lab) writeState() error { return writeJSON(l.path("lab.json"), l.state) }

// writeJSON replaces a file in one step.
func writeJSON(path string, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(path+".new", b, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// host finds a host of the lab.
func (l *Lab) host(name string) (host, error) {
	hosts := topology(l.state.Nodes)
	if i := slices.IndexFunc(hosts, func(h host) bool { return h.name == name }); i >= 0 {
		return hosts[i], nil
	}
	return host{}, fmt.Errorf("lab %q has no host %q; it has %s", l.name, name, strings.Join(hostNames(hosts), ", "))
}

// node finds a node of the lab.
func (l *Lab) node(name string) (host, error) {
	h, err := l.host(name)
	if err == nil && !slices.Contains(l.Nodes(), name) {
		err = fmt.Errorf("%s is not a node; the nodes are %s", name, strings.Join(l.Nodes(), ", "))
	}
	return h, err
}

// lock keeps other commands that make or remove the lab away until the returned function is called. A killed process
// loses it by itself.
func (l *Lab) lock(ctx context.Context) (unlock func(), err error) {
	return lockFile(ctx, "."+l.name+".lock", fmt.Sprintf("another command is making or removing lab %q", l.name))
}

// lockFile takes a lock in Root; it waits a little, since a command that is being interrupted needs a moment to clean up.
func lockFile(ctx context.Context, name, busy string) (func(), error) {
	path := filepath.Join(Root, name)
	ctx, cancel := context.WithTimeoutCause(ctx, lockPatience, errors.New(busy))
	defer cancel()
	for {
		if err := os.MkdirAll(Root, 0o755); err != nil {
			return nil, err
		}
		f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				continue // the last lab's end has just removed Root
			}
			return nil, err
		}
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil && sameFile(f, path) {
			return func() {
				_ = os.Remove(path) // while it is still ours: whoever waits on it finds out by sameFile
				f.Close()
			}, nil
		}
		f.Close()
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

const lockPatience = 10 * time.Second

func sameFile(f *os.File, path string) bool {
	a, err1 := f.Stat()
	b, err2 := os.Stat(path)
	return err1 == nil && err2 == nil && os.SameFile(a, b)
}
