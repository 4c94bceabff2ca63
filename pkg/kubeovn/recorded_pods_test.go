package kubeovn

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn/recorded"
)

// gatewaysOf are the recorded Pods that kube-ovn-ccm makes as gateways, by the
// Subnet of their attachment: one without ipam, one with ipam kube-ovn, and one
// that has it in a list of plugins. That they are as kube-ovn-ccm makes them is a
// test of pkg/loadbalancer.
var gatewaysOf = map[string]string{"lan4": "gateway", "booked": "gateway-booked", "lan46": "gateway-46"}

// TestNoVersionGivesAGatewayAnAddress: a Pod as kube-ovn-ccm makes it has one
// address, that of its first interface, whatever the administrator's attachment
// says, before a restart of Kube-OVN and after it. Versions differ about other
// Pods. Those up to v1.16.2 take any attachment that a Subnet has as provider;
// the main branch only one with ipam kube-ovn, also in a list of plugins, and
// gives a Pod nothing at all, not even the address of its first interface, if
// such an attachment has no Subnet.
func TestNoVersionGivesAGatewayAnAddress(t *testing.T) {
	eachVersion(t, func(t *testing.T, v *recorded.Version) {
		first, lan4, unbound := []string{"ovn-default"}, []string{"lan4", "ovn-default"}, []string{"ovn-default"}
		if v.Main() {
			lan4, unbound = first, nil
		}
		want := map[string][]string{"on-lan4": lan4, "on-unbound": unbound, "on-booked": {"booked", "ovn-default"}, "on-lan46": {"lan46", "ovn-default"}}
		for _, pod := range gatewaysOf {
			want[pod] = first
		}
		for when, objects := range map[string][]*unstructured.Unstructured{"before the restart": v.Objects, "after it": v.Restarted} {
			found := map[string][]string{}
			for _, u := range ofKind(objects, "IP") {
				ip := decodeIP(u)
				found[ip.PodName] = append(found[ip.PodName], ip.Subnet)
			}
			for pod, want := range want {
				if got := slices.Sorted(slices.Values(found[pod])); !slices.Equal(got, want) {
					t.Errorf("%s, Pod %s has addresses of %q, want %q", when, pod, got, want)
				}
			}
		}
	})
}

// TestOnlyTheMainBranchRefusesAnAttachmentWithoutSubnet: there, an attachment
// that says that Kube-OVN gives its addresses must have a Subnet. The attachment
// of a gateway says no such thing, wherever it was derived from, and no Warning
// is about it.
func TestOnlyTheMainBranchRefusesAnAttachmentWithoutSubnet(t *testing.T) {
	eachVersion(t, func(t *testing.T, v *recorded.Version) {
		refused := slices.ContainsFunc(v.Events, func(e string) bool {
			return strings.HasPrefix(e, "on-unbound: ") && strings.Contains(e, "not bound to any subnet")
		})
		if refused != v.Main() {
			t.Errorf("refused: %t; the Warnings are %q", refused, v.Events)
		}
		for _, e := range v.Events {
			if strings.HasPrefix(e, "gateway") {
				t.Errorf("a Warning about a gateway: %s", e)
			}
		}
	})
}

// TestNoVersionGivesAPodWhatAVipHolds: a Pod that asks for the address of a Vip
// waits, and an Event says why; up to v1.14 in the words of the Subnet that is
// tried last.
func TestNoVersionGivesAPodWhatAVipHolds(t *testing.T) {
	eachVersion(t, func(t *testing.T, v *recorded.Version) {
		why := "AddressConflict"
		if v.Before(15) {
			why = "AddressOutOfRange"
		}
		for name, u := range ofKind(v.Restarted, "IP") {
			if ip := decodeIP(u); ip.PodName == "wants-vip" && ip.Subnet == "booked" {
				t.Errorf("IP %s: %+v", name, ip)
			}
		}
		if !slices.ContainsFunc(v.Events, func(e string) bool {
			return strings.HasPrefix(e, "wants-vip: AcquireAddressFailed: ") && strings.Contains(e, why)
		}) {
			t.Errorf("the Warnings are %q", v.Events)
		}
	})
}

// TestEveryVersionWritesTheSameOnAPod: of the annotations of an attachment that
// is no switch of OVN, all versions write these four and remove the others; the
// IP has no hardware address. From v1.12.35 on, that is: before, they wrote all.
// A gateway's annotations, which Kube-OVN does not take for its own, stay as
// kube-ovn-ccm has written them.
func TestEveryVersionWritesTheSameOnAPod(t *testing.T) {
	written := []string{FieldAllocated, FieldCIDR, FieldGateway, FieldIPAddress}
	eachVersion(t, func(t *testing.T, v *recorded.Version) {
		fields := func(pod, subnet string) []string {
			var out []string
			for key := range ofKind(v.Objects, "Pod")[pod].GetAnnotations() {
				if field, ok := strings.CutPrefix(key, AnnotationKey(subnet+".kube-system", "")); ok {
					out = append(out, field)
				}
			}
			return slices.Sorted(slices.Values(out))
		}
		for pod, subnet := range map[string]string{"on-booked": "booked", "on-lan46": "lan46"} {
			if got := fields(pod, subnet); !slices.Equal(got, written) {
				t.Errorf("Pod %s has %q", pod, got)
			}
			if mac := text(ofKind(v.Objects, "IP")[pod+".default."+subnet+".kube-system"], "spec", "macAddress"); mac != "" {
				t.Errorf("the IP of Pod %s has the hardware address %q", pod, mac)
			}
		}
		all := slices.Sorted(slices.Values(append(slices.Clone(written), FieldLogicalSwitch, FieldMACAddress, FieldPodNICType)))
		for subnet, pod := range gatewaysOf {
			if got := fields(pod, subnet); !slices.Equal(got, all) {
				t.Errorf("Pod %s has %q", pod, got)
			}
		}
	})
}

// TestWhatTheVersionsWriteOnAService: beside the Service's VPC, the Subnet that
// its published address is of, from v1.14 on. Nothing that a Service says is
// changed.
func TestWhatTheVersionsWriteOnAService(t *testing.T) {
	eachVersion(t, func(t *testing.T, v *recorded.Version) {
		service := recorded.Object(v.LBSvc, "Service", "guide")
		annotations := maps.Clone(service.GetAnnotations())
		if got := annotations[AttachmentProvider]; got != "lan4.kube-system" {
			t.Errorf("%s is %q", AttachmentProvider, got)
		}
		subnet, has := annotations["ovn.kubernetes.io/service_external_ip_from_subnet"]
		if has == v.Before(14) || has && subnet != "lan4" {
			t.Errorf("the Subnet is %q", subnet)
		}
		for _, known := range []string{AttachmentProvider, "ovn.kubernetes.io/service_external_ip_from_subnet", "ovn.kubernetes.io/vpc"} {
			delete(annotations, known)
		}
		if len(annotations) > 0 {
			t.Errorf("also written: %v", annotations)
		}
		ingress, _, _ := unstructured.NestedSlice(service.Object, "status", "loadBalancer", "ingress")
		if len(ingress) != 1 || ingress[0].(map[string]any)["ip"] != "172.18.0.18" {
			t.Errorf("its status is %v", service.Object["status"])
		}
	})
}
