package kubeovn

import (
	"slices"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn/recorded"
)

// eachVersion runs a test on each version of Kube-OVN whose controller ran.
func eachVersion(t *testing.T, test func(t *testing.T, v *recorded.Version)) {
	t.Helper()
	all, err := recorded.Ran()
	each(t, all, err, test)
}

func each(t *testing.T, all []*recorded.Version, err error, test func(t *testing.T, v *recorded.Version)) {
	t.Helper()
	if err != nil || len(all) == 0 {
		t.Fatalf("%d versions, %v", len(all), err)
	}
	for _, v := range all {
		t.Run(v.Name, func(t *testing.T) { test(t, v) })
	}
}

// ofKind returns the recorded objects of one kind, by name.
func ofKind(objects []*unstructured.Unstructured, kind string) map[string]*unstructured.Unstructured {
	found := map[string]*unstructured.Unstructured{}
	for _, u := range objects {
		if u.GetKind() == kind {
			found[u.GetName()] = u
		}
	}
	return found
}

func TestEveryVersionsDefinitionsHaveWhatIsNeeded(t *testing.T) {
	all, err := recorded.All()
	each(t, all, err, func(t *testing.T, v *recorded.Version) {
		lacking, err := lackingFields(v.OpenAPI)
		if err != nil || len(lacking) > 0 {
			t.Errorf("lacking %v, %v", lacking, err)
		}
		for _, kind := range []string{"Subnet", "Vip", "IP", "Vpc"} {
			if got := v.TypeOf(kind); got != "object" {
				t.Errorf("%s is %q: not judged at all", kind, got)
			}
		}
		// What is written to a Vpc.
		for field, want := range map[string]string{"priority": "integer", "match": "string", "action": "string", "nextHopIP": "string"} {
			if got := v.TypeOf("Vpc", "spec", "policyRoutes", field); got != want {
				t.Errorf("spec.policyRoutes[].%s is %q, want %s", field, got, want)
			}
		}
	})
}

func TestEveryVersionsSubnetsAreUnderstood(t *testing.T) {
	eachVersion(t, func(t *testing.T, v *recorded.Version) {
		subnets := ofKind(v.Objects, "Subnet")
		lan4, lan46, lan6, full := decodeSubnet(subnets["lan4"]), decodeSubnet(subnets["lan46"]), decodeSubnet(subnets["lan6"]), decodeSubnet(subnets["full"])
		if cidr, ok := lan4.CIDR(true); !ok || cidr.String() != "172.18.0.0/16" || lan4.Provider != "lan4.kube-system" || lan4.IsOVN() {
			t.Errorf("lan4: %+v", lan4)
		}
		if n := lan4.Available(true); n < 60000 || n > 65536 {
			t.Errorf("lan4 has %v addresses", n)
		}
		// A /64 has more addresses than any integer of Go counts.
		for name, s := range map[string]*Subnet{"lan46": lan46, "lan6": lan6} {
			if n := s.Available(false); n < 1.8e19 || n > 1.9e19 {
				t.Errorf("%s has %v addresses of IPv6", name, n)
			}
			if g, ok := s.Gateway(false); !ok || !g.Is6() {
				t.Errorf("%s: gateway %v", name, g)
			}
		}
		if n := full.Available(true); n != 0 {
			t.Errorf("full has %v addresses", n)
		}
		if s := decodeSubnet(subnets["ovn-default"]); !s.IsOVN() || s.VPC != DefaultVPC {
			t.Errorf("ovn-default: %+v", s)
		}
	})
}

func TestEveryVersionsVipsAreUnderstood(t *testing.T) {
	eachVersion(t, func(t *testing.T, v *recorded.Version) {
		vips := ofKind(v.Objects, "Vip")
		for name, both := range map[string]bool{"lb-any4": false, "lb-any46": true, "lb-static4-of-46": true, "by-hand": false, "by-hand-46": true} {
			vip := decodeVip(vips[name])
			a := vip.Addrs()
			if !vip.Granted() || !a.V4.IsValid() || a.V6.IsValid() != both {
				t.Errorf("%s was granted %q: %+v", name, a, vip)
			}
			// Up to v1.14 a Vip that is deleted is gone at once.
			if has, want := slices.Contains(vip.Finalizers, Finalizer), !v.Before(15); has != want {
				t.Errorf("%s has the finalizers %q", name, vip.Finalizers)
			}
		}
		if owner, ours := OwnerOf(decodeVip(vips["lb-any4"])); !ours || owner.Key() != "default/any4" {
			t.Errorf("our labels are %v", vips["lb-any4"].GetLabels())
		}
		if vip := decodeVip(vips["lb-any6"]); !vip.Addrs().V6.IsValid() || vip.Addrs().V4.IsValid() {
			t.Errorf("lb-any6: %+v", vip)
		}
	})
}

// TestNoVersionTakesOurGatewayForAnOrphanOfItsOwn: at its start Kube-OVN
// removes Deployments lb-svc-* of its own lb-svc whose Service is gone.
func TestNoVersionTakesOurGatewayForAnOrphanOfItsOwn(t *testing.T) {
	eachVersion(t, func(t *testing.T, v *recorded.Version) {
		if !slices.Equal(v.Deployments, []string{"lb-svc-ours"}) {
			t.Errorf("left are %q", v.Deployments)
		}
	})
}

func TestEveryVersionCarriesPolicyRoutesOut(t *testing.T) {
	eachVersion(t, func(t *testing.T, v *recorded.Version) {
		if len(v.Routes) != 2 {
			t.Errorf("it is recorded that %q", v.Routes)
		}
		before, after := DecodeVpc(ofKind(v.Objects, "Vpc")[DefaultVPC]), DecodeVpc(ofKind(v.Restarted, "Vpc")[DefaultVPC])
		if !before.Default || len(before.PolicyRoutes) != 1 || before.Annotations[AnnotationPolicyRoutes] == "" {
			t.Errorf("while there was a route: %+v", before)
		}
		if len(after.PolicyRoutes) != 0 {
			t.Errorf("when it was taken back: %+v", after)
		}
	})
}
