package provider

import (
	"net/netip"
	"slices"
	"strings"

	v1 "k8s.io/api/core/v1"

	"github.com/kubeovn/kube-ovn-ccm/pkg/ipam"
	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
)

// user is a Service that asks us for a load balancer, and the network through
// which it wants to be reached.
type user struct {
	// Key is the Service's "namespace/name".
	Key string
	// Attachment is "<nad>.<namespace>", checked by nobody yet.
	Attachment string
	// Subnet is the Subnet that the Service names, empty if it names none.
	Subnet string
	// Pool is the IPPool that the Service names, empty if it names none.
	Pool string
}

// userOf reads a Service; defaultAttachment is for those that name none.
func userOf(svc *v1.Service, defaultAttachment string) user {
	attachment, ok := svc.Annotations[kubeovn.AttachmentProvider]
	if !ok {
		attachment = defaultAttachment
	}
	attachment = strings.TrimSpace(attachment)
	return user{
		Key:        svc.Namespace + "/" + svc.Name,
		Attachment: attachment,
		Subnet:     strings.TrimSpace(svc.Annotations[kubeovn.AnnotationKey(attachment, kubeovn.FieldLogicalSwitch)]),
		Pool:       strings.TrimSpace(svc.Annotations[kubeovn.AnnotationKey(attachment, kubeovn.FieldIPPool)]),
	}
}

// network is what is asked of Kube-OVN to find the Services that a change
// concerns; *kubeovn.Cache implements it.
type network interface {
	Subnet(name string) (*kubeovn.Subnet, bool)
	VipsOf(subnet string) []*kubeovn.Vip
	VipsAt(subnet string, addr netip.Addr) []*kubeovn.Vip
}

// users are the Services that a change may concern, computed when needed:
// most changes in a large cluster are addresses of ordinary Pods.
type users struct {
	// All are those that ask for a load balancer.
	All func() []user
	// Pending are those of them that do not have it yet as they wish.
	Pending func() []user
}

// concerned returns the keys of the Services that have to be looked at after a
// change in Kube-OVN or multus. freed says that there may be addresses now
// where there were none.
//
//   - A change of something of ours concerns its Service.
//   - An edited NAD or Subnet concerns all Services that use it, whether they
//     are served or not.
//   - Whatever frees an address concerns the Services that wait for one there.
//   - A Vip of somebody else that has an address of each family concerns the
//     Services of whose address it may be given one when Kube-OVN restarts.
//   - Whatever shows that Kube-OVN does not know whose an address is concerns the
//     Service that has it.
func concerned(c kubeovn.Change, freed bool, u users, net network) []string {
	var keys []string
	if owner, ours := kubeovn.OwnerOf(c.Object); ours {
		keys = append(keys, owner.Key())
	}
	switch obj := c.Object.(type) {
	case *kubeovn.NAD:
		if len(keys) == 0 {
			attachment := obj.Name + "." + obj.Namespace
			keys = append(keys, having(u.All(), func(u user) bool { return u.Attachment == attachment })...)
		}
	case *kubeovn.Subnet:
		uses := func(u user) bool { return u.Subnet == obj.Name || u.Attachment == obj.Provider }
		edited := c.SpecChanged || c.Deleted
		if edited {
			keys = append(keys, having(u.All(), uses)...)
		} else if freed {
			keys = append(keys, having(u.Pending(), uses)...)
		}
		// The provider may be another one than before.
		keys = append(keys, owners(net.VipsOf(obj.Name), func(v *kubeovn.Vip) bool { return edited || !v.Lost(obj).IsZero() })...)
	case *kubeovn.IPPool:
		if c.SpecChanged || c.Deleted {
			keys = append(keys, having(u.All(), waitsFor(obj.Subnet, net))...)
			keys = append(keys, having(u.Pending(), func(u user) bool { return u.Pool == obj.Name })...)
		}
	case *kubeovn.Vip:
		if freed {
			keys = append(keys, having(u.Pending(), waitsFor(obj.Subnet, net))...)
		}
		if _, ours := kubeovn.OwnerOf(obj); !ours {
			keys = append(keys, owners(endangeredBy(obj, net), func(*kubeovn.Vip) bool { return true })...)
		}
	case *kubeovn.IP:
		if freed {
			keys = append(keys, having(u.Pending(), waitsFor(obj.Subnet, net))...)
		} else {
			keys = append(keys, owners(atTheSame(obj, net), func(*kubeovn.Vip) bool { return true })...)
		}
	}
	return keys
}

// owners returns the Services that those of the Vips belong to which are so.
func owners(vips []*kubeovn.Vip, is func(*kubeovn.Vip) bool) []string {
	var keys []string
	for _, vip := range vips {
		if owner, ours := kubeovn.OwnerOf(vip); ours && is(vip) {
			keys = append(keys, owner.Key())
		}
	}
	return keys
}

// atTheSame returns the Vips that have an address which a Pod has, too.
func atTheSame(ip *kubeovn.IP, net network) []*kubeovn.Vip {
	var vips []*kubeovn.Vip
	for _, text := range []string{ip.V4, ip.V6} {
		if addr, err := netip.ParseAddr(text); err == nil {
			vips = append(vips, net.VipsAt(ip.Subnet, addr)...)
		}
	}
	return vips
}

// endangeredBy returns the Vips to whose address somebody may come who is given
// the lowest free one.
func endangeredBy(vip *kubeovn.Vip, net network) []*kubeovn.Vip {
	subnet, known := net.Subnet(vip.Subnet)
	if !known || vip.V4 == "" || vip.V6 == "" {
		return nil
	}
	return slices.DeleteFunc(net.VipsOf(vip.Subnet), func(v *kubeovn.Vip) bool { return !ipam.WithinReach(subnet, v.Addrs().V6) })
}

// waitsFor tells whether a Service wants an address of the Subnet; of a Subnet
// that is not known everybody may.
func waitsFor(subnet string, net network) func(user) bool {
	s, known := net.Subnet(subnet)
	return func(u user) bool {
		return !known || u.Subnet == subnet || u.Attachment == s.Provider
	}
}

func having(all []user, is func(user) bool) []string {
	var keys []string
	for _, u := range all {
		if is(u) {
			keys = append(keys, u.Key)
		}
	}
	return keys
}
