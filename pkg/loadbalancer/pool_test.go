package loadbalancer

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kubeovn/kube-ovn-ccm/pkg/ipam"
	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
)

const poolKey = guideProvider + ".kubernetes.io/ip_pool"

func ippool(name, subnet string, ips ...string) *kubeovn.IPPool {
	return &kubeovn.IPPool{ObjectMeta: metav1.ObjectMeta{Name: name}, Subnet: subnet, IPs: kubeovn.ParseRanges(ips)}
}

func TestThePoolOfAService(t *testing.T) {
	pools := poolList{
		ippool("lb", "attach-subnet", "172.18.5.0/28"), ippool("default", "attach-subnet", "172.18.6.0/28"),
		ippool("pods", "other-subnet", "10.0.0.0/28"), ippool("six", "attach-subnet", "fd00::/120"), ippool("empty", "attach-subnet"),
		{ObjectMeta: metav1.ObjectMeta{Name: "going", DeletionTimestamp: &metav1.Time{Time: time.Unix(1, 0)}}, Subnet: "attach-subnet"},
	}
	for name, tc := range map[string]struct {
		service, subnet string
		pools           poolList
		want, field     string
		reason          string
		says            []string
	}{
		"none":                             {pools: pools},
		"none where there are no IPPools":  {},
		"the one it names":                 {service: "lb", pools: pools, want: "lb", field: "annotation " + poolKey},
		"the one it names, not its Subnet": {service: "lb", subnet: "default", pools: pools, want: "lb", field: "annotation " + poolKey},
		"its Subnet's":                     {subnet: "default", pools: pools, want: "default"},
		"of another Subnet":                {service: "pods", pools: pools, reason: "IPPoolOfAnotherSubnet", says: []string{poolKey, "IPPool pods", "other-subnet", "attach-subnet"}},
		"missing":                          {service: "x", pools: pools, reason: "IPPoolNotFound", says: []string{poolKey, "no IPPool x"}},
		"missing, of its Subnet":           {subnet: "x", pools: pools, reason: "IPPoolNotFound", says: []string{"kube-ovn.io/lb-ippool of Subnet attach-subnet"}},
		"that is being deleted":            {service: "going", pools: pools, reason: "IPPoolNotFound", says: []string{"being deleted"}},
		"of the other family":              {service: "six", pools: pools, reason: "IPPoolWithoutIPv4", says: []string{"spec.ips"}},
		"empty":                            {service: "empty", pools: pools, reason: "IPPoolWithoutIPv4"},
		"a kind that is not there":         {service: "lb", reason: "KubeOVNUnreadable", says: []string{"IPPool cannot be read"}},
	} {
		t.Run(name, func(t *testing.T) {
			svc, subnet := guideService(), guideSubnet()
			svc.Annotations[poolKey], subnet.Pool = tc.service, tc.subnet
			got, problem := poolOf(svc, guideProvider, subnet, kubeovn.Families{V4: true}, tc.pools)
			if problem == nil {
				problem = &Problem{}
			}
			if problem.Reason != tc.reason {
				t.Fatalf("%+v", problem)
			}
			for _, part := range tc.says {
				if !strings.Contains(problem.Message, part) {
					t.Errorf("%q does not say %q", problem.Message, part)
				}
			}
			if tc.want == "" && got.IPPool != nil || tc.want != "" && (got.IPPool == nil || got.Name != tc.want || got.field != tc.field) {
				t.Errorf("%+v", got)
			}
		})
	}
}

func TestASubnetMayDifferFromTheCloudConfig(t *testing.T) {
	for _, tc := range []struct {
		config  bool
		subnet  string
		want    bool
		problem bool
	}{{false, "", false, false}, {true, "", true, false}, {true, "false", false, false}, {false, "true", true, false}, {true, "yes", false, true}} {
		got, problem := avoidsBuggyIPs(&kubeovn.Subnet{AvoidBuggyIPs: tc.subnet}, Config{AvoidBuggyIPs: tc.config})
		if got != tc.want || (problem != nil) != tc.problem {
			t.Errorf("%+v: %v, %v", tc, got, problem)
		}
	}
}

func TestWhoIsAheadInTheLine(t *testing.T) {
	svc := guideService()
	svc.CreationTimestamp = metav1.Unix(100, 0)
	for name, tc := range map[string]struct {
		other func(c *cluster, s *corev1.Service)
		ahead int
	}{
		"an older one":         {func(*cluster, *corev1.Service) {}, 1},
		"not a younger one":    {func(_ *cluster, s *corev1.Service) { s.CreationTimestamp = metav1.Unix(200, 0) }, 0},
		"by name if as old":    {func(_ *cluster, s *corev1.Service) { s.CreationTimestamp = metav1.Unix(100, 0) }, 1},
		"not one that is gone": {func(_ *cluster, s *corev1.Service) { s.DeletionTimestamp = &metav1.Time{Time: time.Unix(1, 0)} }, 0},
		"not somebody else's":  {func(_ *cluster, s *corev1.Service) { s.Annotations = nil }, 0},
		"not one of a pool":    {func(_ *cluster, s *corev1.Service) { s.Annotations[poolKey] = "lb" }, 0},
		"not one that has an address": {func(c *cluster, s *corev1.Service) {
			c.kubeOVN.vip = &kubeovn.Vip{ObjectMeta: metav1.ObjectMeta{Name: ipam.VipName(s.UID)}, V4: "172.18.0.9"}
		}, 0},
		"one that has asked": {func(c *cluster, s *corev1.Service) {
			c.kubeOVN.vip = &kubeovn.Vip{ObjectMeta: metav1.ObjectMeta{Name: ipam.VipName(s.UID)}}
		}, 1},
		"one that is told that the Subnet is full": {func(c *cluster, s *corev1.Service) {
			c.balancer.journal.conclude(ownerOf(s), outcome{problem: &Problem{Reason: ipam.ReasonSubnetFull}})
		}, 1},
		"not one that lacks something else": {func(c *cluster, s *corev1.Service) {
			c.balancer.journal.conclude(ownerOf(s), outcome{problem: &Problem{Reason: "ServiceHeadless"}})
		}, 0},
		"not one that waits for an address which somebody has": {func(c *cluster, s *corev1.Service) {
			s.Spec.LoadBalancerIP, c.kubeOVN.held = "172.18.0.18", netip.MustParseAddr("172.18.0.18")
		}, 0},
		"one whose address is free": {func(_ *cluster, s *corev1.Service) { s.Spec.LoadBalancerIP = "172.18.0.18" }, 1},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t, svc)
			other := guideService()
			other.Name, other.UID, other.CreationTimestamp = "a-service", types.UID("other"), metav1.Unix(50, 0)
			tc.other(c, other)
			if err := c.services.Add(other); err != nil {
				t.Fatal(err)
			}
			if got := c.balancer.ahead(svc, 9); got != tc.ahead {
				t.Errorf("%d are ahead, want %d", got, tc.ahead)
			}
		})
	}
}

func TestThePoolIsPartOfTheRequest(t *testing.T) {
	svc := guideService()
	svc.Annotations[poolKey] = "lb"
	c := newCluster(t, svc)
	c.kubeOVN.pools = poolList{ippool("lb", "attach-subnet", "172.18.5.0/28")}
	c.ensure()
	if len(c.kubeOVN.asked) != 1 || c.kubeOVN.asked[0].Pool == nil || c.kubeOVN.asked[0].Pool.Name != "lb" || c.kubeOVN.asked[0].Ahead(9) != 0 {
		t.Errorf("%+v", c.kubeOVN.asked)
	}
}
