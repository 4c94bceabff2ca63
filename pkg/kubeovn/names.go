// Package kubeovn holds the few types of Kube-OVN and multus that the
// load balancer reads and writes, and the names both projects use for them.
//
// The types are our own minimal ones over the dynamic client: Kube-OVN's API
// module cannot be imported without its replace directives, and a client that
// knows a part of an object must never write the whole of it. So what is read
// is decoded leniently, and what is written is created or deleted, never
// updated.
package kubeovn

import "k8s.io/apimachinery/pkg/runtime/schema"

// The resources of Kube-OVN (group kubeovn.io, all cluster-scoped) and multus.
var (
	SubnetResource = schema.GroupVersionResource{Group: "kubeovn.io", Version: "v1", Resource: "subnets"}
	VipResource    = schema.GroupVersionResource{Group: "kubeovn.io", Version: "v1", Resource: "vips"}
	IPResource     = schema.GroupVersionResource{Group: "kubeovn.io", Version: "v1", Resource: "ips"}
	IPPoolResource = schema.GroupVersionResource{Group: "kubeovn.io", Version: "v1", Resource: "ippools"}
	NADResource    = schema.GroupVersionResource{Group: "k8s.cni.cncf.io", Version: "v1", Resource: "network-attachment-definitions"}
)

// Annotations of Kube-OVN and multus.
const (
	// AttachmentProvider on a Service names the NetworkAttachmentDefinition,
	// "<name>.<namespace>", through which its load balancer is reached. The
	// guide requires it.
	AttachmentProvider = "ovn.kubernetes.io/attachmentprovider"
	// LogicalSwitch on a Pod names the Subnet of its primary interface.
	LogicalSwitch = "ovn.kubernetes.io/logical_switch"
	// Networks on a Pod lists its additional interfaces for multus.
	Networks = "k8s.v1.cni.cncf.io/networks"
)

// Annotations of ours on a Subnet, set by whoever runs it.
const (
	// SubnetPool names the IPPool from which Services get the addresses of the
	// Subnet that do not name one themselves.
	SubnetPool = "kube-ovn.io/lb-ippool"
	// SubnetAvoidBuggyIPs, "true" or "false", says whether Services are given
	// IPv4 addresses that end in .0 or .255, instead of the cloud-config.
	SubnetAvoidBuggyIPs = "kube-ovn.io/avoid-buggy-ips"
)

// AnnotationKey returns the annotation that Kube-OVN uses for a field of one
// attachment: AnnotationKey("nad.ns", "logical_switch") is
// "nad.ns.kubernetes.io/logical_switch".
func AnnotationKey(provider, field string) string {
	return provider + ".kubernetes.io/" + field
}

// The fields of AnnotationKey.
const (
	FieldAllocated     = "allocated"
	FieldCIDR          = "cidr"
	FieldGateway       = "gateway"
	FieldIPAddress     = "ip_address"
	FieldIPPool        = "ip_pool"
	FieldLogicalSwitch = "logical_switch"
	FieldMACAddress    = "mac_address"
	FieldPodNICType    = "pod_nic_type"
)
