package suite

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// TestKilledAtEveryWrite kills the controller right after its n-th write to the
// API server, for every n, while it creates, changes and deletes a load
// balancer. Started again it must come to the same end: the same address, the
// same objects, nothing left over.
func TestKilledAtEveryWrite(t *testing.T) {
	c.quiet(t)
	c.scaleController(t, 0)
	defer c.scaleController(t, 2)
	ns := c.namespace(t)
	c.backends(t, ns, 1)

	proxy := newKillProxy(t)
	for _, phase := range []killPhase{creation, change, deletion} {
		t.Run(phase.name, func(t *testing.T) {
			for n := 1; ; n++ {
				if n > 40 {
					t.Fatal("forty writes and no end: the controller does not settle")
				}
				name := fmt.Sprintf("%s-%d", phase.name, n)
				if !c.killedAt(t, proxy, phase, ns, name, n) {
					t.Logf("%s takes %d writes", phase.name, n-1)
					if n == 1 {
						t.Error("the controller wrote nothing")
					}
					break
				}
			}
		})
	}
}

// killPhase is a part of a load balancer's life in which the controller is
// killed.
type killPhase struct {
	name string
	// before says whether a healthy controller first brings the Service up.
	before bool
	// act is what the user does before the controller that will be killed
	// starts.
	act func(t *testing.T, ns, name string)
	// done complains until the phase has come to its end.
	done func(ctx context.Context, ns, name string, uid types.UID) error
}

var (
	creation = killPhase{
		name: "create",
		act:  func(*testing.T, string, string) {},
		done: servedAt(""),
	}
	change = killPhase{
		name:   "change",
		before: true,
		act: func(t *testing.T, ns, name string) {
			c.change(t, ns, name, func(s *corev1.Service) {
				s.Spec.LoadBalancerIP = movedTo
				s.Spec.Ports = append(s.Spec.Ports, port("alt", corev1.ProtocolTCP, 8000, "8080"))
			})
		},
		done: func(ctx context.Context, ns, name string, uid types.UID) error {
			return errors.Join(servedAt(movedTo)(ctx, ns, name, uid), answersOn(ctx, movedTo+":8000"))
		},
	}
	deletion = killPhase{
		name:   "delete",
		before: true,
		act: func(t *testing.T, ns, name string) {
			if err := c.kube.CoreV1().Services(ns).Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
		},
		done: func(ctx context.Context, ns, name string, uid types.UID) error {
			if _, err := c.kube.CoreV1().Services(ns).Get(ctx, name, metav1.GetOptions{}); err == nil {
				return fmt.Errorf("Service %s is still there", name)
			}
			return c.nothingLeft(ctx, uid)
		},
	}
)

const movedTo = "172.18.3.3"

func answersOn(ctx context.Context, hostport string) error {
	_, err := c.get(ctx, onLink, hostport, "/")
	return err
}

// servedAt complains until a Service is published at the address (any, if it is
// empty), held by its own Vip alone, and answers.
func servedAt(want string) func(ctx context.Context, ns, name string, uid types.UID) error {
	return func(ctx context.Context, ns, name string, uid types.UID) error {
		svc, err := c.kube.CoreV1().Services(ns).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		ip := published(svc)
		if ip == "" || (want != "" && ip != want) {
			return fmt.Errorf("published at %q", ip)
		}
		holders, err := c.holders(ctx, ip)
		if err != nil {
			return err
		}
		if len(holders) != 1 || holders[0] != "lb-"+string(uid) {
			return fmt.Errorf("%s is held by %v", ip, holders)
		}
		return answersOn(ctx, ip+":80")
	}
}

// killedAt runs one phase for one Service, killing the controller after the
// n-th write; false means that the phase was over before.
func (c *cluster) killedAt(t *testing.T, proxy *killProxy, phase killPhase, ns, name string, n int) bool {
	t.Helper()
	uid := c.create(t, lbService(ns, name)).UID
	var before string
	if phase.before {
		ctl := proxy.start(t, 0)
		eventually(t, time.Minute, name+" is served", func(ctx context.Context) error {
			return servedAt("")(ctx, ns, name, uid)
		})
		ctl.stop(t)
	}
	phase.act(t, ns, name)

	ctl := proxy.start(t, n)
	killed := false
	eventually(t, time.Minute, fmt.Sprintf("%s: the end, or write %d", name, n), func(ctx context.Context) error {
		if killed = ctl.ended(); killed {
			return nil
		}
		return phase.done(ctx, ns, name, uid)
	})
	if !killed {
		// A last write may follow the end that a client sees.
		killed = ctl.endsWithin(time.Second)
	}
	if !killed {
		ctl.stop(t)
	} else {
		before = c.granted(t, uid)
		ctl = proxy.start(t, 0)
		eventually(t, time.Minute, fmt.Sprintf("%s: the same end after a kill at write %d", name, n), func(ctx context.Context) error {
			return phase.done(ctx, ns, name, uid)
		})
		if after := c.granted(t, uid); phase.name == creation.name && before != "" && after != before {
			t.Errorf("%s had %s before the kill at write %d and has %s now", name, before, n, after)
		}
		ctl.stop(t)
	}
	if phase.name != deletion.name {
		ctl = proxy.start(t, 0)
		c.remove(t, ns, name)
		c.allGone(t, uid)
		ctl.stop(t)
	}
	return killed
}

// granted is the address that Kube-OVN has granted to a Service, if any.
func (c *cluster) granted(t *testing.T, uid types.UID) string {
	t.Helper()
	u, err := c.resource("Vip", "").Get(t.Context(), "lb-"+string(uid), metav1.GetOptions{})
	if err != nil {
		return ""
	}
	status, _ := u.Object["status"].(map[string]any)
	ip, _ := status["v4ip"].(string)
	return ip
}
