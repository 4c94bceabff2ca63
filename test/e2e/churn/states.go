package churn

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
)

// The kinds that hold addresses.
const (
	kindVip     = "Vip"
	kindIP      = "IP"
	kindPod     = "Pod"
	kindService = "Service"
	kindSubnet  = "Subnet"
)

// Scope is what is looked at: the attachments "<nad>.<namespace>" and their Subnets.
type Scope struct{ Providers, Subnets []string }

// state reads what an object holds; false if it is none of those that are looked at.
//
// An object that is being deleted holds nothing: Kube-OVN gives the addresses of Vips and Pods back from then on. Neither
// does a Pod that waits for its address, though its annotation may ask for one, nor an IP whose Pod does: Kube-OVN writes
// the IP first, and may be killed in between.
func (scope Scope) state(u *unstructured.Unstructured, gone bool, seen time.Time) (State, bool) {
	s := State{Seen: seen, Object: u.GetKind() + " " + u.GetName()}
	s.Rev = revision(u.GetResourceVersion())
	s.Holder = s.Object
	var texts []string
	known := false
	switch u.GetKind() {
	case kindVip:
		known = slices.Contains(scope.Subnets, text(u, "spec", "subnet"))
		texts = []string{text(u, "status", "v4ip"), text(u, "status", "v6ip")}
	case kindIP:
		pod := kindPod + " " + text(u, "spec", "namespace") + "/" + text(u, "spec", "podName")
		known = slices.Contains(scope.Subnets, text(u, "spec", "subnet"))
		s.Holder, s.While = pod, pod
		texts = []string{text(u, "spec", "v4IpAddress"), text(u, "spec", "v6IpAddress")}
	case kindPod:
		s.Object = kindPod + " " + u.GetNamespace() + "/" + u.GetName()
		s.Holder = s.Object
		for _, p := range scope.Providers {
			if u.GetAnnotations()[kubeovn.AnnotationKey(p, kubeovn.FieldAllocated)] == "true" {
				known = true
				texts = append(texts, u.GetAnnotations()[kubeovn.AnnotationKey(p, kubeovn.FieldIPAddress)])
			}
		}
		phase := text(u, "status", "phase")
		gone = gone || phase == "Succeeded" || phase == "Failed"
	case kindService:
		s.Object = kindService + " " + u.GetNamespace() + "/" + u.GetName()
		s.Holder = serviceHolder(u.GetNamespace(), u.GetName(), string(u.GetUID()))
		known = slices.Contains(scope.Providers, u.GetAnnotations()[kubeovn.AttachmentProvider])
		texts = ingress(u)
	}
	if owner, ours := kubeovn.OwnerOf(u); ours {
		s.Holder = serviceHolder(owner.Namespace, owner.Name, string(owner.UID))
	}
	if gone || u.GetDeletionTimestamp() != nil {
		return s, known
	}
	s.Addrs = addresses(texts...)
	return s, known
}

func serviceHolder(namespace, name, uid string) string {
	return fmt.Sprintf("Service %s/%s (%.8s)", namespace, name, uid)
}

// ingress are the addresses that a Service shows.
func ingress(u *unstructured.Unstructured) []string {
	list, _, _ := unstructured.NestedSlice(u.Object, "status", "loadBalancer", "ingress")
	var out []string
	for _, in := range list {
		if m, ok := in.(map[string]any); ok {
			ip, _ := m["ip"].(string)
			out = append(out, ip)
		}
	}
	return out
}

// addresses reads lists with commas; what is no address is left out.
func addresses(texts ...string) []netip.Addr {
	var out []netip.Addr
	for _, t := range texts {
		for part := range strings.SplitSeq(t, ",") {
			if a, err := netip.ParseAddr(strings.TrimSpace(part)); err == nil {
				out = append(out, a.Unmap())
			}
		}
	}
	return out
}

func text(u *unstructured.Unstructured, path ...string) string {
	s, _, _ := unstructured.NestedString(u.Object, path...)
	return s
}
