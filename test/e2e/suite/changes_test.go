package suite

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
)

// TestPortsChangeUnderLoad changes ports while one that is not touched takes a
// thousand new connections a second. The Service has a port of UDP all the
// time, so that its target stays the same; TestTheTargetChangesUnderLoad is
// about the other case.
func TestPortsChangeUnderLoad(t *testing.T) {
	ns := c.namespace(t)
	c.backends(t, ns, 2)
	http := port("http", corev1.ProtocolTCP, 80, "http")
	steady := port("steady", corev1.ProtocolUDP, 9000, "udp")
	c.create(t, lbService(ns, "ports", http, steady))
	ip := c.externalIP(t, ns, "ports", 30*time.Second)
	c.answers(t, 5*time.Second, onLink, ip+":80")

	const rate = 1000
	load := c.connect(t, onLink, ip+":80", rate)
	steps := []struct {
		name  string
		ports []corev1.ServicePort
		check func(ctx context.Context) error
	}{
		{
			name:  "a port is added",
			ports: []corev1.ServicePort{http, steady, port("alt", corev1.ProtocolTCP, 8000, "8080")},
			check: func(ctx context.Context) error { _, err := c.get(ctx, onLink, ip+":8000", "/"); return err },
		},
		{
			name:  "a port is renumbered",
			ports: []corev1.ServicePort{http, steady, port("alt", corev1.ProtocolTCP, 8001, "8080")},
			check: func(ctx context.Context) error {
				if err := c.refused(ctx, onLink, ip+":8000"); err != nil {
					return err
				}
				_, err := c.get(ctx, onLink, ip+":8001", "/")
				return err
			},
		},
		{
			name:  "a port's protocol is changed",
			ports: []corev1.ServicePort{http, steady, port("alt", corev1.ProtocolUDP, 8001, "udp")},
			check: func(ctx context.Context) error {
				if err := c.refused(ctx, onLink, ip+":8001"); err != nil {
					return err
				}
				return c.udpEcho(ctx, onLink, ip+":8001")
			},
		},
		{
			name:  "a port is removed",
			ports: []corev1.ServicePort{http, steady},
			check: func(ctx context.Context) error {
				if c.udpEcho(ctx, onLink, ip+":8001") == nil {
					return fmt.Errorf("UDP 8001 still answers")
				}
				return nil
			},
		},
	}
	for _, s := range steps {
		t.Run(s.name, func(t *testing.T) {
			c.change(t, ns, "ports", func(svc *corev1.Service) { svc.Spec.Ports = s.ports })
			took := eventually(t, 10*time.Second, s.name, s.check)
			t.Logf("effective after %s, %s after the load's start", took.Round(time.Millisecond), time.Since(load.start).Round(time.Millisecond))
		})
	}
	load.withoutFailure(t)

	c.change(t, ns, "ports", func(svc *corev1.Service) { svc.Spec.Ports = []corev1.ServicePort{http} })
	pod := c.gatewayPod(t, ns, "ports")
	eventually(t, 10*time.Second, "the rule of one port is left", func(ctx context.Context) error {
		out, err := c.Kubectl(ctx, "-n", ns, "exec", pod.Name, "--", "iptables", "-t", "nat", "-S", "PREROUTING")
		if n := strings.Count(out, "DNAT"); err == nil && n != 1 {
			err = fmt.Errorf("there are %d DNAT rules:\n%s", n, out)
		}
		return err
	})
	c.noWarnings(t, ns)
}

func TestEveryProtocolAndKindOfTargetPort(t *testing.T) {
	ns := c.namespace(t)
	c.backends(t, ns, 2)
	c.create(t, lbService(ns, "kinds",
		port("by-number", corev1.ProtocolTCP, 8888, "8080"),
		port("by-name", corev1.ProtocolTCP, 80, "http"),
		port("datagrams", corev1.ProtocolUDP, 80, "udp"),
		port("associations", corev1.ProtocolSCTP, 80, "8082"),
	))
	ip := c.externalIP(t, ns, "kinds", 30*time.Second)
	for _, host := range []string{onLink, behindRouter} {
		c.answers(t, 5*time.Second, host, ip+":8888")
		c.answers(t, 5*time.Second, host, ip+":80")
		eventually(t, 5*time.Second, "UDP from "+host, func(ctx context.Context) error { return c.udpEcho(ctx, host, ip+":80") })
	}
	// The machine's kernel may have no SCTP sockets, so the rule is looked at
	// here; that SCTP is translated is a packet test of pkg/gateway.
	pod := c.gatewayPod(t, ns, "kinds")
	out := must(c.Kubectl(t.Context(), "-n", ns, "exec", pod.Name, "--", "lb-gateway", "show"))(t)
	if !strings.Contains(out, " . sctp . 80 : goto ") {
		t.Errorf("no rule for SCTP:\n%s", out)
	}
	c.noWarnings(t, ns)
}

