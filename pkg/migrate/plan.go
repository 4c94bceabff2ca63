package migrate

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
	"github.com/kubeovn/kube-ovn-ccm/pkg/loadbalancer"
)

// entry is what the plan says about one Service.
type entry struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	// Addresses are those that the Service keeps.
	Addresses string `json:"addresses"`
	// Source says where the address comes from.
	Source string `json:"source"`
	Subnet string `json:"subnet"`
	// Pod and Node are where the Service is served now.
	Pod  string `json:"pod"`
	Node string `json:"node"`
	// Action says what will be done; "none" if nothing.
	Action string `json:"action"`
	// Obstacles keep the Service from being moved.
	Obstacles []string `json:"obstacles,omitempty"`
	// Notes are worth knowing and keep nothing from being done.
	Notes []string `json:"notes,omitempty"`
}

func (e entry) key() string { return e.Namespace + "/" + e.Name }

// nothing is the Action of a Service for which there is nothing to do.
const nothing = "none"

// surroundings are what a Service's plan depends on beside the Service.
type surroundings struct {
	// subnets are those whose provider is the Service's attachment.
	subnets []*kubeovn.Subnet
	// nad is the attachment; nil if there is none.
	nad *kubeovn.NAD
	// holders says who but the Service's own gateway has an address.
	holders func(subnet string, addr netip.Addr) []string
	// foreign are objects of others at the names of ours.
	foreign []string
	// refused is why the namespace does not admit a gateway Pod; empty: it does.
	refused string
	// lost are the nodes of the gateways' Pods that are not ready.
	lost []string
}

// planForward plans the move to kube-ovn-ccm.
func planForward(o *observation, s surroundings) entry {
	e := describe(o)
	switch {
	case o.theirDeployment() == nil && o.backup == nil && len(o.theirs.pods) == 0:
		e.Action = nothing
		return e
	case o.phase() == loadbalancer.GivingBack:
		e.Action = "finish the move back with --rollback first"
		e.Obstacles = []string{"it is on its way back to Kube-OVN"}
		return e
	case o.backup != nil && forward(o).act == actDone:
		e.Action = nothing
		e.Notes = append(e.Notes, "moved; --rollback takes it back")
		return e
	case o.backup != nil && len(o.theirs.pods) == 0:
		e.Action = "finish the move"
		return e
	case o.backup != nil:
		e.Action = "go on with the move"
	default:
		e.Action = "move to kube-ovn-ccm"
	}
	e.Obstacles = append(e.Obstacles, obstaclesInService(o)...)
	e.Obstacles = append(e.Obstacles, obstaclesInAddress(o, s)...)
	e.Obstacles = append(e.Obstacles, obstaclesAround(o, s)...)
	for _, port := range o.service.Spec.Ports {
		if target := theirTarget(port); target != int(port.Port) {
			e.Notes = append(e.Notes, fmt.Sprintf("port %d goes nowhere with Kube-OVN's gateway, which sends to %d of the cluster IP; it will work", port.Port, target))
		}
	}
	return e
}

// describe says what there is.
func describe(o *observation) entry {
	e := entry{Namespace: o.service.Namespace, Name: o.service.Name, Addresses: o.addresses().String()}
	if o.subnet != nil {
		e.Subnet = o.subnet.Name
	}
	template := ""
	if d := o.theirDeployment(); d != nil {
		template = d.Spec.Template.Annotations[kubeovn.AnnotationKey(o.provider(), kubeovn.FieldIPAddress)]
	}
	switch {
	case o.service.Spec.LoadBalancerIP != "":
		e.Source = "spec.loadBalancerIP"
	case template != "":
		e.Source = "the Deployment's annotation"
	default:
		e.Source = "dynamic"
	}
	if o.vip != nil && o.vip.Granted() {
		e.Source += ", Vip " + o.vip.Name
	}
	pods := o.theirs.pods
	if len(pods) == 0 {
		pods = o.ours.pods
	}
	if len(pods) > 0 {
		e.Pod, e.Node = pods[0].Name, pods[0].Spec.NodeName
	}
	return e
}

