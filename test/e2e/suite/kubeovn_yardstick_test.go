package suite

import (
	"context"
	"fmt"
	"net/netip"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
)

// TestKubeOVNsOwnYardstick holds kube-ovn-ccm against what Kube-OVN asserts of
// its own lb-svc (its test/e2e/lb-svc): the objects are made as there, and
// every assertion is made with the patience that is given there. Where that is
// a step of a minute or two, what it took is in the log.
func TestKubeOVNsOwnYardstick(t *testing.T) {
	t.Run("a dynamic address", func(t *testing.T) { yardstick{ns: c.namespace(t), network: "172.19.90"}.run(t) })
	t.Run("a static address", func(t *testing.T) {
		yardstick{ns: c.namespace(t), network: "172.19.91", static: "172.19.91.77"}.run(t)
	})
}

// yardstick is one case: a Service in a namespace of its own.
type yardstick struct {
	ns string
	// network is the first three bytes of the Subnet's addresses.
	network string
	// static is the address that is asked for; empty: any.
	static string
}

const (
	yardstickNAD     = "net"
	yardstickService = "service"
	yardstickPort    = 8234 // for clients and Pods alike
)

func (y yardstick) provider() string { return yardstickNAD + "." + y.ns }

// key is an annotation of the attachment on a Pod.
func (y yardstick) key(field string) string { return kubeovn.AnnotationKey(y.provider(), field) }

func (y yardstick) run(t *testing.T) {
	ctx := t.Context()
	y.attach(t)
	y.server(t)
	y.service(t)

	took := eventually(t, time.Minute, "the Deployment", y.complete)
	t.Logf("Deployment complete after %s", took.Round(10*time.Millisecond))
	pod := y.onlyPod(t)
	ip := y.annotated(t, pod)

	var svc *corev1.Service
	eventually(t, time.Minute, "an address in the status", func(ctx context.Context) (err error) {
		svc, err = c.kube.CoreV1().Services(y.ns).Get(ctx, yardstickService, metav1.GetOptions{})
		if err == nil && published(svc) == "" {
			err = fmt.Errorf("<pending>")
		}
		return err
	})
	if in := svc.Status.LoadBalancer.Ingress; len(in) != 1 || in[0].IP != ip {
		t.Errorf("the status has %+v, the Pod's annotation %s", in, ip)
	}

	y.client(t)
	if err := y.curl(ctx, ip); err != nil {
		t.Errorf("the first try of a client on the attachment: %v", err)
	}

	t.Run("its Pod is deleted", func(t *testing.T) {
		if err := c.kube.CoreV1().Pods(y.ns).Delete(ctx, pod.Name, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		eventually(t, 2*time.Minute, "end of the Pod", func(ctx context.Context) error {
			_, err := c.kube.CoreV1().Pods(y.ns).Get(ctx, pod.Name, metav1.GetOptions{})
			return stillThere(err)
		})
		eventually(t, 2*time.Minute, "the Deployment", y.complete)
		now := y.annotated(t, y.onlyPod(t))
		took := eventually(t, 30*time.Second, "an answer", func(ctx context.Context) error { return y.curl(ctx, now) })
		t.Logf("an answer %s after the Deployment was complete", took.Round(10*time.Millisecond))
		if now != ip { // there it may change; here it must not
			t.Errorf("the address was %s and is %s", ip, now)
		}
	})
	t.Run("the Service is deleted", func(t *testing.T) {
		if err := c.kube.CoreV1().Services(y.ns).Delete(ctx, yardstickService, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		took := eventually(t, 2*time.Minute, "end of the Deployment", func(ctx context.Context) error {
			_, err := c.kube.AppsV1().Deployments(y.ns).Get(ctx, "lb-svc-"+yardstickService, metav1.GetOptions{})
			return stillThere(err)
		})
		t.Logf("the Deployment was gone after %s", took.Round(10*time.Millisecond))
	})
	c.noWarnings(t, y.ns)
}

// attach makes an attachment that says that Kube-OVN gives its addresses, and a
// Subnet that is the namespace's.
func (y yardstick) attach(t *testing.T) {
	t.Helper()
	c.nad(t, y.ns, yardstickNAD, fmt.Sprintf(`{"cniVersion":"0.3.0","type":"macvlan","master":"eth0","mode":"bridge",
		"ipam":{"type":"kube-ovn","server_socket":"/run/openvswitch/kube-ovn-daemon.sock","provider":%q}}`, y.provider()))
	c.customResource(t, map[string]any{
		"apiVersion": "kubeovn.io/v1", "kind": "Subnet",
		"metadata": map[string]any{"name": "s-" + y.ns},
		"spec": map[string]any{
			"protocol": "IPv4", "provider": y.provider(), "cidrBlock": y.network + ".0/24", "gateway": y.network + ".1",
			"excludeIps": []any{y.network + ".2.." + y.network + ".20"}, "namespaces": []any{y.ns},
		},
	})
}

// server is the Pod behind the Service.
func (y yardstick) server(t *testing.T) {
	t.Helper()
	y.pod(t, "server", map[string]string{"app": yardstickService}, nil, "netexec", fmt.Sprintf("--http-port=%d", yardstickPort))
}

// client is a Pod with an interface and an address on the attachment.
func (y yardstick) client(t *testing.T) {
	t.Helper()
	y.pod(t, "client", nil, map[string]string{kubeovn.Networks: y.ns + "/" + yardstickNAD}, "pause")
}

func (y yardstick) pod(t *testing.T, name string, labels, annotations map[string]string, args ...string) {
	t.Helper()
	_, err := c.kube.CoreV1().Pods(y.ns).Create(t.Context(), &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels, Annotations: annotations},
		Spec: corev1.PodSpec{
			TerminationGracePeriodSeconds: new(int64),
			Containers:                    []corev1.Container{{Name: "agnhost", Image: agnhost, ImagePullPolicy: corev1.PullNever, Args: args}},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, time.Minute, "Pod "+name, func(ctx context.Context) error {
		p, err := c.kube.CoreV1().Pods(y.ns).Get(ctx, name, metav1.GetOptions{})
		if err == nil && p.Status.Phase != corev1.PodRunning {
			err = fmt.Errorf("it is %s", p.Status.Phase)
		}
		return err
	})
}

func (y yardstick) service(t *testing.T) {
	t.Helper()
	c.create(t, &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: y.ns, Name: yardstickService,
			Annotations: map[string]string{kubeovn.AttachmentProvider: y.provider()},
		},
		Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeLoadBalancer, LoadBalancerIP: y.static,
			AllocateLoadBalancerNodePorts: ptr.To(false),
			Selector:                      map[string]string{"app": yardstickService},
			Ports:                         []corev1.ServicePort{{Name: "tcp", Port: yardstickPort, TargetPort: intstr.FromInt32(yardstickPort)}},
		},
	})
}

