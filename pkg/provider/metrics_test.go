package provider

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "k8s.io/api/core/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/component-base/metrics"
	"k8s.io/component-base/metrics/testutil"

	"github.com/kubeovn/kube-ovn-ccm/pkg/loadbalancer"
)

func published(svc *v1.Service) {
	svc.Status.LoadBalancer.Ingress = []v1.LoadBalancerIngress{{IP: "172.18.0.18"}}
}

func TestServicesAreCountedByState(t *testing.T) {
	services := []*v1.Service{
		service("a", published), service("b", published),
		service("c", published), // wants something else by now
		service("d"),
		service("e", published, deleted),
	}
	want := map[string]int{"served": 2, "degraded": 1, "pending": 1, "deleting": 1}
	if diff := cmp.Diff(want, countByState(services, []string{"default/c", "default/d"})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestMetricsCountOnlyOurServices(t *testing.T) {
	shared := informers.NewSharedInformerFactory(fake.NewClientset(), 0).Core().V1().Services()
	for _, svc := range []*v1.Service{service("ours", attached), service("theirs")} {
		if err := shared.Informer().GetStore().Add(svc); err != nil {
			t.Fatal(err)
		}
	}
	registry := metrics.NewKubeRegistry()
	registry.CustomMustRegister(&collector{
		view:    newServiceView(shared, loadbalancer.Config{}, nil),
		pending: func() []string { return nil },
	})
	want := `
# HELP kube_ovn_ccm_services [ALPHA] Number of Services that ask kube-ovn-ccm for a load balancer, by state: served as they ask (served), with an address but not as they ask now (degraded), without an address (pending), on their way out (deleting).
# TYPE kube_ovn_ccm_services gauge
kube_ovn_ccm_services{state="degraded"} 0
kube_ovn_ccm_services{state="deleting"} 0
kube_ovn_ccm_services{state="pending"} 1
kube_ovn_ccm_services{state="served"} 0
`
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want)); err != nil {
		t.Error(err)
	}
}
