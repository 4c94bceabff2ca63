package suite

import (
	"context"
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
)

// affinitySeconds is the time-out of the affinity in these tests.
const affinitySeconds = 6

// TestSessionAffinity has forty clients, some of them behind the router, talk to
// two and then to four Pods, with both traffic policies.
func TestSessionAffinity(t *testing.T) { c.inEachFamily(t, sessionAffinity) }

func sessionAffinity(t *testing.T, e entrance) {
	ns := c.namespace(t)
	pods := c.webs(t, ns, "web", 4, gated)
	for _, pod := range pods[:2] {
		c.turn(t, pod, true)
	}
	clients := append(c.callers(t, onLink, e.nearest, 30), c.callers(t, behindRouter, e.farthest, 10)...)
	svc := e.service(ns, "sticky", port("http", corev1.ProtocolTCP, 80, "http"))
	svc.Spec.SessionAffinity = corev1.ServiceAffinityClientIP
	svc.Spec.SessionAffinityConfig = affinityConfig()
	c.create(t, svc)
	address := at(c.externalIP(t, ns, "sticky", 30*time.Second), 80)

	for _, policy := range []corev1.ServiceExternalTrafficPolicy{corev1.ServiceExternalTrafficPolicyCluster, corev1.ServiceExternalTrafficPolicyLocal} {
		t.Run(string(policy), func(t *testing.T) {
			c.change(t, ns, "sticky", func(s *corev1.Service) { s.Spec.ExternalTrafficPolicy = policy })
			for i, pod := range pods {
				c.turn(t, pod, i < 2)
			}
			eventually(t, 30*time.Second, "the policy and two Pods are in", func(ctx context.Context) error {
				if keeps, err := c.keepsClients(ctx, ns, "sticky"); err != nil || keeps != (policy == corev1.ServiceExternalTrafficPolicyLocal) {
					return fmt.Errorf("client's address kept: %t, %w", keeps, err)
				}
				return c.serves(ctx, ns, "sticky", 2)
			})
			c.staysThenMoves(t, ns, "sticky", clients, address, pods)
		})
	}
	t.Run("off and on again under load", func(t *testing.T) { c.affinitySwitches(t, ns, "sticky", address, clients) })
	c.noWarnings(t, ns)
}

// staysThenMoves starts with two Pods ready. Every client stays with its Pod,
// also when there are two Pods more, until it was away for the time-out.
func (c *cluster) staysThenMoves(t *testing.T, ns, service string, clients []caller, address string, pods []*corev1.Pod) {
	t.Helper()
	v := visits{}
	v.all(t, clients, address)
	count := map[string]int{}
	for _, visit := range v {
		count[visit.pod]++
	}
	t.Logf("%d clients at two Pods: %v", len(clients), count)
	if len(count) != 2 {
		t.Errorf("%d clients are spread over %v, want both Pods", len(clients), count)
	}
	for _, pod := range pods[2:] {
		c.turn(t, pod, true)
	}
	eventually(t, 30*time.Second, "the new Pods are in", func(ctx context.Context) error {
		v.all(t, clients, address)
		return c.serves(ctx, ns, service, 4)
	})
	v.all(t, clients, address)

	time.Sleep((affinitySeconds + 2) * time.Second) // nobody calls: that is the test
	moved := v.all(t, clients, address)
	t.Logf("%d of %d clients have moved after the time-out", moved, len(clients))
	if moved == 0 {
		t.Error("nobody has moved to the new Pods: the time-out is not honored")
	}
}

// visits are the clients' last ones.
type visits map[caller]visit

type visit struct {
	pod  string
	when time.Time
}

// all has every client ask three times. One that was here within the time-out
// must come to the same Pod; how many others came to another one is returned.
func (v visits) all(t *testing.T, clients []caller, address string) (moved int) {
	t.Helper()
	for _, who := range clients {
		for range 3 {
			last, start := v[who], time.Now()
			pod, err := who.get(t.Context(), address, "/hostname")
			if err != nil {
				t.Fatalf("%s: %v", who, err)
			}
			v[who] = visit{pod, start}
			// The gateway saw less time go by than from before one request to
			// after the next.
			switch away := time.Since(last.when); {
			case last.pod == "" || last.pod == pod:
			case away < affinitySeconds*time.Second:
				t.Errorf("%s was with %s and %s later with %s", who, last.pod, away, pod)
			default:
				moved++
			}
		}
	}
	return moved
}

// affinitySwitches turns the affinity off and on while connections are made.
func (c *cluster) affinitySwitches(t *testing.T, ns, service, address string, clients []caller) {
	t.Helper()
	load := c.connect(t, onLink, address, 100)
	who := clients[0]
	c.change(t, ns, service, func(s *corev1.Service) {
		s.Spec.SessionAffinity, s.Spec.SessionAffinityConfig = corev1.ServiceAffinityNone, nil
	})
	eventually(t, 10*time.Second, "a client meets several Pods", func(ctx context.Context) error {
		seen := map[string]bool{}
		for range 10 {
			name, err := who.get(ctx, address, "/hostname")
			if err != nil {
				return err
			}
			seen[name] = true
		}
		if len(seen) < 2 {
			return fmt.Errorf("only %v", seen)
		}
		return nil
	})
	c.change(t, ns, service, func(s *corev1.Service) {
		s.Spec.SessionAffinity, s.Spec.SessionAffinityConfig = corev1.ServiceAffinityClientIP, affinityConfig()
	})
	eventually(t, 10*time.Second, "a client meets one Pod", func(ctx context.Context) error {
		seen := map[string]bool{}
		for range 15 {
			name, err := who.get(ctx, address, "/hostname")
			if err != nil {
				return err
			}
			seen[name] = true
		}
		if len(seen) > 1 {
			return fmt.Errorf("it met %v", seen)
		}
		return nil
	})
	load.withoutFailure(t)
}

func affinityConfig() *corev1.SessionAffinityConfig {
	return &corev1.SessionAffinityConfig{ClientIP: &corev1.ClientIPConfig{TimeoutSeconds: ptr.To[int32](affinitySeconds)}}
}
