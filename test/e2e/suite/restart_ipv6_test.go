package suite

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
)

// restartKubeOVN kills kube-ovn-controller and starts it again.
func (c *cluster) restartKubeOVN(t *testing.T) {
	t.Helper()
	if err := c.Kill(t.Context(), "kube-ovn-controller"); err != nil {
		t.Fatal(err)
	}
	c.startKubeOVN(t)
}

// takers are Pods that take addresses of the Subnet of both families: the one
// that is named, or any.
func (c *cluster) takers(t *testing.T, ns, prefix string, n int, ip string) {
	t.Helper()
	for i := range n {
		annotations := map[string]string{kubeovn.Networks: "kube-system/dual"}
		if ip != "" {
			annotations[kubeovn.AnnotationKey(dualAttachment, kubeovn.FieldIPAddress)] = ip
			annotations[kubeovn.AnnotationKey(dualAttachment, kubeovn.FieldLogicalSwitch)] = dualSubnet
		}
		c.start(t, &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: fmt.Sprintf("%s-%d", prefix, i), Annotations: annotations},
			Spec: corev1.PodSpec{
				TerminationGracePeriodSeconds: new(int64),
				Containers:                    []corev1.Container{{Name: "pause", Image: agnhost, ImagePullPolicy: corev1.PullNever, Args: []string{"pause"}}},
			},
		})
	}
}

// took waits until n Pods have addresses of the Subnet of both families, and
// returns all of them.
func (c *cluster) took(t *testing.T, ns, prefix string, n int) []string {
	t.Helper()
	var taken []string
	eventually(t, time.Minute, fmt.Sprintf("addresses of %d Pods %s", n, prefix), func(ctx context.Context) error {
		taken = nil
		pods, err := c.kube.CoreV1().Pods(ns).List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		have := 0
		for _, pod := range pods.Items {
			if ips := pod.Annotations[kubeovn.AnnotationKey(dualAttachment, kubeovn.FieldIPAddress)]; strings.HasPrefix(pod.Name, prefix) && ips != "" {
				taken = append(taken, strings.Split(ips, ",")...)
				have++
			}
		}
		if have < n {
			return fmt.Errorf("%d have", have)
		}
		return nil
	})
	return taken
}

// booked reports whether Kube-OVN counts an address of a Subnet as given
// out.
func (c *cluster) booked(ctx context.Context, subnet, ip string) error {
	u, err := c.resource("Subnet", "").Get(ctx, subnet, metav1.GetOptions{})
	if err != nil {
		return err
	}
	addr, err := netip.ParseAddr(ip)
	if err != nil {
		return err
	}
	field := "v6usingIPrange"
	if addr.Is4() {
		field = "v4usingIPrange"
	}
	list, _, _ := unstructured.NestedString(u.Object, "status", field)
	if !kubeovn.ParseRanges(strings.Split(list, ",")).Contains(addr) {
		return fmt.Errorf("status.%s is %s, without %s", field, list, ip)
	}
	return nil
}

