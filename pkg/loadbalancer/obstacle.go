package loadbalancer

import (
	"reflect"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
)

// place is where an object made for the Service belongs, and what stands there.
type place struct {
	kind   string
	object metav1.Object // nil if nothing does
}

// places lists what stands at the places of the Service's objects.
func (w *world) places() []place {
	places := []place{{"Deployment", w.deployment}, {"ConfigMap", w.configMap}, {"NetworkAttachmentDefinition", w.nad}}
	for i := range places {
		if reflect.ValueOf(places[i].object).IsNil() {
			places[i].object = nil
		}
	}
	return places
}

// incomplete reports whether something is yet to be created for the Service.
func (w *world) incomplete() bool {
	return w.deployment == nil || w.configMap == nil || w.nad == nil || w.vip == nil
}

// madeFor returns the UID of the Service that an object was made for; false if
// it is not one of ours. Should somebody have taken our labels off, the owner
// reference still tells.
func madeFor(obj metav1.Object) (types.UID, bool) {
	if owner, ours := kubeovn.OwnerOf(obj); ours {
		return owner.UID, true
	}
	for _, entry := range obj.GetManagedFields() {
		if entry.Manager != kubeovn.ManagedBy {
			continue
		}
		for _, ref := range obj.GetOwnerReferences() {
			if ref.Kind == "Service" {
				return ref.UID, true
			}
		}
	}
	return "", false
}

// obstacles looks at what stands at the places of the Service's objects: an
// object of somebody else stays untouched and is a Problem; one made for an
// earlier Service of the same name is to be removed; one that is being deleted
// is awaited.
func obstacles(w *world) (remove []place, wait string, problem *Problem) {
	_, handing := handoverOf(w.service)
	for _, p := range w.places() {
		if p.object == nil {
			continue
		}
		uid, ours := madeFor(p.object)
		switch {
		case !ours && p.kind == "Deployment" && handing:
			wait = "the end of Kube-OVN's Deployment"
		case !ours && p.kind == "Deployment":
			return nil, "", foreignGateway(w.owner.Namespace, p.object.GetName())
		case !ours:
			return nil, "", problemf("ForeignObject",
				"%s %s in namespace %s is not kube-ovn-ccm's, and its name is needed for the Service's gateway: delete or rename it",
				p.kind, p.object.GetName(), w.owner.Namespace)
		case p.object.GetDeletionTimestamp() != nil:
			wait = "the end of " + p.kind + " " + p.object.GetName()
		case uid != w.owner.UID:
			remove = append(remove, p)
			wait = "the end of an earlier Service's " + p.kind
		}
	}
	return remove, wait, nil
}
