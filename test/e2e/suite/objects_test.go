package suite

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
)

// The guide's attachment and Subnet, which most tests use.
const (
	guideAttachment = "lb-svc-attachment.kube-system"
	guideSubnet     = "attach-subnet"
)

const agnhost = "registry.k8s.io/e2e-test-images/agnhost:2.59"

// namespace makes a namespace for one test and removes it afterwards, together
// with everything in it.
func (c *cluster) namespace(t *testing.T) string {
	t.Helper()
	ns, err := c.kube.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "t-"},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			c.describe(t, ns.Name)
		}
		// Nobody waits for its end: that takes Kubernetes ten seconds or more.
		if err := c.kube.CoreV1().Namespaces().Delete(context.Background(), ns.Name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			t.Error(err)
		}
	})
	return ns.Name
}

// quiet waits until the namespaces of earlier tests are gone, and with them
// everything that the controller may still have to do.
func (c *cluster) quiet(t *testing.T) {
	t.Helper()
	eventually(t, 3*time.Minute, "end of the earlier tests' namespaces", func(ctx context.Context) error {
		l, err := c.kube.CoreV1().Namespaces().List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		for _, ns := range l.Items {
			if strings.HasPrefix(ns.Name, "t-") {
				return fmt.Errorf("%s is still there", ns.Name)
			}
		}
		return nil
	})
}

func (c *cluster) deleteNamespace(ctx context.Context, t *testing.T, ns string) {
	t.Helper()
	err := c.kube.CoreV1().Namespaces().Delete(ctx, ns, metav1.DeleteOptions{})
	for err == nil {
		select {
		case <-ctx.Done():
			t.Errorf("namespace %s does not go: %v", ns, ctx.Err())
			return
		case <-time.After(200 * time.Millisecond):
		}
		_, err = c.kube.CoreV1().Namespaces().Get(ctx, ns, metav1.GetOptions{})
	}
	if !apierrors.IsNotFound(err) {
		t.Error(err)
	}
}

// describe prints what a person would look at when a test has failed.
func (c *cluster) describe(t *testing.T, ns string) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	for _, args := range [][]string{
		{"-n", ns, "get", "svc,deploy,pod,cm,net-attach-def", "-o", "wide"},
		{"get", "vips"},
		{"get", "vpcs", "-o", "jsonpath={range .items[*]}{.metadata.name} {.metadata.annotations} {.spec.policyRoutes}{\"\\n\"}{end}"},
		{"-n", ns, "get", "configmaps", "-l", kubeovn.LabelManagedBy + "=" + kubeovn.ManagedBy, "-o", "jsonpath={.items[*].data}"},
		{"-n", ns, "get", "events", "--sort-by=.lastTimestamp"},
		{"-n", ns, "logs", "-l", "app.kubernetes.io/name=lb-gateway", "--tail=30", "--prefix"},
		{"-n", "kube-system", "logs", "-l", "app.kubernetes.io/name=kube-ovn-ccm", "--tail=40", "--prefix"},
	} {
		out, err := c.Kubectl(ctx, args...)
		t.Logf("kubectl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	c.describeOverlay(ctx, t, ns)
}

// lbService is a Service of the guide's kind for the Pods app=web.
func lbService(ns, name string, ports ...corev1.ServicePort) *corev1.Service {
	if len(ports) == 0 {
		ports = []corev1.ServicePort{port("http", corev1.ProtocolTCP, 80, "http")}
	}
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: ns, Name: name,
			Annotations: map[string]string{kubeovn.AttachmentProvider: guideAttachment},
		},
		Spec: corev1.ServiceSpec{
			Type:     corev1.ServiceTypeLoadBalancer,
			Selector: map[string]string{"app": "web"},
			Ports:    ports,
		},
	}
}

// port is a Service's port; target may be a name or a number.
func port(name string, protocol corev1.Protocol, number int32, target string) corev1.ServicePort {
	return corev1.ServicePort{Name: name, Protocol: protocol, Port: number, TargetPort: intstr.Parse(target)}
}

