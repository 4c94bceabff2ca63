package ipam

import (
	"net/netip"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
)

// records are who has the address in Kube-OVN's books.
type records struct {
	vips []*kubeovn.Vip
	ips  []*kubeovn.IP
}

func (r records) decide(predecessor string) action {
	req := Request{Owner: owner, Subnet: lan(), Needs: kubeovn.Families{V4: true}, Wish: addrs("172.18.0.18"), Predecessor: predecessor}
	return decide(input{
		request: req, now: start,
		holder:      func(netip.Addr) string { return HolderOf(VipName(owner.UID), r.vips, r.ips) },
		predecessor: func(netip.Addr) bool { return heldByPod(owner.Namespace, predecessor, r.vips, r.ips) },
	})
}

func TestAGatewayIsMadeAheadOnlyOfItsOwnPredecessor(t *testing.T) {
	pod := func(namespace, name string) *kubeovn.IP {
		return &kubeovn.IP{ObjectMeta: metav1.ObjectMeta{Name: name + "." + namespace}, PodNamespace: namespace, PodName: name}
	}
	old := pod("default", "lb-svc-web-1")
	for sentence, tc := range map[string]struct {
		records     records
		predecessor string
		want        State
		ahead       bool
		op          op
	}{
		"its predecessor holds the address":         {records{ips: []*kubeovn.IP{old}}, "lb-svc-web-1", Pending, true, opNone},
		"nobody was named":                          {records{ips: []*kubeovn.IP{old}}, "", Refused, false, opNone},
		"another Pod holds it":                      {records{ips: []*kubeovn.IP{pod("default", "other")}}, "lb-svc-web-1", Refused, false, opNone},
		"a Pod of that name in another namespace":   {records{ips: []*kubeovn.IP{pod("shop", "lb-svc-web-1")}}, "lb-svc-web-1", Refused, false, opNone},
		"a second Pod has it, too":                  {records{ips: []*kubeovn.IP{old, pod("shop", "x")}}, "lb-svc-web-1", Refused, false, opNone},
		"a Vip has it, too":                         {records{ips: []*kubeovn.IP{old}, vips: []*kubeovn.Vip{{ObjectMeta: metav1.ObjectMeta{Name: "x"}}}}, "lb-svc-web-1", Refused, false, opNone},
		"the predecessor has gone: it is asked for": {records{}, "lb-svc-web-1", Pending, false, opCreate},
	} {
		t.Run(sentence, func(t *testing.T) {
			a := tc.records.decide(tc.predecessor)
			if a.result.State != tc.want || a.result.Ahead != tc.ahead || a.op != tc.op {
				t.Errorf("op %v, %+v", a.op, a.result)
			}
			if tc.ahead && a.result.Addrs != addrs("172.18.0.18") {
				t.Errorf("ahead with %s", a.result.Addrs)
			}
			if tc.op == opCreate && a.want != addrs("172.18.0.18") {
				t.Errorf("asks for %s", a.want)
			}
		})
	}
}
