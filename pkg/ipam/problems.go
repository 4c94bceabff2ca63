package ipam

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"

	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
)

// problem is why a request cannot be granted, and the remedy. Messages hold
// nothing that changes while the cause stays the same, no durations above all,
// so that one cause is told once.
type problem struct{ reason, message string }

func (p *problem) result() Result {
	return Result{State: Refused, Reason: p.reason, Message: p.message}
}

func refuse(reason, format string, args ...any) *problem {
	return &problem{reason, fmt.Sprintf(format, args...)}
}

// usable checks an address against the Subnet; nil if it may be used.
func usable(req Request, addr netip.Addr) *problem {
	s := req.Subnet
	cidr, ok := s.CIDR(true)
	if !ok {
		return noIPv4(req)
	}
	remedy := fmt.Sprintf("set an address of Subnet %s (%s) or remove the field to get any", s.Name, cidr)
	if !addr.Is4() {
		return refuse(ReasonInvalidAddress, "%s %s is no IPv4 address: %s", req.field(), addr, remedy)
	}
	if !cidr.Contains(addr) {
		return refuse(ReasonAddressOutOfRange, "%s %s is not in %s, the range of Subnet %s: %s", req.field(), addr, cidr, s.Name, remedy)
	}
	var what string
	gateway, _ := s.Gateway(true)
	switch {
	case addr == gateway:
		what = "gateway"
	case cidr.Bits() < 31 && addr == cidr.Addr():
		what = "network address"
	case cidr.Bits() < 31 && addr == broadcast(cidr):
		what = "broadcast address"
	default:
		return nil
	}
	return refuse(ReasonAddressReserved, "%s %s is the %s of Subnet %s (%s): %s", req.field(), addr, what, s.Name, cidr, remedy)
}

// broadcast returns the last address of an IPv4 range.
func broadcast(p netip.Prefix) netip.Addr {
	first := p.Masked().Addr().As4()
	n := binary.BigEndian.Uint32(first[:]) | uint32(1<<(32-p.Bits())-1)
	var last [4]byte
	binary.BigEndian.PutUint32(last[:], n)
	return netip.AddrFrom4(last)
}

func (r Request) field() string {
	if r.Field == "" {
		return "spec.loadBalancerIP"
	}
	return r.Field
}

func noIPv4(req Request) *problem {
	return refuse(ReasonSubnetWithoutIPv4,
		"Subnet %s has no IPv4 range in spec.cidrBlock: correct it or use another Subnet", req.Subnet.Name)
}

func terminating(req Request) *problem {
	return refuse(ReasonSubnetTerminating, "Subnet %s is being deleted: use another Subnet or create it again", req.Subnet.Name)
}

func inUse(req Request, who string) *problem {
	return refuse(ReasonAddressInUse, "%s %s is held by %s: free it there, set another address of Subnet %s or remove the field to get any",
		req.field(), req.Wish, who, req.Subnet.Name)
}

func full(req Request) *problem {
	return refuse(ReasonSubnetFull,
		"Subnet %s has no free IPv4 address (status.v4availableIPs is 0): free one, enlarge its spec.cidrBlock, shorten its spec.excludeIps or use another Subnet",
		req.Subnet.Name)
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
	if req.Wish.IsValid() {
		what = fmt.Sprintf("%s %s", req.field(), req.Wish)
		remedy = "something else may hold it, such as an EIP; its log says why; set another address or remove the field to get any"
	}
	return refuse(ReasonAddressNotGranted,
		"Kube-OVN grants addresses to others but not %s of Subnet %s (Vip %s): %s", what, req.Subnet.Name, VipName(req.Owner.UID), remedy)
}

func vipConflict(vip *kubeovn.Vip) *problem {
	return refuse(ReasonVipConflict,
		"Vip %s exists but does not carry the labels of this Service, so it is left alone: delete it if nobody needs it (kubectl delete vips.kubeovn.io %s)",
		vip.Name, vip.Name)
}
