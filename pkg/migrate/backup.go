package migrate

import (
	"encoding/json"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
	"github.com/kubeovn/kube-ovn-ccm/pkg/loadbalancer"
)

// LabelBackup is on the ConfigMaps that hold what was put aside of Kube-OVN's
// gateways. The labels of kube-ovn-ccm's own objects are not: those go with the
// load balancer, and this is what stays.
const LabelBackup = "kube-ovn.io/lb-svc-backup"

// backupKey is the key of the backup in its ConfigMap.
const backupKey = "backup.json"

// backupName is the name of a Service's backup. No Service has a dot in its name,
// so it is nobody's lb-svc-<service>.
func backupName(service string) string { return loadbalancer.ObjectName(service) + ".backup" }

// backup is what was put aside of Kube-OVN's gateway of a Service, so that it
// can be made again as it was.
type backup struct {
	// ServiceUID is the Service that it belongs to, and no later one of its name.
	ServiceUID types.UID `json:"serviceUID"`
	// Provider and Subnet are where the address is from.
	Provider string `json:"provider"`
	Subnet   string `json:"subnet"`
	// Addresses are those that the gateway had.
	Addresses string `json:"addresses"`
	// Deployment is Kube-OVN's, without what the API server adds.
	Deployment appsv1.Deployment `json:"deployment"`
}

// newBackup puts aside what there is to put aside.
func newBackup(o *observation) *backup {
	d := o.theirDeployment().DeepCopy()
	delete(d.Annotations, "deployment.kubernetes.io/revision")
	return &backup{
		ServiceUID: o.service.UID,
		Provider:   o.provider(),
		Subnet:     o.subnet.Name,
		Addresses:  o.addresses().String(),
		Deployment: appsv1.Deployment{
			ObjectMeta: metav1.ObjectMeta{Namespace: d.Namespace, Name: d.Name, Labels: d.Labels, Annotations: d.Annotations},
			Spec:       d.Spec,
		},
	}
}

func (b *backup) configMap(svc *corev1.Service) (*corev1.ConfigMap, error) {
	content, err := json.MarshalIndent(b, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("rendering the backup of Service %s/%s: %w", svc.Namespace, svc.Name, err)
	}
	return &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: svc.Namespace, Name: backupName(svc.Name),
			Labels: map[string]string{LabelBackup: "true"},
			OwnerReferences: []metav1.OwnerReference{
				{APIVersion: "v1", Kind: "Service", Name: svc.Name, UID: svc.UID},
			},
		},
		Data: map[string]string{backupKey: string(content)},
	}, nil
}

// readBackup reads a backup; nil if the ConfigMap holds none for this Service.
func readBackup(c *corev1.ConfigMap, svc *corev1.Service) (*backup, error) {
	var b backup
	if err := json.Unmarshal([]byte(c.Data[backupKey]), &b); err != nil {
		return nil, fmt.Errorf("ConfigMap %s/%s: %s: %w", c.Namespace, c.Name, backupKey, err)
	}
	if b.ServiceUID != svc.UID {
		return nil, nil
	}
	return &b, nil
}

// template is the Pod template of Kube-OVN's gateway as kube-ovn-controller
// would have it for the Service now, so that it changes nothing about it when its
// lb-svc is switched on again (service_lb.go updateLbSvcDeployment): an address is
// in it only if the Service names one.
func (b *backup) template(svc *corev1.Service) *corev1.PodTemplateSpec {
	t := b.Deployment.Spec.Template.DeepCopy()
	if t.Annotations == nil {
		t.Annotations = map[string]string{}
	}
	key := kubeovn.AnnotationKey(b.Provider, kubeovn.FieldIPAddress)
	delete(t.Annotations, key)
	if svc.Spec.LoadBalancerIP != "" {
		t.Annotations[key] = svc.Spec.LoadBalancerIP
	}
	return t
}
