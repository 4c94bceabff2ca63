package loadbalancer

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
)

// A Service shows where its address is from and where it is, no longer than it
// has one, and nobody's annotations but ours come and go with that.
func TestAServiceShowsItsWhereabouts(t *testing.T) {
	svc := guideService()
	svc.Annotations[poolKey] = "lb"
	c := newCluster(t, svc)
	c.kubeOVN.pools = poolList{ippool("lb", "attach-subnet", "172.18.5.0/28")}
	shows := func(when string, want map[string]string) {
		t.Helper()
		if d := cmp.Diff(want, Output(c.service())); d != "" {
			t.Errorf("%s (-want +got):\n%s", when, d)
		}
	}
	c.ensure()
	shows("while it waits", map[string]string{})
	c.grant("172.18.5.1")
	c.ensure()
	shows("while its gateway starts", map[string]string{AnnotationSubnet: "attach-subnet", AnnotationPool: "lb"})
	c.runPod()
	c.ensure()
	served := map[string]string{
		AnnotationSubnet: "attach-subnet", AnnotationPool: "lb", AnnotationGatewayPod: "gateway", AnnotationGatewayNode: "n1",
	}
	for _, pod := range c.pods.List() {
		served[AnnotationGatewayPod] = pod.(*corev1.Pod).Name
	}
	shows("when it is served", served)
	if err := c.balancer.EnsureLoadBalancerDeleted(t.Context(), "", c.service()); err == nil {
		t.Error("it is gone before its gateway")
	}
	c.sync()
	c.stopPod()
	c.sync()
	c.must(c.balancer.EnsureLoadBalancerDeleted(t.Context(), "", c.service()))
	shows("when it is let go", map[string]string{})
	if c.service().Annotations[kubeovn.AttachmentProvider] == "" || c.service().Annotations[poolKey] != "lb" {
		t.Errorf("the user's annotations are %v", c.service().Annotations)
	}
}

func TestAServedServiceShowsItsWhereaboutsWhileItAsksForSomethingImpossible(t *testing.T) {
	svc := guideService()
	svc.Annotations[AnnotationSubnet] = "attach-subnet"
	out := outcome{problem: &Problem{Reason: "x"}}
	if got := outputOf(svc, out); len(got) != 0 {
		t.Errorf("one that has no address shows %v", got)
	}
	svc.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "172.18.5.1"}}
	if got := outputOf(svc, out); got[AnnotationSubnet] != "attach-subnet" {
		t.Errorf("it shows %v", got)
	}
}
