package kubeovn

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn/recorded"
)

// TestEveryVersionForgetsTheIPv6OfAVipUnlessItIsGuarded: when kube-ovn-controller
// has been restarted, an IPv6 address of a Vip that was made by hand is not
// booked any more. Those where kube-ovn-ccm has written both addresses into
// status.v4ip all are.
func TestEveryVersionForgetsTheIPv6OfAVipUnlessItIsGuarded(t *testing.T) {
	eachVersion(t, func(t *testing.T, v *recorded.Version) {
		before, guarded := ofKind(v.Objects, "Vip"), 0
		for name, u := range ofKind(v.Restarted, "Vip") {
			vip := decodeVip(u)
			lost := vip.Lost(decodeSubnet(ofKind(v.Restarted, "Subnet")[vip.Subnet]))
			forgets := name == "by-hand-6" || name == "by-hand-46" && !v.Before(13) // there, another forgotten one got it again by chance
			if vip.Restored == vip.Addrs().String() && lost != (Addrs{}) || forgets && !lost.V6.IsValid() || lost.V4.IsValid() {
				t.Errorf("of %s is lost %q", name, lost)
			}
			if vip.Addrs().V6.IsValid() && vip.Restored == vip.Addrs().String() {
				guarded++
			}
			if was, ok := before[name]; ok && decodeVip(was).Addrs() != vip.Addrs() {
				t.Errorf("%s says %q and said %q", name, vip.Addrs(), decodeVip(was).Addrs())
			}
		}
		for name, u := range before {
			vip := decodeVip(u)
			if lost := vip.Lost(decodeSubnet(ofKind(v.Objects, "Subnet")[vip.Subnet])); name != "leaving" && !lost.IsZero() {
				t.Errorf("of %s is lost %q, and nothing was restarted", name, lost)
			}
		}
		if guarded < 5 {
			t.Errorf("only %d Vips with a guarded address", guarded)
		}
	})
}

// TestNoVersionGivesAVipWhatIsHeld: a Vip that asks for the address of a Pod or
// of another Vip stays without, also over a restart. That of the router, which
// kube-ovn-ccm never asks for, was given up to v1.14.41, and by v1.16.2.
func TestNoVersionGivesAVipWhatIsHeld(t *testing.T) {
	eachVersion(t, func(t *testing.T, v *recorded.Version) {
		vips := ofKind(v.Restarted, "Vip")
		for name, want := range map[string]bool{"rival-of-pod": false, "rival-of-vip": false, "rival-of-router": v.Before(15) || v.Name == "v1.16.2"} {
			if got := decodeVip(vips[name]).Granted(); got != want {
				t.Errorf("%s is granted its address: %t", name, got)
			}
		}
	})
}

// TestAFenceKeepsAnAddressForAVip: an address that was added to excludeIps while
// a Pod had it goes to nobody who asks for any when the Pod is gone, and to the
// Vip that names it. kube-ovn-ccm migrate depends on it.
func TestAFenceKeepsAnAddressForAVip(t *testing.T) {
	eachVersion(t, func(t *testing.T, v *recorded.Version) {
		if vip := decodeVip(ofKind(v.Restarted, "Vip")["handed-over"]); vip.Addrs().String() != "172.24.0.2" {
			t.Errorf("the Vip has %q", vip.Addrs())
		}
		for name, u := range ofKind(v.Restarted, "IP") {
			if ip := decodeIP(u); ip.Subnet == "narrow" {
				t.Errorf("IP %s has %s", name, ip.V4)
			}
		}
	})
}

// TestWhenTheAddressOfAVipIsFree: a Vip that is deleted and that somebody's
// finalizer keeps has its address up to v1.14, and from v1.15 on has lost it,
// while its status says otherwise; when kube-ovn-controller is restarted, it is
// booked again. kube-ovn-ccm counts it as held until the Vip is gone (pkg/ipam,
// Service leaving4).
func TestWhenTheAddressOfAVipIsFree(t *testing.T) {
	addr := netip.MustParseAddr("172.21.0.70")
	eachVersion(t, func(t *testing.T, v *recorded.Version) {
		if vip := decodeVip(ofKind(v.Objects, "Vip")["leaving"]); vip.DeletionTimestamp == nil || vip.Addrs().V4 != addr {
			t.Errorf("the Vip is %+v", vip)
		}
		if has := decodeSubnet(ofKind(v.Objects, "Subnet")["booked"]).Using(true).Contains(addr); has != v.Before(15) {
			t.Errorf("while it is being deleted, it has its address: %t", has)
		}
		if !decodeSubnet(ofKind(v.Restarted, "Subnet")["booked"]).Using(true).Contains(addr) {
			t.Error("after the restart it does not have its address")
		}
	})
}

// TestWhatElseTheDefinitionsHave: fields that came and went. None of them is
// needed, and what is read is the same in all versions.
func TestWhatElseTheDefinitionsHave(t *testing.T) {
	all, err := recorded.All()
	each(t, all, err, func(t *testing.T, v *recorded.Version) {
		for field, want := range map[string]bool{
			"Vip.status.ready":             v.Before(15),
			"Vip.spec.parentV4ip":          v.Before(14),
			"Vip.status.type":              true,
			"IPPool.spec.enableAddressSet": !v.Before(15),
			"IPPool.spec.ips":              true,
			"IPPool.spec.subnet":           true,
			"Subnet.status.v6usingIPrange": true,
		} {
			path := strings.Split(field, ".")
			if got := v.TypeOf(path[0], path[1:]...); (got != "") != want {
				t.Errorf("%s is %q", field, got)
			}
		}
	})
}

// TestEveryVersionsIPPoolsAreUnderstood: they have the addresses of the family of
// their Subnet, and Kube-OVN takes none of them for a Vip that names no address.
func TestEveryVersionsIPPoolsAreUnderstood(t *testing.T) {
	eachVersion(t, func(t *testing.T, v *recorded.Version) {
		for name, subnet := range map[string]string{"pool": "lan4", "pool46": "lan46"} {
			pool := decodeIPPool(ofKind(v.Objects, "IPPool")[name])
			if pool.Subnet != subnet || len(pool.IPs.Of(true)) != 1 || (len(pool.IPs.Of(false)) == 1) != (name == "pool46") {
				t.Errorf("%s: %+v", name, pool)
			}
			for vipName, u := range ofKind(v.Objects, "Vip") {
				vip := decodeVip(u)
				if in := pool.IPs.Contains(vip.Addrs().V4); vip.Subnet == subnet && in != strings.HasPrefix(vipName, "lb-pool") {
					t.Errorf("%s has %q", vipName, vip.Addrs())
				}
			}
		}
	})
}
