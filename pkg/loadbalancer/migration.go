package loadbalancer

import (
	"encoding/json"

	corev1 "k8s.io/api/core/v1"

	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
)

// AnnotationMigration on a Service says how far its move between Kube-OVN's
// own load balancer and this one is: a Migration as JSON. "kube-ovn-ccm migrate"
// writes it.
const AnnotationMigration = "kube-ovn.io/lb-svc-migration"

// Phase is how far the move of a Service is, as far as it matters to the
// controller.
type Phase string

const (
	// TakingOver means that Kube-OVN's gateway Pod still has the address. Our
	// gateway is made ready beside it.
	TakingOver Phase = "TakingOver"
	// GivingBack means that everything made for the Service is somebody else's
	// business now: nothing is changed, nothing removed.
	GivingBack Phase = "GivingBack"
	// GivenBack means that Kube-OVN's gateway serves: what is left of ours goes,
	// and the Service is left alone from then on.
	GivenBack Phase = "GivenBack"
)

// Migration is the content of AnnotationMigration.
type Migration struct {
	Phase Phase `json:"phase"`
	// Pod is Kube-OVN's gateway Pod, in the Service's namespace, that is about to
	// hand its addresses over. Only in phase TakingOver.
	Pod string `json:"pod,omitempty"`
	// Addresses are those that the Service keeps, "v4", "v6" or "v4,v6".
	Addresses string `json:"addresses,omitempty"`
}

// String renders the annotation.
func (m Migration) String() string {
	b, err := json.Marshal(m)
	if err != nil {
		panic(err) // strings always marshal
	}
	return string(b)
}

// MigrationOf reads the annotation of a Service; the zero Migration if there is
// none, or none that can be read.
func MigrationOf(svc *corev1.Service) (m Migration) {
	if err := json.Unmarshal([]byte(svc.Annotations[AnnotationMigration]), &m); err != nil {
		return Migration{}
	}
	return m
}

// GoesBack reports whether a Service is being given back to Kube-OVN just now,
// so that nothing is to be done for it nor against it. One that is being
// deleted is not: its load balancer is cleaned up.
func GoesBack(svc *corev1.Service) bool {
	return svc.DeletionTimestamp == nil && MigrationOf(svc).Phase == GivingBack
}

// LeftAlone reports whether a Service is Kube-OVN's again, or about to be.
func LeftAlone(svc *corev1.Service) bool {
	return GoesBack(svc) || svc.DeletionTimestamp == nil && MigrationOf(svc).Phase == GivenBack
}

// handover is what Kube-OVN's gateway Pod is about to hand over.
type handover struct {
	pod       string
	addresses kubeovn.Addrs
}

// handoverOf reads what is about to be handed over to a Service's gateway.
func handoverOf(svc *corev1.Service) (h handover, ok bool) {
	m := MigrationOf(svc)
	addresses, err := kubeovn.ParseAddrs(m.Addresses)
	if m.Phase != TakingOver || m.Pod == "" || err != nil || addresses.IsZero() {
		return handover{}, false
	}
	return handover{pod: m.Pod, addresses: addresses}, true
}
