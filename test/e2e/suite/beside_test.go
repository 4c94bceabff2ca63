package suite

import (
	"context"
	"fmt"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
)

// TestWhatKubeOVNHasNotServedIsTakenOn switches Kube-OVN's own lb-svc off beside
// a Service for which it has made nothing.
func TestWhatKubeOVNHasNotServedIsTakenOn(t *testing.T) {
	c.quiet(t)
	ns := c.namespace(t)
	c.backends(t, ns, 2)
	c.lbSvc(t, true)
	defer c.lbSvc(t, false)
	if err := c.Stop(t.Context(), "kube-ovn-controller"); err != nil {
		t.Fatal(err)
	}
	uid := c.create(t, lbService(ns, "waiting")).UID
	c.warned(t, ns, "waiting", "KubeOVNLbSvcEnabled")
	if err := c.leftAlone(t.Context(), ns, "waiting", uid, "KubeOVNLbSvcEnabled"); err != nil {
		t.Error(err)
	}
	c.lbSvc(t, false)
	ip := c.externalIP(t, ns, "waiting", time.Minute)
	c.answers(t, 10*time.Second, onLink, ip+":80")
	c.sameAddress(t, ns, "waiting", ip)
}

// TestWhatKubeOVNLetsGoIsTakenOn switches Kube-OVN's own lb-svc off beside a
// Service that it serves, and removes its gateway.
func TestWhatKubeOVNLetsGoIsTakenOn(t *testing.T) {
	c.quiet(t)
	ns := c.namespace(t)
	c.backends(t, ns, 2)
	c.lbSvc(t, true)
	defer c.lbSvc(t, false)
	uid := c.create(t, kubeOVNService(ns, "theirs", "")).UID
	ip := c.externalIP(t, ns, "theirs", time.Minute)
	c.kubeOVNGateway(t, ns, "theirs")
	c.settledTheirs(t, ns, "theirs")
	c.answers(t, 10*time.Second, onLink, ip+":8080")

	c.lbSvc(t, false)
	c.warned(t, ns, "theirs", "ForeignGateway")
	if err := c.leftAlone(t.Context(), ns, "theirs", uid, "ForeignGateway", "KubeOVNLbSvcEnabled"); err != nil {
		t.Error(err)
	}
	c.answers(t, 10*time.Second, onLink, ip+":8080")

	if err := c.kube.AppsV1().Deployments(ns).Delete(t.Context(), "lb-svc-theirs", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	pod := c.gatewayPod(t, ns, "theirs")
	c.condition(t, ns, "theirs", metav1.ConditionTrue, "Serving")
	c.sameAddress(t, ns, "theirs", ip)
	c.answers(t, 10*time.Second, onLink, ip+":8080")
	t.Logf("gateway Pod %s has the address that Kube-OVN's had", pod.Name)
}

// TestAServedServiceOutlivesKubeOVNsLbSvc switches Kube-OVN's own lb-svc on
// beside Services that kube-ovn-ccm serves, and off again.
func TestAServedServiceOutlivesKubeOVNsLbSvc(t *testing.T) {
	c.quiet(t)
	ns, ip := c.served(t, "contested")
	c.settled(t, ns, "contested")
	before := c.gatewayPod(t, ns, "contested")
	l := c.connect(t, onLink, ip+":80", 200)
	c.lbSvc(t, true)
	defer c.lbSvc(t, false)
	c.warned(t, ns, "contested", "KubeOVNLbSvcEnabled")

	eventually(t, time.Minute, "Kube-OVN's change of the Deployment, and its repair", func(ctx context.Context) error {
		d, err := c.kube.AppsV1().Deployments(ns).Get(ctx, "lb-svc-contested", metav1.GetOptions{})
		if err != nil {
			return err
		}
		// Made, paused, changed by Kube-OVN, repaired.
		if d.Generation < 4 {
			return fmt.Errorf("generation %d", d.Generation)
		}
		return contested(d, true)
	})
	d := must(c.kube.AppsV1().Deployments(ns).Get(t.Context(), "lb-svc-contested", metav1.GetOptions{}))(t)
	consistently(t, 8*time.Second, "peace", func(ctx context.Context) error {
		now, err := c.kube.AppsV1().Deployments(ns).Get(ctx, "lb-svc-contested", metav1.GetOptions{})
		if err == nil && now.Generation != d.Generation {
			err = fmt.Errorf("generation %d after %d", now.Generation, d.Generation)
		}
		return err
	})
	t.Logf("the Deployment has generation %d", d.Generation)
	c.condition(t, ns, "contested", metav1.ConditionTrue, "KubeOVNLbSvcEnabled")

	c.lbSvc(t, false)
	c.condition(t, ns, "contested", metav1.ConditionTrue, "Serving")
	eventually(t, 10*time.Second, "the Deployment as it was", func(ctx context.Context) error {
		d, err := c.kube.AppsV1().Deployments(ns).Get(ctx, "lb-svc-contested", metav1.GetOptions{})
		if err != nil {
			return err
		}
		return contested(d, false)
	})
	time.Sleep(2 * time.Second) // for a rollout that must not be
	if after := c.gatewayPod(t, ns, "contested"); after.UID != before.UID || restarts(after) > 0 {
		t.Errorf("the gateway Pod was %s and is %s, with %d restarts", before.Name, after.Name, restarts(after))
	}
	l.withoutFailure(t)
	c.sameAddress(t, ns, "contested", ip)
	if _, err := c.oneWarning(t.Context(), ns, "contested", "KubeOVNLbSvcEnabled"); err != nil {
		t.Error(err)
	}
}

// TestAGatewayThatKubeOVNChangedWhileWeWereAwayIsPutRight: kube-ovn-controller
// has its own lb-svc on and finds a gateway of ours that nobody looks after.
func TestAGatewayThatKubeOVNChangedWhileWeWereAwayIsPutRight(t *testing.T) {
	c.quiet(t)
	const ip = "172.18.0.119"
	ns := c.namespace(t)
	c.backends(t, ns, 2)
	svc := lbService(ns, "changed")
	svc.Spec.LoadBalancerIP = ip
	c.create(t, svc)
	c.externalIP(t, ns, "changed", 30*time.Second)
	c.settled(t, ns, "changed")
	deployment := func(ctx context.Context, is func(*appsv1.Deployment) error) error {
		d, err := c.kube.AppsV1().Deployments(ns).Get(ctx, "lb-svc-changed", metav1.GetOptions{})
		if err != nil {
			return err
		}
		return is(d)
	}
	before := must(c.kube.AppsV1().Deployments(ns).Get(t.Context(), "lb-svc-changed", metav1.GetOptions{}))(t)

	c.scaleController(t, 0)
	back := func() { c.scaleController(t, 2) }
	defer func() { back() }()
	c.lbSvc(t, true)
	defer c.lbSvc(t, false)
	eventually(t, time.Minute, "Kube-OVN's change of the Deployment", func(ctx context.Context) error {
		return deployment(ctx, func(d *appsv1.Deployment) error {
			if got := d.Spec.Template.Annotations[kubeovn.Networks]; got != "kube-system/lb-svc-attachment" {
				return fmt.Errorf("its Pods would be attached to %q", got)
			}
			return nil
		})
	})
	time.Sleep(5 * time.Second) // until its rollout has come as far as it can
	start := time.Now()
	back()
	back = func() {}
	c.answers(t, time.Minute, onLink, ip+":80")
	t.Logf("traffic again %s after kube-ovn-ccm was started", time.Since(start).Round(100*time.Millisecond))
	c.sameAddress(t, ns, "changed", ip)
	eventually(t, 30*time.Second, "the Deployment paused", func(ctx context.Context) error {
		return deployment(ctx, func(d *appsv1.Deployment) error { return contested(d, true) })
	})
	c.settled(t, ns, "changed")
	if now := must(c.kube.AppsV1().Deployments(ns).Get(t.Context(), "lb-svc-changed", metav1.GetOptions{}))(t); now.UID != before.UID {
		t.Error("the Deployment was made anew")
	}
}

// contested complains unless a Deployment of ours is paused or not, with our
// own template.
func contested(d *appsv1.Deployment, paused bool) error {
	if got := d.Spec.Template.Annotations[kubeovn.Networks]; got != d.Namespace+"/"+d.Name {
		return fmt.Errorf("its Pods would be attached to %q", got)
	}
	if d.Spec.Paused != paused {
		return fmt.Errorf("paused is %t", d.Spec.Paused)
	}
	return nil
}

func restarts(pod *corev1.Pod) (n int32) {
	for _, s := range pod.Status.ContainerStatuses {
		n += s.RestartCount
	}
	return n
}
