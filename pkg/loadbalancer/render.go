package loadbalancer

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	applycore "k8s.io/client-go/applyconfigurations/core/v1"
	applymeta "k8s.io/client-go/applyconfigurations/meta/v1"

	"github.com/kubeovn/kube-ovn-ccm/pkg/gateway/spec"
	"github.com/kubeovn/kube-ovn-ccm/pkg/ipam"
	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
)

// gateway is everything that the objects of one Service's gateway say.
type gateway struct {
	owner  kubeovn.Owner
	config GatewayConfig
	// provider is "<nad>.<namespace>" of the attachment that the Service names.
	provider string
	subnet   string
	network  network
	// address is the granted address with the prefix length of its Subnet.
	address   netip.Prefix
	mac       string
	router    netip.Addr
	clusterIP netip.Addr
	ports     []spec.Port
}

func newGateway(w *world, c choice, reserved ipam.Result) *gateway {
	cidr, _ := c.subnet.CIDR(true)
	router, _ := c.subnet.Gateway(true)
	return &gateway{
		owner:     w.owner,
		config:    w.config.Gateway,
		provider:  c.attachment.Provider(),
		subnet:    c.subnet.Name,
		network:   c.network,
		address:   netip.PrefixFrom(reserved.Addrs.V4, cidr.Bits()),
		mac:       macOf(w, c, reserved),
		router:    router,
		clusterIP: c.clusterIP,
		ports:     portsOf(w.service),
	}
}

// macOf returns the hardware address that the Pod's annotations show. It is for
// readers only, so a Vip that was deleted and made anew with the same address,
// and another hardware address, does not replace a serving Pod.
func macOf(w *world, c choice, reserved ipam.Result) string {
	if w.deployment != nil {
		annotations := w.deployment.Spec.Template.Annotations
		if mac := annotations[kubeovn.AnnotationKey(c.attachment.Provider(), kubeovn.FieldMACAddress)]; mac != "" && madeWith(annotations, c, reserved.Addrs.V4) {
			return mac
		}
	}
	return reserved.MAC
}

// portsOf returns the ports of a Service in an order that does not depend on
// how they are listed. The target ports do not matter: the cluster IP has them.
func portsOf(svc *corev1.Service) []spec.Port {
	ports := make([]spec.Port, 0, len(svc.Spec.Ports))
	for _, p := range svc.Spec.Ports {
		protocol := spec.Protocol(p.Protocol)
		if protocol == "" {
			protocol = spec.TCP
		}
		ports = append(ports, spec.Port{Protocol: protocol, Port: uint16(p.Port)}) // the API server admits 1 to 65535
	}
	slices.SortFunc(ports, func(a, b spec.Port) int {
		return cmp.Or(cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.Port, b.Port))
	})
	return ports
}

// name is the name of all three objects.
func (g *gateway) name() string { return ObjectName(g.owner.Name) }

// labels are the labels of all three objects and of the Pods.
func (g *gateway) labels() map[string]string {
	l := g.owner.Labels()
	l[kubeovn.LabelName] = AppName
	return l
}

// ownerReference lets the garbage collector help if the Service goes without
// us. It blocks nobody's deletion: the order is ours.
func (g *gateway) ownerReference() *applymeta.OwnerReferenceApplyConfiguration {
	return applymeta.OwnerReference().WithAPIVersion("v1").WithKind("Service").WithName(g.owner.Name).WithUID(g.owner.UID)
}

// document renders what the gateway's agent is told, and names it.
func (g *gateway) document() (document, hash string, err error) {
	d := spec.Document{
		Version:   spec.Version,
		Service:   spec.ServiceRef{Namespace: g.owner.Namespace, Name: g.owner.Name, UID: string(g.owner.UID)},
		Interface: Interface,
		Families:  []spec.Family{{Address: g.address, Gateway: g.router, ClusterIP: g.clusterIP}},
		Target:    spec.TargetClusterIP,
		Ports:     g.ports,
	}
	if err := d.Validate(); err != nil {
		return "", "", fmt.Errorf("gateway document: %w", err)
	}
	b, err := d.Marshal()
	if err != nil {
		return "", "", err
	}
	return string(b), spec.Hash(b), nil
}

func (g *gateway) configMap(document string) *applycore.ConfigMapApplyConfiguration {
	return applycore.ConfigMap(g.name(), g.owner.Namespace).
		WithLabels(g.labels()).
		WithOwnerReferences(g.ownerReference()).
		WithData(map[string]string{spec.ConfigMapKey: document})
}

// attachment renders the NetworkAttachmentDefinition of the gateway: the one
// that the Service names, without ipam. No Subnet has it as provider, so no
// version of Kube-OVN gives such a Pod an address of its own.
func (g *gateway) attachment() *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": kubeovn.NADResource.GroupVersion().String(),
		"kind":       "NetworkAttachmentDefinition",
		"metadata": map[string]any{
			"name":      g.name(),
			"namespace": g.owner.Namespace,
			"labels":    anyMap(g.labels()),
			"ownerReferences": []any{map[string]any{
				"apiVersion": "v1", "kind": "Service", "name": g.owner.Name, "uid": string(g.owner.UID),
			}},
		},
		"spec": map[string]any{"config": g.network.Bare},
	}}
}

func anyMap(m map[string]string) map[string]any {
	out := make(map[string]any, len(m))
	for k, v := range m {
		out[k] = v
	}
	return out
}
