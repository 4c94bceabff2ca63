package suite

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
)

// lbSvc restarts kube-ovn-controller with its own lb-svc on or off.
func (c *cluster) lbSvc(t *testing.T, on bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	var flags []string
	if on {
		flags = []string{"--enable-lb-svc=true"}
	}
	if err := c.Restart(ctx, "kube-ovn-controller", flags...); err != nil {
		t.Fatal(err)
	}
}

// kubeOVNService is a Service as Kube-OVN 1.16 serves it: its gateway sends to
// the target port at the cluster IP, so that the ports must be the same.
func kubeOVNService(ns, name, ip string) *corev1.Service {
	svc := lbService(ns, name, port("http", corev1.ProtocolTCP, 8080, "8080"))
	svc.Spec.LoadBalancerIP = ip
	return svc
}

// kubeOVNGateway waits for the Pod of a gateway that Kube-OVN has made.
func (c *cluster) kubeOVNGateway(t *testing.T, ns, service string) *corev1.Pod {
	t.Helper()
	var pod *corev1.Pod
	eventually(t, 30*time.Second, "Kube-OVN's gateway of "+service, func(ctx context.Context) error {
		l, err := c.kube.CoreV1().Pods(ns).List(ctx, metav1.ListOptions{LabelSelector: "app=lb-svc-" + service + ",namespace=" + ns + ",service=" + service})
		if err != nil {
			return err
		}
		if len(l.Items) != 1 {
			return fmt.Errorf("there are %d Pods", len(l.Items))
		}
		pod = &l.Items[0]
		if pod.Status.Phase != corev1.PodRunning {
			return fmt.Errorf("it is %s", pod.Status.Phase)
		}
		return nil
	})
	return pod
}

// settledTheirs waits until Kube-OVN has done what it does to its gateway after
// each change of the Service, its own changes included: it switches ARP off for a
// while, and a kube-ovn-controller that is ended just then leaves it off.
func (c *cluster) settledTheirs(t *testing.T, ns, service string) {
	t.Helper()
	var version string
	var since time.Time
	eventually(t, time.Minute, "peace at "+service, func(ctx context.Context) error {
		svc, err := c.kube.CoreV1().Services(ns).Get(ctx, service, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if svc.ResourceVersion != version {
			version, since = svc.ResourceVersion, time.Now()
		}
		if quiet := time.Since(since); quiet < 5*time.Second {
			return fmt.Errorf("it was changed %s ago", quiet.Round(time.Second))
		}
		return nil
	})
}

// TestKubeOVNsOwnGatewaysServe shows what kube-ovn-ccm lives beside: the
// gateways that the real kube-ovn-controller makes. It keeps its hands off them.
func TestKubeOVNsOwnGatewaysServe(t *testing.T) {
	c.quiet(t)
	ns := c.namespace(t)
	c.backends(t, ns, 2)
	c.lbSvc(t, true)
	defer c.lbSvc(t, false)
	for name, asked := range map[string]string{"theirs": "", "theirs-static": "172.18.0.118"} {
		uid := c.create(t, kubeOVNService(ns, name, asked)).UID
		ip := c.externalIP(t, ns, name, time.Minute)
		if asked != "" && ip != asked {
			t.Errorf("%s got %s, want %s", name, ip, asked)
		}
		if !netip.MustParsePrefix("172.18.0.0/16").Contains(netip.MustParseAddr(ip)) {
			t.Errorf("%s got %s, which is not the Subnet's", name, ip)
		}
		pod := c.kubeOVNGateway(t, ns, name)
		if got := pod.Annotations[kubeovn.AnnotationKey(guideAttachment, kubeovn.FieldIPAddress)]; got != ip {
			t.Errorf("%s shows %s, its gateway Pod has %q", name, ip, got)
		}
		for _, host := range []string{onLink, behindRouter} {
			c.answers(t, 10*time.Second, host, ip+":8080")
		}
		c.warned(t, ns, name, "KubeOVNLbSvcEnabled")
		consistently(t, 3*time.Second, "hands off "+name, func(ctx context.Context) error {
			return c.leftAlone(ctx, ns, name, uid, "KubeOVNLbSvcEnabled")
		})
		c.remove(t, ns, name)
		eventually(t, time.Minute, "end of Kube-OVN's gateway", func(ctx context.Context) error {
			_, err := c.kube.AppsV1().Deployments(ns).Get(ctx, "lb-svc-"+name, metav1.GetOptions{})
			if apierrors.IsNotFound(err) {
				return nil
			}
			return fmt.Errorf("it is still there: %w", err)
		})
	}
}

// leftAlone complains of everything that kube-ovn-ccm did to a Service but one
// Warning Event for each of the reasons.
func (c *cluster) leftAlone(ctx context.Context, ns, name string, uid types.UID, reasons ...string) error {
	svc, err := c.kube.CoreV1().Services(ns).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	if len(svc.Finalizers) > 0 || len(svc.Status.Conditions) > 0 {
		return fmt.Errorf("it has the finalizers %v and the conditions %v", svc.Finalizers, svc.Status.Conditions)
	}
	told, err := c.warnings(ctx, ns, name)
	if err != nil {
		return err
	}
	var got []string
	for _, e := range told {
		got = append(got, e.Reason)
		if e.Count > 1 {
			return fmt.Errorf("%s was told %d times", e.Reason, e.Count)
		}
	}
	slices.Sort(got)
	if slices.Sort(reasons); !slices.Equal(got, reasons) {
		return fmt.Errorf("it was told %v, want %v", got, reasons)
	}
	return c.nothingLeft(ctx, uid)
}
