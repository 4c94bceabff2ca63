package suite

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
)

// served makes backends and a Service, and waits until it answers.
func (c *cluster) served(t *testing.T, name string) (ns, ip string) {
	t.Helper()
	ns = c.namespace(t)
	c.backends(t, ns, 2)
	c.create(t, lbService(ns, name))
	ip = c.externalIP(t, ns, name, 30*time.Second)
	c.answers(t, 5*time.Second, onLink, ip+":80")
	return ns, ip
}

// sameAddress fails the test unless a Service still has its address, and it
// alone.
func (c *cluster) sameAddress(t *testing.T, ns, name, ip string) {
	t.Helper()
	svc := must(c.kube.CoreV1().Services(ns).Get(t.Context(), name, metav1.GetOptions{}))(t)
	if got := published(svc); got != ip {
		t.Errorf("the address is %s now, it was %s", got, ip)
	}
	holders := must(c.holders(t.Context(), ip))(t)
	if len(holders) != 1 || holders[0] != "lb-"+string(svc.UID) {
		t.Errorf("%s is held by %v", ip, holders)
	}
}

func TestADeletedGatewayPodComesBackWithTheSameAddress(t *testing.T) {
	ns, ip := c.served(t, "pod-deleted")
	pod := c.gatewayPod(t, ns, "pod-deleted")
	if err := c.kube.CoreV1().Pods(ns).Delete(t.Context(), pod.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	c.goneFromWire(t, ns, pod)
	t.Logf("traffic again after %s", c.answers(t, 20*time.Second, onLink, ip+":80"))
	c.sameAddress(t, ns, "pod-deleted", ip)
	c.noWarnings(t, ns)
}

func TestAKilledContainerComesBackWithTheSameAddress(t *testing.T) {
	ns, ip := c.served(t, "killed")
	pod := c.gatewayPod(t, ns, "killed")
	c.killContainer(t, pod)
	t.Logf("traffic again after %s", c.answers(t, 20*time.Second, onLink, ip+":80"))
	eventually(t, 30*time.Second, "restart of the container", func(ctx context.Context) error {
		got, err := c.kube.CoreV1().Pods(ns).Get(ctx, pod.Name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if s := got.Status.ContainerStatuses[0]; s.RestartCount != 1 || !s.Ready {
			return fmt.Errorf("restarts %d, ready %t", s.RestartCount, s.Ready)
		}
		return nil
	})
	c.answers(t, 5*time.Second, onLink, ip+":80")
	c.sameAddress(t, ns, "killed", ip)
}

func TestAGatewayNeedsNoController(t *testing.T) {
	ns, ip := c.served(t, "no-ccm")
	c.scaleController(t, 0)
	defer c.scaleController(t, 2)
	pod := c.gatewayPod(t, ns, "no-ccm")
	if err := c.kube.CoreV1().Pods(ns).Delete(t.Context(), pod.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	c.goneFromWire(t, ns, pod)
	t.Logf("Pod deleted: traffic again after %s", c.answers(t, 20*time.Second, onLink, ip+":80"))

	c.killContainer(t, c.gatewayPod(t, ns, "no-ccm"))
	t.Logf("container killed: traffic again after %s", c.answers(t, 20*time.Second, onLink, ip+":80"))
	c.sameAddress(t, ns, "no-ccm", ip)
}

func TestAGatewayMovesWhenItsNodeLosesPower(t *testing.T) {
	ns, ip := c.served(t, "node-off")
	pod := c.gatewayPod(t, ns, "node-off")
	node := pod.Spec.NodeName
	if err := c.PowerOff(t.Context(), node); err != nil {
		t.Fatal(err)
	}
	defer c.powerOn(t, node)
	start := time.Now()
	eventually(t, 90*time.Second, "another gateway Pod", func(ctx context.Context) error {
		l, err := c.kube.CoreV1().Pods(ns).List(ctx, metav1.ListOptions{LabelSelector: kubeovn.LabelServiceName + "=node-off"})
		if err != nil {
			return err
		}
		for i := range l.Items {
			if p := &l.Items[i]; p.Spec.NodeName != "" && p.Spec.NodeName != node {
				return nil
			}
		}
		return fmt.Errorf("still only on %s", node)
	})
	moved := time.Since(start)
	t.Logf("Kubernetes moved the Pod after %s; traffic again %s later", moved, c.answers(t, 20*time.Second, onLink, ip+":80"))
	c.sameAddress(t, ns, "node-off", ip)
}

// TestWhatSomebodyBreaksIsMended deletes and edits everything that belongs to a
// Service by hand.
func TestWhatSomebodyBreaksIsMended(t *testing.T) {
	ns, ip := c.served(t, "broken")
	ctx := t.Context()
	svc := must(c.kube.CoreV1().Services(ns).Get(ctx, "broken", metav1.GetOptions{}))(t)
	const object = "lb-svc-broken"
	for what, do := range map[string]func() (back func(context.Context) (types.UID, error), err error){
		"the Deployment": func() (func(context.Context) (types.UID, error), error) {
			return func(ctx context.Context) (types.UID, error) {
				o, err := c.kube.AppsV1().Deployments(ns).Get(ctx, object, metav1.GetOptions{})
				if err != nil {
					return "", err
				}
				return o.UID, nil
			}, c.kube.AppsV1().Deployments(ns).Delete(ctx, object, metav1.DeleteOptions{})
		},
		"the ConfigMap": func() (func(context.Context) (types.UID, error), error) {
			return func(ctx context.Context) (types.UID, error) {
				o, err := c.kube.CoreV1().ConfigMaps(ns).Get(ctx, object, metav1.GetOptions{})
				if err != nil {
					return "", err
				}
				return o.UID, nil
			}, c.kube.CoreV1().ConfigMaps(ns).Delete(ctx, object, metav1.DeleteOptions{})
		},
		"the NAD": func() (func(context.Context) (types.UID, error), error) {
			return c.uidOf("NetworkAttachmentDefinition", ns, object), c.resource("NetworkAttachmentDefinition", ns).Delete(ctx, object, metav1.DeleteOptions{})
		},
		"the Vip": func() (func(context.Context) (types.UID, error), error) {
			name := "lb-" + string(svc.UID)
			return c.uidOf("Vip", "", name), c.resource("Vip", "").Delete(ctx, name, metav1.DeleteOptions{})
		},
	} {
		t.Run(what+" is deleted", func(t *testing.T) {
			back, err := do()
			if err != nil {
				t.Fatal(err)
			}
			took := eventually(t, 10*time.Second, what, func(ctx context.Context) error {
				_, err := back(ctx)
				return err
			})
			t.Logf("%s was back after %s", what, took)
			c.settled(t, ns, "broken")
			c.answers(t, 5*time.Second, onLink, ip+":80")
			eventually(t, 5*time.Second, "one holder", func(ctx context.Context) error {
				h, err := c.holders(ctx, ip)
				if err == nil && (len(h) != 1 || h[0] != "lb-"+string(svc.UID)) {
					err = fmt.Errorf("%s is held by %v", ip, h)
				}
				return err
			})
			c.sameAddress(t, ns, "broken", ip)
		})
	}
	t.Run("the rules inside the gateway are flushed", func(t *testing.T) {
		c.settled(t, ns, "broken")
		pod := c.gatewayPod(t, ns, "broken")
		if out, err := c.Kubectl(ctx, "-n", ns, "exec", pod.Name, "--", "iptables", "-t", "nat", "-F"); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		c.answers(t, 15*time.Second, onLink, ip+":80")
	})
}

func (c *cluster) uidOf(kind, ns, name string) func(context.Context) (types.UID, error) {
	return func(ctx context.Context) (types.UID, error) {
		o, err := c.resource(kind, ns).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return "", err
		}
		if o.GetDeletionTimestamp() != nil {
			return "", fmt.Errorf("%s %s is still going", kind, name)
		}
		return o.GetUID(), nil
	}
}

// settled waits until a gateway's Deployment is what it should be: one Pod, and
// that one ready.
func (c *cluster) settled(t *testing.T, ns, service string) {
	t.Helper()
	eventually(t, 30*time.Second, "one ready gateway Pod", func(ctx context.Context) error {
		l, err := c.kube.CoreV1().Pods(ns).List(ctx, metav1.ListOptions{LabelSelector: kubeovn.LabelServiceName + "=" + service})
		if err != nil {
			return err
		}
		d, err := c.kube.AppsV1().Deployments(ns).Get(ctx, "lb-svc-"+service, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if len(l.Items) != 1 || d.Status.ReadyReplicas != 1 {
			return fmt.Errorf("%d Pods, %d ready", len(l.Items), d.Status.ReadyReplicas)
		}
		return nil
	})
}

// goneFromWire waits until a Pod has stopped, so that an answer afterwards is
// its successor's.
func (c *cluster) goneFromWire(t *testing.T, ns string, pod *corev1.Pod) {
	t.Helper()
	eventually(t, 30*time.Second, "end of "+pod.Name, func(ctx context.Context) error {
		got, err := c.kube.CoreV1().Pods(ns).Get(ctx, pod.Name, metav1.GetOptions{})
		if err == nil && got.UID == pod.UID {
			return fmt.Errorf("still there")
		}
		return nil
	})
}

// killContainer sends SIGKILL to the gateway's process, as the kernel's OOM
// killer would.
func (c *cluster) killContainer(t *testing.T, pod *corev1.Pod) {
	t.Helper()
	pod = must(c.kube.CoreV1().Pods(pod.Namespace).Get(t.Context(), pod.Name, metav1.GetOptions{}))(t)
	id := strings.TrimPrefix(pod.Status.ContainerStatuses[0].ContainerID, "containerd://")
	if out, err := c.Ctr(t.Context(), pod.Spec.NodeName, "tasks", "kill", "--signal", "SIGKILL", id); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

// scaleController sets the number of kube-ovn-ccm's replicas and waits for it.
func (c *cluster) scaleController(t *testing.T, replicas int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	out, err := c.Kubectl(ctx, "-n", "kube-system", "scale", "deployment/kube-ovn-ccm", fmt.Sprintf("--replicas=%d", replicas))
	if err == nil && replicas > 0 {
		out, err = c.Kubectl(ctx, "-n", "kube-system", "rollout", "status", "deployment/kube-ovn-ccm", "--timeout=50s")
	}
	if err == nil && replicas == 0 {
		out, err = c.Kubectl(ctx, "-n", "kube-system", "wait", "--for=delete", "pod", "-l", "app.kubernetes.io/name=kube-ovn-ccm", "--timeout=50s")
	}
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if replicas > 0 {
		eventually(t, time.Minute, "a leader", c.led)
	}
}

// led complains unless a Pod that runs holds the Lease and renews it. After a
// leader that died without a word this takes the Lease's 15 s.
func (c *cluster) led(ctx context.Context) error {
	leader, err := c.leader(ctx)
	if err == nil && leader.DeletionTimestamp != nil {
		err = fmt.Errorf("the leader %s is going", leader.Name)
	}
	return err
}

func (c *cluster) powerOn(t *testing.T, node string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 90*time.Second)
	defer cancel()
	if err := c.PowerOn(ctx, node); err != nil {
		t.Fatal(err)
	}
	if out, err := c.Kubectl(ctx, "wait", "--for=condition=Ready", "node/"+node, "--timeout=80s"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

// TestWhatIsEditedReachesTheGatewayWithinASecond edits the Subnet and the
// attachment of a Service that is served.
func TestWhatIsEditedReachesTheGatewayWithinASecond(t *testing.T) {
	ns := c.namespace(t)
	c.backends(t, ns, 1)
	c.nad(t, ns, "net", macvlan("eth0"))
	c.subnet(t, "s-"+ns, "net."+ns, "172.19.30.0/24", "172.19.30.1")
	svc := lbService(ns, "edited")
	svc.Annotations[kubeovn.AttachmentProvider] = "net." + ns
	c.create(t, svc)
	ip := c.externalIP(t, ns, "edited", 30*time.Second)

	c.patchSpec(t, "Subnet", "", "s-"+ns, `{"gateway":"172.19.30.254"}`)
	eventually(t, time.Second, "the Subnet's new gateway in the document", func(ctx context.Context) error {
		cm, err := c.kube.CoreV1().ConfigMaps(ns).Get(ctx, "lb-svc-edited", metav1.GetOptions{})
		if err == nil && !strings.Contains(cm.Data["gateway.json"], "172.19.30.254") {
			err = fmt.Errorf("it is\n%s", cm.Data["gateway.json"])
		}
		return err
	})
	c.patchSpec(t, "NetworkAttachmentDefinition", ns, "net",
		`{"config":"{\"cniVersion\":\"0.3.0\",\"type\":\"macvlan\",\"master\":\"eth0\",\"mode\":\"bridge\",\"mtu\":1400}"}`)
	eventually(t, time.Second, "the attachment's new MTU in the gateway's own", func(ctx context.Context) error {
		nad, err := c.resource("NetworkAttachmentDefinition", ns).Get(ctx, "lb-svc-edited", metav1.GetOptions{})
		if err != nil {
			return err
		}
		if config := fmt.Sprint(nad.Object["spec"]); !strings.Contains(config, "1400") {
			return fmt.Errorf("it is %s", config)
		}
		return nil
	})
	eventually(t, 30*time.Second, "a gateway with both", func(ctx context.Context) error {
		out, err := c.Kubectl(ctx, "-n", ns, "exec", "deployment/lb-svc-edited", "--", "sh", "-c", "ip link show net1; ip route show table 100")
		if err == nil && (!strings.Contains(out, "mtu 1400") || !strings.Contains(out, "default via 172.19.30.254")) {
			err = fmt.Errorf("it has\n%s", out)
		}
		return err
	})
	c.sameAddress(t, ns, "edited", ip)
}
