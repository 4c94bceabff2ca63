package kubeovn

import (
	"encoding/json"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"unique"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// The decoders below never fail: a field that is missing, of another type or
// malformed is left empty. The objects were accepted by another project's
// schema, in a version we do not know, and a reader that dies on one of them
// would stop the load balancers of all the others.

func decodeSubnet(u *unstructured.Unstructured) *Subnet {
	s := &Subnet{
		ObjectMeta:  meta(u),
		Provider:    text(u, "spec", "provider"),
		VPC:         text(u, "spec", "vpc"),
		ExcludeIPs:  texts(u, "spec", "excludeIps"),
		V4Available: available(u, "v4"),
		V6Available: available(u, "v6"),
	}
	if !s.IsOVN() { // elsewhere they are long, and of no use
		s.V4Using, s.V6Using = using(u, "v4"), using(u, "v6")
	}
	if !isReady(u) {
		// Kube-OVN writes zeros before it has counted.
		s.V4Available, s.V6Available = unlessZero(s.V4Available), unlessZero(s.V6Available)
	}
	s.Labels = u.GetLabels()
	s.Pool = strings.TrimSpace(u.GetAnnotations()[SubnetPool])
	s.AvoidBuggyIPs = strings.TrimSpace(u.GetAnnotations()[SubnetAvoidBuggyIPs])
	for _, part := range split(text(u, "spec", "cidrBlock")) {
		if p, err := netip.ParsePrefix(part); err == nil {
			s.CIDRs = append(s.CIDRs, p.Masked())
		}
	}
	for _, part := range split(text(u, "spec", "gateway")) {
		if a, err := netip.ParseAddr(part); err == nil {
			s.Gateways = append(s.Gateways, a)
		}
	}
	return s
}

// available reads how many addresses of one family a Subnet's status says to be
// left. Kube-OVN counts objects for the number, the newest of which it has often
// not seen yet, up to v1.14 at least; the ranges come from its IPAM. Whether
// there is any address left, they know better.
func available(u *unstructured.Unstructured, family string) float64 {
	n := number(u, "status", family+"availableIPs")
	left, given := text(u, "status", family+"availableIPrange"), text(u, "status", family+"usingIPrange")
	switch {
	case n > 0 && left == "" && given != "":
		return 0
	case n == 0:
		return ParseRanges(split(left)).size()
	}
	return n
}

// using reads what a Subnet's status says to be given out of one family. A
// number without ranges is a Subnet whose IPAM holds nothing of what is there.
func using(u *unstructured.Unstructured, family string) Ranges {
	list := text(u, "status", family+"usingIPrange")
	if list == "" && number(u, "status", family+"usingIPs") <= 0 {
		return nil
	}
	return append(Ranges{}, ParseRanges(split(list))...)
}

// withoutV6 takes out of status.v4ip the IPv6 address that may stand there
// beside the IPv4 address, for Kube-OVN to book it again when it restarts.
func withoutV6(list string) string {
	return strings.Join(slices.DeleteFunc(split(list), func(part string) bool { return strings.Contains(part, ":") }), ",")
}

// isReady reports whether an object has the condition Ready.
func isReady(u *unstructured.Unstructured) bool {
	conditions, _ := field(u, "status", "conditions").([]any)
	for _, c := range conditions {
		if m, ok := c.(map[string]any); ok && m["type"] == "Ready" && m["status"] == "True" {
			return true
		}
	}
	return false
}

func unlessZero(n float64) float64 {
	if n == 0 {
		return Unreported
	}
	return n
}

func decodeVip(u *unstructured.Unstructured) *Vip {
	v := &Vip{
		ObjectMeta: meta(u),
		Subnet:     text(u, "spec", "subnet"),
		WantV4:     text(u, "spec", "v4ip"),
		WantV6:     text(u, "spec", "v6ip"),
		V4:         withoutV6(text(u, "status", "v4ip")),
		V6:         text(u, "status", "v6ip"),
		MAC:        text(u, "status", "mac"),
		Restored:   text(u, "status", "v4ip"),
		Asked:      u.GetAnnotations()[AnnotationAsked],
		Reminded:   u.GetAnnotations()[AnnotationReminded],
	}
	v.Labels = u.GetLabels()
	v.Finalizers = u.GetFinalizers()
	return v
}

func decodeIP(u *unstructured.Unstructured) *IP {
	return &IP{
		ObjectMeta:     meta(u),
		PodName:        text(u, "spec", "podName"),
		PodNamespace:   unique.Make(text(u, "spec", "namespace")).Value(),
		VirtualMachine: text(u, "spec", "podType") == "VirtualMachine",
		Subnet:         unique.Make(text(u, "spec", "subnet")).Value(),
		V4:             text(u, "spec", "v4IpAddress"),
		V6:             text(u, "spec", "v6IpAddress"),
	}
}

func decodeIPPool(u *unstructured.Unstructured) *IPPool {
	return &IPPool{ObjectMeta: meta(u), Subnet: text(u, "spec", "subnet"), IPs: ParseRanges(texts(u, "spec", "ips"))}
}

func decodeNAD(u *unstructured.Unstructured) *NAD {
	n := &NAD{ObjectMeta: meta(u), Config: text(u, "spec", "config")}
	n.Labels = u.GetLabels()
	n.Annotations = u.GetAnnotations()
	delete(n.Annotations, "kubectl.kubernetes.io/last-applied-configuration")
	return n
}

// meta copies what every reader needs of the metadata.
func meta(u *unstructured.Unstructured) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Name:              u.GetName(),
		Namespace:         u.GetNamespace(),
		UID:               u.GetUID(),
		ResourceVersion:   u.GetResourceVersion(),
		CreationTimestamp: u.GetCreationTimestamp(),
		DeletionTimestamp: u.GetDeletionTimestamp(),
	}
}

func field(u *unstructured.Unstructured, path ...string) any {
	v, found, err := unstructured.NestedFieldNoCopy(u.Object, path...)
	if !found || err != nil {
		return nil
	}
	return v
}

func text(u *unstructured.Unstructured, path ...string) string {
	s, _ := field(u, path...).(string)
	return strings.TrimSpace(s)
}

func texts(u *unstructured.Unstructured, path ...string) []string {
	list, _ := field(u, path...).([]any)
	var out []string
	for _, v := range list {
		if s, ok := v.(string); ok && s != "" {
			out = append(out, s)
		}
	}
	return out
}

// number reads a count of addresses. Kube-OVN writes big integers, which
// arrive as integers, as floats such as 1.8446744073709552e+19 or as strings.
func number(u *unstructured.Unstructured, path ...string) float64 {
	n := Unreported
	switch v := field(u, path...).(type) {
	case int64:
		n = float64(v)
	case int:
		n = float64(v)
	case float64:
		n = v
	case json.Number:
		n = parseFloat(v.String())
	case string:
		n = parseFloat(v)
	}
	if math.IsNaN(n) || n < 0 {
		return Unreported
	}
	return n
}

// parseFloat keeps the infinity that ParseFloat returns for a number that is
// too large: there is plenty.
func parseFloat(s string) float64 {
	n, err := strconv.ParseFloat(strings.TrimSpace(s), 64)
	if err != nil && !math.IsInf(n, 1) {
		return Unreported
	}
	return n
}

// split cuts a list such as "10.0.0.0/8,fd00::/64".
func split(list string) []string {
	var out []string
	for part := range strings.SplitSeq(list, ",") {
		if part = strings.TrimSpace(part); part != "" {
			out = append(out, part)
		}
	}
	return out
}
