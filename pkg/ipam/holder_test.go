package ipam

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
)

func TestHolderOf(t *testing.T) {
	vip := func(name string, labels map[string]string) *kubeovn.Vip {
		return &kubeovn.Vip{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}
	}
	ip := func(name, namespace, pod string) *kubeovn.IP {
		return &kubeovn.IP{ObjectMeta: metav1.ObjectMeta{Name: name}, PodNamespace: namespace, PodName: pod}
	}
	for name, tc := range map[string]struct {
		vips []*kubeovn.Vip
		ips  []*kubeovn.IP
		want string
	}{
		"nobody":            {want: ""},
		"ourselves":         {vips: []*kubeovn.Vip{vip("lb-u1", owner.Labels())}, ips: []*kubeovn.IP{ip("lb-u1", "", "")}, want: ""},
		"another Service":   {vips: []*kubeovn.Vip{vip("lb-u1", nil), vip("lb-u2", kubeovn.Owner{Namespace: "a", Name: "b", UID: types.UID("u2")}.Labels())}, want: "Service a/b"},
		"a Vip of a person": {vips: []*kubeovn.Vip{vip("vip1", nil)}, want: "Vip vip1"},
		"a Pod":             {ips: []*kubeovn.IP{ip("db-0.shop.lan.kube-system", "shop", "db-0")}, want: "Pod shop/db-0"},
		"a node":            {ips: []*kubeovn.IP{ip("node-n1", "", "n1")}, want: "node n1"},
		"something else":    {ips: []*kubeovn.IP{ip("reserved", "", "")}, want: "IP reserved"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := HolderOf("lb-u1", tc.vips, tc.ips); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}
