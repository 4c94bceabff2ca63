package loadbalancer

import (
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/kubeovn/kube-ovn-ccm/pkg/ipam"
	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
)

// poolReader finds IPPools; Network is one.
type poolReader interface {
	// IPPool returns nil if there is none of that name; missing says why no
	// IPPool can be read at all.
	IPPool(name string) (pool *kubeovn.IPPool, missing string)
}

// pool is the IPPool that a Service's address is taken from.
type pool struct {
	*kubeovn.IPPool // nil: none
	// field is where the Service names it; empty: it is its Subnet's.
	field string
}

// poolOf finds the IPPool of a Service: the one that it names, else the one
// that its Subnet names for all Services.
func poolOf(svc *corev1.Service, provider string, subnet *kubeovn.Subnet, served kubeovn.Families, pools poolReader) (pool, *Problem) {
	key := kubeovn.AnnotationKey(provider, kubeovn.FieldIPPool)
	name, field := strings.TrimSpace(svc.Annotations[key]), "annotation "+key
	where := field
	if name == "" {
		name, field, where = subnet.Pool, "", "annotation "+kubeovn.SubnetPool+" of Subnet "+subnet.Name
	}
	if name == "" {
		return pool{}, nil
	}
	found, missing := pools.IPPool(name)
	switch {
	case found == nil && missing != "":
		return pool{}, problemf("KubeOVNUnreadable", "%s names IPPool %s, and %s: install it, grant kube-ovn-ccm access, or remove the annotation", where, name, missing)
	case found == nil:
		return pool{}, problemf("IPPoolNotFound", "%s: there is no IPPool %s: create it, name another one or remove the annotation", where, name)
	case found.DeletionTimestamp != nil:
		return pool{}, problemf("IPPoolNotFound", "%s: IPPool %s is being deleted: name another one or remove the annotation", where, name)
	case found.Subnet != subnet.Name:
		return pool{}, problemf("IPPoolOfAnotherSubnet", "%s: IPPool %s has spec.subnet %s, not %s, the Service's Subnet: name an IPPool of that Subnet or remove the annotation",
			where, name, found.Subnet, subnet.Name)
	}
	for _, v4 := range []bool{true, false} {
		reason, family := ipam.ReasonIPPoolWithoutIPv6, kubeovn.FamilyName(v4)
		if v4 {
			reason = ipam.ReasonIPPoolWithoutIPv4
		}
		if served.Of(v4) && len(found.IPs.Of(v4)) == 0 {
			return pool{}, problemf(reason, "%s: IPPool %s has no %s addresses in spec.ips, and the Service needs one: add some, or name another IPPool", where, name, family)
		}
	}
	return pool{IPPool: found, field: field}, nil
}

// avoidsBuggyIPs says whether a Service is not to be given an address that ends
// in .0 or .255: as its Subnet says, else as the cloud-config does.
func avoidsBuggyIPs(subnet *kubeovn.Subnet, cfg Config) (bool, *Problem) {
	switch subnet.AvoidBuggyIPs {
	case "":
		return cfg.AvoidBuggyIPs, nil
	case "true", "false":
		return subnet.AvoidBuggyIPs == "true", nil
	}
	return false, problemf("InvalidSubnetAnnotation", "annotation %s of Subnet %s is %q: set it to true or false, or remove it",
		kubeovn.SubnetAvoidBuggyIPs, subnet.Name, subnet.AvoidBuggyIPs)
}
