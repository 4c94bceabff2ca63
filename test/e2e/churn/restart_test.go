package churn

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	theirs "github.com/kubeovn/kube-ovn/pkg/ipam"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/klog/v2"

	"github.com/kubeovn/kube-ovn-ccm/pkg/ipam"
	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
)

// population is who has which addresses of a Subnet of both families.
type population struct {
	ipam.Restart
	excluded []string
}

// populate gives out addresses of a small Subnet at random.
func populate(rng *rand.Rand, oldPods bool) population {
	p := population{excluded: []string{"172.20.4.1..172.20.4.5", "fd00::1..fd00::5"}}
	numbers := rng.Perm(24)
	next := func() (v4, v6 string) {
		n := numbers[0] + firstNumber
		numbers = numbers[1:]
		return numbered(prefixes("172.20.4.0/26")[0], n).String(), numbered(prefixes("fd00::/122")[0], n).String()
	}
	for i := range rng.IntN(5) {
		v4, v6 := next()
		if oldPods && rng.IntN(3) == 0 {
			v6 = ""
		}
		p.IPs = append(p.IPs, &kubeovn.IP{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("pod-", i)}, PodNamespace: "a", PodName: fmt.Sprint(i), V4: v4, V6: v6})
	}
	for i := range 1 + rng.IntN(5) {
		v4, v6 := next()
		owner := kubeovn.Owner{Namespace: "a", Name: fmt.Sprint(i), UID: "u"}
		p.Vips = append(p.Vips, &kubeovn.Vip{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("lb-", i), Labels: owner.Labels()}, V4: v4, V6: v6, Restored: v4 + "," + v6})
		if rng.IntN(10) == 0 {
			p.excluded = append(p.excluded, v6)
		}
	}
	for i := range rng.IntN(6) {
		v4, v6 := next()
		p.Vips = append(p.Vips, &kubeovn.Vip{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("by-hand-", i)}, V4: v4, V6: v6, Restored: v4})
	}
	if rng.IntN(3) == 0 {
		_, v6 := next()
		p.Pools = []*kubeovn.IPPool{{ObjectMeta: metav1.ObjectMeta{Name: "pool"}, IPs: kubeovn.ParseRanges([]string{v6})}}
	}
	p.Subnet = &kubeovn.Subnet{CIDRs: prefixes("172.20.4.0/26", "fd00::/122"), Gateways: []netip.Addr{netip.MustParseAddr("fd00::1")}, ExcludeIPs: p.excluded}
	return p
}

// restart does what kube-ovn-controller does when it starts, with the Vips in this order, and returns those that did not
// get back what is written down for them.
func (p population) restart(t *testing.T, order []*kubeovn.Vip) map[string]bool {
	t.Helper()
	book, mac := theirs.NewIPAM(), ""
	try(t, book.AddOrUpdateSubnet("s", "172.20.4.0/26,fd00::/122", "172.20.4.1,fd00::1", p.excluded))
	for _, pool := range p.Pools {
		try(t, book.AddOrUpdateIPPool("s", pool.Name, []string{pool.IPs[0].First.String()}))
	}
	for _, ip := range p.IPs {
		addrs := ip.V4
		if ip.V6 != "" {
			addrs += "," + ip.V6
		}
		// A Pod, too, may find its address taken, by one that is older than the Subnet's IPv6 range.
		_, _, _, _ = book.GetStaticAddress(ip.Name, ip.Name, addrs, &mac, "s", true)
	}
	lost := map[string]bool{}
	for _, vip := range order {
		v4, v6, _, err := book.GetStaticAddress(vip.Name, vip.Name, vip.Restored, &mac, "s", true)
		if err != nil || vip.Restored != v4 && vip.Restored != v4+","+v6 {
			lost[vip.Name] = true
		}
	}
	return lost
}

