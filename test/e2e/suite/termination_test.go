package suite

import (
	"context"
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// TestPodsThatTerminateGracefully deletes Pods that take their time: they keep
// the connections that they have, while new ones go elsewhere, or to them if
// there is nobody else.
func TestPodsThatTerminateGracefully(t *testing.T) { c.inEachFamily(t, gracefully) }

func gracefully(t *testing.T, e entrance) {
	ns := c.namespace(t)
	pods := c.webs(t, ns, "web", 2, lingers)
	leaves, stays := pods[0], pods[1]
	defer c.end(t, leaves, 0)
	defer c.end(t, stays, 0)
	c.create(t, e.service(ns, "graceful"))
	address := at(c.externalIP(t, ns, "graceful", 30*time.Second), 80)
	old := e.far.with(t, "tcp", address, leaves.Name)
	flow := e.near.with(t, "udp", address, leaves.Name)

	t.Run("a Pod that leaves keeps its connection and gets no other", func(t *testing.T) {
		c.end(t, leaves)
		for _, network := range []string{"tcp", "udp"} {
			e.near.onlyAnsweredBy(t, 20*time.Second, 20, network, address, stays.Name)
		}
		old.goesOn(t, leaves.Name)
		eventually(t, 2*time.Second, "the flow of datagrams leaves as well", func(context.Context) error {
			got, err := flow.ask("hostname")
			if err == nil && got != stays.Name {
				err = fmt.Errorf("it is with %s", got)
			}
			return err
		})
	})
	t.Run("those who leave serve on while there is nobody else", func(t *testing.T) {
		c.end(t, stays)
		for range 40 {
			if _, err := e.near.get(t.Context(), address, "/hostname"); err != nil {
				t.Error(err)
			}
		}
		for _, network := range []string{"tcp", "udp"} {
			e.far.answeredBy(t, 20*time.Second, network, address, leaves.Name, stays.Name)
		}
		old.goesOn(t, leaves.Name)
	})
	t.Run("a Pod that comes takes over", func(t *testing.T) {
		fresh := c.run(t, web(ns, "fresh"))
		e.near.onlyAnsweredBy(t, 20*time.Second, 20, "tcp", address, fresh[0].Name)
		e.near.onlyAnsweredBy(t, 20*time.Second, 20, "udp", address, fresh[0].Name)
		old.goesOn(t, leaves.Name)
	})
	c.noWarnings(t, ns)
}

// TestWithoutAReadyPodClientsAreRefused makes the only Pods unready and ready
// again, with both targets.
func TestWithoutAReadyPodClientsAreRefused(t *testing.T) {
	c.inEachFamily(t, func(t *testing.T, e entrance) {
		ns := c.namespace(t)
		pods := c.webs(t, ns, "web", 2, gated)
		c.create(t, e.service(ns, "both"))
		services := map[string][]string{"both": {"tcp", "udp"}}
		if e.family == corev1.IPv4Protocol {
			c.create(t, e.service(ns, "plain", port("http", corev1.ProtocolTCP, 80, "http")))
			services["plain"] = []string{"tcp"}
		}
		each := func(do func(service, network, address string)) {
			for service, networks := range services {
				address := at(c.externalIP(t, ns, service, 30*time.Second), 80)
				for _, network := range networks {
					do(service, network, address)
				}
			}
		}
		turn := func(ready bool) {
			for _, pod := range pods {
				c.turn(t, pod, ready)
			}
		}
		refused := func(service, network, address string) {
			for _, who := range e.hosts() {
				eventually(t, 20*time.Second, service+": "+who.String()+" is refused by "+network, func(ctx context.Context) error {
					return who.refusedAt(ctx, network, address)
				})
			}
		}
		each(refused)
		turn(true)
		each(func(_, network, address string) {
			e.far.answeredBy(t, 20*time.Second, network, address, names(pods)...)
		})
		turn(false)
		each(refused)
		c.noWarnings(t, ns)
	})
}