// obstaclesInService are what is wrong with the Service or with Kube-OVN's
// gateway of it.
func obstaclesInService(o *observation) (out []string) {
	svc := o.service
	if svc.DeletionTimestamp != nil {
		out = append(out, "the Service is being deleted")
	}
	if svc.Spec.Type != corev1.ServiceTypeLoadBalancer {
		out = append(out, fmt.Sprintf("the Service is of type %s by now: delete Deployment %s", svc.Spec.Type, loadbalancer.ObjectName(svc.Name)))
	}
	if class := svc.Spec.LoadBalancerClass; class != nil && *class != loadbalancer.Class {
		out = append(out, fmt.Sprintf("spec.loadBalancerClass is %s, so kube-ovn-ccm would not serve it", *class))
	}
	if o.backup == nil && o.theirDeployment() == nil {
		out = append(out, fmt.Sprintf("Kube-OVN's gateway Pod has no Deployment %s, and there is no backup of one: a leftover that nobody can take back; delete the Pod", loadbalancer.ObjectName(svc.Name)))
	}
	switch pod := o.theirPod(); {
	case pod == nil:
		out = append(out, fmt.Sprintf("Kube-OVN's gateway has %d Pods and must have one", len(o.theirs.pods)))
	case !running(pod):
		out = append(out, fmt.Sprintf("Kube-OVN's gateway Pod %s does not run: see why (kubectl describe pod), "+
			"or delete Deployment %s, and kube-ovn-ccm takes the Service on", pod.Name, loadbalancer.ObjectName(svc.Name)))
	}
	return out
}

// obstaclesInAddress are where the address is not surely the Service's.
func obstaclesInAddress(o *observation, s surroundings) (out []string) {
	addrs := o.addresses()
	if addrs.IsZero() {
		return []string{"the Service has no address: wait until Kube-OVN has given it one, or delete Kube-OVN's Deployment"}
	}
	if addrs.V6.IsValid() {
		return []string{fmt.Sprintf("Kube-OVN's gateway does not work with %s, of which one is IPv6, so there is nothing to keep: delete Deployment %s, and kube-ovn-ccm takes the Service on",
			addrs, loadbalancer.ObjectName(o.service.Name))}
	}
	for _, said := range []struct {
		who    string
		addrs  kubeovn.Addrs
		remedy string
	}{
		{"the Service's status", o.published(), "switch Kube-OVN's lb-svc on until it shows the gateway's address"},
		{"the gateway Pod's annotation", o.annotated(), "delete the Pod"},
		{"Kube-OVN's record of the Pod", o.recorded(), "restart kube-ovn-controller, which writes it anew"},
	} {
		if said.addrs != addrs {
			what := said.addrs.String()
			if what == "" {
				what = "no address"
			}
			out = append(out, fmt.Sprintf("%s has %s, and not %s: %s", said.who, what, addrs, said.remedy))
		}
	}
	if o.vip != nil && o.vip.Granted() && o.vip.Addrs() != addrs {
		out = append(out, fmt.Sprintf("Vip %s holds %s for the Service: delete it", o.vip.Name, o.vip.Addrs()))
	}
	subnets := s.subnets // of one of which the address is
	if o.subnet != nil {
		subnets = []*kubeovn.Subnet{o.subnet}
	} else {
		out = append(out, "Kube-OVN does not say of which Subnet the address is")
	}
	for _, addr := range addrs.All() {
		if o.subnet != nil && !contains(o.subnet, addr) {
			out = append(out, fmt.Sprintf("%s is not in Subnet %s", addr, o.subnet.Name))
		}
		for _, subnet := range subnets {
			for _, who := range s.holders(subnet.Name, addr) {
				out = append(out, fmt.Sprintf("%s is held by %s, too: delete that, or have it take another address", addr, who))
			}
		}
	}
	return out
}

// contains reports whether an address is in a Subnet's range.
func contains(s *kubeovn.Subnet, addr netip.Addr) bool {
	cidr, ok := s.CIDR(addr.Is4())
	return ok && cidr.Contains(addr)
}

