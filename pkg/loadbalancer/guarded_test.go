package loadbalancer

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/utils/ptr"

	"github.com/kubeovn/kube-ovn-ccm/pkg/ipam"
	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
)

// reserving is a cluster with the Reserver that is used in earnest, on an API
// server of its own with the Vips, and a Service of both families.
type reserving struct {
	*cluster
	vips  *dynamicfake.FakeDynamicClient
	cache *kubeovn.Cache
	// writes are those to both API servers, "verb resource".
	writes []string
}

func newReserving(t *testing.T) *reserving {
	t.Helper()
	svc := guideService()
	svc.Spec.IPFamilies = []corev1.IPFamily{corev1.IPv4Protocol, corev1.IPv6Protocol}
	svc.Spec.IPFamilyPolicy = ptr.To(corev1.IPFamilyPolicyRequireDualStack)
	svc.Spec.ClusterIPs = []string{"10.96.0.20", "fd00:10:96::20"}
	c := &reserving{cluster: newCluster(t, svc)}
	subnet := c.kubeOVN.subnetList[0]
	subnet.V4Available, subnet.V6Available = kubeovn.Unreported, kubeovn.Unreported
	subnet.CIDRs = append(subnet.CIDRs, netip.MustParsePrefix("fd00:18::/64"))
	subnet.Gateways = append(subnet.Gateways, netip.MustParseAddr("fd00:18::1"))
	kinds := map[schema.GroupVersionResource]string{}
	for r, kind := range map[schema.GroupVersionResource]kubeovn.Kind{
		kubeovn.SubnetResource: kubeovn.KindSubnet, kubeovn.VipResource: kubeovn.KindVip, kubeovn.IPResource: kubeovn.KindIP,
		kubeovn.NADResource: "NetworkAttachmentDefinition", kubeovn.VpcResource: kubeovn.KindVpc, kubeovn.IPPoolResource: kubeovn.KindIPPool,
	} {
		kinds[r] = string(kind) + "List"
	}
	c.vips = dynamicfake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), kinds)
	c.cache = kubeovn.NewCache(c.vips)
	c.cache.Start(t.Context())
	c.wait("the watches", c.cache.Synced)
	c.balancer.Reserver = ipam.NewReserver(c.cache, c.vips, nil)
	note := func(a clienttesting.Action) (bool, runtime.Object, error) {
		if !slices.Contains([]string{"get", "list", "watch"}, a.GetVerb()) {
			c.writes = append(c.writes, a.GetVerb()+" "+a.GetResource().Resource)
		}
		return false, nil, nil
	}
	c.vips.PrependReactor("*", "*", note)
	c.dynamic.PrependReactor("*", "*", note)
	c.kube.PrependReactor("*", "*", note)
	return c
}

func (c *reserving) wait(what string, ok func() bool) {
	c.t.Helper()
	for range 500 {
		if ok() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	c.t.Fatalf("not in time: %s", what)
}

// kubeOVNGrants writes the Vip as Kube-OVN does.
func (c *reserving) kubeOVNGrants(v4, v6 string) {
	c.t.Helper()
	name := ipam.VipName("5e7c")
	c.wait("the Vip", func() bool { _, ok := c.cache.Vip(name); return ok })
	vip, err := c.vips.Resource(kubeovn.VipResource).Get(c.t.Context(), name, metav1.GetOptions{})
	c.must(err)
	vip.SetFinalizers([]string{kubeovn.Finalizer})
	c.must(unstructured.SetNestedStringMap(vip.Object, map[string]string{"v4ip": v4, "v6ip": v6, "mac": "00:00:00:00:00:01"}, "status"))
	_, err = c.vips.Resource(kubeovn.VipResource).Update(c.t.Context(), vip, metav1.UpdateOptions{})
	c.must(err)
	c.wait("the grant", func() bool { v, ok := c.cache.Vip(name); return ok && v.Granted() })
}

// built are the writes of what makes up a gateway.
func built(write string) bool {
	return strings.HasSuffix(write, " deployments") || strings.HasSuffix(write, " configmaps") || strings.HasSuffix(write, " network-attachment-definitions")
}

// TestNothingIsBuiltBeforeTheGuardIsWritten: no Service shows an address that a
// restart of Kube-OVN would lose.
func TestNothingIsBuiltBeforeTheGuardIsWritten(t *testing.T) {
	c := newReserving(t)
	c.wantShown("", "Kube-OVN has granted nothing")
	c.kubeOVNGrants("172.18.0.18", "fd00:18::18")

	refuse := true
	c.vips.PrependReactor("patch", "vips", func(clienttesting.Action) (bool, runtime.Object, error) {
		return refuse, nil, errors.New("the API server is away")
	})
	if status, err := c.balancer.EnsureLoadBalancer(t.Context(), "", c.service(), nil); err == nil || status != nil {
		t.Errorf("the guard is not written: %v, %v", status, err)
	}
	if i := slices.IndexFunc(c.writes, built); i >= 0 {
		t.Fatalf("before the guard there was %q", c.writes[i])
	}
	refuse = false
	c.writes = nil
	c.wantShown("", "there is no Pod")
	guard, gateway := slices.Index(c.writes, "patch vips"), slices.IndexFunc(c.writes, built)
	if guard < 0 || gateway < guard {
		t.Errorf("writes: %q", c.writes)
	}
	c.runPod()
	c.wantShown("172.18.0.18", "the gateway serves")
}

// TestNothingIsBuiltOnAnAddressThatMayBeForgotten: who finds a granted Vip does
// not know what has become of its IPv6 address.
func TestNothingIsBuiltOnAnAddressThatMayBeForgotten(t *testing.T) {
	c := newReserving(t)
	c.wantShown("", "Kube-OVN has granted nothing")
	c.kubeOVNGrants("172.18.0.18", "fd00:18::18")
	// Another process finds the Vip, and has not seen the grant.
	c.cache = kubeovn.NewCache(c.vips)
	c.cache.Start(t.Context())
	c.wait("the watches", c.cache.Synced)
	c.balancer.Reserver = ipam.NewReserver(c.cache, c.vips, nil)
	c.writes = nil
	c.wantShown("", "the address is not proven")
	if !slices.Equal(c.writes[:1], []string{"patch vips"}) || slices.ContainsFunc(c.writes, built) {
		t.Errorf("writes: %q", c.writes)
	}
}