func TestLoadBalancerIPIsChangedAndRemoved(t *testing.T) {
	ns := c.namespace(t)
	c.backends(t, ns, 2)
	svc := lbService(ns, "moved")
	svc.Spec.LoadBalancerIP = "172.18.2.1"
	uid := c.create(t, svc).UID
	c.externalIP(t, ns, "moved", 30*time.Second)
	c.answers(t, 5*time.Second, onLink, "172.18.2.1:80")

	t.Run("an address that cannot be had changes nothing", func(t *testing.T) {
		askIP(t, ns, "moved", "172.18.0.1")
		eventually(t, 3*time.Second, "one Event", func(ctx context.Context) error {
			_, err := c.oneWarning(ctx, ns, "moved", "AddressReserved")
			return err
		})
		c.answers(t, time.Second, onLink, "172.18.2.1:80")
		c.sameAddress(t, ns, "moved", "172.18.2.1")
	})
	t.Run("another address replaces the first", func(t *testing.T) {
		askIP(t, ns, "moved", "172.18.2.2")
		c.becomes(t, ns, "moved", "172.18.2.2")
		c.answers(t, 5*time.Second, onLink, "172.18.2.2:80")
		c.sameAddress(t, ns, "moved", "172.18.2.2")
		if h := must(c.holders(t.Context(), "172.18.2.1"))(t); len(h) > 0 {
			t.Errorf("172.18.2.1 is still held by %v", h)
		}
		if _, err := c.get(t.Context(), onLink, "172.18.2.1:80", "/"); err == nil {
			t.Error("172.18.2.1 still answers")
		}
	})
	t.Run("without loadBalancerIP the address stays", func(t *testing.T) {
		askIP(t, ns, "moved", "")
		consistently(t, 3*time.Second, "address", func(ctx context.Context) error {
			_, err := c.get(ctx, onLink, "172.18.2.2:80", "/")
			return err
		})
		c.sameAddress(t, ns, "moved", "172.18.2.2")
	})
	c.remove(t, ns, "moved")
	c.allGone(t, uid)
}

func askIP(t *testing.T, ns, name, ip string) {
	t.Helper()
	c.change(t, ns, name, func(s *corev1.Service) { s.Spec.LoadBalancerIP = ip })
}

// becomes waits until a Service shows that very address.
func (c *cluster) becomes(t *testing.T, ns, name, ip string) {
	t.Helper()
	eventually(t, 30*time.Second, "address "+ip, func(ctx context.Context) error {
		svc, err := c.kube.CoreV1().Services(ns).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if got := published(svc); got != ip {
			return fmt.Errorf("it is %q", got)
		}
		return nil
	})
}

// allGone waits until nothing is left of what was made for a Service.
func (c *cluster) allGone(t *testing.T, uid types.UID) {
	t.Helper()
	eventually(t, 10*time.Second, "nothing left", func(ctx context.Context) error { return c.nothingLeft(ctx, uid) })
}

