package lab

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/kubeovn/kube-ovn-ccm/test/e2e/lab/netns"
)

// Host is a place on the lab's network from which one can dial, listen and run commands.
type Host struct {
	lab  *Lab
	name string
}

// Host returns the host of that name: Client, Remote, Router, ControlPlane, or a node. That it exists is checked when
// it is used.
func (l *Lab) Host(name string) *Host { return &Host{lab: l, name: name} }

// Dial connects from the host. The address must be "IP:port", nobody resolves names. The connection may be used anywhere.
func (h *Host) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	return netns.Dial(ctx, h.lab.netns(h.name), net.Dialer{}, network, address)
}

// DialFrom is Dial with a local address.
func (h *Host) DialFrom(ctx context.Context, local net.Addr, network, address string) (net.Conn, error) {
	return netns.Dial(ctx, h.lab.netns(h.name), net.Dialer{LocalAddr: local}, network, address)
}

// Listen announces a stream listener ("tcp") on the host.
func (h *Host) Listen(ctx context.Context, network, address string) (net.Listener, error) {
	return netns.Listen(ctx, h.lab.netns(h.name), network, address)
}

// ListenPacket announces a packet connection ("udp") on the host.
func (h *Host) ListenPacket(ctx context.Context, network, address string) (net.PacketConn, error) {
	return netns.ListenPacket(ctx, h.lab.netns(h.name), network, address)
}

// Do runs fn on a thread that is in the host's network namespace: what it opens, stays there. fn must not start
// goroutines that expect to be there.
func (h *Host) Do(fn func() error) error { return netns.Do(h.lab.netns(h.name), fn) }

// Command returns a command that runs on the host: in its network namespace, on a node and the control plane also among
// its mounts and processes. It ends with the context, and with the lab at the latest.
func (h *Host) Command(ctx context.Context, name string, args ...string) (*exec.Cmd, error) {
	t, err := h.lab.host(h.name)
	if err != nil {
		return nil, err
	}
	enter := []string{"nsenter", "--net=" + netns.Path(h.lab.netns(h.name))}
	if t.machine {
		pid, on := h.lab.initPID(h.name)
		if !on {
			return nil, fmt.Errorf("%s is off", h.name)
		}
		enter = append(enter, "--target="+strconv.Itoa(pid), "--mount", "--uts", "--ipc", "--pid")
	}
	return h.lab.command(ctx, h.name, append(append(enter, "--", name), args...)), nil
}

// command runs argv as a member of a host's cgroup, with the host's environment. A small shell script moves itself into
// the group before it becomes the command, so that there is no moment outside of it.
func (l *Lab) command(ctx context.Context, host string, argv []string) *exec.Cmd {
	var script strings.Builder
	script.WriteString("set -e\n")
	for _, f := range l.tree.ProcsFiles(systemGroup(host)) {
		fmt.Fprintf(&script, "[ -e %[1]s ] && echo 0 >%[1]s\n", f)
	}
	script.WriteString(`exec "$@"`)
	cmd := exec.CommandContext(ctx, "/bin/sh", append([]string{"-c", script.String(), "lab"}, argv...)...)
	cmd.Env = slices.DeleteFunc(os.Environ(), func(e string) bool { return strings.HasPrefix(e, "PATH=") || strings.HasPrefix(e, "KUBECONFIG=") })
	cmd.Env = append(cmd.Env, l.environment(host)...)
	return cmd
}

// KubectlCommand returns kubectl as the cluster's administrator, not started yet. It sees the caller's files.
func (l *Lab) KubectlCommand(ctx context.Context, args ...string) *exec.Cmd {
	argv := append([]string{"nsenter", "--net=" + netns.Path(l.netns(ControlPlane)), "--", filepath.Join(l.state.Assets.Bin, "kubectl")}, args...)
	return l.command(ctx, ControlPlane, argv)
}

// Kubectl runs kubectl as the cluster's administrator and returns its standard output; its standard error is in the error.
func (l *Lab) Kubectl(ctx context.Context, args ...string) (string, error) {
	return output(l.KubectlCommand(ctx, args...))
}

// Ctr runs containerd's ctr on a node, in the namespace of Kubernetes, and returns its standard output.
func (l *Lab) Ctr(ctx context.Context, node string, args ...string) (string, error) {
	if _, err := l.node(node); err != nil {
		return "", err
	}
	cmd, err := l.Host(node).Command(ctx, "ctr", args...)
	if err != nil {
		return "", err
	}
	return output(cmd)
}

func output(cmd *exec.Cmd) (string, error) {
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("%w: %s", err, strings.TrimSpace(stderr.String()))
	}
	return stdout.String(), nil
}

// Load imports an image archive into every node that is on.
func (l *Lab) Load(ctx context.Context, tar string) error {
	abs, err := filepath.Abs(tar)
	if err != nil {
		return err
	}
	if !isFile(abs) {
		return fmt.Errorf("load %s: no such file", tar)
	}
	errs := make(chan error)
	for _, n := range l.Nodes() {
		go func() {
			if _, on := l.initPID(n); !on {
				errs <- nil
				return
			}
			// The archive is handed over open: a node has a /run and a /var of its own, in which the path may be hidden.
			f, err := os.Open(abs)
			if err != nil {
				errs <- err
				return
			}
			defer f.Close()
			cmd, err := l.Host(n).Command(ctx, "ctr", "images", "import", "-")
			if err == nil {
				cmd.Stdin = f
				_, err = output(cmd)
			}
			if err != nil {
				err = fmt.Errorf("load %s into %s: %w", tar, n, err)
			}
			errs <- err
		}()
	}
	var all error
	for range l.Nodes() {
		if err := <-errs; err != nil && all == nil {
			all = err
		}
	}
	return all
}

// RESTConfig returns the administrator's access to the API server, usable from anywhere in this process: its connections
// are made inside the lab's network.
func (l *Lab) RESTConfig() (*rest.Config, error) {
	c, err := clientcmd.BuildConfigFromFlags("", l.Kubeconfig())
	if err != nil {
		return nil, fmt.Errorf("access to the API server of lab %q: %w", l.name, err)
	}
	c.Dial = l.Host(ControlPlane).Dial
	return c, nil
}