func (c *cluster) create(t *testing.T, svc *corev1.Service) *corev1.Service {
	t.Helper()
	got, err := c.kube.CoreV1().Services(svc.Namespace).Create(t.Context(), svc, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// change edits a Service, again if somebody else was quicker.
func (c *cluster) change(t *testing.T, ns, name string, edit func(*corev1.Service)) {
	t.Helper()
	eventually(t, 5*time.Second, "change of Service "+name, func(ctx context.Context) error {
		svc, err := c.kube.CoreV1().Services(ns).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		edit(svc)
		_, err = c.kube.CoreV1().Services(ns).Update(ctx, svc, metav1.UpdateOptions{})
		return err
	})
}

func (c *cluster) remove(t *testing.T, ns, name string) {
	t.Helper()
	if err := c.kube.CoreV1().Services(ns).Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, 30*time.Second, "end of Service "+name, func(ctx context.Context) error {
		_, err := c.kube.CoreV1().Services(ns).Get(ctx, name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		return fmt.Errorf("still there: %w", err)
	})
}

// externalIP waits until a Service shows an address, and returns it.
func (c *cluster) externalIP(t *testing.T, ns, name string, within time.Duration) string {
	t.Helper()
	var ip string
	eventually(t, within, "EXTERNAL-IP of "+name, func(ctx context.Context) error {
		svc, err := c.kube.CoreV1().Services(ns).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if ip = published(svc); ip == "" {
			return fmt.Errorf("<pending>")
		}
		return nil
	})
	return ip
}

// published is the address in a Service's status, empty while it is pending.
func published(svc *corev1.Service) string {
	if len(svc.Status.LoadBalancer.Ingress) == 0 {
		return ""
	}
	return svc.Status.LoadBalancer.Ingress[0].IP
}

// backends makes n Pods app=web that answer HTTP on the port named http and
// echo UDP on the port named udp, and waits until they are ready.
func (c *cluster) backends(t *testing.T, ns string, n int32) {
	t.Helper()
	labels := map[string]string{"app": "web"}
	_, err := c.kube.AppsV1().Deployments(ns).Create(t.Context(), &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec: appsv1.DeploymentSpec{
			Replicas: &n,
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec: corev1.PodSpec{
					TerminationGracePeriodSeconds: ptr.To[int64](1),
					TopologySpreadConstraints: []corev1.TopologySpreadConstraint{{
						MaxSkew: 1, TopologyKey: corev1.LabelHostname, WhenUnsatisfiable: corev1.ScheduleAnyway,
						LabelSelector: &metav1.LabelSelector{MatchLabels: labels},
					}},
					Containers: []corev1.Container{{
						Name: "web", Image: agnhost, ImagePullPolicy: corev1.PullNever,
						Args: []string{"netexec", "--http-port=8080", "--udp-port=8081"},
						Ports: []corev1.ContainerPort{
							{Name: "http", ContainerPort: 8080},
							{Name: "udp", ContainerPort: 8081, Protocol: corev1.ProtocolUDP},
						},
						ReadinessProbe: &corev1.Probe{
							ProbeHandler:  corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/healthz", Port: intstr.FromString("http")}},
							PeriodSeconds: 5,
						},
					}},
				},
			},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, time.Minute, "backends", func(ctx context.Context) error {
		d, err := c.kube.AppsV1().Deployments(ns).Get(ctx, "web", metav1.GetOptions{})
		if err != nil {
			return err
		}
		if d.Status.ReadyReplicas != n {
			return fmt.Errorf("%d of %d ready", d.Status.ReadyReplicas, n)
		}
		return nil
	})
}

// subnet makes a Subnet for the attachment provider and removes it afterwards.
func (c *cluster) subnet(t *testing.T, name, provider, cidr, gateway string) {
	t.Helper()
	c.customResource(t, map[string]any{
		"apiVersion": "kubeovn.io/v1", "kind": "Subnet",
		"metadata": map[string]any{"name": name},
		"spec":     map[string]any{"protocol": "IPv4", "provider": provider, "cidrBlock": cidr, "gateway": gateway},
	})
}

// nad makes a NetworkAttachmentDefinition with that configuration.
func (c *cluster) nad(t *testing.T, ns, name, config string) {
	t.Helper()
	c.customResource(t, map[string]any{
		"apiVersion": "k8s.cni.cncf.io/v1", "kind": "NetworkAttachmentDefinition",
		"metadata": map[string]any{"namespace": ns, "name": name},
		"spec":     map[string]any{"config": config},
	})
}

// macvlan is a usable configuration on the nodes' interface master.
func macvlan(master string) string {
	return fmt.Sprintf(`{"cniVersion":"0.3.0","type":"macvlan","master":%q,"mode":"bridge"}`, master)
}

// vip takes an address of a Subnet by hand.
func (c *cluster) vip(t *testing.T, name, subnet, ip string) {
	t.Helper()
	c.customResource(t, map[string]any{
		"apiVersion": "kubeovn.io/v1", "kind": "Vip",
		"metadata": map[string]any{"name": name},
		"spec":     map[string]any{"subnet": subnet, "v4ip": ip},
	})
	eventually(t, 10*time.Second, "Vip "+name, func(ctx context.Context) error {
		u, err := c.dyn.Resource(kubeovn.VipResource).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if got, _, _ := unstructured.NestedString(u.Object, "status", "v4ip"); got != ip {
			return fmt.Errorf("status.v4ip is %q", got)
		}
		return nil
	})
}
