package lab

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/kubeovn/kube-ovn-ccm/test/e2e/lab/netns"
	"github.com/kubeovn/kube-ovn-ccm/test/e2e/lab/unit"
)

// InitCommand is the (hidden) command of cmd/lab that calls RunInit with the argument after it.
const InitCommand = "machine-init"

// systemGroup is the cgroup for what runs on a host: its programs and the commands people run there. It is a leaf, as
// cgroup v2 wants it; the Pods of a node are beside it, in podsGroup.
func systemGroup(host string) string { return host + "/system" }
func podsGroup(host string) string   { return host + "/pods" }

// groups lists the cgroups that a host needs.
func groups(h host) []string {
	out := []string{systemGroup(h.name)}
	if h.machine {
		out = append(out, podsGroup(h.name))
	}
	return out
}

func (l *Lab) control(host string) string { return l.path(host, "control.sock") }

// startMachine starts the init of a machine whose network and cgroups are there, and returns when its programs are being started.
func (l *Lab) startMachine(ctx context.Context, self, name string, s spec) error {
	s.Hostname, s.Cgroup, s.System = name, l.tree.Name, systemGroup(name)
	s.Control, s.Logs = l.control(name), filepath.Join(l.LogDir(), name)
	file := l.path(name, "machine.json")
	if err := writeJSON(file, s); err != nil {
		return fmt.Errorf("start %s: %w", name, err)
	}
	if err := os.MkdirAll(s.Logs, 0o755); err != nil {
		return fmt.Errorf("start %s: %w", name, err)
	}
	out, err := os.OpenFile(filepath.Join(s.Logs, "init.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("start %s: %w", name, err)
	}
	defer out.Close()
	r, w, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("start %s: %w", name, err)
	}
	defer r.Close()
	cmd := exec.CommandContext(context.WithoutCancel(ctx), self, InitCommand, file) // the machine outlives us
	cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = out, out, []*os.File{w}
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Setsid:     true, // Ctrl-C is for `lab up`
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC,
	}
	err = netns.Do(l.netns(name), cmd.Start)
	w.Close()
	if err != nil {
		return fmt.Errorf("start %s: %w", name, err)
	}
	go func() { _ = cmd.Wait() }() // collects it, if we are still there when it ends
	defer context.AfterFunc(ctx, func() { r.Close() })()
	line, err := bufio.NewReader(r).ReadString('\n')
	line = strings.TrimSpace(line)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case line != "":
		return fmt.Errorf("start %s: %s", name, line)
	case errors.Is(err, io.EOF):
		return fmt.Errorf("start %s: its init ended at once; see %s", name, out.Name())
	}
	return err
}

// initPID finds the init of a running machine among the members of its cgroup: no file says it, so none can be stale.
func (l *Lab) initPID(name string) (pid int, ok bool) {
	pids, err := l.tree.Pids(systemGroup(name))
	if err != nil {
		return 0, false
	}
	i := slices.IndexFunc(pids, func(pid int) bool {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		return err == nil && isInit(string(b))
	})
	if i < 0 {
		return 0, false
	}
	return pids[i], true
}

// isInit reads the format of /proc/PID/status: the init of a pid namespace has the number 1 there.
func isInit(status string) bool {
	for line := range strings.Lines(status) {
		if rest, ok := strings.CutPrefix(line, "NSpid:"); ok {
			f := strings.Fields(rest)
			return len(f) > 1 && f[len(f)-1] == "1"
		}
	}
	return false
}

// PowerOff cuts a node's power: all its processes and containers end at once and it is off the network. Its disks stay.
func (l *Lab) PowerOff(ctx context.Context, node string) error {
	h, err := l.node(node)
	if err != nil {
		return err
	}
	if _, on := l.initPID(node); !on {
		return fmt.Errorf("%s is off already", node)
	}
	if err := l.tree.Kill(ctx, node); err != nil {
		return fmt.Errorf("power off %s: %w", node, err)
	}
	if err := l.unplugHost(h); err != nil {
		return fmt.Errorf("power off %s: %w", node, err)
	}
	return nil
}

// PowerOn starts a node that is off. It returns when the node boots, not when it is Ready.
func (l *Lab) PowerOn(ctx context.Context, node string) error {
	h, err := l.node(node)
	if err != nil {
		return err
	}
	if _, on := l.initPID(node); on {
		return fmt.Errorf("%s is on already", node)
	}
	// What is left when its init was killed by other means than PowerOff.
	if err := l.tree.Kill(ctx, node); err != nil {
		return fmt.Errorf("power on %s: %w", node, err)
	}
	if err := l.unplugHost(h); err != nil {
		return fmt.Errorf("power on %s: %w", node, err)
	}
	return l.boot(ctx, h)
}

// boot gives a host its cgroups and network and, if it is a machine, starts it.
func (l *Lab) boot(ctx context.Context, h host) error {
	for _, g := range groups(h) {
		if err := l.tree.Create(g); err != nil {
			return err
		}
	}
	// A build or a test beside the lab must not stop its machines for so long that they lose packets.
	if err := l.tree.Prefer(16); err != nil {
		return err
	}
	if err := l.plugHost(h); err != nil {
		return err
	}
	if !h.machine {
		return nil
	}
	self, err := l.program()
	if err != nil {
		return err
	}
	s, err := l.spec(h)
	if err != nil {
		return err
	}
	return l.startMachine(ctx, self, h.name, s)
}

// program is the copy of cmd/lab in the state directory that machines run as their init.
func (l *Lab) program() (string, error) {
	p := l.path("lab")
	if _, err := os.Stat(p); err != nil {
		return "", fmt.Errorf("the lab's own program is gone: %w", err)
	}
	return p, nil
}

// where splits "HOST/COMPONENT"; a bare component is on the control plane.
func where(component string) (host, name string) {
	if h, n, ok := strings.Cut(component, "/"); ok {
		return h, n
	}
	return ControlPlane, component
}

// Stop ends a component and keeps it stopped: kube-apiserver, kube-ovn-controller... of the control plane, or one of a
// node as "n1/kubelet". It returns when it has ended.
func (l *Lab) Stop(ctx context.Context, component string) error {
	return l.ask(ctx, component, "stop")
}

// Kill is Stop without a chance to say good-bye (SIGKILL).
func (l *Lab) Kill(ctx context.Context, component string) error {
	return l.ask(ctx, component, "kill")
}

// Start starts a stopped component and returns when it answers. One that runs is left alone.
func (l *Lab) Start(ctx context.Context, component string) error {
	return l.ask(ctx, component, "start")
}

// Restart ends a component and starts it with further flags behind its usual ones, instead of those that an earlier call
// gave it: with none it runs again as when the lab came up. It returns when the component answers.
func (l *Lab) Restart(ctx context.Context, component string, flags ...string) error {
	if component == kubeOVNController {
		// The object comes first, as where it makes the Pods.
		if err := l.declareKubeOVN(ctx, flags); err != nil {
			return err
		}
	}
	return l.request(ctx, component, unit.Request{Op: "restart", Args: flags})
}

func (l *Lab) ask(ctx context.Context, component, op string) error {
	return l.request(ctx, component, unit.Request{Op: op})
}

func (l *Lab) request(ctx context.Context, component string, q unit.Request) error {
	h, name := where(component)
	if _, err := l.host(h); err != nil {
		return err
	}
	q.Unit = name
	if _, err := unit.Ask(ctx, l.control(h), q); err != nil {
		return fmt.Errorf("%s %s on %s: %w", q.Op, name, h, err)
	}
	return nil
}
