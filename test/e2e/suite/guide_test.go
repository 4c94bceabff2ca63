package suite

import (
	"context"
	"fmt"
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
)

// TestTheGuideWorksLiterally follows Kube-OVN's LoadBalancer guide with its own
// files, in its order, and looks where the guide looks.
func TestTheGuideWorksLiterally(t *testing.T) {
	ctx := t.Context()
	const ns, name, ip = "default", "test-service", "172.18.0.18"
	for _, f := range []string{"service.yaml", "deployment.yaml"} {
		if out, err := c.Kubectl(ctx, "apply", "-f", c.example(f)); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		t.Cleanup(func() {
			if t.Failed() {
				c.describe(t, ns)
			}
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			if out, err := c.Kubectl(ctx, "delete", "--wait", "-f", c.example(f)); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}

	t.Run("kubectl get svc shows the address that was asked for", func(t *testing.T) {
		c.externalIP(t, ns, name, time.Minute)
		out := must(c.Kubectl(ctx, "get", "svc", name))(t)
		if !regexp.MustCompile(`LoadBalancer +10\.96\.[0-9.]+ +172\.18\.0\.18 +80:\d+/TCP`).MatchString(out) {
			t.Errorf("kubectl get svc prints\n%s", out)
		}
	})
	t.Run("kubectl get pod shows the gateway running", func(t *testing.T) {
		out := must(c.Kubectl(ctx, "get", "pod"))(t)
		if !regexp.MustCompile(`lb-svc-test-service-\S+ +1/1 +Running`).MatchString(out) {
			t.Errorf("kubectl get pod prints\n%s", out)
		}
	})

	pod := c.gatewayPod(t, ns, name)
	t.Run("the gateway Pod carries the guide's annotations", func(t *testing.T) {
		want := map[string]string{
			kubeovn.Networks: "default/lb-svc-test-service",
			kubeovn.AnnotationKey(guideAttachment, kubeovn.FieldAllocated):     "true",
			kubeovn.AnnotationKey(guideAttachment, kubeovn.FieldIPAddress):     ip,
			kubeovn.AnnotationKey(guideAttachment, kubeovn.FieldCIDR):          "172.18.0.0/16",
			kubeovn.AnnotationKey(guideAttachment, kubeovn.FieldGateway):       "172.18.0.1",
			kubeovn.AnnotationKey(guideAttachment, kubeovn.FieldLogicalSwitch): guideSubnet,
			kubeovn.AnnotationKey(guideAttachment, kubeovn.FieldPodNICType):    "veth-pair",
		}
		for key, value := range want {
			if got := pod.Annotations[key]; got != value {
				t.Errorf("%s is %q, want %q", key, got, value)
			}
		}
		if pod.Annotations[kubeovn.AnnotationKey(guideAttachment, kubeovn.FieldMACAddress)] == "" {
			t.Error("no mac_address")
		}
	})

	svc := must(c.kube.CoreV1().Services(ns).Get(ctx, name, metav1.GetOptions{}))(t)
	t.Run("the status says how the address is to be treated", func(t *testing.T) {
		in := svc.Status.LoadBalancer.Ingress
		if len(in) != 1 || in[0].IP != ip || in[0].IPMode == nil || *in[0].IPMode != corev1.LoadBalancerIPModeVIP {
			t.Errorf("ingress is %+v", in)
		}
	})
	t.Run("the commands inside the gateway show what the guide shows", func(t *testing.T) {
		c.seesInside(t, pod, svc.Spec.ClusterIP)
	})

	t.Run("everybody gets an answer", func(t *testing.T) {
		eventually(t, time.Minute, "nginx", func(ctx context.Context) error {
			body, err := c.get(ctx, onLink, ip+":80", "/")
			if err == nil && !strings.Contains(body, "nginx") {
				err = fmt.Errorf("body %q", body)
			}
			return err
		})
		for _, host := range append([]string{onLink, behindRouter}, c.Nodes()...) {
			if host == pod.Spec.NodeName {
				continue // the guide's promise is a node other than the gateway's
			}
			if _, err := c.get(ctx, host, ip+":80", "/"); err != nil {
				t.Errorf("%s: %v", host, err)
			}
		}
		c.backends(t, c.namespace(t), 1) // a Pod elsewhere, as a client
		web := must(c.kube.CoreV1().Pods("").List(ctx, metav1.ListOptions{LabelSelector: "app=web"}))(t)
		from := web.Items[0]
		out, err := c.Kubectl(ctx, "-n", from.Namespace, "exec", from.Name, "--", "curl", "-sS", "--max-time", "3", "http://"+ip+"/")
		if err != nil || !strings.Contains(out, "nginx") {
			t.Errorf("a Pod: %v\n%s", err, out)
		}
	})
	t.Run("nothing was worth a warning", func(t *testing.T) { c.noWarnings(t, ns) })
}

// TestWithoutLoadBalancerIPTheSubnetPicksOne is the guide's other way.
func TestWithoutLoadBalancerIPTheSubnetPicksOne(t *testing.T) {
	ns := c.namespace(t)
	c.backends(t, ns, 2)
	c.create(t, lbService(ns, "dynamic"))
	ip := netip.MustParseAddr(c.externalIP(t, ns, "dynamic", 30*time.Second))
	if !netip.MustParsePrefix("172.18.0.0/16").Contains(ip) || ip.Compare(netip.MustParseAddr("172.18.0.10")) <= 0 {
		t.Errorf("%s is not one of the Subnet's addresses outside of excludeIps", ip)
	}
	c.answers(t, 5*time.Second, onLink, ip.String()+":80")
	c.answers(t, 5*time.Second, behindRouter, ip.String()+":80")
	c.noWarnings(t, ns)
}

// TestTheClassStandsForTheAnnotation shows loadBalancerClass with the
// unmodified service controller.
func TestTheClassStandsForTheAnnotation(t *testing.T) {
	ns := c.namespace(t)
	c.backends(t, ns, 1)
	svc := lbService(ns, "by-class")
	class := "kube-ovn.io/lb-svc"
	svc.Spec.LoadBalancerClass = &class
	c.create(t, svc)
	ip := c.externalIP(t, ns, "by-class", 30*time.Second)
	c.answers(t, 5*time.Second, onLink, ip+":80")
}

// TestForeignServicesAreLeftAlone looks at a Service of another class and at one
// without any sign that it is ours.
func TestForeignServicesAreLeftAlone(t *testing.T) {
	ns := c.namespace(t)
	other := lbService(ns, "other-class")
	class := "example.com/other"
	other.Spec.LoadBalancerClass = &class
	c.create(t, other)
	plain := lbService(ns, "plain")
	plain.Annotations = nil
	c.create(t, plain)

	consistently(t, 5*time.Second, "foreign Services", func(ctx context.Context) error {
		for _, name := range []string{"other-class", "plain"} {
			svc, err := c.kube.CoreV1().Services(ns).Get(ctx, name, metav1.GetOptions{})
			if err != nil {
				return err
			}
			if len(svc.Finalizers) > 0 {
				return fmt.Errorf("%s has finalizers %v", name, svc.Finalizers)
			}
		}
		events, err := c.kube.CoreV1().Events(ns).List(ctx, metav1.ListOptions{})
		if err == nil && len(events.Items) > 0 {
			err = fmt.Errorf("event %s on %s", events.Items[0].Reason, events.Items[0].InvolvedObject.Name)
		}
		return err
	})
}

// gatewayPod is the one gateway Pod of a Service that is not being deleted.
func (c *cluster) gatewayPod(t *testing.T, ns, service string) *corev1.Pod {
	t.Helper()
	var pod *corev1.Pod
	eventually(t, 30*time.Second, "gateway Pod of "+service, func(ctx context.Context) error {
		l, err := c.kube.CoreV1().Pods(ns).List(ctx, metav1.ListOptions{LabelSelector: kubeovn.LabelServiceName + "=" + service})
		if err != nil {
			return err
		}
		pod = nil
		for i := range l.Items {
			if l.Items[i].DeletionTimestamp == nil {
				if pod != nil {
					return fmt.Errorf("two gateway Pods, %s and %s", pod.Name, l.Items[i].Name)
				}
				pod = &l.Items[i]
			}
		}
		if pod == nil {
			return fmt.Errorf("none of %d", len(l.Items))
		}
		return nil
	})
	return pod
}

// seesInside runs the guide's commands in the gateway and compares line by line.
func (c *cluster) seesInside(t *testing.T, pod *corev1.Pod, clusterIP string) {
	t.Helper()
	esc := regexp.QuoteMeta
	gw, _, _ := strings.Cut(pod.Annotations["ovn.kubernetes.io/gateway"], ",") // of IPv4, which comes first
	gw = esc(gw)
	for command, lines := range map[string][]string{
		"ip a": {
			`net1@if\d+: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500`,
			`inet 172\.18\.0\.18/16 .*scope global net1`,
			`eth0@if\d+: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1400`,
			`inet ` + esc(pod.Status.PodIP) + `/16 .*scope global eth0`,
		},
		"ip rule": {
			`0:\s+from all lookup local`,
			`32764:\s+from all iif eth0 lookup 100`,
			`32765:\s+from all iif net1 lookup 100`,
			`32766:\s+from all lookup main`,
			`32767:\s+from all lookup default`,
		},
		"ip route show table 100": {
			`default via 172\.18\.0\.1 dev net1`,
			esc(clusterIP) + ` via ` + gw + ` dev eth0`,
			`172\.18\.0\.0/16 dev net1 scope link`,
		},
		"iptables -t nat -L -n -v": {
			`DNAT +(tcp|6) +-- +\* +\* +0\.0\.0\.0/0 +172\.18\.0\.18 +tcp dpt:80 to:` + esc(clusterIP) + `:80`,
			`MASQUERADE +(all|0) +-- +\* +\* +0\.0\.0\.0/0 +` + esc(clusterIP),
		},
	} {
		args := append([]string{"-n", pod.Namespace, "exec", pod.Name, "--"}, strings.Fields(command)...)
		out, err := c.Kubectl(t.Context(), args...)
		if err != nil {
			t.Errorf("%s: %v\n%s", command, err, out)
			continue
		}
		for _, line := range lines {
			if !regexp.MustCompile(line).MatchString(out) {
				t.Errorf("%s does not show %q:\n%s", command, line, out)
			}
		}
	}
}

// TestTheLongestNameWorks gives a Service the longest name that Kubernetes
// takes; what is made for it has a longer one.
func TestTheLongestNameWorks(t *testing.T) {
	ns := c.namespace(t)
	c.backends(t, ns, 1)
	name := strings.Repeat("long-name-", 6) + "xyz" // 63 characters
	uid := c.create(t, lbService(ns, name)).UID
	ip := c.externalIP(t, ns, name, 30*time.Second)
	c.answers(t, 5*time.Second, onLink, ip+":80")
	c.noWarnings(t, ns)
	c.remove(t, ns, name)
	c.allGone(t, uid)
}
