package kubeovn

import (
	"net/netip"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Subnet is the part of a Kube-OVN Subnet that a load balancer needs.
type Subnet struct {
	// ObjectMeta holds name, UID, resourceVersion, labels and timestamps; the
	// rest of the metadata is not kept.
	metav1.ObjectMeta
	// Provider is spec.provider: "<nad>.<namespace>" for a Subnet whose
	// addresses Kube-OVN only books.
	Provider string
	// VPC is spec.vpc, the virtual network that the Subnet is part of; it means
	// nothing where IsOVN is false.
	VPC string
	// CIDRs are the well-formed members of spec.cidrBlock, masked; at most
	// one of each family is of use.
	CIDRs []netip.Prefix
	// Gateways are the well-formed members of spec.gateway.
	Gateways []netip.Addr
	// ExcludeIPs is spec.excludeIps: addresses "a" and ranges "a..b" that
	// Kube-OVN does not pick by itself, but grants when asked for.
	ExcludeIPs []string
	// V4Available and V6Available are status.v4availableIPs and
	// status.v6availableIPs, or what status.v4availableIPrange and
	// status.v6availableIPrange say about zero; Unreported if the status does
	// not say, or says zero before the Subnet is Ready.
	V4Available, V6Available float64
	// V4Using and V6Using are status.v4usingIPrange and status.v6usingIPrange:
	// what Kube-OVN's IPAM has given out, without what ExcludeIPs names. Nil if
	// the status does not say, and for switches of OVN.
	V4Using, V6Using Ranges
	// Pool is the annotation SubnetPool, AvoidBuggyIPs SubnetAvoidBuggyIPs.
	Pool, AvoidBuggyIPs string
}

// Using returns V4Using or V6Using.
func (s *Subnet) Using(v4 bool) Ranges {
	if v4 {
		return s.V4Using
	}
	return s.V6Using
}

// Unreported is the value of Subnet.V4Available and V6Available when the
// status holds no usable number.
const Unreported float64 = -1

// CIDR returns the Subnet's range of one family; false if it has none.
func (s *Subnet) CIDR(v4 bool) (netip.Prefix, bool) {
	for _, p := range s.CIDRs {
		if p.Addr().Is4() == v4 {
			return p, true
		}
	}
	return netip.Prefix{}, false
}

// Gateway returns the Subnet's router of one family; false if it has none.
func (s *Subnet) Gateway(v4 bool) (netip.Addr, bool) {
	for _, a := range s.Gateways {
		if a.Is4() == v4 {
			return a, true
		}
	}
	return netip.Addr{}, false
}

// Available returns V4Available or V6Available.
func (s *Subnet) Available(v4 bool) float64 {
	if v4 {
		return s.V4Available
	}
	return s.V6Available
}

// IsOVN reports whether the Subnet is a switch of OVN, so that its Pods are in
// a VPC. Of any other Subnet Kube-OVN only books the addresses.
func (s *Subnet) IsOVN() bool {
	return s.Provider == "" || s.Provider == "ovn" || strings.HasSuffix(s.Provider, ".ovn")
}

// Vip is what is reserved in Kube-OVN's IPAM, an address of each family of its
// Subnet, or the request for it.
type Vip struct {
	// ObjectMeta holds name, UID, resourceVersion, labels, finalizers and
	// timestamps; the rest of the metadata is not kept.
	metav1.ObjectMeta
	// Subnet is spec.subnet.
	Subnet string
	// WantV4 and WantV6 are spec.v4ip and spec.v6ip: what was asked for,
	// empty if Kube-OVN was to choose.
	WantV4, WantV6 string
	// V4, V6 and MAC are status.v4ip, status.v6ip and status.mac: what was
	// granted, empty if nothing was.
	V4, V6, MAC string
	// Restored is status.v4ip as it is written: what Kube-OVN books for the Vip
	// when kube-ovn-controller starts (init.go, InitIPAM), "v4", "v6" or "v4,v6".
	Restored string
	// Asked is the annotation AnnotationAsked.
	Asked string
	// Reminded is the annotation AnnotationReminded.
	Reminded string
}

// Granted reports whether Kube-OVN has given the Vip an address.
func (v *Vip) Granted() bool { return v.V4 != "" || v.V6 != "" }

// Addrs returns the addresses that the Vip was granted, however Kube-OVN
// spells them; what is no address of its family is none.
func (v *Vip) Addrs() Addrs {
	var out Addrs
	if a, err := netip.ParseAddr(v.V4); err == nil && a.Unmap().Is4() {
		out.V4 = a.Unmap()
	}
	if a, err := netip.ParseAddr(v.V6); err == nil && a.Unmap().Is6() {
		out.V6 = a
	}
	return out
}

// Lost returns those addresses of a Vip that the IPAM of its Subnet has not
// given out, as far as the Subnet's status tells: Kube-OVN forgets the IPv6
// address of a Vip when it restarts, unless Restored names it.
func (v *Vip) Lost(s *Subnet) Addrs {
	var out Addrs
	if v.Subnet != s.Name || v.DeletionTimestamp != nil {
		return out
	}
	for _, addr := range v.Addrs().All() {
		using := s.Using(addr.Is4())
		if using != nil && !using.Contains(addr) && !ParseRanges(s.ExcludeIPs).Contains(addr) {
			out = out.With(addr)
		}
	}
	return out
}

// IP is Kube-OVN's record of an address that a Pod or a node uses.
type IP struct {
	// ObjectMeta holds name, UID, resourceVersion and timestamps only: a
	// cluster has one IP for every interface of every Pod.
	metav1.ObjectMeta
	// PodName and PodNamespace say who uses the address; a node's record has
	// no PodNamespace.
	PodName, PodNamespace string
	// VirtualMachine is set if spec.podType says that PodName is the name of a
	// virtual machine, which goes from Pod to Pod and keeps its address.
	VirtualMachine bool
	// Subnet is spec.subnet.
	Subnet string
	// V4 and V6 are spec.v4IpAddress and spec.v6IpAddress.
	V4, V6 string
}

// IPPool is a part of a Subnet from which Kube-OVN gives addresses only to those
// who ask for it.
type IPPool struct {
	// ObjectMeta holds name, UID, resourceVersion and timestamps.
	metav1.ObjectMeta
	// Subnet is spec.subnet.
	Subnet string
	// IPs is what is well-formed in spec.ips.
	IPs Ranges
}

// NAD is a NetworkAttachmentDefinition of multus.
type NAD struct {
	// ObjectMeta holds name, namespace, UID, resourceVersion, labels,
	// annotations and timestamps.
	metav1.ObjectMeta
	// Config is spec.config, the CNI configuration as JSON; ParseNADConfig
	// reads it.
	Config string
}