// complete complains unless the gateway's Deployment is rolled out.
func (y yardstick) complete(ctx context.Context) error {
	d, err := c.kube.AppsV1().Deployments(y.ns).Get(ctx, "lb-svc-"+yardstickService, metav1.GetOptions{})
	if err != nil {
		return err
	}
	s, want := d.Status, *d.Spec.Replicas
	if s.ObservedGeneration < d.Generation || s.UpdatedReplicas != want || s.Replicas != want || s.AvailableReplicas != want {
		return fmt.Errorf("not complete: %d wanted, %d updated, %d available", want, s.UpdatedReplicas, s.AvailableReplicas)
	}
	return nil
}

// onlyPod is the Deployment's Pod, of which there must be one.
func (y yardstick) onlyPod(t *testing.T) *corev1.Pod {
	t.Helper()
	d := must(c.kube.AppsV1().Deployments(y.ns).Get(t.Context(), "lb-svc-"+yardstickService, metav1.GetOptions{}))(t)
	selector := must(metav1.LabelSelectorAsSelector(d.Spec.Selector))(t)
	l := must(c.kube.CoreV1().Pods(y.ns).List(t.Context(), metav1.ListOptions{LabelSelector: selector.String()}))(t)
	if len(l.Items) != 1 {
		t.Fatalf("%d Pods", len(l.Items))
	}
	return &l.Items[0]
}

// annotated looks at the annotations by which Kube-OVN's own Pods tell their
// address, and returns that.
func (y yardstick) annotated(t *testing.T, pod *corev1.Pod) string {
	t.Helper()
	if got := pod.Annotations[y.key(kubeovn.FieldAllocated)]; got != "true" {
		t.Errorf("allocated is %q", got)
	}
	ip, cidr := pod.Annotations[y.key(kubeovn.FieldIPAddress)], pod.Annotations[y.key(kubeovn.FieldCIDR)]
	addr, err := netip.ParseAddr(ip)
	if err != nil {
		t.Fatalf("ip_address: %v", err)
	}
	if prefix, err := netip.ParsePrefix(cidr); err != nil || !prefix.Contains(addr) {
		t.Errorf("ip_address %s, cidr %q", ip, cidr)
	}
	if y.static != "" && ip != y.static {
		t.Errorf("ip_address is %s, want %s", ip, y.static)
	}
	return ip
}

// curl asks for the client's address from the Pod on the attachment.
func (y yardstick) curl(ctx context.Context, ip string) error {
	out, err := c.Kubectl(ctx, "-n", y.ns, "exec", "client", "--",
		"curl", "-q", "-s", "--connect-timeout", "2", "--max-time", "2", fmt.Sprintf("%s:%d/clientip", ip, yardstickPort))
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

// stillThere turns the answer to a get into a complaint unless it is that there
// is no such object.
func stillThere(err error) error {
	switch {
	case err == nil:
		return fmt.Errorf("it is still there")
	case apierrors.IsNotFound(err):
		return nil
	default:
		return err
	}
}
