package suite

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/utils/ptr"

	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
	"github.com/kubeovn/kube-ovn-ccm/pkg/loadbalancer"
)

// mostGap is for how long a Service may be away while it moves.
const mostGap = 2 * time.Second

// migrate runs "kube-ovn-ccm migrate" to its end and returns what it prints.
func (c *cluster) migrate(t *testing.T, proxy *killProxy, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, proxy.binary, append([]string{"migrate", "--kubeconfig", proxy.kubeconfig}, args...)...).CombinedOutput()
	return string(out), err
}

// inVpc is the name of a VPC, of the Service whose Pods are in it, and their label.
const inVpc = "in-vpc"

// moved is a Service that is moved there and back.
type moved struct {
	name, ip string
	attempt  func(ctx context.Context) error
}

// onKubeOVN makes Services that Kube-OVN's own lb-svc serves, and switches that
// off.
func (c *cluster) onKubeOVN(t *testing.T, ns string, names ...string) []moved {
	t.Helper()
	c.lbSvc(t, true)
	defer c.lbSvc(t, false)
	return c.servedByKubeOVN(t, ns, names...)
}

// servedByKubeOVN makes Services that Kube-OVN's own lb-svc, which is on, serves:
// "static" has a static address, "datagrams" also UDP, "families" cluster IPs of
// both, and the Pods of inVpc are in a VPC of their own.
func (c *cluster) servedByKubeOVN(t *testing.T, ns string, names ...string) []moved {
	t.Helper()
	var all []moved
	for _, name := range names {
		asked := map[string]string{"static": "172.18.0.118"}[name]
		svc := kubeOVNService(ns, name, asked)
		switch name {
		case "datagrams":
			svc.Spec.Ports = append(svc.Spec.Ports, port("udp", corev1.ProtocolUDP, 8081, "8081"))
		case "families":
			svc.Spec.IPFamilyPolicy = ptr.To(corev1.IPFamilyPolicyPreferDualStack)
		case inVpc:
			svc.Annotations[subnetAnnotation] = "in-" + inVpc
			svc.Spec.Selector = map[string]string{"app": inVpc}
		}
		c.create(t, svc)
	}
	for _, name := range names {
		m := moved{name: name, ip: c.externalIP(t, ns, name, 90*time.Second)}
		m.attempt = c.tcp(m.ip + ":8080")
		if name == "datagrams" {
			m.attempt = c.udp(m.ip + ":8081")
		}
		c.settledTheirs(t, ns, name)
		eventually(t, 10*time.Second, "answer of "+name, m.attempt)
		all = append(all, m)
	}
	return all
}

