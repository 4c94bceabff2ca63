package loadbalancer

import (
	"net/netip"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
)

func TestARefusalSaysWhatTheServiceWouldBeTold(t *testing.T) {
	for sentence, tc := range map[string]struct {
		edit func(*corev1.Service, *kubeovn.Subnet)
		want string // part of it; empty: none
	}{
		"a plain Service": {},
		"it takes IPv6 where there is some": {
			edit: func(svc *corev1.Service, _ *kubeovn.Subnet) { bothFamilies(svc, corev1.IPFamilyPolicyPreferDualStack) },
		},
		"it insists on IPv6": {
			edit: func(svc *corev1.Service, _ *kubeovn.Subnet) { bothFamilies(svc, corev1.IPFamilyPolicyRequireDualStack) },
			want: "has no IPv6 range in spec.cidrBlock",
		},
		"the Subnet has no router": {
			edit: func(_ *corev1.Service, subnet *kubeovn.Subnet) { subnet.Gateways = nil },
			want: "has no address of 172.18.0.0/16 in spec.gateway",
		},
		"it is headless": {
			edit: func(svc *corev1.Service, _ *kubeovn.Subnet) { svc.Spec.ClusterIPs = []string{corev1.ClusterIPNone} },
			want: "spec.clusterIP is None",
		},
		"it asks for what is no address": {
			edit: func(svc *corev1.Service, _ *kubeovn.Subnet) { svc.Spec.LoadBalancerIP = "any" },
			want: `spec.loadBalancerIP "any" is not an IP address`,
		},
		"it admits clients that are no addresses": {
			edit: func(svc *corev1.Service, _ *kubeovn.Subnet) { svc.Spec.LoadBalancerSourceRanges = []string{"all"} },
			want: "all",
		},
	} {
		t.Run(sentence, func(t *testing.T) {
			svc := guideService()
			svc.Spec.ClusterIP, svc.Spec.ClusterIPs = "10.96.0.7", []string{"10.96.0.7"}
			subnet := &kubeovn.Subnet{
				Provider: guideProvider, CIDRs: []netip.Prefix{netip.MustParsePrefix("172.18.0.0/16")},
				Gateways: []netip.Addr{netip.MustParseAddr("172.18.0.1")},
			}
			if tc.edit != nil {
				tc.edit(svc, subnet)
			}
			got := Refusal(svc, subnet)
			if (got == "") != (tc.want == "") || !strings.Contains(got, tc.want) {
				t.Errorf("%q, want %q", got, tc.want)
			}
		})
	}
}

func bothFamilies(svc *corev1.Service, policy corev1.IPFamilyPolicy) {
	svc.Spec.ClusterIPs = append(svc.Spec.ClusterIPs, "fd00:10:96::7")
	svc.Spec.IPFamilyPolicy = &policy
}
