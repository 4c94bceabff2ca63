package ipam

import (
	"context"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
)

// byHand is a Vip of somebody else, as Kube-OVN writes it.
func byHand(name, v4, v6 string) *kubeovn.Vip {
	return &kubeovn.Vip{ObjectMeta: metav1.ObjectMeta{Name: name}, Subnet: "attach-subnet", V4: v4, V6: v6, Restored: v4}
}

func TestWhoIsGivenAnotherAddressAtARestart(t *testing.T) {
	going := byHand("going", "172.18.0.9", "fd00::9")
	deleting(going)
	for sentence, tc := range map[string]struct {
		subnet *kubeovn.Subnet // nil: dual()
		vip    *kubeovn.Vip
		ip     *kubeovn.IP
		want   string
	}{
		"somebody's Vip":                        {vip: byHand("x", "172.18.0.9", "fd00::9"), want: "Vip x"},
		"not a Vip that is guarded":             {vip: mine("", "172.18.0.9,fd00::9", foreign)},
		"not one of ours, which is about to be": {vip: mine("", "172.18.0.9,fd00::9", unguarded)},
		"not a Vip that goes":                   {vip: going},
		"not a Vip that was granted nothing":    {vip: byHand("x", "", "")},
		"not where there is one family":         {subnet: lan(), vip: byHand("x", "172.18.0.9", "fd00::9")},
		"nor where it is the other one":         {subnet: only6(), vip: byHand("x", "", "fd00::9")},
		"a Pod from before there was IPv6":      {ip: &kubeovn.IP{ObjectMeta: metav1.ObjectMeta{Name: "b.a.lan"}, PodNamespace: "a", PodName: "b", V4: "172.18.0.9"}, want: "Pod a/b"},
		"not a Pod of both families":            {ip: &kubeovn.IP{PodNamespace: "a", PodName: "b", V4: "172.18.0.9", V6: "fd00::9"}},
	} {
		t.Run(sentence, func(t *testing.T) {
			r := Restart{Subnet: tc.subnet}
			if r.Subnet == nil {
				r.Subnet = dual()
			}
			if tc.vip != nil {
				r.Vips = append(r.Vips, tc.vip)
			}
			if tc.ip != nil {
				r.IPs = append(r.IPs, tc.ip)
			}
			if got := strings.Join(r.Takers(), ","); got != tc.want {
				t.Errorf("it is given to %q, want %q", got, tc.want)
			}
		})
	}
}

func TestWhichAddressesMayBeTaken(t *testing.T) {
	keeps := func(list ...string) func(*kubeovn.Subnet) {
		return func(s *kubeovn.Subnet) { s.ExcludeIPs = list }
	}
	for sentence, tc := range map[string]struct {
		restart Restart
		addr    string
		takers  int
		want    bool
	}{
		"the lowest one":                     {addr: "fd00::2", takers: 1, want: true},
		"not without takers":                 {addr: "fd00::2"},
		"not the second lowest by one":       {addr: "fd00::3", takers: 1},
		"but by two":                         {addr: "fd00::3", takers: 2, want: true},
		"not far up":                         {addr: "fd00::8000:1", takers: 1000},
		"what Pods have is not free":         {restart: Restart{IPs: []*kubeovn.IP{{V6: "FD00:0::2"}}}, addr: "fd00::3", takers: 1, want: true},
		"nor what other guarded Vips have":   {restart: Restart{Vips: []*kubeovn.Vip{mine("", "172.18.0.2,fd00::2")}}, addr: "fd00::3", takers: 1, want: true},
		"but what takers have is forgotten":  {restart: Restart{Vips: []*kubeovn.Vip{byHand("x", "172.18.0.2", "fd00::2")}}, addr: "fd00::3", takers: 1},
		"nor what is excluded":               {restart: Restart{Subnet: dual(keeps("fd00::1..fd00::ffff:ffff"))}, addr: "fd00::1:0:0", takers: 1, want: true},
		"nor what is in an IPPool":           {restart: Restart{Pools: []*kubeovn.IPPool{{IPs: kubeovn.ParseRanges([]string{"fd00::2..fd00::5"})}}}, addr: "fd00::6", takers: 1, want: true},
		"not what is excluded itself":        {restart: Restart{Subnet: dual(keeps("fd00::2"))}, addr: "fd00::2", takers: 9},
		"not what is in an IPPool itself":    {restart: Restart{Pools: []*kubeovn.IPPool{{IPs: kubeovn.ParseRanges([]string{"fd00::2"})}}}, addr: "fd00::2", takers: 9},
		"not what is not in the Subnet":      {addr: "fd01::2", takers: 9},
		"not an address of the other family": {addr: "172.18.0.2", takers: 9},
	} {
		t.Run(sentence, func(t *testing.T) {
			if tc.restart.Subnet == nil {
				tc.restart.Subnet = dual()
			}
			if got := tc.restart.Takes(addr(tc.addr), tc.takers); got != tc.want {
				t.Errorf("%s may be taken by %d: %t", tc.addr, tc.takers, got)
			}
		})
	}
}

