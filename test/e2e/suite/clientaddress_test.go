package suite

import (
	"context"
	"fmt"
	"net/netip"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestPodsSeeTheClientsAddress has clients on the LAN and behind the router talk
// to Pods on the gateway's node and on the other one, by TCP and UDP, and changes
// between the ways to see the client's address while connections are made.
func TestPodsSeeTheClientsAddress(t *testing.T) { c.inEachFamily(t, clientsAddress) }

func clientsAddress(t *testing.T, e entrance) {
	ns := c.namespace(t)
	pods := c.webs(t, ns, "web", 2)
	c.create(t, e.service(ns, "seen"))
	ip := c.externalIP(t, ns, "seen", 30*time.Second)
	address := at(ip, 80)
	e.near.answeredBy(t, 20*time.Second, "tcp", address, names(pods)...)
	local := func(s *corev1.Service) { s.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal }
	cluster := func(s *corev1.Service) { s.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyCluster }
	for _, step := range []struct {
		name string
		edit func(*corev1.Service)
		kept bool
	}{
		{"by default they see the gateway's", func(*corev1.Service) {}, false},
		{"with externalTrafficPolicy Local they see the client's", local, true},
		{"back with Cluster they see the gateway's", cluster, false},
		{"with Cluster and the annotation they see the client's", func(s *corev1.Service) { s.Annotations[clientAddressAnnotation] = "Keep" }, true},
		{"with Local instead they still do", func(s *corev1.Service) { delete(s.Annotations, clientAddressAnnotation); local(s) }, true},
	} {
		t.Run(step.name, func(t *testing.T) {
			load := c.connect(t, onLink, address, 100)
			c.change(t, ns, "seen", step.edit)
			c.seen(t, e, ns, "seen", address, pods, step.kept)
			load.withoutFailure(t)
		})
	}

	t.Run("a new gateway Pod does the same", func(t *testing.T) {
		pod := c.gatewayPod(t, ns, "seen")
		if err := c.kube.CoreV1().Pods(ns).Delete(t.Context(), pod.Name, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		c.goneFromWire(t, ns, pod)
		start := time.Now()
		c.answers(t, 30*time.Second, onLink, address)
		t.Logf("traffic again %s after its end", time.Since(start).Round(time.Millisecond))
		c.seen(t, e, ns, "seen", address, pods, true)
	})
	t.Run("a Pod that is added sees it from its first connection", func(t *testing.T) {
		more := c.webs(t, ns, "more", 2)
		everybody := append(names(pods), names(more)...)
		e.far.answeredBy(t, 20*time.Second, "tcp", address, everybody...)
		c.seen(t, e, ns, "seen", address, append(more, pods...), true)
	})
	c.noWarnings(t, ns)
}

// seen waits until Pods see the client's address, or the gateway's, and then
// asks from everywhere, by every protocol, until every Pod has answered.
func (c *cluster) seen(t *testing.T, e entrance, ns, service, address string, pods []*corev1.Pod, client bool) {
	t.Helper()
	want := func(who caller) netip.Addr {
		if client {
			return who.addr
		}
		return netip.MustParseAddr(c.gatewayAddress(t, ns, service, who.addr.Is4()))
	}
	first := want(e.near)
	took := eventually(t, 40*time.Second, fmt.Sprintf("Pods see %s", first), func(ctx context.Context) error {
		for i := range 16 {
			if got, err := sees(ctx, e.near, []string{"udp", "tcp"}[i%2], address); err != nil || got != first {
				return fmt.Errorf("a Pod sees %s: %w", got, err)
			}
		}
		return nil
	})
	t.Logf("Pods see %s after %s", first, took.Round(10*time.Millisecond))
	for _, who := range e.hosts() {
		expected := want(who)
		for _, network := range []string{"tcp", "udp"} {
			for range 20 {
				if got, err := sees(t.Context(), who, network, address); err != nil || got != expected {
					d, _ := c.document(t.Context(), ns, service)
					t.Fatalf("%s by %s: a Pod sees %s, want %s: %v; the gateway was told %+v", who, network, got, expected, err, d)
				}
			}
			who.answeredBy(t, 20*time.Second, network, address, names(pods)...)
		}
	}
}

// sees is the client's address as a Pod sees it.
func sees(ctx context.Context, who caller, network, address string) (netip.Addr, error) {
	out, err := who.ask(ctx, network, address, "clientip")
	if err != nil {
		return netip.Addr{}, err
	}
	ap, err := netip.ParseAddrPort(out)
	return ap.Addr().Unmap(), err
}
