package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
	"golang.org/x/sys/unix"
	"k8s.io/klog/v2"

	"github.com/kubeovn/kube-ovn-ccm/pkg/gateway/desired"
	"github.com/kubeovn/kube-ovn-ccm/pkg/gateway/kernel"
)

// How soon after a sign of a change the agent looks. Replacing a mounted
// ConfigMap is a handful of events; somebody's script, and the agent's own
// work, are many more.
const (
	afterDocument = 20 * time.Millisecond
	afterKernel   = 100 * time.Millisecond
)

// Run serves until ctx ends, then gives the addresses back and returns nil. It
// returns an error only for what cannot heal while the Pod lives.
func (a *Agent) Run(ctx context.Context) error {
	log := klog.FromContext(ctx)
	document, err := watch(filepath.Dir(a.config.Document))
	if err != nil {
		return &kernel.FatalError{Err: err}
	}
	defer document.Close()
	changes, err := a.kernel.Watch(ctx)
	if err != nil {
		log.Error(err, "Changes by hand will be noticed late", "after", a.config.Resync)
	}
	children := make(chan os.Signal, 1)
	signal.Notify(children, unix.SIGCHLD)
	defer signal.Stop(children)

	next := alarm{time.NewTimer(0), time.Now()}
	defer next.Stop()
	for {
		var ask <-chan time.Time
		if len(a.awaited) > 0 {
			ask = time.After(askAgain)
		}
		select {
		case <-ask:
			if a.vacated(ctx) {
				a.awaited = nil
				next.within(0)
			}
		case <-ctx.Done():
			return a.shutdown(context.WithoutCancel(ctx))
		case <-document.Events:
			next.within(afterDocument)
		case err := <-document.Errors:
			log.Error(err, "Watching the document failed; it is still read every few seconds")
			next.within(afterDocument)
		case <-changes:
			next.within(afterKernel)
		case <-children:
			reap()
		case <-next.C:
			serving, err := a.sync(ctx)
			reap()
			if err != nil {
				return err
			}
			next.set(a.pause(serving, time.Now()))
		}
	}
}

// alarm is a timer that knows when it goes off.
type alarm struct {
	*time.Timer
	at time.Time
}

func (t *alarm) set(d time.Duration) {
	t.at = time.Now().Add(d)
	t.Reset(d)
}

// within sees to it that the alarm goes off within d. It never postpones it,
// so that a stream of events cannot keep the agent from looking.
func (t *alarm) within(d time.Duration) {
	if time.Until(t.at) > d {
		t.set(d)
	}
}

// pause is the time until the next look: the next resync, or earlier if
// something failed or an announcement is due.
func (a *Agent) pause(serving bool, now time.Time) time.Duration {
	pause := a.config.Resync
	if !serving {
		pause = retry
	}
	if len(a.held) == 0 {
		return pause
	}
	return min(pause, max(a.announce.next.Sub(now), 0))
}

// watch watches a directory, not the file in it: a mounted ConfigMap changes
// by a symbolic link that is replaced.
func watch(dir string) (*fsnotify.Watcher, error) {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, fmt.Errorf("watch %s: %w", dir, err)
	}
	if err := w.Add(dir); err != nil {
		return nil, errors.Join(fmt.Errorf("watch %s: %w", dir, err), w.Close())
	}
	return w, nil
}

// reap collects processes that were orphaned to PID 1: operators run things
// in the Pod. It runs between the agent's own programs, never beside them, so
// that it cannot take the exit status of one of those.
func reap() {
	if os.Getpid() != 1 {
		return
	}
	for {
		pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil)
		if pid <= 0 || err != nil {
			return
		}
	}
}

func fatal(err error) bool {
	_, ok := errors.AsType[*kernel.FatalError](err)
	return ok
}

var _ Kernel = (*kernel.Kernel)(nil)

// Plan returns what the document on disk asks for and the steps that the
// kernel is away from it, without doing anything.
func Plan(config Config, k Kernel) (want desired.State, steps []desired.Op, err error) {
	a := &Agent{config: config, kernel: k}
	if _, err := a.load(context.Background()); err != nil {
		return want, nil, err
	}
	a.flows = true
	if want, err = a.want(); err != nil {
		return want, nil, err
	}
	have, err := k.Read(want, a.document.Interface)
	if err != nil {
		return want, nil, err
	}
	return want, desired.Diff(want, have), nil
}
