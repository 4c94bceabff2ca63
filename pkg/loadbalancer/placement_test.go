package loadbalancer

import (
	"testing"

	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
)

func ovnSubnet(name, vpc string) *kubeovn.Subnet {
	return &kubeovn.Subnet{ObjectMeta: metav1.ObjectMeta{Name: name}, Provider: "ovn", VPC: vpc}
}

func TestWhereTheGatewayIsPut(t *testing.T) {
	// The first address of a Pod says its Subnet.
	subnetOf := map[string]string{"10.16.0.5": "ovn-default", "10.0.1.5": "v1s", "10.0.2.5": "v1t", "10.9.0.5": "v2s"}
	for sentence, tc := range map[string]struct {
		pods    []string
		made    string // the Subnet of the Deployment that is there
		changes map[string]string
		want    placement
		problem string
	}{
		"anywhere, while there are no Pods":                   {want: placement{}},
		"for Pods of the default Vpc, where Kube-OVN puts it": {pods: []string{"10.16.0.5"}, want: placement{vpc: "ovn-cluster"}},
		"for Pods of another Vpc, in the first of their Subnets": {
			pods: []string{"10.0.2.5", "10.0.1.5"}, want: placement{subnet: "v1s", vpc: "v1"},
		},
		"where it is, if that is in the Vpc":   {pods: []string{"10.0.1.5"}, made: "v1t", want: placement{subnet: "v1t", vpc: "v1"}},
		"where it is, while there are no Pods": {made: "v1t", want: placement{subnet: "v1t"}},
		"elsewhere, if the Pods are elsewhere": {pods: []string{"10.9.0.5"}, made: "v1t", want: placement{subnet: "v2s", vpc: "v2"}},
		"where the Service says": {
			pods: []string{"10.0.1.5"}, changes: map[string]string{kubeovn.LogicalSwitch: "v1t"}, want: placement{subnet: "v1t", vpc: "v1"},
		},
		"nowhere for Pods of several Vpcs":          {pods: []string{"10.16.0.5", "10.0.1.5"}, problem: "PodsInSeveralVpcs"},
		"nowhere, if the Service names nothing":     {changes: map[string]string{kubeovn.LogicalSwitch: "none"}, problem: "SubnetNotFound"},
		"nowhere, if it names an attachment Subnet": {changes: map[string]string{kubeovn.LogicalSwitch: "attach-subnet"}, problem: "SubnetOfAnotherProvider"},
		"Pods of their node's network do not count": {pods: []string{"172.18.0.6"}, want: placement{}},
	} {
		t.Run(sentence, func(t *testing.T) {
			w := guideWorld()
			w.subnets = subnetList{guideSubnet(), ovnSubnet("ovn-default", "ovn-cluster"), ovnSubnet("v1s", "v1"), ovnSubnet("v1t", "v1"), ovnSubnet("v2s", "v2")}
			w.subnetOfPod = func(b backend) (string, bool) {
				s, ok := subnetOf[b.address.Addr().String()]
				return s, ok
			}
			if tc.made != "" {
				w.deployment = deploymentWith(map[string]string{kubeovn.LogicalSwitch: tc.made})
			}
			for k, v := range tc.changes {
				w.service.Annotations[k] = v
			}
			var endpoints []discoveryv1.Endpoint
			for _, ip := range tc.pods {
				endpoints = append(endpoints, podAt(ip))
			}
			ports := backendsOf(w.service, []*discoveryv1.EndpointSlice{sliceOf([]string{"test/TCP/80"}, endpoints...)}, kubeovn.Families{V4: true})
			got, problem := placementOf(w, ports)
			if problem != nil && problem.Reason != tc.problem || problem == nil && (tc.problem != "" || got != tc.want) {
				t.Errorf("got %+v, %v", got, problem)
			}
		})
	}
}
