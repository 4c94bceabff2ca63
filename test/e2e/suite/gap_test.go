package suite

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"testing"
	"time"
)

// gaps measures, from outside of the cluster, for how long a Service does not
// answer: an attempt begins every few milliseconds, whatever became of the one
// before.
type gaps struct {
	stopped chan struct{}
	wg      sync.WaitGroup

	mu    sync.Mutex
	heard []time.Time // when each attempt began that was answered
	tries int
}

const (
	// tryEvery is the time between the beginnings of two attempts.
	tryEvery = 20 * time.Millisecond
	// tryFor is how long one attempt may take: less than the second after which
	// a lost SYN is sent again, so that an attempt says how things are now.
	tryFor = 500 * time.Millisecond
)

// measure begins to measure with these attempts.
func (c *cluster) measure(t *testing.T, try func(ctx context.Context) error) *gaps {
	t.Helper()
	g := &gaps{stopped: make(chan struct{})}
	g.wg.Go(func() {
		tick := time.NewTicker(tryEvery)
		defer tick.Stop()
		for {
			select {
			case <-g.stopped:
				return
			case began := <-tick.C:
				g.wg.Go(func() {
					ctx, cancel := context.WithTimeout(context.Background(), tryFor)
					defer cancel()
					err := try(ctx)
					g.mu.Lock()
					defer g.mu.Unlock()
					g.tries++
					if err == nil {
						g.heard = append(g.heard, began)
					}
				})
			}
		}
	})
	return g
}

// tcp is an attempt to have an answer from an HTTP server.
func (c *cluster) tcp(hostport string) func(ctx context.Context) error {
	return func(ctx context.Context) error {
		_, err := c.get(ctx, onLink, hostport, "/")
		return err
	}
}

// udp is one to have a datagram echoed.
func (c *cluster) udp(hostport string) func(ctx context.Context) error {
	return func(ctx context.Context) error { return c.udpEcho(ctx, onLink, hostport) }
}

// stop ends the measurement and returns the longest time between two attempts
// that were answered, and how many were not.
func (g *gaps) stop(t *testing.T) (longest time.Duration, lost, tries int) {
	t.Helper()
	close(g.stopped)
	g.wg.Wait()
	if len(g.heard) == 0 {
		t.Fatal("nothing was ever answered")
	}
	slices.SortFunc(g.heard, func(a, b time.Time) int { return cmp.Compare(a.UnixNano(), b.UnixNano()) })
	for i := 1; i < len(g.heard); i++ {
		longest = max(longest, g.heard[i].Sub(g.heard[i-1]))
	}
	return longest, g.tries - len(g.heard), g.tries
}