// excluded is the guide's Subnet's spec.excludeIps.
func (c *cluster) excluded(t *testing.T) []string {
	t.Helper()
	u := must(c.dyn.Resource(kubeovn.SubnetResource).Get(t.Context(), "attach-subnet", metav1.GetOptions{}))(t)
	list, _, err := unstructured.NestedStringSlice(u.Object, "spec", "excludeIps")
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// onOurs complains unless kube-ovn-ccm alone serves a Service at its address.
func (c *cluster) onOurs(ctx context.Context, ns string, m moved) error {
	svc, err := c.kube.CoreV1().Services(ns).Get(ctx, m.name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	holders, err := c.holders(ctx, m.ip)
	if err != nil {
		return err
	}
	theirs, err := c.kube.CoreV1().Pods(ns).List(ctx, metav1.ListOptions{LabelSelector: "service=" + m.name})
	if err != nil {
		return err
	}
	ours, err := c.kube.CoreV1().Pods(ns).List(ctx, metav1.ListOptions{LabelSelector: kubeovn.LabelServiceUID + "=" + string(svc.UID)})
	if err != nil {
		return err
	}
	switch {
	case published(svc) != m.ip:
		return fmt.Errorf("%s shows %q, want %s", m.name, published(svc), m.ip)
	case svc.Annotations[loadbalancer.AnnotationMigration] != "":
		return fmt.Errorf("%s is marked %s", m.name, svc.Annotations[loadbalancer.AnnotationMigration])
	case len(holders) != 1 || holders[0] != "lb-"+string(svc.UID):
		return fmt.Errorf("%s is held by %v", m.ip, holders)
	case len(theirs.Items) > 0:
		return fmt.Errorf("Kube-OVN's Pod %s is there", theirs.Items[0].Name)
	case len(ours.Items) != 1:
		return fmt.Errorf("%d gateway Pods of ours are there", len(ours.Items))
	}
	return m.attempt(ctx)
}

// onTheirs complains unless Kube-OVN alone serves a Service at its address, and
// nothing of ours is left.
func (c *cluster) onTheirs(ctx context.Context, ns string, m moved) error {
	svc, err := c.kube.CoreV1().Services(ns).Get(ctx, m.name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	if err := c.nothingLeft(ctx, svc.UID); err != nil {
		return err
	}
	_, err = c.kube.CoreV1().ConfigMaps(ns).Get(ctx, "lb-svc-"+m.name+".backup", metav1.GetOptions{})
	if !apierrors.IsNotFound(err) {
		return fmt.Errorf("the backup of %s is left: %w", m.name, err)
	}
	d, err := c.kube.AppsV1().Deployments(ns).Get(ctx, "lb-svc-"+m.name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	pods, err := c.kube.CoreV1().Pods(ns).List(ctx, metav1.ListOptions{LabelSelector: "service=" + m.name})
	if err != nil {
		return err
	}
	holders, err := c.holders(ctx, m.ip)
	switch {
	case err != nil:
		return err
	case published(svc) != m.ip:
		return fmt.Errorf("%s shows %q, want %s", m.name, published(svc), m.ip)
	case len(svc.Finalizers) > 0:
		return fmt.Errorf("%s has finalizers %v", m.name, svc.Finalizers)
	case len(holders) > 0:
		return fmt.Errorf("%s is held by %v", m.ip, holders)
	case len(pods.Items) != 1 || d.Status.ReadyReplicas != 1 || d.Status.UpdatedReplicas != 1:
		return fmt.Errorf("Kube-OVN's Deployment has %d Pods, status %+v", len(pods.Items), d.Status)
	case pods.Items[0].Annotations[kubeovn.AnnotationKey(guideAttachment, kubeovn.FieldIPAddress)] != m.ip:
		return fmt.Errorf("Kube-OVN's Pod has %v", pods.Items[0].Annotations)
	}
	return m.attempt(ctx)
}

// TestServicesMoveToUsAndBackWithTheirAddresses moves Services that the real
// kube-ovn-controller serves, and measures from outside for how long they do not
// answer.
func TestServicesMoveToUsAndBackWithTheirAddresses(t *testing.T) {
	c.quiet(t)
	subnet := c.vpc(t, inVpc, "10.62.0.0/24", "10.62.0.1")
	ns := c.namespace(t) // it goes before the VPC
	c.backends(t, ns, 2)
	defer c.lbSvc(t, false)
	c.webs(t, ns, inVpc, 1, inSubnet(subnet), func(pod *corev1.Pod) { pod.Labels["app"] = inVpc })
	services := c.onKubeOVN(t, ns, "dynamic", "static", "datagrams", "families", inVpc)
	excluded := c.excluded(t)
	proxy := newKillProxy(t)

	out, err := c.migrate(t, proxy, "-n", ns)
	t.Logf("dry run:\n%s", out)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range services {
		if !strings.Contains(out, ns+"/"+m.name) || !strings.Contains(out, m.ip) {
			t.Errorf("the dry run does not tell of %s at %s", m.name, m.ip)
		}
		if d := must(c.kube.AppsV1().Deployments(ns).Get(t.Context(), "lb-svc-"+m.name, metav1.GetOptions{}))(t); d.DeletionTimestamp != nil {
			t.Errorf("the dry run touched %s", m.name)
		}
	}

	move := func(direction string, args ...string) {
		t.Helper()
		measured := map[string]*gaps{}
		for _, m := range services {
			measured[m.name] = c.measure(t, m.attempt)
		}
		out, err := c.migrate(t, proxy, append(args, "-n", ns, "--apply")...)
		t.Logf("%s:\n%s", direction, out)
		if err != nil {
			t.Error(err)
		}
		time.Sleep(2 * time.Second)
		for _, m := range services {
			longest, lost, tries := measured[m.name].stop(t)
			t.Logf("%s: %-9s %s away for %s (%d of %d attempts)", direction, m.name, m.ip, longest.Round(time.Millisecond), lost, tries)
			if longest >= mostGap {
				t.Errorf("%s: %s was away for %s", direction, m.name, longest)
			}
		}
		if got := c.excluded(t); !slices.Equal(got, excluded) {
			t.Errorf("%s: the Subnet excludes %v, before %v", direction, got, excluded)
		}
	}
	all := func(within time.Duration, what string, holds func(context.Context, string, moved) error) {
		t.Helper()
		eventually(t, within, what, func(ctx context.Context) error {
			var errs []error
			for _, m := range services {
				errs = append(errs, holds(ctx, ns, m))
			}
			return errors.Join(errs...)
		})
	}

	move("there")
	all(10*time.Second, "all are served by kube-ovn-ccm", c.onOurs)
	move("back", "--rollback")
	all(10*time.Second, "all are served by Kube-OVN", c.onTheirs)

	// Kube-OVN goes on by itself, and a Pod of its Deployments is what it was: but
	// when its controller starts it takes a gateway out of its VPC.
	services = slices.DeleteFunc(services, func(m moved) bool { return m.name == inVpc })
	c.remove(t, ns, inVpc)
	c.lbSvc(t, true)
	time.Sleep(10 * time.Second)
	all(30*time.Second, "all are served by Kube-OVN with its lb-svc on", c.onTheirs)
	c.lbSvc(t, false)
	move("there again")
	all(10*time.Second, "all are served by kube-ovn-ccm again", c.onOurs)
}
