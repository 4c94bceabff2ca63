package loadbalancer

import (
	"fmt"
	"net/netip"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"github.com/kubeovn/kube-ovn-ccm/pkg/ipam"
	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
)

// clusterIPsOf returns the Service's addresses inside the cluster, which say in
// which IP families it is.
func clusterIPsOf(svc *corev1.Service) (addrs kubeovn.Addrs, wait string, problem *Problem) {
	ips := svc.Spec.ClusterIPs
	if len(ips) == 0 && svc.Spec.ClusterIP != "" {
		ips = []string{svc.Spec.ClusterIP}
	}
	if len(ips) == 0 {
		return addrs, "a cluster IP", nil
	}
	if ips[0] == corev1.ClusterIPNone {
		return addrs, "", problemf("ServiceHeadless", "spec.clusterIP is None, and a load balancer forwards to the cluster IP: make the Service without spec.clusterIP")
	}
	for _, ip := range ips {
		if addr, err := netip.ParseAddr(ip); err == nil {
			addrs = addrs.With(addr)
		}
	}
	return addrs, "", nil
}

// familiesOf says in which IP families a Service is served from a Subnet: in
// all of the Service's own that the Subnet has. Only PreferDualStack makes do
// with one of two.
func familiesOf(svc *corev1.Service, clusterIPs kubeovn.Addrs, subnet *kubeovn.Subnet) (kubeovn.Families, *Problem) {
	var served kubeovn.Families
	var lacking *Problem
	for _, is4 := range []bool{false, true} { // what IPv4 lacks is told first
		if !clusterIPs.Of(is4).IsValid() {
			continue
		}
		if _, has := subnet.CIDR(is4); has {
			served = served.With(is4)
			continue
		}
		reason, family := ipam.ReasonSubnetWithoutIPv6, kubeovn.FamilyName(is4)
		if is4 {
			reason = ipam.ReasonSubnetWithoutIPv4
		}
		lacking = problemf(reason,
			"Subnet %s has no %s range in spec.cidrBlock, and the Service asks for %s in spec.ipFamilies: use a Subnet with one, or change spec.ipFamilyPolicy or spec.ipFamilies",
			subnet.Name, family, family)
	}
	prefers := ptr.Deref(svc.Spec.IPFamilyPolicy, "") == corev1.IPFamilyPolicyPreferDualStack
	if prefers && served != (kubeovn.Families{}) {
		lacking = nil
	}
	return served, lacking
}

// wish is what a Service asks for by address.
type wish struct {
	addrs kubeovn.Addrs
	// field is where the addresses were read, for messages.
	field string
}

// wishOf reads the addresses that a Service asks for: one in
// spec.loadBalancerIP, or up to one of each family in the annotation that
// Kube-OVN has for the addresses of an attachment.
func wishOf(svc *corev1.Service, provider string, served kubeovn.Families) (wish, *Problem) {
	const spec = "spec.loadBalancerIP"
	annotation := "annotation " + kubeovn.AnnotationKey(provider, kubeovn.FieldIPAddress)
	w := wish{field: spec}
	if value := svc.Spec.LoadBalancerIP; value != "" {
		addrs, err := kubeovn.ParseAddrs(value)
		if err != nil || strings.Contains(value, ",") {
			return w, problemf(ipam.ReasonInvalidAddress, "%s %q is not an IP address: set it to an address of the Subnet, or remove it to be given one", spec, value)
		}
		w.addrs = addrs
	}
	if value := strings.TrimSpace(svc.Annotations[kubeovn.AnnotationKey(provider, kubeovn.FieldIPAddress)]); value != "" {
		addrs, err := kubeovn.ParseAddrs(value)
		if err != nil {
			return w, problemf(ipam.ReasonInvalidAddress, "%s: %v: set it to addresses of the Subnet, or remove it to be given some", annotation, err)
		}
		if w.addrs, err = merge(w.addrs, addrs); err != nil {
			return w, problemf(ipam.ReasonInvalidAddress, "%s and %s ask for different addresses (%v): change one of them", spec, annotation, err)
		}
		w.field = annotation
	}
	for _, addr := range w.addrs.All() {
		if family := kubeovn.FamilyName(addr.Is4()); !served.Of(addr.Is4()) {
			return w, problemf(ipam.ReasonInvalidAddress,
				"%s %s is an %s address, and the Service is not served in %s: change spec.ipFamilyPolicy or spec.ipFamilies, or ask for another address", w.field, addr, family, family)
		}
	}
	return w, nil
}

// merge joins two wishes that do not contradict each other.
func merge(a, b kubeovn.Addrs) (kubeovn.Addrs, error) {
	for _, addr := range b.All() {
		if other := a.Of(addr.Is4()); other.IsValid() && other != addr {
			return a, fmt.Errorf("%s and %s", other, addr)
		}
	}
	return a.With(b.All()...), nil
}
