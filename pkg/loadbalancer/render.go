package loadbalancer

import (
	"fmt"
	"net/netip"
	"strings"

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
	// held are the addresses that the Service's Vip holds, with their ranges
	// and routers: all families of the Subnet.
	held    kubeovn.Addrs
	ranges  string
	routers string
	mac     string
	// families are those in which the Service is served.
	families   []spec.Family
	forwarding forwarding
	placement  placement
	ports      []spec.Port
	// paused keeps the Deployment from replacing its Pod.
	paused bool
}

func newGateway(w *world, c choice, reserved ipam.Result) *gateway {
	g := &gateway{
		owner:      w.owner,
		config:     w.config.Gateway,
		provider:   c.attachment.Provider(),
		subnet:     c.subnet.Name,
		network:    c.network,
		held:       reserved.Addrs,
		mac:        macOf(w, c, reserved),
		forwarding: c.forwarding,
		placement:  c.placement,
		paused:     w.holds(),
	}
	var ranges, routers []string
	for _, addr := range reserved.Addrs.All() {
		cidr, _ := c.subnet.CIDR(addr.Is4())
		router, known := c.subnet.Gateway(addr.Is4())
		ranges = append(ranges, cidr.String())
		if known {
			routers = append(routers, router.String())
		}
		if c.served.Of(addr.Is4()) {
			g.families = append(g.families, spec.Family{
				Address: netip.PrefixFrom(addr, cidr.Bits()), Gateway: router, ClusterIP: c.clusterIPs.Of(addr.Is4()),
			})
		}
	}
	g.ranges, g.routers = strings.Join(ranges, ","), strings.Join(routers, ",")
	return g
}

// macOf returns the hardware address that the Pod's annotations show. It is for
// readers only, so a Vip that was deleted and made anew with the same address,
// and another hardware address, does not replace a serving Pod; nor does one that
// was made after it.
func macOf(w *world, c choice, reserved ipam.Result) string {
	if w.deployment != nil {
		annotations := w.madeAs()
		if made, _ := madeWith(annotations, c); made == reserved.Addrs {
			return annotations[kubeovn.AnnotationKey(c.attachment.Provider(), kubeovn.FieldMACAddress)]
		}
	}
	return reserved.MAC
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
		Version:         spec.Version,
		Service:         spec.ServiceRef{Namespace: g.owner.Namespace, Name: g.owner.Name, UID: string(g.owner.UID)},
		Interface:       Interface,
		Families:        g.families,
		Target:          g.forwarding.target,
		Ports:           g.ports,
		SourceRanges:    g.forwarding.sourceRanges,
		AffinitySeconds: g.forwarding.affinitySeconds,
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
