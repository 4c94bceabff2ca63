package command_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kubeovn/kube-ovn-ccm/pkg/gateway/agent"
	"github.com/kubeovn/kube-ovn-ccm/pkg/gateway/spec"
)

// process is a running agent.
type process struct {
	*exec.Cmd
	stderr *strings.Builder
	done   chan struct{}
	err    error
}

// arguments are those that point the command line at the lab.
func (l *lab) arguments() []string {
	return []string{"--document", filepath.Join(l.documentDir(), spec.ConfigMapKey), "--status-dir", l.statusDir(), "--document-hash", filepath.Join(l.dir, "document-hash")}
}

// start runs an agent in the gateway, through a wrapper if one is given.
func (l *lab) start(wrapper ...string) *process {
	l.t.Helper()
	args := slices.Concat(wrapper, []string{os.Args[0], "run", "--resync=" + l.resync}, l.arguments())
	p := &process{Cmd: exec.Command(args[0], args[1:]...), stderr: &strings.Builder{}, done: make(chan struct{})}
	p.Env = append(os.Environ(), agentVariable+"=1")
	p.Stderr = p.stderr
	l.inside("gw", p.Start)
	go func() {
		p.err = p.Wait()
		close(p.done)
	}()
	l.t.Cleanup(func() {
		p.stop(unix.SIGKILL)
		if l.t.Failed() {
			l.t.Logf("agent %d said:\n%s", p.Process.Pid, p.stderr)
		}
	})
	return p
}

// stop sends a signal and waits for the end.
func (p *process) stop(signal unix.Signal) {
	_ = p.Process.Signal(signal)
	<-p.done
}

// ready asks the status like the probe does.
func (l *lab) ready() error {
	status, err := agent.ReadStatus(l.statusDir())
	if err != nil {
		return err
	}
	b, err := os.ReadFile(filepath.Join(l.documentDir(), spec.ConfigMapKey))
	if err != nil {
		return err
	}
	return agent.Ready(status, b, "", time.Now())
}

// notReady expects the probe to fail with a reason that holds some text.
func (l *lab) notReady(reason string) func() error {
	return func() error {
		switch err := l.ready(); {
		case err == nil:
			return errors.New("it is ready")
		case !strings.Contains(err.Error(), reason):
			return fmt.Errorf("the reason is: %w", err)
		}
		return nil
	}
}

// in is the same lab for a subtest.
func (l *lab) in(t *testing.T) *lab {
	sub := *l
	sub.t = t
	return &sub
}

// serve publishes a document and waits until it is served.
func (l *lab) serve(d *spec.Document) {
	l.t.Helper()
	l.publish(d)
	l.eventually("the gateway is ready", l.ready)
}

// soon is how long things may take that take a fraction of a second on a
// machine that has nothing else to do.
const soon = 15 * time.Second

// eventually waits for a condition.
func (l *lab) eventually(what string, condition func() error) {
	l.t.Helper()
	var err error
	for deadline := time.Now().Add(soon); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if err = condition(); err == nil {
			return
		}
	}
	l.t.Fatalf("not after %s: %s: %v", soon, what, err)
}

// startServing publishes a document, starts an agent and waits until it serves.
func (l *lab) startServing(d *spec.Document) *process {
	l.t.Helper()
	l.publish(d)
	p := l.start()
	l.eventually("the gateway is ready", l.ready)
	return p
}

// announceHash writes what the downward API shows of the Pod's annotation.
func (l *lab) announceHash(hash string) {
	l.t.Helper()
	if err := os.WriteFile(filepath.Join(l.dir, "document-hash"), []byte(hash), 0o644); err != nil {
		l.t.Fatal(err)
	}
}
