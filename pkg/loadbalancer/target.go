package loadbalancer

import (
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"github.com/kubeovn/kube-ovn-ccm/pkg/gateway/spec"
)

// Annotations on a Service that say how its gateway forwards.
const (
	// AnnotationTarget overrides where the gateway sends what it receives:
	// "Endpoints" or "ClusterIP" (spec.Target). By default the Service's other
	// fields decide.
	AnnotationTarget = "kube-ovn.io/target"
	// AnnotationClientAddress says whether Pods see the client's address:
	// "Keep", the default with externalTrafficPolicy Local, or "Masquerade",
	// the default with Cluster.
	AnnotationClientAddress = "kube-ovn.io/client-address"
	// annotationSourceRanges is the annotation that was before
	// spec.loadBalancerSourceRanges; the field is used if it is set.
	annotationSourceRanges = corev1.AnnotationLoadBalancerSourceRangesKey
)

// The values of AnnotationClientAddress.
const (
	clientKeep       = "Keep"
	clientMasquerade = "Masquerade"
)

// forwarding is how a Service wants its gateway to forward.
type forwarding struct {
	target spec.Target
	// because names the field that made it TargetEndpoints.
	because string
	// keepClient asks that Pods see the client's address.
	keepClient bool
	// sourceRanges are the clients that are let in; empty: all.
	sourceRanges []netip.Prefix
	// affinitySeconds is the time-out of the session affinity; 0: none.
	affinitySeconds int32
}

// forwardingOf decides how the gateway of a Service forwards. The ClusterIP
// will do for what the guide shows; whatever it cannot do goes to the
// endpoints. v6 says that the Service is served in IPv6.
func forwardingOf(svc *corev1.Service, v6 bool) (forwarding, *Problem) {
	f := forwarding{target: spec.TargetClusterIP}
	var problem *Problem
	if f.keepClient, problem = keepsClient(svc); problem != nil {
		return f, problem
	}
	if f.sourceRanges, problem = sourceRangesOf(svc); problem != nil {
		return f, problem
	}
	if svc.Spec.SessionAffinity == corev1.ServiceAffinityClientIP {
		f.affinitySeconds = corev1.DefaultClientIPServiceAffinitySeconds
		if c := svc.Spec.SessionAffinityConfig; c != nil && c.ClientIP != nil {
			f.affinitySeconds = ptr.Deref(c.ClientIP.TimeoutSeconds, f.affinitySeconds)
		}
	}
	f.because = needsEndpoints(svc, f, v6)
	switch asked := strings.TrimSpace(svc.Annotations[AnnotationTarget]); {
	case asked != "" && asked != string(spec.TargetEndpoints) && asked != string(spec.TargetClusterIP):
		return f, problemf("InvalidTarget", "annotation %s is %q: set it to Endpoints or ClusterIP, or remove it", AnnotationTarget, asked)
	case asked == string(spec.TargetClusterIP) && f.because != "":
		return f, problemf("InvalidTarget", "annotation %s asks for the ClusterIP, which cannot do %s: remove the annotation", AnnotationTarget, f.because)
	case asked == string(spec.TargetEndpoints) && f.because == "":
		f.because = "annotation " + AnnotationTarget
	}
	if f.because != "" {
		f.target = spec.TargetEndpoints
	}
	return f, nil
}

// needsEndpoints names the first thing that a Service asks for and that a
// cluster IP behind masquerade cannot do; empty if there is none.
func needsEndpoints(svc *corev1.Service, f forwarding, v6 bool) string {
	local := svc.Spec.InternalTrafficPolicy != nil && *svc.Spec.InternalTrafficPolicy == corev1.ServiceInternalTrafficPolicyLocal
	switch {
	case f.keepClient && svc.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal:
		return "spec.externalTrafficPolicy Local"
	case f.keepClient:
		return "annotation " + AnnotationClientAddress + " " + clientKeep
	case f.affinitySeconds > 0:
		return "spec.sessionAffinity ClientIP"
	case len(f.sourceRanges) > 0:
		return "spec.loadBalancerSourceRanges"
	case v6:
		return "IPv6"
	case local:
		return "spec.internalTrafficPolicy Local"
	}
	for _, p := range svc.Spec.Ports {
		if p.Protocol != "" && p.Protocol != corev1.ProtocolTCP {
			return string(p.Protocol)
		}
	}
	return ""
}

// keepsClient reports whether Pods are to see the client's address.
func keepsClient(svc *corev1.Service) (bool, *Problem) {
	local := svc.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal
	switch value := strings.TrimSpace(svc.Annotations[AnnotationClientAddress]); value {
	case "":
		return local, nil
	case clientKeep:
		return true, nil
	case clientMasquerade:
		if local {
			return false, problemf("InvalidClientAddress",
				"annotation %s is Masquerade, and spec.externalTrafficPolicy Local asks for the client's address: change one of them", AnnotationClientAddress)
		}
		return false, nil
	default:
		return false, problemf("InvalidClientAddress", "annotation %s is %q: set it to Keep or Masquerade, or remove it", AnnotationClientAddress, value)
	}
}

// sourceRangesOf returns the networks whose clients are let in, sorted; none
// for everybody.
func sourceRangesOf(svc *corev1.Service) ([]netip.Prefix, *Problem) {
	field, values := "spec.loadBalancerSourceRanges", svc.Spec.LoadBalancerSourceRanges
	if len(values) == 0 {
		annotation := strings.TrimSpace(svc.Annotations[annotationSourceRanges])
		if annotation == "" {
			return nil, nil
		}
		field, values = "annotation "+annotationSourceRanges, strings.Split(annotation, ",")
	}
	var ranges []netip.Prefix
	for _, s := range values {
		s = strings.TrimSpace(s)
		prefix, err := netip.ParsePrefix(s)
		if err != nil || prefix.Addr().Zone() != "" || prefix.Addr().Is4In6() {
			return nil, problemf("InvalidSourceRange", "%s: %q is not a network: write it as 203.0.113.0/24 or fd00::/8", field, s)
		}
		ranges = append(ranges, prefix.Masked())
	}
	slices.SortFunc(ranges, netip.Prefix.Compare)
	return slices.Compact(ranges), nil
}
