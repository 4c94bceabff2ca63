package loadbalancer

import (
	"maps"
	"slices"
	"strings"

	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
)

// placement is where a gateway's primary interface, eth0, is.
type placement struct {
	// subnet is the Subnet that eth0 is to join; empty leaves it to Kube-OVN,
	// which takes the namespace's.
	subnet string
	// vpc is the Vpc of the Service's Pods; empty if none is known.
	vpc string
}

// placementOf finds the place from which a gateway reaches the Service's Pods:
// the Subnet that the Service names, else one of the Vpc in which the Pods are.
// A gateway stays in the Subnet in which it is as long as that is in the right
// Vpc, and where it is while there are no Pods.
func placementOf(w *world, ports []portBackends) (placement, *Problem) {
	if name := strings.TrimSpace(w.service.Annotations[kubeovn.LogicalSwitch]); name != "" {
		return namedPlacement(w, name)
	}
	byVPC := map[string][]string{}
	for _, name := range w.podSubnets(ports) {
		if s, ok := w.subnets.Subnet(name); ok {
			byVPC[vpcOf(s)] = append(byVPC[vpcOf(s)], name)
		}
	}
	vpcs := slices.Sorted(maps.Keys(byVPC))
	now := w.placedIn()
	switch {
	case len(vpcs) > 1:
		return placement{}, problemf("PodsInSeveralVpcs",
			"the Service's Pods are in the Vpcs %s, and a gateway can be in one only: let the selector match Pods of one Vpc", strings.Join(vpcs, ", "))
	case len(vpcs) == 0:
		return placement{subnet: now}, nil
	case vpcs[0] == kubeovn.DefaultVPC:
		return placement{vpc: vpcs[0]}, nil
	}
	if s, ok := w.subnets.Subnet(now); ok && vpcOf(s) == vpcs[0] {
		return placement{subnet: now, vpc: vpcs[0]}, nil
	}
	return placement{subnet: slices.Min(byVPC[vpcs[0]]), vpc: vpcs[0]}, nil
}

func namedPlacement(w *world, name string) (placement, *Problem) {
	s, ok := w.subnets.Subnet(name)
	switch {
	case !ok:
		return placement{}, problemf("SubnetNotFound", "annotation %s: there is no Subnet %s: create it, or name another one", kubeovn.LogicalSwitch, name)
	case !s.IsOVN():
		return placement{}, problemf("SubnetOfAnotherProvider",
			"annotation %s: Subnet %s has spec.provider %q, and the gateway's first interface must be in a network of Kube-OVN: name the Subnet of the Service's Pods", kubeovn.LogicalSwitch, name, s.Provider)
	}
	return placement{subnet: name, vpc: vpcOf(s)}, nil
}

// vpcOf is the Vpc of a Subnet.
func vpcOf(s *kubeovn.Subnet) string {
	if s.VPC == "" {
		return kubeovn.DefaultVPC
	}
	return s.VPC
}

// podSubnets returns the Subnets of the Pods behind a Service, sorted. Pods in
// their node's network are in none.
func (w *world) podSubnets(ports []portBackends) []string {
	found := map[string]bool{}
	for _, p := range ports {
		for _, b := range p.serving {
			if name, ok := w.subnetOfPod(b); ok {
				found[name] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(found))
}

// placedIn is the Subnet that the gateway which is there was put into.
func (w *world) placedIn() string { return w.madeAs()[kubeovn.LogicalSwitch] }
