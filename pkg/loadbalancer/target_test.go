package loadbalancer

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
)

func annotate(key, value string) func(*corev1.Service) {
	return func(svc *corev1.Service) { svc.Annotations[key] = value }
}

func TestWhichTargetAServiceGets(t *testing.T) {
	local := func(svc *corev1.Service) {
		svc.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
	}
	ranges := func(all ...string) func(*corev1.Service) {
		return func(svc *corev1.Service) { svc.Spec.LoadBalancerSourceRanges = all }
	}
	for sentence, tc := range map[string]struct {
		changes []func(*corev1.Service)
		v6      bool
		want    string // target, "keep", ranges, affinity and because; or the problem
	}{
		"the guide's Service goes to its cluster IP": {want: "ClusterIP keep=false [] 0s: "},
		"UDP does not": {
			changes: []func(*corev1.Service){func(svc *corev1.Service) { svc.Spec.Ports[0].Protocol = corev1.ProtocolUDP }},
			want:    "Endpoints keep=false [] 0s: UDP",
		},
		"nor does IPv6": {v6: true, want: "Endpoints keep=false [] 0s: IPv6"},
		"session affinity has the time-out of Kubernetes": {
			changes: []func(*corev1.Service){func(svc *corev1.Service) { svc.Spec.SessionAffinity = corev1.ServiceAffinityClientIP }},
			want:    "Endpoints keep=false [] 10800s: spec.sessionAffinity ClientIP",
		},
		"or its own": {
			changes: []func(*corev1.Service){func(svc *corev1.Service) {
				svc.Spec.SessionAffinity = corev1.ServiceAffinityClientIP
				svc.Spec.SessionAffinityConfig = &corev1.SessionAffinityConfig{ClientIP: &corev1.ClientIPConfig{TimeoutSeconds: ptr.To[int32](60)}}
			}},
			want: "Endpoints keep=false [] 60s: spec.sessionAffinity ClientIP",
		},
		"Local keeps the client's address": {changes: []func(*corev1.Service){local}, want: "Endpoints keep=true [] 0s: spec.externalTrafficPolicy Local"},
		"so does the annotation": {
			changes: []func(*corev1.Service){annotate(AnnotationClientAddress, "Keep")},
			want:    "Endpoints keep=true [] 0s: annotation kube-ovn.io/client-address Keep",
		},
		"Masquerade is the default said aloud":  {changes: []func(*corev1.Service){annotate(AnnotationClientAddress, "Masquerade")}, want: "ClusterIP keep=false [] 0s: "},
		"but a contradiction to Local":          {changes: []func(*corev1.Service){local, annotate(AnnotationClientAddress, "Masquerade")}, want: "InvalidClientAddress: annotation kube-ovn.io/client-address is Masquerade"},
		"a word that nobody knows is told":      {changes: []func(*corev1.Service){annotate(AnnotationClientAddress, "keep")}, want: `InvalidClientAddress: annotation kube-ovn.io/client-address is "keep"`},
		"source ranges, masked and sorted":      {changes: []func(*corev1.Service){ranges(" fd00::1/8", "203.0.113.7/24 ", "10.0.0.0/8", "203.0.113.0/24")}, want: "Endpoints keep=false [10.0.0.0/8 203.0.113.0/24 fd00::/8] 0s: spec.loadBalancerSourceRanges"},
		"the old annotation counts":             {changes: []func(*corev1.Service){annotate(annotationSourceRanges, "10.0.0.0/8, 192.168.0.0/16")}, want: "Endpoints keep=false [10.0.0.0/8 192.168.0.0/16] 0s: spec.loadBalancerSourceRanges"},
		"but not beside the field":              {changes: []func(*corev1.Service){annotate(annotationSourceRanges, "10.0.0.0/8"), ranges("192.168.0.0/16")}, want: "Endpoints keep=false [192.168.0.0/16] 0s: spec.loadBalancerSourceRanges"},
		"an empty annotation lets everybody in": {changes: []func(*corev1.Service){annotate(annotationSourceRanges, " ")}, want: "ClusterIP keep=false [] 0s: "},
		"what is no network is told":            {changes: []func(*corev1.Service){annotate(annotationSourceRanges, "10.0.0.0/33")}, want: `InvalidSourceRange: annotation service.beta.kubernetes.io/load-balancer-source-ranges: "10.0.0.0/33"`},
		"internalTrafficPolicy Local would send the gateway to Pods of its own node only": {
			changes: []func(*corev1.Service){func(svc *corev1.Service) {
				svc.Spec.InternalTrafficPolicy = ptr.To(corev1.ServiceInternalTrafficPolicyLocal)
			}},
			want: "Endpoints keep=false [] 0s: spec.internalTrafficPolicy Local",
		},
		"the annotation can ask for the endpoints": {changes: []func(*corev1.Service){annotate(AnnotationTarget, "Endpoints")}, want: "Endpoints keep=false [] 0s: annotation kube-ovn.io/target"},
		"and for the cluster IP where that does":   {changes: []func(*corev1.Service){annotate(AnnotationTarget, "ClusterIP")}, want: "ClusterIP keep=false [] 0s: "},
		"not where it does not":                    {changes: []func(*corev1.Service){local, annotate(AnnotationTarget, "ClusterIP")}, want: "InvalidTarget: annotation kube-ovn.io/target asks for the ClusterIP, which cannot do spec.externalTrafficPolicy Local"},
		"nor for anything else":                    {changes: []func(*corev1.Service){annotate(AnnotationTarget, "pods")}, want: `InvalidTarget: annotation kube-ovn.io/target is "pods"`},
	} {
		t.Run(sentence, func(t *testing.T) {
			svc := guideService()
			for _, change := range tc.changes {
				change(svc)
			}
			f, problem := forwardingOf(svc, tc.v6)
			got := fmt.Sprintf("%s keep=%t %v %ds: %s", f.target, f.keepClient, f.sourceRanges, f.affinitySeconds, f.because)
			if problem != nil {
				got = problem.Reason + ": " + problem.Message
			}
			if problem == nil && got != tc.want || problem != nil && !strings.HasPrefix(got, tc.want) {
				t.Errorf("got  %s\nwant %s", got, tc.want)
			}
		})
	}
}
