package suite

import (
	"context"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// TestSourceRanges edits the list of those who are let in, with clients inside
// and outside of it.
func TestSourceRanges(t *testing.T) { c.inEachFamily(t, sourceRanges) }

func sourceRanges(t *testing.T, e entrance) {
	ns := c.namespace(t)
	c.webs(t, ns, "web", 2)
	// Sixteen addresses of the LAN, and everybody behind the router.
	ours, theirs := prefix(e.nearest, 4), prefix(e.far.addr, 8)
	friend := c.callers(t, onLink, e.nearest, 20)
	member, neighbor, stranger := friend[0], friend[19], e.far
	svc := e.service(ns, "ranges")
	svc.Spec.LoadBalancerSourceRanges = []string{ours}
	c.create(t, svc)
	address := at(c.externalIP(t, ns, "ranges", 30*time.Second), 80)
	let := func(t *testing.T, who caller) {
		t.Helper()
		for _, network := range []string{"tcp", "udp"} {
			eventually(t, 10*time.Second, who.String()+" is let in by "+network, func(ctx context.Context) error {
				_, err := who.ask(ctx, network, address, "hostname")
				return err
			})
		}
	}
	shut := func(t *testing.T, who caller) {
		t.Helper()
		for _, network := range []string{"tcp", "udp"} {
			eventually(t, 10*time.Second, who.String()+" is shut out by "+network, func(ctx context.Context) error {
				return who.shutOut(ctx, network, address)
			})
		}
	}
	list := func(t *testing.T, ranges ...string) {
		t.Helper()
		c.change(t, ns, "ranges", func(s *corev1.Service) { s.Spec.LoadBalancerSourceRanges = ranges })
	}

	t.Run("who is not in the list has no answer at all", func(t *testing.T) {
		let(t, member)
		shut(t, neighbor)
		shut(t, stranger)
	})
	t.Run("a list that grows lets in", func(t *testing.T) {
		list(t, ours, theirs)
		let(t, stranger)
		let(t, member)
		shut(t, neighbor)
	})
	t.Run("a list that shrinks ends what is open", func(t *testing.T) {
		stays := member.talk(t, "tcp", address)
		tcp, udp := stranger.talk(t, "tcp", address), stranger.talk(t, "udp", address)
		for _, v := range []*conversation{stays, tcp, udp} {
			if _, err := v.ask("hostname"); err != nil {
				t.Fatal(err)
			}
		}
		list(t, ours)
		tcp.ended(t, 10*time.Second, "the connection of who was taken off the list")
		udp.ended(t, 10*time.Second, "the flow of who was taken off the list")
		shut(t, stranger)
		if _, err := stays.ask("hostname"); err != nil {
			t.Errorf("the connection of who is on the list: %v", err)
		}
	})
	t.Run("the old annotation does the same", func(t *testing.T) {
		c.change(t, ns, "ranges", func(s *corev1.Service) {
			s.Spec.LoadBalancerSourceRanges = nil
			s.Annotations[corev1.AnnotationLoadBalancerSourceRangesKey] = theirs
		})
		let(t, stranger)
		shut(t, member)
	})
	t.Run("the field comes first", func(t *testing.T) {
		list(t, ours)
		let(t, member)
		shut(t, stranger)
	})
	t.Run("without a list everybody is let in", func(t *testing.T) {
		c.change(t, ns, "ranges", func(s *corev1.Service) {
			s.Spec.LoadBalancerSourceRanges = nil
			delete(s.Annotations, corev1.AnnotationLoadBalancerSourceRangesKey)
		})
		let(t, stranger)
		let(t, neighbor)
	})
	c.noWarnings(t, ns)
}

// TestABadSourceRangeIsToldAndLetsNobodyElseIn writes a range that the API
// server takes for the sake of old objects, and that means two things.
func TestABadSourceRangeIsToldAndLetsNobodyElseIn(t *testing.T) {
	e := c.ipv4(t)
	ns := c.namespace(t)
	c.webs(t, ns, "web", 1)
	svc := e.service(ns, "bad")
	svc.Spec.LoadBalancerSourceRanges = []string{"172.18.0.0/16"}
	c.create(t, svc)
	address := at(c.externalIP(t, ns, "bad", 30*time.Second), 80)
	c.answers(t, 10*time.Second, onLink, address)

	c.change(t, ns, "bad", func(s *corev1.Service) { s.Spec.LoadBalancerSourceRanges = []string{"203.0.113.010/24"} })
	eventually(t, 3*time.Second, "one Event", func(ctx context.Context) error {
		event, err := c.oneWarning(ctx, ns, "bad", "InvalidSourceRange")
		if err == nil {
			t.Log(event.Message)
		}
		return err
	})
	if err := e.far.shutOut(t.Context(), "tcp", address); err != nil {
		t.Error(err)
	}
	c.answers(t, time.Second, onLink, address)
	c.change(t, ns, "bad", func(s *corev1.Service) { s.Spec.LoadBalancerSourceRanges = []string{"203.0.113.0/24"} })
	c.answers(t, 10*time.Second, behindRouter, address)
	c.condition(t, ns, "bad", "True", "Serving")
}