// TestARestartOfKubeOVNGivesNobodyTheAddressOfAService restarts
// kube-ovn-controller beside a Vip made by hand, which it robs of its IPv6
// address, and lets many Pods take addresses at once, one of them the Service's.
func TestARestartOfKubeOVNGivesNobodyTheAddressOfAService(t *testing.T) {
	ns := c.namespace(t)
	pods := names(c.webs(t, ns, "web", 2))
	c.customResource(t, map[string]any{
		"apiVersion": "kubeovn.io/v1", "kind": "Vip", "metadata": map[string]any{"name": "by-hand-" + ns}, "spec": map[string]any{"subnet": dualSubnet},
	})
	services := []string{"both", "six", "wished"}
	subnets := map[string]string{"both": dualSubnet, "six": "six", "wished": dualSubnet}
	c.create(t, dualService(ns, "both", corev1.IPFamilyPolicyRequireDualStack))
	c.create(t, onAttachment(dualService(ns, "six", corev1.IPFamilyPolicySingleStack, v6), sixAttachment))
	wished := dualService(ns, "wished", corev1.IPFamilyPolicyRequireDualStack)
	wished.Annotations[kubeovn.AnnotationKey(dualAttachment, kubeovn.FieldIPAddress)] = "fd00:172:19::7:7"
	c.create(t, wished)
	shown, vips := map[string][]string{}, map[string]types.UID{}
	vipOf := func(name string) *unstructured.Unstructured {
		svc := must(c.kube.CoreV1().Services(ns).Get(t.Context(), name, metav1.GetOptions{}))(t)
		return must(c.resource("Vip", "").Get(t.Context(), "lb-"+string(svc.UID), metav1.GetOptions{}))(t)
	}
	for _, name := range services {
		n := 2
		if name == "six" {
			n = 1
		}
		shown[name] = c.externalIPs(t, ns, name, n, time.Minute)
		vips[name] = vipOf(name).GetUID()
	}
	gateway := c.gatewayPod(t, ns, "both").UID

	c.restartKubeOVN(t)
	c.takers(t, ns, "random", 8, "")
	c.takers(t, ns, "static", 1, strings.Join(shown["both"], ","))
	taken := c.took(t, ns, "random", 8)
	t.Logf("Pods have %v", taken)
	for _, name := range services {
		for _, ip := range shown[name] {
			if slices.Contains(taken, ip) {
				t.Errorf("%s of Service %s is a Pod's, too", ip, name)
			}
			eventually(t, 10*time.Second, "book of Kube-OVN", func(ctx context.Context) error { return c.booked(ctx, subnets[name], ip) })
		}
		if got := c.externalIPs(t, ns, name, len(shown[name]), 5*time.Second); fmt.Sprint(got) != fmt.Sprint(shown[name]) {
			t.Errorf("Service %s has %v, it had %v", name, got, shown[name])
		}
		if vipOf(name).GetUID() != vips[name] {
			t.Errorf("the Vip of Service %s is another one", name)
		}
		c.everybodyIsAnswered(t, shown[name], pods...)
	}
	if c.gatewayPod(t, ns, "both").UID != gateway {
		t.Error("the gateway is another one")
	}
	static := must(c.kube.CoreV1().Pods(ns).Get(t.Context(), "static-0", metav1.GetOptions{}))(t)
	if ip := static.Annotations[kubeovn.AnnotationKey(dualAttachment, kubeovn.FieldIPAddress)]; static.Status.Phase == corev1.PodRunning ||
		static.Annotations[kubeovn.AnnotationKey(dualAttachment, kubeovn.FieldAllocated)] == "true" {
		t.Errorf("a Pod has got %s", ip)
	}
	c.noWarnings(t, ns)
}

// TestWhatKubeOVNHasLostIsAskedForAgain takes the guard off a Vip while nobody
// looks, so that Kube-OVN loses the IPv6 address when it restarts.
func TestWhatKubeOVNHasLostIsAskedForAgain(t *testing.T) {
	ns := c.namespace(t)
	pods := names(c.webs(t, ns, "web", 1))
	svc := c.create(t, dualService(ns, "both", corev1.IPFamilyPolicyRequireDualStack))
	ips := c.externalIPs(t, ns, "both", 2, time.Minute)
	gateway := c.gatewayPod(t, ns, "both").UID
	vip := "lb-" + string(svc.UID)
	before := must(c.resource("Vip", "").Get(t.Context(), vip, metav1.GetOptions{}))(t)
	if got, _, _ := unstructured.NestedString(before.Object, "status", "v4ip"); got != strings.Join(ips, ",") {
		t.Errorf("status.v4ip is %q, want both of %v", got, ips)
	}
	eventually(t, 10*time.Second, "book of Kube-OVN", func(ctx context.Context) error { return c.booked(ctx, dualSubnet, ips[1]) })

	c.scaleController(t, 0)
	func() {
		defer c.scaleController(t, 2)
		patch := fmt.Appendf(nil, `{"status":{"v4ip":%q}}`, ips[0])
		if _, err := c.resource("Vip", "").Patch(t.Context(), vip, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
		c.restartKubeOVN(t)
		eventually(t, 30*time.Second, "loss", func(ctx context.Context) error {
			if err := c.booked(ctx, dualSubnet, ips[1]); err == nil {
				return fmt.Errorf("%s is booked", ips[1])
			}
			return nil
		})
	}()
	took := eventually(t, time.Minute, "book of Kube-OVN", func(ctx context.Context) error { return c.booked(ctx, dualSubnet, ips[1]) })
	t.Logf("asked for again after %s", took.Round(100*time.Millisecond))
	if got := c.externalIPs(t, ns, "both", 2, 10*time.Second); fmt.Sprint(got) != fmt.Sprint(ips) {
		t.Errorf("it has %v, it had %v", got, ips)
	}
	if c.gatewayPod(t, ns, "both").UID != gateway {
		t.Error("the gateway is another one")
	}
	c.everybodyIsAnswered(t, ips, pods...)
}
