package suite

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
)

// TestTheClusterIsDualStack walks all ways that need no load balancer, in both
// families: what fails here, fails in the cluster and not in kube-ovn-ccm.
func TestTheClusterIsDualStack(t *testing.T) {
	ctx := t.Context()
	ns := c.namespace(t)
	c.backends(t, ns, 2)
	service := func(name string, policy *corev1.IPFamilyPolicy) *corev1.Service {
		return c.create(t, &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name},
			Spec: corev1.ServiceSpec{
				Type: corev1.ServiceTypeNodePort, Selector: map[string]string{"app": "web"}, IPFamilyPolicy: policy,
				Ports: []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromString("http")}},
			},
		})
	}
	if plain := service("plain", nil); len(plain.Spec.ClusterIPs) != 1 || strings.Contains(plain.Spec.ClusterIP, ":") {
		t.Errorf("a Service that asks for nothing has the addresses %v, want one of IPv4", plain.Spec.ClusterIPs)
	}
	web := service("web", ptr.To(corev1.IPFamilyPolicyRequireDualStack))
	pods := must(c.kube.CoreV1().Pods(ns).List(ctx, metav1.ListOptions{LabelSelector: "app=web"}))(t).Items
	if len(pods) != 2 || pods[0].Spec.NodeName == pods[1].Spec.NodeName {
		t.Fatalf("the %d Pods are not on two nodes", len(pods))
	}

	// The places that each family has to lead to, by what they are.
	for i, family := range []string{"IPv4", "IPv6"} {
		t.Run(family, func(t *testing.T) {
			if len(pods[1].Status.PodIPs) != 2 || len(web.Spec.ClusterIPs) != 2 {
				t.Fatalf("Pod %v, Service %v", pods[1].Status.PodIPs, web.Spec.ClusterIPs)
			}
			pod := net.JoinHostPort(pods[1].Status.PodIPs[i].IP, "8080")
			clusterIP := net.JoinHostPort(web.Spec.ClusterIPs[i], "80")
			inside := map[string]string{
				"a Pod on the other node": pod, "a Service": clusterIP,
				"a Service by its name": "web." + ns + ".svc.cluster.local:80",
			}
			for what, address := range inside {
				t.Run(what+" from a Pod", func(t *testing.T) {
					eventually(t, 10*time.Second, address, func(ctx context.Context) error {
						out, err := c.Kubectl(ctx, "-n", ns, "exec", pods[0].Name, "--",
							"curl", "-"+family[3:], "-sS", "--max-time", "3", "http://"+address+"/hostname")
						if err == nil && !strings.HasPrefix(out, "web-") {
							err = fmt.Errorf("answered %q", out)
						}
						return err
					})
				})
			}
			for what, address := range map[string]string{"a Pod": pod, "a Service": clusterIP} {
				for _, node := range c.Nodes() {
					t.Run(what+" from node "+node, func(t *testing.T) { c.answers(t, 10*time.Second, node, address) })
				}
			}
			for _, node := range c.Nodes() {
				object := must(c.kube.CoreV1().Nodes().Get(ctx, node, metav1.GetOptions{}))(t)
				address := net.JoinHostPort(object.Status.Addresses[i].Address, strconv.Itoa(int(web.Spec.Ports[0].NodePort)))
				for _, host := range []string{onLink, behindRouter} {
					t.Run("a port of node "+node+" from "+host, func(t *testing.T) { c.answers(t, 10*time.Second, host, address) })
				}
			}
		})
	}
}
