package loadbalancer

// ObjectName is the name of all objects that are made for a Service, in the
// Service's namespace. The guide promises it for the gateway Pods.
func ObjectName(service string) string { return "lb-svc-" + service }

const (
	// AnnotationDocumentHash on a running gateway Pod tells it, and so the
	// kubelet, that a document with this spec.Hash has been written.
	AnnotationDocumentHash = "kube-ovn.io/document-hash"
	// AnnotationNetworkHash on the Pod template makes new Pods when the
	// attachment's configuration changes: a CNI reads it once.
	AnnotationNetworkHash = "kube-ovn.io/network-hash"
	// LabelExcludeNode on a node asks that it carries no load balancer.
	LabelExcludeNode = "node.kubernetes.io/exclude-from-external-load-balancers"

	// AppName is the value of the label app.kubernetes.io/name of gateways,
	// and the name of their container.
	AppName = "lb-gateway"
	// Interface is the name of the attachment's interface in the gateway.
	Interface = "net1"
)
