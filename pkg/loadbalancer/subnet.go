package loadbalancer

import (
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/kubeovn/kube-ovn-ccm/pkg/ipam"
	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
)

// subnetReader finds Subnets; Network is one.
type subnetReader interface {
	Subnet(name string) (*kubeovn.Subnet, bool)
	SubnetsOf(provider string) []*kubeovn.Subnet
}

// chooseSubnet finds the Subnet that a Service's address is taken from: the
// one that the Service names, which must belong to the attachment, else the
// attachment's only one.
func chooseSubnet(svc *corev1.Service, provider string, subnets subnetReader) (*kubeovn.Subnet, *Problem) {
	key := kubeovn.AnnotationKey(provider, kubeovn.FieldLogicalSwitch)
	if name := strings.TrimSpace(svc.Annotations[key]); name != "" {
		return namedSubnet(name, key, provider, subnets)
	}
	switch found := subnets.SubnetsOf(provider); len(found) {
	case 1:
		return usableSubnet(found[0])
	case 0:
		return nil, problemf("SubnetNotFound",
			"no Subnet has spec.provider %s: create one with the addresses for load balancers", provider)
	default:
		names := make([]string, len(found))
		for i, s := range found {
			names[i] = s.Name
		}
		return nil, problemf("SubnetAmbiguous",
			"%d Subnets have spec.provider %s (%s): set annotation %s to one of them", len(found), provider, strings.Join(names, ", "), key)
	}
}

func namedSubnet(name, key, provider string, subnets subnetReader) (*kubeovn.Subnet, *Problem) {
	subnet, ok := subnets.Subnet(name)
	if !ok {
		return nil, problemf("SubnetNotFound",
			"annotation %s: there is no Subnet %s: create it, or name another one", key, name)
	}
	if subnet.Provider != provider {
		return nil, problemf("SubnetOfAnotherProvider",
			"annotation %s: Subnet %s has spec.provider %q, not %s: name a Subnet of this attachment, or correct the Subnet's provider",
			key, name, subnet.Provider, provider)
	}
	return usableSubnet(subnet)
}

// usableSubnet checks that addresses can be had of the Subnet at all.
func usableSubnet(s *kubeovn.Subnet) (*kubeovn.Subnet, *Problem) {
	if s.DeletionTimestamp != nil {
		return nil, problemf(ipam.ReasonSubnetTerminating, "Subnet %s is being deleted: name or create another one", s.Name)
	}
	return s, nil
}

// routersIn checks that the Subnet says who routes in every family that is
// served.
func routersIn(s *kubeovn.Subnet, served kubeovn.Families) *Problem {
	for _, is4 := range []bool{true, false} {
		if !served.Of(is4) {
			continue
		}
		cidr, _ := s.CIDR(is4)
		gateway, ok := s.Gateway(is4)
		if !ok || !cidr.Contains(gateway) && !gateway.IsLinkLocalUnicast() {
			return problemf("SubnetWithoutGateway", "Subnet %s has no address of %s in spec.gateway: set it to the router of that network", s.Name, cidr)
		}
	}
	return nil
}
