package suite

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/utils/ptr"
)

// TestChangesOfEndpointsReachTheGateway makes a Pod ready and unready fifty
// times and measures, from the change of the EndpointSlice, when clients notice.
func TestChangesOfEndpointsReachTheGateway(t *testing.T) {
	e := c.ipv4(t)
	ns := c.namespace(t)
	pods := c.webs(t, ns, "web", 2, gated)
	steady, flips := pods[0], pods[1]
	c.turn(t, steady, true)
	c.create(t, e.service(ns, "quick"))
	address := at(c.externalIP(t, ns, "quick", 30*time.Second), 80)
	e.near.answeredBy(t, 20*time.Second, "udp", address, steady.Name)

	changed := c.watchReadiness(t, ns, flips.Name)
	asked := e.near.stream(t, address)
	const changes = 50
	var took []time.Duration
	for i := range changes {
		ready := i%2 == 0
		c.turn(t, flips, ready)
		when := changed.next(t, ready)
		d := asked.noticed(t, flips.Name, ready, when)
		took = append(took, d)
	}
	slices.Sort(took)
	p := func(percent int) time.Duration { return took[(len(took)-1)*percent/100].Round(time.Millisecond) }
	t.Logf("%d changes reached clients after: median %s, p90 %s, p99 %s, most %s; %d questions, %d without an answer",
		changes, p(50), p(90), p(99), p(100), asked.total(), asked.lost())
	if p(99) > 2*time.Second {
		t.Errorf("the 99th percentile is %s, want at most 2 s: %v", p(99), took)
	}
	if lost := asked.lost(); lost > 0 {
		t.Errorf("%d of %d questions had no answer", lost, asked.total())
	}
}

// readiness tells when an endpoint's readiness changed, as a watch sees it.
type readiness struct{ changes chan readyAt }

type readyAt struct {
	ready bool
	when  time.Time
}

// watchReadiness watches the EndpointSlices of a namespace for a Pod.
func (c *cluster) watchReadiness(t *testing.T, ns, pod string) *readiness {
	t.Helper()
	w, err := c.kube.DiscoveryV1().EndpointSlices(ns).Watch(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	r := &readiness{changes: make(chan readyAt, 1000)}
	go func() {
		defer w.Stop()
		for event := range w.ResultChan() {
			s, ok := event.Object.(*discoveryv1.EndpointSlice)
			if !ok || event.Type == watch.Deleted {
				continue
			}
			for _, e := range s.Endpoints {
				if e.TargetRef != nil && e.TargetRef.Name == pod {
					r.changes <- readyAt{ptr.Deref(e.Conditions.Ready, true), time.Now()}
				}
			}
		}
	}()
	return r
}

func (r *readiness) next(t *testing.T, ready bool) time.Time {
	t.Helper()
	timeout := time.After(20 * time.Second)
	for {
		select {
		case c := <-r.changes:
			if c.ready == ready {
				return c.when
			}
		case <-timeout:
			t.Fatalf("no EndpointSlice says ready %t", ready)
		}
	}
}

// stream is an endless row of questions, each on a flow of its own.
type stream struct {
	mu            sync.Mutex
	answers       []answer
	asked, failed int
}

type answer struct {
	pod  string
	when time.Time // when it was asked
}

// stream asks for the name behind a UDP port, about two hundred times a second,
// until the test is over.
func (who caller) stream(t *testing.T, address string) *stream {
	t.Helper()
	s := &stream{}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			tick := time.NewTicker(20 * time.Millisecond)
			defer tick.Stop()
			for {
				select {
				case <-ctx.Done():
					return
				case <-tick.C:
				}
				when := time.Now()
				pod, err := who.say(ctx, address, "hostname")
				s.mu.Lock()
				s.asked++
				if err == nil {
					s.answers = append(s.answers, answer{pod, when})
				} else if ctx.Err() == nil {
					s.failed++
				}
				s.mu.Unlock()
			}
		})
	}
	t.Cleanup(func() { cancel(); wg.Wait() })
	return s
}

func (s *stream) total() int { s.mu.Lock(); defer s.mu.Unlock(); return s.asked }
func (s *stream) lost() int  { s.mu.Lock(); defer s.mu.Unlock(); return s.failed }

// noticed waits until the stream shows that a Pod takes questions, or that it
// takes none any more, and returns how long after when that was so.
func (s *stream) noticed(t *testing.T, pod string, takes bool, when time.Time) time.Duration {
	t.Helper()
	const enough = 25 // answers in a row of the other one of two Pods
	var after time.Duration
	eventually(t, 20*time.Second, fmt.Sprintf("%s takes questions: %t", pod, takes), func(context.Context) error {
		s.mu.Lock()
		defer s.mu.Unlock()
		others, last := 0, when
		for _, a := range s.answers {
			if a.when.Before(when) {
				continue
			}
			if a.pod == pod {
				if takes {
					after = a.when.Sub(when)
					return nil
				}
				others, last = 0, a.when
				continue
			}
			others++
		}
		if takes || others < enough {
			return fmt.Errorf("%d answers of others", others)
		}
		after = last.Sub(when)
		s.answers = nil
		return nil
	})
	return after
}

// TestAFlowOfDatagramsLeavesADeadPodAtOnce deletes the Pod that a client talks
// to from one port, without any grace.
func TestAFlowOfDatagramsLeavesADeadPodAtOnce(t *testing.T) {
	c.inEachFamily(t, func(t *testing.T, e entrance) {
		ns := c.namespace(t)
		pods := c.webs(t, ns, "web", 2)
		c.create(t, e.service(ns, "flow", port("udp", corev1.ProtocolUDP, 80, "udp")))
		address := at(c.externalIP(t, ns, "flow", 30*time.Second), 80)
		flow := e.far.talk(t, "udp", address)
		var pod string
		eventually(t, 20*time.Second, "an answer", func(context.Context) (err error) {
			pod, err = flow.ask("hostname")
			return err
		})
		dies, lives := pods[0], pods[1]
		if pod == lives.Name {
			dies, lives = lives, dies
		}
		c.end(t, dies, 0)
		took := eventually(t, 10*time.Second, "the flow goes to "+lives.Name, func(context.Context) error {
			got, err := say(flow.conn, "hostname", 100*time.Millisecond)
			if err == nil && got != lives.Name {
				err = fmt.Errorf("it is with %s", got)
			}
			return err
		})
		t.Logf("with the other Pod %s after the deletion", took.Round(10*time.Millisecond))
		if took > 3*time.Second {
			t.Errorf("the flow was with the dead Pod for %s", took)
		}
		for range 20 {
			// One that is lost is asked again: the lab loses some as a Pod's interface
			// goes. What must not be is an answer of another Pod.
			eventually(t, 3*time.Second, "an answer of "+lives.Name, func(context.Context) error {
				got, err := say(flow.conn, "hostname", 500*time.Millisecond)
				if err == nil && got != lives.Name {
					t.Errorf("%s has the answer", got)
				}
				return err
			})
		}
	})
}
