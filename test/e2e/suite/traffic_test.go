package suite

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// The hosts outside the cluster.
const (
	onLink       = "client" // on the LAN of the nodes
	behindRouter = "remote" // reached only through 172.18.0.1
)

// get asks an HTTP server from one of the lab's hosts, on a connection of its
// own, and returns the body.
func (c *cluster) get(ctx context.Context, host, hostport, path string) (string, error) {
	return caller{host: host}.get(ctx, hostport, path)
}

// answers waits until an HTTP server answers a host, and returns how long that
// took.
func (c *cluster) answers(t *testing.T, within time.Duration, host, hostport string) time.Duration {
	t.Helper()
	return eventually(t, within, "an answer from "+hostport+" to "+host, func(ctx context.Context) error {
		_, err := c.get(ctx, host, hostport, "/")
		return err
	})
}

// udpEcho sends one datagram to agnhost's netexec and waits for its answer.
func (c *cluster) udpEcho(ctx context.Context, host, hostport string) error {
	got, err := caller{host: host}.say(ctx, hostport, "echo hello")
	if err == nil && got != "hello" {
		err = fmt.Errorf("answer %q", got)
	}
	return err
}

// refused is nil when a TCP connection is refused at once, which is what a port
// that is not served must do.
func (c *cluster) refused(ctx context.Context, host, hostport string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	conn, err := c.Host(host).Dial(ctx, "tcp", hostport)
	if err == nil {
		conn.Close()
		return fmt.Errorf("%s still accepts", hostport)
	}
	if !strings.Contains(err.Error(), "refused") {
		return fmt.Errorf("%s: %w, want a refusal", hostport, err)
	}
	return nil
}

// load is a stream of new TCP connections.
type load struct {
	cancel context.CancelFunc
	wg     sync.WaitGroup
	start  time.Time

	mu       sync.Mutex
	made     int
	late     int // open, but not at the first SYN
	failures []failure
}

// failure is a connection that did not open.
type failure struct {
	after time.Duration // when it was tried, since the stream began
	err   error
}

const (
	// patience is how long a connection may take to open: for three SYNs, which
	// are sent after 0, 1 and 3 seconds (RFC 6298).
	patience = 3500 * time.Millisecond
	// lateAfter tells a connection whose first SYN, or its answer, was lost. The
	// lab loses some by itself: OVS's userspace datapath reads the node's routes
	// anew whenever a Pod's interface comes or goes, and what it translates
	// meanwhile for the other node it drops, for 10 to 90 ms on a busy machine.
	// A connection that is refused is never excused.
	lateAfter = 900 * time.Millisecond
	// lateShare is how many of a hundred connections may be late.
	lateShare = 5
)

// connect opens rate new connections a second to hostport until the stream is
// stopped.
func (c *cluster) connect(t *testing.T, host, hostport string, rate int) *load {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	l := &load{cancel: cancel, start: time.Now()}
	const streams = 20
	for i := range streams {
		l.wg.Go(func() {
			// One after the other, so that no moment is left out.
			select {
			case <-ctx.Done():
				return
			case <-time.After(time.Second * time.Duration(i) / time.Duration(rate)):
			}
			tick := time.NewTicker(time.Second * streams / time.Duration(rate))
			defer tick.Stop()
			for {
				select {
				case <-ctx.Done():
					return
				case <-tick.C:
				}
				l.wg.Go(func() { l.one(c, host, hostport) })
			}
		})
	}
	t.Cleanup(cancel)
	return l
}

func (l *load) one(c *cluster, host, hostport string) {
	after := time.Since(l.start)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := c.Host(host).Dial(ctx, "tcp", hostport)
	l.mu.Lock()
	l.made++
	switch {
	case err != nil:
		l.failures = append(l.failures, failure{after, err})
	case time.Since(l.start)-after > lateAfter:
		l.late++
	}
	l.mu.Unlock()
	if err != nil {
		return
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		// No TIME_WAIT: a thousand a second would use up the ports.
		_ = tcp.SetLinger(0)
	}
	conn.Close()
}

// stop ends the stream and says how many connections were tried, and which
// failed when; ok if none did, and few were late.
func (l *load) stop() (ok bool, summary string) {
	l.cancel()
	l.wg.Wait()
	summary = fmt.Sprintf("%d of %d connections failed, %d were late", len(l.failures), l.made, l.late)
	if len(l.failures) > 0 {
		slices.SortFunc(l.failures, func(a, b failure) int { return cmp.Compare(a.after, b.after) })
		first, last := l.failures[0], l.failures[len(l.failures)-1]
		summary += fmt.Sprintf(", from %s to %s after the first, with %v", first.after.Round(time.Millisecond), last.after.Round(time.Millisecond), first.err)
	}
	return len(l.failures) == 0 && l.late*100 <= l.made*lateShare, summary
}

// withoutFailure ends the stream and fails the test if a connection failed.
func (l *load) withoutFailure(t *testing.T) {
	t.Helper()
	if ok, summary := l.stop(); ok {
		t.Log(summary)
	} else {
		t.Error(summary)
	}
}
