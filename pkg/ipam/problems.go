package ipam

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
)

// problem is why a request cannot be granted, and the remedy. Messages hold
// nothing that changes while the cause stays the same, no durations above all,
// so that one cause is told once.
type problem struct {
	reason, message string
	// detail may change while the cause is the same.
	detail string
	// queued is set if there are free addresses, for Services that have waited
	// longer.
	queued bool
}

func (p *problem) result() Result {
	out := Result{State: Refused, Reason: p.reason, Message: p.message, Detail: p.detail}
	if p.queued {
		out.RetryAfter = queueRetry
	}
	return out
}

// inQueue returns the problem as one of a Service for which nothing is left
// because others have waited longer.
func (p *problem) inQueue() *problem {
	p.queued = true
	return p
}

// queueRetry is how often a Service looks whether those before it in the queue
// have left it. What frees an address wakes it at once.
const queueRetry = 2 * time.Second

func refuse(reason, format string, args ...any) *problem {
	return &problem{reason: reason, message: fmt.Sprintf(format, args...)}
}

// usable checks an address against the Subnet; nil if it may be used.
func usable(req Request, addr netip.Addr) *problem {
	s, v4 := req.Subnet, addr.Is4()
	cidr, ok := s.CIDR(v4)
	if !ok {
		return refuse(withoutReason(v4), "%s %s cannot be had, as Subnet %s (%s) has no %s range in spec.cidrBlock: set an address of the Subnet, remove the field to get any or use another Subnet",
			req.field(), addr, s.Name, ranges(s), kubeovn.FamilyName(v4))
	}
	remedy := fmt.Sprintf("set an address of Subnet %s (%s) or remove the field to get any", s.Name, cidr)
	if !cidr.Contains(addr) {
		return refuse(ReasonAddressOutOfRange, "%s %s is not in %s, the range of Subnet %s: %s", req.field(), addr, cidr, s.Name, remedy)
	}
	if what := reserved(s, cidr, addr); what != "" {
		return refuse(ReasonAddressReserved, "%s %s is the %s of Subnet %s (%s): %s", req.field(), addr, what, s.Name, cidr, remedy)
	}
	return nil
}

// reserved says what an address of the Subnet is for; empty if it is for use.
func reserved(s *kubeovn.Subnet, cidr netip.Prefix, addr netip.Addr) string {
	gateway, _ := s.Gateway(addr.Is4())
	first, last := "network address", "broadcast address"
	if addr.Is6() {
		// RFC 4291, 2.6.1: every router of the link answers to the first. The
		// last is as good as any other, but Kube-OVN never grants it.
		first, last = "anycast address of all routers", "last address, which Kube-OVN does not grant,"
	}
	ends := cidr.Bits() < addr.BitLen()-1 // RFC 3021, RFC 6164: not between two points
	switch {
	case addr == gateway:
		return "gateway"
	case ends && addr == cidr.Addr():
		return first
	case ends && addr == kubeovn.RangeOf(cidr).Last:
		return last
	}
	return ""
}

// ranges names the ranges of a Subnet for people.
func ranges(s *kubeovn.Subnet) string {
	if len(s.CIDRs) == 0 {
		return "none at all"
	}
	var out []string
	for _, p := range s.CIDRs {
		out = append(out, p.String())
	}
	return strings.Join(out, ",")
}

func (r Request) field() string {
	if r.Field == "" {
		return "spec.loadBalancerIP"
	}
	return r.Field
}

func withoutReason(v4 bool) string {
	if v4 {
		return ReasonSubnetWithoutIPv4
	}
	return ReasonSubnetWithoutIPv6
}

func without(req Request, v4 bool) *problem {
	family := kubeovn.FamilyName(v4)
	return refuse(withoutReason(v4), "Subnet %s (%s) has no %s range in spec.cidrBlock: add one, use another Subnet or take %s out of the Service's spec.ipFamilies",
		req.Subnet.Name, ranges(req.Subnet), family, family)
}

func terminating(req Request) *problem {
	return refuse(ReasonSubnetTerminating, "Subnet %s is being deleted: use another Subnet or create it again", req.Subnet.Name)
}

