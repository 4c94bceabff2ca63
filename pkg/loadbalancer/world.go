package loadbalancer

import (
	"net/netip"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/kubeovn/kube-ovn-ccm/pkg/ipam"
	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
)

// world is everything that a decision about one Service depends on, as the
// caches have it.
type world struct {
	now     time.Time
	owner   kubeovn.Owner
	service *corev1.Service
	config  Config

	// unreadable says which of Kube-OVN's resources cannot be read and why;
	// synced is false until all of them have been.
	unreadable []string
	synced     bool
	subnets    subnetReader
	// source is the NetworkAttachmentDefinition that the Service names.
	source func(a attachment) (*kubeovn.NAD, bool)

	// The objects made for the Service, or standing at their place.
	nad        *kubeovn.NAD
	configMap  *corev1.ConfigMap
	deployment *appsv1.Deployment
	vip        *kubeovn.Vip

	pods  []gatewayPod
	nodes map[string]*corev1.Node
}

// gatewayPod is a Pod of the Service's gateway and what is known about the
// failure to set up its network, "" for nothing.
type gatewayPod struct {
	*corev1.Pod
	sandboxFailure string
}

// choice is what a Service asks for, found and checked.
type choice struct {
	attachment attachment
	network    network
	subnet     *kubeovn.Subnet
	// wish is spec.loadBalancerIP, invalid if it is not set.
	wish netip.Addr
	// clusterIP is where the gateway sends what it receives.
	clusterIP netip.Addr
}

// choose finds what a Service asks for. It returns a Problem, or what is
// awaited, if that cannot be had.
func choose(w *world) (c choice, wait string, problem *Problem) {
	if len(w.unreadable) > 0 {
		return c, "", problemf("KubeOVNUnreadable", "Kube-OVN or multus cannot be read: install it, or grant kube-ovn-ccm access: %s", strings.Join(w.unreadable, "; "))
	}
	if !w.synced {
		return c, "the first list of Kube-OVN's objects", nil
	}
	if c.attachment, problem = attachmentOf(w.service, w.config); problem != nil {
		return c, "", problem
	}
	nad, ok := w.source(c.attachment)
	if !ok {
		return c, "", problemf("AttachmentNotFound",
			"there is no NetworkAttachmentDefinition %s, which the Service's attachment %s names: create it, or correct annotation %s",
			c.attachment, c.attachment.Provider(), kubeovn.AttachmentProvider)
	}
	if c.network, problem = networkOf(c.attachment, nad, w.owner.Name); problem != nil {
		return c, "", problem
	}
	if c.subnet, problem = chooseSubnet(w.service, c.attachment.Provider(), w.subnets); problem != nil {
		return c, "", problem
	}
	if c.wish, problem = wishOf(w.service); problem != nil {
		return c, "", problem
	}
	c.clusterIP, wait, problem = clusterIPOf(w.service)
	return c, wait, problem
}

// wishOf reads the address that a Service asks for.
func wishOf(svc *corev1.Service) (netip.Addr, *Problem) {
	value := svc.Spec.LoadBalancerIP
	if value == "" {
		return netip.Addr{}, nil
	}
	addr, err := netip.ParseAddr(value)
	switch {
	case err != nil || addr.Zone() != "":
		return netip.Addr{}, problemf(ipam.ReasonInvalidAddress, "spec.loadBalancerIP %q is not an IP address: set it to an address of the Subnet, or remove it to be given one", value)
	case !addr.Unmap().Is4():
		return netip.Addr{}, problemf(ipam.ReasonInvalidAddress, "spec.loadBalancerIP %s is an IPv6 address, and load balancers serve IPv4 only: set an IPv4 address of the Subnet, or remove it to be given one", value)
	}
	return addr.Unmap(), nil
}

// clusterIPOf returns the Service's IPv4 address inside the cluster.
func clusterIPOf(svc *corev1.Service) (addr netip.Addr, wait string, problem *Problem) {
	ips := svc.Spec.ClusterIPs
	if len(ips) == 0 && svc.Spec.ClusterIP != "" {
		ips = []string{svc.Spec.ClusterIP}
	}
	if len(ips) == 0 {
		return addr, "a cluster IP", nil
	}
	for _, ip := range ips {
		if addr, err := netip.ParseAddr(ip); err == nil && addr.Is4() {
			return addr, "", nil
		}
	}
	if ips[0] == corev1.ClusterIPNone {
		return addr, "", problemf("ServiceHeadless", "spec.clusterIP is None, and a load balancer forwards to the cluster IP: make the Service without spec.clusterIP")
	}
	return addr, "", problemf("ServiceWithoutIPv4", "spec.clusterIPs %s holds no IPv4 address, and load balancers serve IPv4 only: add IPv4 to spec.ipFamilies", strings.Join(ips, ", "))
}

// request is what is asked of the IPAM for a choice.
func (w *world) request(c choice) ipam.Request {
	return ipam.Request{
		Owner:  w.owner,
		Subnet: c.subnet,
		Needs:  kubeovn.Families{V4: true},
		Wish:   kubeovn.Addrs{V4: c.wish},
		Sticky: kubeovn.Addrs{V4: w.sticky(c)},
		Field:  "spec.loadBalancerIP",
	}
}

// sticky is the address that the Service has had, for the case that its Vip
// has been deleted: what it shows, else what its gateway has.
func (w *world) sticky(c choice) netip.Addr {
	cidr, ok := c.subnet.CIDR(true)
	if !ok {
		return netip.Addr{}
	}
	had := []string{}
	for _, ingress := range w.service.Status.LoadBalancer.Ingress {
		had = append(had, ingress.IP)
	}
	if w.deployment != nil {
		had = append(had, w.deployment.Spec.Template.Annotations[kubeovn.AnnotationKey(c.attachment.Provider(), kubeovn.FieldIPAddress)])
	}
	for _, s := range had {
		if addr, err := netip.ParseAddr(s); err == nil && cidr.Contains(addr.Unmap()) {
			return addr.Unmap()
		}
	}
	return netip.Addr{}
}