func TestAServiceIsToldOfTheRisk(t *testing.T) {
	for sentence, tc := range map[string]struct {
		held   string
		subnet *kubeovn.Subnet
		risk   bool
	}{
		"a low address":                   {held: "172.18.0.40,fd00::2", subnet: dual(), risk: true},
		"a low address that is excluded":  {held: "172.18.0.40,fd00::2", subnet: dual(func(s *kubeovn.Subnet) { s.ExcludeIPs = []string{"fd00::2"} })},
		"a high address":                  {held: "172.18.0.40,fd00::8000:2", subnet: dual()},
		"a low address of one family":     {held: "fd00::2", subnet: only6()},
		"no IPv6 address in a dual range": {held: "172.18.0.40", subnet: lan()},
	} {
		t.Run(sentence, func(t *testing.T) {
			vip := mine("", tc.held)
			cache := &cacheOf{vips: []*kubeovn.Vip{vip, byHand("x", "172.18.0.9", "fd00::9")}}
			r := NewReserver(cache, client(apiVip(vip)), nil)
			req := Request{Owner: owner, Subnet: tc.subnet, Needs: addrs(tc.held).Families(), Sticky: addrs(tc.held)}
			got, err := r.Reserve(context.Background(), req)
			if err != nil || got.State != Granted {
				t.Fatalf("%+v, %v", got, err)
			}
			if tc.risk != (got.Risk != Risk{}) {
				t.Fatalf("%+v", got.Risk)
			}
			for _, part := range []string{"fd00::2", "spec.excludeIps", "attach-subnet"} {
				if tc.risk && !strings.Contains(got.Risk.Message, part) {
					t.Errorf("%q does not say %q", got.Risk.Message, part)
				}
			}
			if tc.risk && got.Risk.Detail != "Vip x" {
				t.Errorf("it may go to %q", got.Risk.Detail)
			}
		})
	}
}

// When Kube-OVN has given the wish to somebody, but no object says to whom, those
// are named whose own address it has forgotten.
func TestWhoMayHaveWhatIsNotGranted(t *testing.T) {
	wish := Request{Owner: owner, Subnet: dual(using("172.18.0.9", "fd00::2")), Wish: addrs("fd00::2")}
	other := wish
	other.Wish = addrs("fd00::3")
	for sentence, tc := range map[string]struct {
		req  Request
		vip  *kubeovn.Vip
		want string
	}{
		"a Vip whose address is not counted": {req: wish, vip: byHand("x", "172.18.0.9", "fd00::9"), want: "Kube-OVN counts fd00::2 as used, and has forgotten the IPv6 address of Vip x at a restart: delete it and make it anew if that has got it"},
		"not a Vip of which Kube-OVN knows":  {req: wish, vip: byHand("x", "172.18.0.9", "fd00::2")},
		"not if Kube-OVN has not given it":   {req: other, vip: byHand("x", "172.18.0.9", "fd00::9")},
	} {
		t.Run(sentence, func(t *testing.T) {
			r := NewReserver(&cacheOf{vips: []*kubeovn.Vip{tc.vip}}, client(), nil)
			if got := r.suspects(tc.req); got != tc.want {
				t.Errorf("told %q", got)
			}
		})
	}
}
