package loadbalancer

import (
	"net/netip"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

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
	// lbSvcEnabled says that Kube-OVN's own lb-svc is switched on.
	lbSvcEnabled bool
	subnets      subnetReader
	pools        poolReader
	// past are the addresses of a Subnet that a Service of this name had.
	past func(subnet string) kubeovn.Addrs
	// holder says who else has an address.
	holder holderIn
	// ahead counts the Services that wait longer for an address.
	ahead func(most int) int
	// source is the NetworkAttachmentDefinition that the Service names.
	source func(a attachment) (*kubeovn.NAD, bool)

	// The objects made for the Service, or standing at their place.
	nad        *kubeovn.NAD
	configMap  *corev1.ConfigMap
	deployment *appsv1.Deployment
	vip        *kubeovn.Vip

	pods  []gatewayPod
	nodes map[string]*corev1.Node

	// isNodeAddress tells the addresses of nodes, which Pods in their node's
	// network have too.
	isNodeAddress func(netip.Addr) bool

	// slices are the Service's EndpointSlices.
	slices []*discoveryv1.EndpointSlice
	// subnetOfPod is the Subnet in which a Pod has an address; false for what
	// is no Pod, or one in its node's network.
	subnetOfPod func(b backend) (subnet string, ok bool)
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
	pool       pool
	// avoidBuggyIPs is set if an address of .0 or .255 is not to be picked.
	avoidBuggyIPs bool
	// served are the IP families in which the Service is served.
	served kubeovn.Families
	// clusterIPs are the Service's own addresses inside the cluster.
	clusterIPs kubeovn.Addrs
	wish       wish
	forwarding forwarding
	ports      []portBackends
	placement  placement
}

// choose finds what a Service asks for. It returns a Problem, or what is
// awaited, if that cannot be had.
func choose(w *world) (c choice, wait string, problem *Problem) {
	if len(w.unreadable) > 0 {
		return c, "", problemf("KubeOVNUnreadable", "Kube-OVN or multus cannot be used: %s", strings.Join(w.unreadable, "; "))
	}
	if !w.synced {
		return c, "the first list of Kube-OVN's objects", nil
	}
	if problem = c.chooseNetwork(w); problem != nil {
		return c, "", problem
	}
	if c.clusterIPs, wait, problem = clusterIPsOf(w.service); problem != nil || wait != "" {
		return c, wait, problem
	}
	return c, "", c.chooseService(w)
}

// chooseNetwork finds the attachment and the Subnet.
func (c *choice) chooseNetwork(w *world) (problem *Problem) {
	if c.attachment, problem = attachmentOf(w.service, w.config); problem != nil {
		return problem
	}
	nad, ok := w.source(c.attachment)
	if !ok {
		return problemf("AttachmentNotFound",
			"there is no NetworkAttachmentDefinition %s, which the Service's attachment %s names: create it, or correct annotation %s",
			c.attachment, c.attachment.Provider(), kubeovn.AttachmentProvider)
	}
	subnet, subnetProblem := chooseSubnet(w.service, c.attachment.Provider(), w.subnets)
	v6 := false
	if subnet != nil {
		_, v6 = subnet.CIDR(false)
	}
	if c.network, problem = networkOf(c.attachment, nad, w.owner.Name, v6); problem != nil {
		return problem
	}
	c.subnet = subnet
	return subnetProblem
}

// chooseService reads how the Service wants to be served, and where its Pods
// are.
func (c *choice) chooseService(w *world) (problem *Problem) {
	if c.served, problem = familiesOf(w.service, c.clusterIPs, c.subnet); problem != nil {
		return problem
	}
	if problem = routersIn(c.subnet, c.served); problem != nil {
		return problem
	}
	if c.pool, problem = poolOf(w.service, c.attachment.Provider(), c.subnet, c.served, w.pools); problem != nil {
		return problem
	}
	if c.avoidBuggyIPs, problem = avoidsBuggyIPs(c.subnet, w.config); problem != nil {
		return problem
	}
	if c.wish, problem = wishOf(w.service, c.attachment.Provider(), c.served); problem != nil {
		return problem
	}
	if c.forwarding, problem = forwardingOf(w.service, c.served.V6); problem != nil {
		return problem
	}
	c.ports = backendsOf(w.service, w.slices, c.served)
	c.placement, problem = placementOf(w, c.ports)
	return problem
}

// request is what is asked of the IPAM for a choice.
func (w *world) request(c choice) ipam.Request {
	req := ipam.Request{
		Owner:  w.owner,
		Subnet: c.subnet,
		Needs:  c.served,
		Wish:   c.wish.addrs,
		Sticky: w.sticky(c),
		Field:  c.wish.field,

		Previous: w.past(c.subnet.Name),
		Pool:     c.pool.IPPool, PoolField: c.pool.field,
		AvoidBuggyIPs: c.avoidBuggyIPs,
		Ahead:         w.ahead,
	}
	if h, ok := handoverOf(w.service); ok {
		// These and no others, whatever the Service asks for once it is moved.
		req.Wish, req.Field, req.Predecessor = h.addresses, "annotation "+AnnotationMigration, h.pod
	}
	return req
}

// sticky are the addresses that the Service has had, for the case that its Vip
// has been deleted: what it shows, else what its gateway has.
func (w *world) sticky(c choice) (had kubeovn.Addrs) {
	var ips []string
	if w.deployment != nil {
		annotation := w.madeAs()[kubeovn.AnnotationKey(c.attachment.Provider(), kubeovn.FieldIPAddress)]
		ips = strings.Split(annotation, ",")
	}
	for _, ingress := range w.service.Status.LoadBalancer.Ingress {
		ips = append(ips, ingress.IP)
	}
	for _, s := range ips {
		addr, err := netip.ParseAddr(s)
		if err != nil {
			continue
		}
		addr = addr.Unmap()
		if cidr, ok := c.subnet.CIDR(addr.Is4()); ok && cidr.Contains(addr) {
			had = had.With(addr)
		}
	}
	return had
}