func inUse(req Request, addr netip.Addr, who string) *problem {
	return refuse(ReasonAddressInUse, "%s %s is held by %s: free it there, set another address of Subnet %s or remove the field to get any",
		req.field(), addr, who, req.Subnet.Name)
}

func outsidePool(req Request, addr netip.Addr) *problem {
	return refuse(ReasonAddressOutsideIPPool, "%s %s is not in IPPool %s, which %s names: set an address of the IPPool, remove the field to get any, or name another IPPool",
		req.field(), addr, req.Pool.Name, req.PoolField)
}

// poolFull says who has the addresses of a pool, if they are few.
func (in input) poolFull(v4 bool) *problem {
	req := in.request
	var held []string
	for _, r := range req.Pool.IPs.Of(v4) {
		for addr := r.First; addr.IsValid() && !r.Last.Less(addr) && count(r) <= toldHolders; addr = addr.Next() {
			if who := in.holder(addr); who != "" {
				held = append(held, fmt.Sprintf("%s is held by %s", addr, who))
			}
		}
	}
	p := refuse(ReasonIPPoolFull, "IPPool %s has no free %s address for this Service: free one, or add some to its spec.ips", req.Pool.Name, kubeovn.FamilyName(v4))
	p.detail = strings.Join(held, ", ")
	return p
}

// toldHolders is how large a range of an IPPool is at most for its holders to
// be told one by one.
const toldHolders = 4

func full(req Request, v4 bool) *problem {
	family, both := "v6", ""
	if v4 {
		family = "v4"
	}
	if len(req.Subnet.CIDRs) > 1 {
		both = ", and Kube-OVN gives an address of each family or none"
	}
	return refuse(ReasonSubnetFull,
		"Subnet %[1]s has no free %[2]s address for this Service (status.%[3]savailableIPs is 0 or status.%[3]savailableIPrange empty, or older Services wait for what is left)%[4]s: free one, enlarge its spec.cidrBlock, shorten its spec.excludeIps or use another Subnet",
		req.Subnet.Name, kubeovn.FamilyName(v4), family, both)
}

const checkKubeOVN = "check that kube-ovn-controller runs (kubectl -n kube-system get pods -l app=kube-ovn-controller) and what its log says"

func silent(req Request) *problem {
	return refuse(ReasonKubeOVNNotResponding,
		"Kube-OVN has not answered the request for an address of Subnet %s (Vip %s) for more than %s, nor worked on any other Vip: %s",
		req.Subnet.Name, VipName(req.Owner.UID), patience, checkKubeOVN)
}

func notWithdrawn(vip *kubeovn.Vip) *problem {
	return refuse(ReasonKubeOVNNotResponding,
		"Vip %s is being deleted, but for more than %s nobody has removed its finalizer %s: %s",
		vip.Name, patience, strings.Join(vip.Finalizers, ", "), checkKubeOVN)
}

func notGranted(req Request) *problem {
	what := "any address"
	remedy := "its log says why"
	if !req.Wish.IsZero() {
		what = fmt.Sprintf("%s %s", req.field(), req.Wish)
		remedy = "something else may hold it, such as an EIP; its log says why; set another address or remove the field to get any"
	}
	return refuse(ReasonAddressNotGranted,
		"Kube-OVN grants addresses to others but not %s of Subnet %s (Vip %s): %s", what, req.Subnet.Name, VipName(req.Owner.UID), remedy)
}

func disobeyed(req Request, vip *kubeovn.Vip, held kubeovn.Addrs) *problem {
	return refuse(ReasonAddressNotGranted,
		"Kube-OVN was asked for %s of Subnet %s and granted %s (Vip %s): its log says why, and before v1.13 it does not heed spec.v6ip of a Vip; once that is mended, delete the Vip to ask again (kubectl delete vips.kubeovn.io %s)",
		vip.Asked, req.Subnet.Name, held, vip.Name, vip.Name)
}

func vipConflict(vip *kubeovn.Vip) *problem {
	return refuse(ReasonVipConflict,
		"Vip %s exists but does not carry the labels of this Service, so it is left alone: delete it if nobody needs it (kubectl delete vips.kubeovn.io %s)",
		vip.Name, vip.Name)
}
