package loadbalancer

import (
	"fmt"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubeovn/kube-ovn-ccm/pkg/ipam"
	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
)

func TestAServiceMadeAgainAsksForItsOldAddress(t *testing.T) {
	c := newCluster(t, guideService())
	owner := ownerOf(guideService())
	c.kubeOVN.vip = &kubeovn.Vip{
		ObjectMeta: metav1.ObjectMeta{Name: ipam.VipName(owner.UID), Labels: owner.Labels()},
		Subnet:     "attach-subnet", V4: "172.18.0.40", V6: "fd00:18::40",
	}
	for range 2 { // a deletion has many looks
		c.must(c.balancer.EnsureLoadBalancerDeleted(t.Context(), "", guideService()))
		c.sync()
	}
	noted, err := c.kube.CoreV1().ConfigMaps(PastNamespace).Get(t.Context(), PastName, metav1.GetOptions{})
	c.must(err)
	if want := "attach-subnet 172.18.0.40,fd00:18::40 1970-01-01T00:16:40Z"; len(noted.Data) != 1 || noted.Data["default.test-service"] != want {
		t.Errorf("noted %v, want %q", noted.Data, want)
	}

	c.ensure()
	if got := c.kubeOVN.asked[0].Previous.String(); got != "172.18.0.40,fd00:18::40" {
		t.Errorf("it had %s", got)
	}
	for what, got := range map[string]kubeovn.Addrs{
		"in another Subnet": c.balancer.past(owner, "other"),
		"of another name":   c.balancer.past(kubeovn.Owner{Namespace: "default", Name: "test"}, "attach-subnet"),
	} {
		if !got.IsZero() {
			t.Errorf("%s: %s", what, got)
		}
	}
}

func TestNothingIsNotedOfAServiceWithoutAnAddress(t *testing.T) {
	c := newCluster(t, guideService())
	owner := ownerOf(guideService())
	for what, vip := range map[string]*kubeovn.Vip{
		"no Vip":         nil,
		"a pending one":  {ObjectMeta: metav1.ObjectMeta{Name: ipam.VipName(owner.UID), Labels: owner.Labels()}, Subnet: "attach-subnet"},
		"somebody's Vip": {ObjectMeta: metav1.ObjectMeta{Name: ipam.VipName(owner.UID)}, Subnet: "attach-subnet", V4: "172.18.0.40"},
	} {
		c.kubeOVN.vip = vip
		c.must(c.balancer.EnsureLoadBalancerDeleted(t.Context(), "", guideService()))
		if _, err := c.kube.CoreV1().ConfigMaps(PastNamespace).Get(t.Context(), PastName, metav1.GetOptions{}); err == nil {
			t.Errorf("%s: there is a ConfigMap", what)
		}
	}
}

func TestTheOldestIsForgotten(t *testing.T) {
	at := func(i int) string {
		return pastAddresses{subnet: "s", addrs: kubeovn.Addrs{}.With(), at: time.Unix(int64(i), 0)}.String()
	}
	noted := map[string]string{"a.strange": "written by hand"}
	for i := range pastLimit + 1 {
		addrs, err := kubeovn.ParseAddrs(fmt.Sprintf("10.0.%d.%d", i/250, i%250))
		if err != nil {
			t.Fatal(err)
		}
		noted[fmt.Sprintf("a.s%d", i)] = pastAddresses{subnet: "s", addrs: addrs, at: time.Unix(int64(1000+i), 0)}.String()
	}
	change := pastChange(noted, "a.s500", parsePast(at(9999)))
	var gone []string
	for key, value := range change {
		if value == nil {
			gone = append(gone, key)
		}
	}
	// 1002 entries, one of which is written anew: two are too many.
	if len(change) != 3 || len(gone) != 2 {
		t.Fatalf("%d changes, gone %v", len(change), gone)
	}
	for _, key := range []string{"a.strange", "a.s0"} {
		if value, there := change[key]; !there || value != nil {
			t.Errorf("%s stays", key)
		}
	}
}

func TestAnEntryReadsAsItIsWritten(t *testing.T) {
	addrs, err := kubeovn.ParseAddrs("172.18.0.40,fd00:18::40")
	if err != nil {
		t.Fatal(err)
	}
	p := pastAddresses{subnet: "s", addrs: addrs, at: time.Unix(1000, 0).UTC()}
	if got := parsePast(p.String()); got != p {
		t.Errorf("%+v, want %+v", got, p)
	}
	for _, text := range []string{"", "s", "s x 2026-01-01T00:00:00Z", "s 10.0.0.1 yesterday"} {
		if got := parsePast(text); got != (pastAddresses{}) {
			t.Errorf("%q: %+v", text, got)
		}
	}
}