func TestTheSubnetAnnotationIsChanged(t *testing.T) {
	ns := c.namespace(t)
	c.backends(t, ns, 1)
	c.nad(t, ns, "net", macvlan("eth0"))
	provider := "net." + ns
	c.subnet(t, "a-"+ns, provider, "172.19.20.0/24", "172.19.20.1")
	c.subnet(t, "b-"+ns, provider, "172.19.21.0/24", "172.19.21.1")
	key := kubeovn.AnnotationKey(provider, kubeovn.FieldLogicalSwitch)
	svc := lbService(ns, "subnets")
	svc.Annotations = map[string]string{kubeovn.AttachmentProvider: provider, key: "a-" + ns}
	uid := c.create(t, svc).UID
	if ip := c.externalIP(t, ns, "subnets", 30*time.Second); !strings.HasPrefix(ip, "172.19.20.") {
		t.Errorf("%s is not of the first Subnet", ip)
	}
	c.change(t, ns, "subnets", func(s *corev1.Service) { s.Annotations[key] = "b-" + ns })
	eventually(t, 30*time.Second, "an address of the second Subnet", func(ctx context.Context) error {
		got, err := c.kube.CoreV1().Services(ns).Get(ctx, "subnets", metav1.GetOptions{})
		if err != nil {
			return err
		}
		if ip := published(got); !strings.HasPrefix(ip, "172.19.21.") {
			return fmt.Errorf("it is %q", ip)
		}
		return nil
	})
	pod := c.gatewayPod(t, ns, "subnets")
	out := must(c.Kubectl(t.Context(), "-n", ns, "exec", pod.Name, "--", "ip", "-4", "address", "show", "dev", "net1"))(t)
	if strings.Contains(out, "172.19.20.") || !strings.Contains(out, "172.19.21.") {
		t.Errorf("net1 has\n%s", out)
	}
	c.noWarnings(t, ns)
	c.remove(t, ns, "subnets")
	c.allGone(t, uid)
}

func TestTheTypeIsChangedAndChangedBack(t *testing.T) {
	ns := c.namespace(t)
	c.backends(t, ns, 1)
	uid := c.create(t, lbService(ns, "typed")).UID
	c.externalIP(t, ns, "typed", 30*time.Second)

	c.change(t, ns, "typed", func(s *corev1.Service) {
		s.Spec.Type = corev1.ServiceTypeClusterIP
		s.Spec.AllocateLoadBalancerNodePorts = nil
		for i := range s.Spec.Ports {
			s.Spec.Ports[i].NodePort = 0
		}
	})
	eventually(t, 30*time.Second, "the status and the finalizer are gone", func(ctx context.Context) error {
		svc, err := c.kube.CoreV1().Services(ns).Get(ctx, "typed", metav1.GetOptions{})
		if err == nil && (published(svc) != "" || len(svc.Finalizers) > 0) {
			err = fmt.Errorf("address %q, finalizers %v", published(svc), svc.Finalizers)
		}
		return err
	})
	c.allGone(t, uid)

	c.change(t, ns, "typed", func(s *corev1.Service) { s.Spec.Type = corev1.ServiceTypeLoadBalancer })
	ip := c.externalIP(t, ns, "typed", 30*time.Second)
	c.answers(t, 5*time.Second, onLink, ip+":80")
	c.noWarnings(t, ns)
}

func TestAServiceIsDeletedAndMadeAgainAtOnce(t *testing.T) {
	ns := c.namespace(t)
	c.backends(t, ns, 1)
	svc := lbService(ns, "again")
	svc.Spec.LoadBalancerIP = "172.18.2.10"
	first := c.create(t, svc).UID
	c.externalIP(t, ns, "again", 30*time.Second)
	if err := c.kube.CoreV1().Services(ns).Delete(t.Context(), "again", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	var second types.UID
	eventually(t, 30*time.Second, "the same name again", func(ctx context.Context) error {
		made, err := c.kube.CoreV1().Services(ns).Create(ctx, svc, metav1.CreateOptions{})
		if apierrors.IsAlreadyExists(err) {
			return err
		}
		if err != nil {
			t.Fatal(err)
		}
		second = made.UID
		return nil
	})
	c.becomes(t, ns, "again", "172.18.2.10")
	c.answers(t, 5*time.Second, onLink, "172.18.2.10:80")
	c.allGone(t, first)
	c.sameAddress(t, ns, "again", "172.18.2.10")
	c.noWarnings(t, ns)
	c.remove(t, ns, "again")
	c.allGone(t, second)
}

func TestTheNamespaceIsDeleted(t *testing.T) {
	ns := c.namespace(t)
	c.backends(t, ns, 1)
	var uids []types.UID
	for _, name := range []string{"one", "two", "three"} {
		uids = append(uids, c.create(t, lbService(ns, name)).UID)
	}
	for _, name := range []string{"one", "two", "three"} {
		c.externalIP(t, ns, name, 30*time.Second)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c.deleteNamespace(ctx, t, ns)
	for _, uid := range uids {
		c.allGone(t, uid)
	}
}
