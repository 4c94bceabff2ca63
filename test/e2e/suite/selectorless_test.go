package suite

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// handMade is an EndpointSlice written by hand for the port http of a Service.
func handMade(ns, service string, number int32, addresses ...string) *discoveryv1.EndpointSlice {
	s := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: ns, Name: service + "-by-hand",
			Labels: map[string]string{discoveryv1.LabelServiceName: service, discoveryv1.LabelManagedBy: "test"},
		},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: ptr.To("http"), Port: &number, Protocol: ptr.To(corev1.ProtocolTCP)}},
	}
	for _, a := range addresses {
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{Addresses: []string{a}})
	}
	return s
}

func (c *cluster) putSlice(t *testing.T, s *discoveryv1.EndpointSlice) {
	t.Helper()
	api := c.kube.DiscoveryV1().EndpointSlices(s.Namespace)
	_, err := api.Create(t.Context(), s, metav1.CreateOptions{})
	if err != nil {
		_, err = api.Update(t.Context(), s, metav1.UpdateOptions{})
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestAServiceWithoutSelector has endpoints that were written by hand: first
// Pods, then servers outside of the cluster, with both targets.
func TestAServiceWithoutSelector(t *testing.T) {
	e := c.ipv4(t)
	ns := c.namespace(t)
	pods := c.webs(t, ns, "web", 2)
	var podIPs, outside []string
	for _, pod := range pods {
		podIPs = append(podIPs, pod.Status.PodIP)
	}
	for _, who := range e.hosts() {
		c.listen(t, who, 8080)
		outside = append(outside, who.addr.String())
	}
	svc := e.service(ns, "by-hand", port("http", corev1.ProtocolTCP, 80, "http"))
	svc.Spec.Selector = nil
	c.create(t, svc)
	c.putSlice(t, handMade(ns, "by-hand", 8080, podIPs...))
	address := at(c.externalIP(t, ns, "by-hand", 30*time.Second), 80)

	for _, target := range []string{"ClusterIP", "Endpoints"} {
		t.Run(target, func(t *testing.T) {
			c.setAnnotation(t, ns, "by-hand", targetAnnotation, target)
			c.putSlice(t, handMade(ns, "by-hand", 8080, podIPs...))
			t.Run("of Pods", func(t *testing.T) {
				e.near.onlyAnsweredBy(t, 20*time.Second, 5, "tcp", address, names(pods)...)
				e.far.answeredBy(t, 20*time.Second, "tcp", address, names(pods)...)
			})
			t.Run("of servers outside of the cluster", func(t *testing.T) {
				c.putSlice(t, handMade(ns, "by-hand", 8080, outside...))
				e.near.onlyAnsweredBy(t, 20*time.Second, 10, "tcp", address, onLink, behindRouter)
				for _, who := range e.hosts() {
					who.answeredBy(t, 20*time.Second, "tcp", address, onLink, behindRouter)
				}
			})
			t.Run("of nobody", func(t *testing.T) {
				c.putSlice(t, handMade(ns, "by-hand", 8080))
				eventually(t, 20*time.Second, "a refusal", func(ctx context.Context) error { return e.near.refusedAt(ctx, "tcp", address) })
			})
		})
	}
	c.noWarnings(t, ns)
}

// listen serves the host's name by HTTP on one of the lab's hosts.
func (c *cluster) listen(t *testing.T, who caller, number int) {
	t.Helper()
	l, err := c.Host(who.host).Listen(t.Context(), "tcp", netip.AddrPortFrom(who.addr, uint16(number)).String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go sayName(conn, who.host)
		}
	}()
}

// sayName answers one HTTP request.
func sayName(conn net.Conn, name string) {
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
		_, _ = fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", len(name), name)
	}
}
