package loadbalancer

import (
	corev1 "k8s.io/api/core/v1"

	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
)

// Refusal says why a Service would not be served with addresses of a Subnet
// whatever else there is, in the words that the Service would be told; empty: it
// would. Whoever brings a Service here asks before.
func Refusal(svc *corev1.Service, subnet *kubeovn.Subnet) string {
	clusterIPs, _, problem := clusterIPsOf(svc)
	var served kubeovn.Families
	if problem == nil {
		served, problem = familiesOf(svc, clusterIPs, subnet)
	}
	if problem == nil {
		problem = routersIn(subnet, served)
	}
	if problem == nil {
		_, problem = wishOf(svc, subnet.Provider, served)
	}
	if problem == nil {
		_, problem = forwardingOf(svc, served.V6)
	}
	if problem == nil {
		return ""
	}
	return problem.Message
}