// TestWhatIsNotAtRiskSurvivesEveryRestart restarts Kube-OVN's own IPAM, with the Vips in many orders: what kube-ovn-ccm
// does not take to be at risk is always there afterwards, and what it does can be lost.
func TestWhatIsNotAtRiskSurvivesEveryRestart(t *testing.T) {
	quiet(t)
	risky, safe, lost := 0, 0, 0
	for seed := range uint64(400) {
		rng := rand.New(rand.NewPCG(seed, 0))
		p := populate(rng, seed%2 == 0)
		takers := len(p.Takers())
		for _, vip := range p.Vips {
			if _, ours := kubeovn.OwnerOf(vip); !ours {
				continue
			}
			atRisk := p.Takes(vip.Addrs().V6, takers)
			if !atRisk {
				safe++
			}
			for range 10 {
				order := slices.Clone(p.Vips)
				rng.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
				if p.restart(t, order)[vip.Name] {
					lost++
					if !atRisk {
						t.Fatalf("seed %d: %s lost %s, and that was said to be safe", seed, vip.Name, vip.Addrs())
					}
				}
			}
			if !atRisk || seed%2 == 0 {
				continue
			}
			// The others that are guarded, then the takers, then this one.
			risky++
			rank := func(v *kubeovn.Vip) int {
				switch _, ours := kubeovn.OwnerOf(v); {
				case v == vip:
					return 2
				case !ours:
					return 1
				}
				return 0
			}
			order := slices.Clone(p.Vips)
			slices.SortFunc(order, func(a, b *kubeovn.Vip) int { return rank(a) - rank(b) })
			if !p.restart(t, order)[vip.Name] {
				t.Fatalf("seed %d: %s keeps %s, and that was said to be at risk", seed, vip.Name, vip.Addrs())
			}
		}
	}
	if risky < 30 || safe < 300 || lost < 100 {
		t.Errorf("%d were at risk and %d were not; lost %d times", risky, safe, lost)
	}
}

// TestAnIPPoolOfOursWouldHarmOthers shows why there is none that keeps the Services' addresses.
func TestAnIPPoolOfOursWouldHarmOthers(t *testing.T) {
	quiet(t)
	book, mac := theirs.NewIPAM(), ""
	try(t, book.AddOrUpdateSubnet("s", "172.20.4.0/26,fd00::/122", "172.20.4.1,fd00::1", []string{"172.20.4.1..172.20.4.20", "fd00::1..fd00::20"}))
	// Somebody uses an address that is excluded, and gives it back.
	if _, _, _, err := book.GetStaticAddress("a", "a", "172.20.4.10,fd00::10", &mac, "s", true); err != nil {
		t.Fatal(err)
	}
	book.ReleaseAddressByPod("a", "s")
	random := func(pod string) string {
		v4, v6, _, err := book.GetRandomAddress(pod, pod, nil, "s", "", nil, true)
		try(t, err)
		return v4 + "," + v6
	}
	if got := random("b"); got != "172.20.4.21,fd00::21" {
		t.Errorf("before there is an IPPool a Pod gets %s", got)
	}
	try(t, book.AddOrUpdateIPPool("s", "ours", []string{"fd00::30"}))
	if got := random("c"); got != "172.20.4.10,fd00::10" {
		t.Errorf("a Pod gets %s, not what is excluded: an IPPool does no harm any more", got)
	}
	book.RemoveIPPool("s", "ours")
	if _, _, _, err := book.GetStaticAddress("d", "d", "172.20.4.30,fd00::30", &mac, "s", true); err == nil {
		t.Error("the IPPool's address is to be had again: an IPPool does no harm any more")
	}
}

// quiet has Kube-OVN log nothing.
func quiet(t *testing.T) {
	t.Helper()
	var flags flag.FlagSet
	klog.InitFlags(&flags)
	try(t, flags.Set("logtostderr", "false"))
	try(t, flags.Set("stderrthreshold", "FATAL"))
}
