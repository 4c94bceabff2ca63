package migrate

import (
	"net/netip"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
	"github.com/kubeovn/kube-ovn-ccm/pkg/lbsvc"
	"github.com/kubeovn/kube-ovn-ccm/pkg/loadbalancer"
)

// observation is what the API server says of one Service and its two gateways.
// Everything is decided from it, so that a run that was killed is finished by
// the next.
type observation struct {
	service *corev1.Service
	// deployment stands at the name that both gateways use, whosever it is.
	deployment *appsv1.Deployment
	theirs     gateway // Kube-OVN's
	ours       gateway
	// backup is what was put aside of Kube-OVN's gateway; nil if nothing was.
	backup *backup
	vip    *kubeovn.Vip // of ours; nil: there is none
	// record is Kube-OVN's record of the address of its gateway Pod.
	record *kubeovn.IP
	// subnet is where the address is from; nil if that is not known.
	subnet *kubeovn.Subnet
	// fences are the addresses that were added to the Subnet's excludeIps.
	fences fences
	// leftovers are the names of ConfigMaps and NetworkAttachmentDefinitions of
	// ours.
	leftovers []string
	// agent is what the agent in our gateway Pod says; nil if it was not asked
	// or does not answer.
	agent *agentStatus
}

// gateway is what there is of a Service's gateway beside the Deployment.
type gateway struct {
	sets []*appsv1.ReplicaSet
	// pods are those that have not ended.
	pods []*corev1.Pod
}

// agentStatus is what "lb-gateway status" prints, as far as it is needed here.
type agentStatus struct {
	Serving bool           `json:"serving"`
	Awaited []netip.Prefix `json:"awaited"`
	Reason  string         `json:"reason"`
}

// isTheirs reports whether a Pod, or a Pod template, is that of Kube-OVN's
// gateway of a Service.
func isTheirs(meta metav1.ObjectMeta, spec corev1.PodSpec, svc *corev1.Service) bool {
	name, theirs := lbsvc.ServiceOf(svc.Namespace, meta, spec)
	return theirs && name == svc.Name
}

// isOurs reports whether an object was made by kube-ovn-ccm for a Service.
func isOurs(obj metav1.Object, svc *corev1.Service) bool {
	owner, ours := kubeovn.OwnerOf(obj)
	return ours && owner.UID == svc.UID
}

// theirDeployment is the Deployment if it is Kube-OVN's.
func (o *observation) theirDeployment() *appsv1.Deployment {
	if o.deployment == nil {
		return nil
	}
	if t := o.deployment.Spec.Template; !isTheirs(t.ObjectMeta, t.Spec, o.service) {
		return nil
	}
	return o.deployment
}

// ourDeployment is the Deployment if it is kube-ovn-ccm's.
func (o *observation) ourDeployment() *appsv1.Deployment {
	if o.deployment != nil && isOurs(o.deployment, o.service) {
		return o.deployment
	}
	return nil
}

// theirPod is Kube-OVN's gateway Pod; nil if there is none, or not exactly one.
func (o *observation) theirPod() *corev1.Pod {
	if len(o.theirs.pods) != 1 {
		return nil
	}
	return o.theirs.pods[0]
}

// ourPod is the Pod of our gateway that stays; nil if there is none, or not
// exactly one. On a node that is lost one may end for a long time.
func (o *observation) ourPod() *corev1.Pod {
	var stays []*corev1.Pod
	for _, pod := range o.ours.pods {
		if pod.DeletionTimestamp == nil {
			stays = append(stays, pod)
		}
	}
	if len(stays) != 1 {
		return nil
	}
	return stays[0]
}

func (o *observation) provider() string { return o.service.Annotations[kubeovn.AttachmentProvider] }

// annotated are the addresses that Kube-OVN has written on its gateway Pod.
func (o *observation) annotated() kubeovn.Addrs {
	pod := o.theirPod()
	if pod == nil {
		return kubeovn.Addrs{}
	}
	addrs, _ := kubeovn.ParseAddrs(pod.Annotations[kubeovn.AnnotationKey(o.provider(), kubeovn.FieldIPAddress)])
	return addrs
}

// recorded are the addresses in Kube-OVN's record of its gateway Pod.
func (o *observation) recorded() kubeovn.Addrs {
	if o.record == nil {
		return kubeovn.Addrs{}
	}
	var addrs kubeovn.Addrs
	for _, text := range []string{o.record.V4, o.record.V6} {
		if addr, err := netip.ParseAddr(text); err == nil {
			addrs = addrs.With(addr)
		}
	}
	return addrs
}

// published are the addresses that the Service shows.
func (o *observation) published() kubeovn.Addrs {
	var addrs kubeovn.Addrs
	for _, ingress := range o.service.Status.LoadBalancer.Ingress {
		if addr, err := netip.ParseAddr(ingress.IP); err == nil {
			addrs = addrs.With(addr)
		}
	}
	return addrs
}

// addresses are those that the Service keeps through the move, whoever holds
// them now.
func (o *observation) addresses() kubeovn.Addrs {
	marked, err := kubeovn.ParseAddrs(loadbalancer.MigrationOf(o.service).Addresses)
	switch {
	case err == nil && !marked.IsZero():
		return marked
	case o.vip != nil && o.vip.Granted():
		return o.vip.Addrs()
	case !o.recorded().IsZero():
		return o.recorded()
	case o.backup != nil:
		addrs, _ := kubeovn.ParseAddrs(o.backup.Addresses)
		return addrs
	}
	return o.annotated()
}

func (o *observation) phase() loadbalancer.Phase { return loadbalancer.MigrationOf(o.service).Phase }

// fenced reports whether random allocation cannot take the addresses, so that
// they may be free for a moment.
func (o *observation) fenced() bool {
	return !slices.ContainsFunc(o.addresses().All(), func(addr netip.Addr) bool { return !excludes(o.subnet, addr) })
}

func running(pod *corev1.Pod) bool {
	if pod.DeletionTimestamp != nil || pod.Status.Phase != corev1.PodRunning {
		return false
	}
	return !slices.ContainsFunc(pod.Status.ContainerStatuses, func(c corev1.ContainerStatus) bool { return c.State.Running == nil })
}

func ready(pod *corev1.Pod) bool {
	return pod.DeletionTimestamp == nil && slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}
