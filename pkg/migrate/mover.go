package migrate

import (
	"context"
	"fmt"
	"io"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"

	"github.com/kubeovn/kube-ovn-ccm/pkg/ipam"
	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
)

// poll is the time between two looks at what is awaited.
const poll = 100 * time.Millisecond

// executor runs a command in a Pod's container and returns what it writes to
// its standard output; the error holds what it writes to the other.
type executor interface {
	run(ctx context.Context, namespace, pod, container string, command ...string) (stdout string, err error)
}

// mover moves Services, one after the other.
type mover struct {
	kube kubernetes.Interface
	dyn  dynamic.Interface
	exec executor
	// out is where the transcript goes.
	out io.Writer
	// patience is for how long one thing is awaited.
	patience time.Duration

	started time.Time // of the Service that is being moved
}

// say writes a line of the transcript.
func (m *mover) say(format string, args ...any) {
	fmt.Fprintf(m.out, "  %8.3fs  %s\n", time.Since(m.started).Seconds(), fmt.Sprintf(format, args...))
}

// move takes a Service to the end of its way. next says what comes next; it is
// asked anew after every write, so that it does not matter who began.
func (m *mover) move(ctx context.Context, namespace, name string, next func(*observation) step) error {
	m.started = time.Now()
	waits, since := "", time.Now()
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		o, err := m.observe(ctx, namespace, name)
		if err != nil {
			return err
		}
		s := next(o)
		switch s.act {
		case actDone:
			return nil
		case actWait:
			if s.waitsFor != waits {
				waits, since = s.waitsFor, time.Now()
			}
			if time.Since(since) > m.patience {
				return fmt.Errorf("waited %s for %s%s; run the same command again to go on", m.patience, s.waitsFor, o.why())
			}
			if err := m.remind(ctx, s.freed, since); err != nil {
				return err
			}
			if err := pause(ctx, poll); err != nil {
				return err
			}
			continue
		default:
		}
		err = m.do(ctx, o, s.act)
		if apierrors.IsConflict(err) {
			continue // somebody else has written: look again
		}
		if err != nil {
			return fmt.Errorf("%s: %w", s.act, err)
		}
		waits = ""
	}
}

// remind makes Kube-OVN look again at a Vip whose end is awaited since a time.
func (m *mover) remind(ctx context.Context, vip *kubeovn.Vip, since time.Time) error {
	if vip == nil {
		return nil
	}
	reminded, err := ipam.Remind(ctx, m.dyn.Resource(kubeovn.VipResource), vip, since, time.Now())
	if reminded {
		m.say("remind Kube-OVN of the Vip that was given back")
	}
	return err
}

// pause waits; the error is the context's, if that ends before.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// why is what kube-ovn-ccm says about a Service that does not come on.
func (o *observation) why() string {
	for _, c := range o.service.Status.Conditions {
		if c.Type == conditionReady && c.Reason != "" {
			return fmt.Sprintf(" (kube-ovn-ccm says: %s: %s)", c.Reason, c.Message)
		}
	}
	return ""
}
