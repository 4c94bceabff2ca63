package loadbalancer

import (
	"bytes"
	"encoding/json"
	"slices"

	corev1 "k8s.io/api/core/v1"
	servicehelper "k8s.io/cloud-provider/service/helpers"

	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
)

// Class is the spec.loadBalancerClass that asks for this load balancer.
const Class = "kube-ovn.io/lb-svc"

// CleanupFinalizer is the finalizer by which the service controller keeps a
// Service until its load balancer is gone. It is the same word for every
// implementation, so it does not say whose load balancer that is.
const CleanupFinalizer = servicehelper.LoadBalancerCleanupFinalizer

// Claims reports whether a Service, as it stands in the API, is to be served
// by us: of type LoadBalancer and either of our class, or of no class and with
// the attachment annotation (or a default attachment in cfg). Another class is
// another implementation's, whatever the annotations; and a Service that was
// given back to Kube-OVN stays there.
func Claims(svc *corev1.Service, cfg Config) bool {
	if svc.Spec.Type != corev1.ServiceTypeLoadBalancer || LeftAlone(svc) {
		return false
	}
	if class := svc.Spec.LoadBalancerClass; class != nil {
		return *class == Class
	}
	_, named := svc.Annotations[kubeovn.AttachmentProvider]
	return named || cfg.DefaultAttachment != ""
}

// HasFinalizer reports whether the cleanup finalizer is on a Service, no
// matter who put it there.
func HasFinalizer(svc *corev1.Service) bool {
	return slices.Contains(svc.Finalizers, CleanupFinalizer)
}

// FinalizedByUs reports whether the cleanup finalizer is on a Service and it
// was this program that put it there. The service controller writes it under
// the name of its user agent, which the API server notes as field manager.
func FinalizedByUs(svc *corev1.Service) bool {
	if !HasFinalizer(svc) {
		return false
	}
	for _, entry := range svc.ManagedFields {
		if entry.Manager == kubeovn.ManagedBy && entry.FieldsV1 != nil && ownsFinalizer(entry.FieldsV1.Raw) {
			return true
		}
	}
	return false
}

// ownsFinalizer looks for f:metadata/f:finalizers/v:"<finalizer>" in a set of
// managed fields. A set that cannot be read owns nothing.
func ownsFinalizer(fieldsV1 []byte) bool {
	const key = `v:"` + CleanupFinalizer + `"`
	if !bytes.Contains(fieldsV1, []byte(CleanupFinalizer)) {
		return false
	}
	var fields struct {
		Metadata struct {
			Finalizers map[string]json.RawMessage `json:"f:finalizers"`
		} `json:"f:metadata"`
	}
	if err := json.Unmarshal(fieldsV1, &fields); err != nil {
		return false
	}
	_, owned := fields.Metadata.Finalizers[key]
	return owned
}
