package loadbalancer

import (
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubeovn/kube-ovn-ccm/pkg/ipam"
)

func marked(m Migration) func(*corev1.Service) {
	return func(s *corev1.Service) {
		if s.Annotations == nil {
			s.Annotations = map[string]string{}
		}
		s.Annotations[AnnotationMigration] = m.String()
	}
}

var takesOver = Migration{Phase: TakingOver, Pod: "lb-svc-test-service-old", Addresses: "172.18.0.18"}

func TestAGatewayIsBuiltBesideKubeOVNsAndTakesOver(t *testing.T) {
	c := newCluster(t, guideService())
	theirs := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "lb-svc-test-service"}}
	if _, err := c.kube.AppsV1().Deployments("default").Create(t.Context(), theirs, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	c.updateService(func(s *corev1.Service) {
		s.Spec.LoadBalancerIP = ""
		s.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "172.18.0.18"}}
		marked(takesOver)(s)
	})
	c.wantShown("172.18.0.18", "Kube-OVN's Deployment is still there")
	c.wantObjects("", "nothing is made before it is gone")
	c.wantEvents()

	c.must(c.kube.AppsV1().Deployments("default").Delete(t.Context(), theirs.Name, metav1.DeleteOptions{}))
	addrs := granted("172.18.0.18").Addrs
	c.kubeOVN.result = ipam.Result{State: ipam.Pending, Ahead: true, Addrs: addrs}
	c.wantShown("172.18.0.18", "the gateway is made ahead")
	if asked := c.kubeOVN.asked[len(c.kubeOVN.asked)-1]; asked.Wish != addrs || asked.Predecessor != takesOver.Pod {
		t.Errorf("asked for %s, predecessor %q", asked.Wish, asked.Predecessor)
	}
	if got := c.deployment().Spec.Template.Annotations[guideProvider+".kubernetes.io/ip_address"]; got != "172.18.0.18" {
		t.Errorf("it is made for %q", got)
	}
	c.wantEvents()
	c.clock.SetTime(c.clock.Now().Add(2 * time.Minute))
	template := c.deployment().Spec.Template
	c.grant("172.18.0.18")
	c.runPod()
	c.wantShown("172.18.0.18", "it has taken over")
	if !apiEqual(template, c.deployment().Spec.Template) {
		t.Error("the granted Vip makes another Pod")
	}
	c.updateService(func(s *corev1.Service) { delete(s.Annotations, AnnotationMigration) })
	c.wantShown("172.18.0.18", "the move is over")
	if !apiEqual(template, c.deployment().Spec.Template) {
		t.Error("the end of the move makes another Pod")
	}
	c.wantEvents()
}

func TestAMoveThatIsNotFinishedIsTold(t *testing.T) {
	w := &world{service: guideService(), now: time.Unix(1000, 0)}
	marked(takesOver)(w.service)
	w.deployment = deploymentWith(nil)
	unready := outcome{problem: problemf("GatewayNotReady", "it waits")}
	for age, want := range map[time.Duration]string{10 * time.Second: "", 2 * time.Minute: "HandoverUnfinished"} {
		w.deployment.CreationTimestamp = metav1.NewTime(w.now.Add(-age))
		got := ""
		if p := awaitHandover(w, unready).problem; p != nil {
			got = p.Reason
		}
		if got != want {
			t.Errorf("after %s: problem %q, want %q", age, got, want)
		}
	}
	other := outcome{problem: problemf("GatewayUnschedulable", "no node")}
	if p := awaitHandover(w, other).problem; p == nil || p.Reason != "GatewayUnschedulable" {
		t.Errorf("another problem is told as %+v", p)
	}
}

func TestAServiceOnItsWayBackIsNotTouched(t *testing.T) {
	c := serving(t)
	c.updateService(marked(Migration{Phase: GivingBack, Addresses: "172.18.0.18"}))
	c.kube.ClearActions()
	c.must(c.balancer.EnsureLoadBalancerDeleted(t.Context(), "", c.service()))
	c.must(c.balancer.Sweep(t.Context()))
	c.wantObjects("ConfigMap Deployment NAD Vip", "nothing is removed")
	c.wantShown("172.18.0.18", "nothing is done for it")
	if conditionIn(c.service()) != nil {
		t.Error("the condition does not say that it was let go")
	}

	now := metav1.Now()
	c.updateService(func(s *corev1.Service) { s.DeletionTimestamp, s.Finalizers = &now, []string{CleanupFinalizer} })
	c.stopPod()
	for err := c.balancer.EnsureLoadBalancerDeleted(t.Context(), "", c.service()); err != nil && t.Context().Err() == nil; {
		err = c.balancer.EnsureLoadBalancerDeleted(t.Context(), "", c.service())
	}
	c.wantObjects("", "one that is deleted is cleaned up")
}

func TestAServiceThatWasGivenBackIsNotClaimed(t *testing.T) {
	for _, tc := range []struct {
		phase Phase
		want  bool
	}{{"", true}, {TakingOver, true}, {GivingBack, false}, {GivenBack, false}} {
		svc := guideService()
		marked(Migration{Phase: tc.phase})(svc)
		if got := Claims(svc, Config{}); got != tc.want {
			t.Errorf("phase %q: claimed %t, want %t", tc.phase, got, tc.want)
		}
		now := metav1.Now()
		svc.DeletionTimestamp = &now
		if !Claims(svc, Config{}) {
			t.Errorf("phase %q: one that is being deleted is not claimed, so that nobody cleans up", tc.phase)
		}
	}
}