// obstaclesAround are what would keep kube-ovn-ccm from serving the Service.
func obstaclesAround(o *observation, s surroundings) (out []string) {
	if s.nad == nil {
		out = append(out, fmt.Sprintf("there is no NetworkAttachmentDefinition %s", o.provider()))
	} else if _, err := kubeovn.ParseNADConfig(s.nad.Config); err != nil {
		out = append(out, fmt.Sprintf("NetworkAttachmentDefinition %s: %v", o.provider(), err))
	}
	named := strings.TrimSpace(o.service.Annotations[kubeovn.AnnotationKey(o.provider(), kubeovn.FieldLogicalSwitch)])
	switch {
	case o.subnet == nil:
	case named != "" && named != o.subnet.Name:
		out = append(out, fmt.Sprintf("the Service names Subnet %s, and its address is of Subnet %s", named, o.subnet.Name))
	case named == "" && len(s.subnets) > 1:
		names := make([]string, len(s.subnets))
		for i, subnet := range s.subnets {
			names[i] = subnet.Name
		}
		slices.Sort(names)
		out = append(out, fmt.Sprintf("several Subnets have the provider %s (%s): set the Service's annotation %s to %s",
			o.provider(), strings.Join(names, ", "), kubeovn.AnnotationKey(o.provider(), kubeovn.FieldLogicalSwitch), o.subnet.Name))
	}
	for _, object := range s.foreign {
		out = append(out, object+" is somebody else's, and its name is needed for the gateway: delete or rename it")
	}
	if s.refused != "" {
		out = append(out, "the namespace does not admit a gateway Pod: "+s.refused)
	}
	if o.subnet != nil {
		if refusal := loadbalancer.Refusal(o.service, o.subnet); refusal != "" {
			out = append(out, "kube-ovn-ccm would not serve it: "+refusal)
		}
	}
	return append(out, s.onLostNodes(o.theirs, "Kube-OVN's")...)
}

// onLostNodes are the Pods of a gateway that cannot be ended where they are: what
// answers for the address there cannot be known.
func (s surroundings) onLostNodes(g gateway, whose string) (out []string) {
	for _, pod := range g.pods {
		if slices.Contains(s.lost, pod.Spec.NodeName) {
			out = append(out, fmt.Sprintf("node %s of %s gateway Pod is not ready: the Pod cannot be ended there; bring the node back, or delete the Node if it is gone for good", pod.Spec.NodeName, whose))
		}
	}
	return out
}

// planBack plans the move back to Kube-OVN.
func planBack(o *observation, s surroundings) entry {
	e := describe(o)
	if o.backup == nil {
		e.Action = nothing
		return e
	}
	e.Obstacles = append(s.onLostNodes(o.ours, "our"), s.onLostNodes(o.theirs, "Kube-OVN's")...)
	if p := o.phase(); p == loadbalancer.GivingBack || p == loadbalancer.GivenBack {
		e.Action = "go on with the move back"
		return e
	}
	e.Action = "move back to Kube-OVN"
	if o.service.DeletionTimestamp != nil {
		e.Obstacles = append(e.Obstacles, "the Service is being deleted")
	}
	if o.addresses().IsZero() || o.subnet == nil {
		e.Obstacles = append(e.Obstacles, "the Service has no address")
	} else if _, v6 := o.subnet.CIDR(false); v6 {
		e.Obstacles = append(e.Obstacles, fmt.Sprintf("Subnet %s has IPv6, too, and Kube-OVN's gateway does not work with addresses of both", o.subnet.Name))
	}
	if o.backup.Provider != o.provider() {
		e.Obstacles = append(e.Obstacles, fmt.Sprintf("its attachment was %s and is %s by now: Kube-OVN's former gateway does not fit", o.backup.Provider, o.provider()))
	}
	if s.nad == nil {
		e.Obstacles = append(e.Obstacles, fmt.Sprintf("there is no NetworkAttachmentDefinition %s", o.provider()))
	} else if hasIPAM(s.nad.Config) {
		e.Notes = append(e.Notes, "the attachment has an ipam, which puts the address on when the Pod starts: two gateways have it for a moment")
	}
	for _, port := range o.service.Spec.Ports {
		if target := theirTarget(port); target != int(port.Port) {
			e.Notes = append(e.Notes, fmt.Sprintf("port %d will go nowhere: Kube-OVN's gateway sends to %d of the cluster IP", port.Port, target))
		}
	}
	return e
}
