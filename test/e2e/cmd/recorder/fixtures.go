package main

import (
	"fmt"

	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
)

// The attachments of an administrator. The guide's has no ipam; the others say
// that Kube-OVN gives the addresses: of one plugin, of a list of plugins, and
// one without a Subnet.
const (
	lan4    = `{"cniVersion":"0.3.0","type":"macvlan","master":"eth0","mode":"bridge"}`
	booked  = `{"cniVersion":"0.3.0","type":"macvlan","master":"eth0","mode":"bridge","ipam":{"type":"kube-ovn","server_socket":"/run/openvswitch/kube-ovn-daemon.sock","provider":"booked.kube-system"}}`
	lan46   = `{"cniVersion":"0.3.1","plugins":[{"type":"macvlan","master":"eth0","mode":"bridge","ipam":{"type":"kube-ovn","server_socket":"/run/openvswitch/kube-ovn-daemon.sock","provider":"lan46.kube-system"}},{"type":"sbr"}]}`
	narrow  = `{"cniVersion":"0.3.0","type":"macvlan","master":"eth0","mode":"bridge","ipam":{"type":"kube-ovn","server_socket":"/run/openvswitch/kube-ovn-daemon.sock","provider":"narrow.kube-system"}}`
	unbound = `{"cniVersion":"0.3.0","type":"macvlan","master":"eth0","mode":"bridge","ipam":{"type":"kube-ovn","server_socket":"/run/openvswitch/kube-ovn-daemon.sock","provider":"unbound.kube-system"}}`
)

// fixtures are the Subnets, attachments and other objects of an administrator.
var fixtures = []string{
	nad("kube-system", "lan4", lan4),
	nad("kube-system", "booked", booked),
	nad("kube-system", "lan46", lan46),
	nad("kube-system", "narrow", narrow),
	nad("kube-system", "unbound", unbound),
	subnet("lan4", "IPv4", "lan4.kube-system", "172.18.0.0/16", "172.18.0.1", `"172.18.0.0..172.18.0.10"`),
	subnet("lan46", "Dual", "lan46.kube-system", "172.19.0.0/16,fd00:172:19::/64", "172.19.0.1,fd00:172:19::1", ``),
	subnet("lan6", "IPv6", "lan6.kube-system", "fd00:172:20::/64", "fd00:172:20::1", ``),
	subnet("booked", "IPv4", "booked.kube-system", "172.21.0.0/24", "172.21.0.1", ``),
	subnet("full", "IPv4", "full.kube-system", "172.22.0.0/30", "172.22.0.1", ``),
	subnet("narrow", "IPv4", "narrow.kube-system", "172.24.0.0/30", "172.24.0.1", ``),
	`{"apiVersion":"kubeovn.io/v1","kind":"IPPool","metadata":{"name":"pool"},"spec":{"subnet":"lan4","ips":["172.18.9.1..172.18.9.9"]}}`,
	`{"apiVersion":"kubeovn.io/v1","kind":"IPPool","metadata":{"name":"pool46"},"spec":{"subnet":"lan46","ips":["172.19.9.1..172.19.9.9","fd00:172:19::9:1..fd00:172:19::9:9"]}}`,
	vip("by-hand", "lan4", `"v4ip":"172.18.0.77"`, ``),
	vip("by-hand-booked", "booked", `"v4ip":"172.21.0.60"`, ``),
	// It stays for a while when it is deleted.
	vip("leaving", "booked", `"v4ip":"172.21.0.70"`, `"example.com/stays"`),
	// It is gone before Kube-OVN is restarted. Its address of IPv6 is the first one, which Kube-OVN then has to give.
	vip("passing", "lan46", ``, ``),
	vip("passing-6", "lan6", ``, ``),
	// Kube-OVN removes what it takes for an orphan of its own lb-svc; ours must not look like one.
	deployment("lb-svc-ours", `{"app.kubernetes.io/managed-by":"kube-ovn-ccm","kube-ovn.io/service-name":"ours"}`),
	deployment("lb-svc-theirs", `{"app":"theirs","namespace":"default","service":"theirs"}`),
	// Kube-OVN writes an annotation on a Service whose address it knows.
	service("guide", `"ovn.kubernetes.io/attachmentprovider":"lan4.kube-system"`, `,"status":{"loadBalancer":{"ingress":[{"ip":"172.18.0.18"}]}}`),
}

// unguarded come when the others are granted. Nobody guards their addresses of
// IPv6 against a restart of Kube-OVN.
var unguarded = []string{
	vip("by-hand-46", "lan46", `"v4ip":"172.19.0.77"`, ``),
	vip("by-hand-6", "lan6", ``, ``),
}

// rivals ask for what is taken: a Pod's address, another Vip's, and the router's.
var rivals = []string{
	vip("rival-of-pod", "booked", `"v4ip":"172.21.0.50"`, ``),
	vip("rival-of-vip", "booked", `"v4ip":"172.21.0.60"`, ``),
	vip("rival-of-router", "booked", `"v4ip":"172.21.0.1"`, ``),
}

// attached is a Pod on an attachment.
type attached struct {
	name, annotations string
	// everywhere is set if every version gives it all its addresses.
	everywhere bool
}

// pods are one on each attachment, and the gateways that kube-ovn-ccm makes for
// a Service on each.
var pods = []attached{
	{"on-lan4", networks("kube-system/lan4"), true},
	{"on-booked", networks("kube-system/booked") + `,"booked.kube-system.kubernetes.io/ip_address":"172.21.0.50","booked.kube-system.kubernetes.io/logical_switch":"booked"`, true},
	{"on-lan46", networks("kube-system/lan46"), true},
	{"on-unbound", networks("kube-system/unbound"), false},
	// It asks for what a Vip holds.
	{"wants-vip", networks("kube-system/booked") + `,"booked.kube-system.kubernetes.io/ip_address":"172.21.0.60","booked.kube-system.kubernetes.io/logical_switch":"booked"`, false},
	{"gateway", gateway("ours", "lan4", "172.18.0.18", "172.18.0.0/16", "172.18.0.1"), true},
	{"gateway-booked", gateway("ours-booked", "booked", "172.21.0.18", "172.21.0.0/24", "172.21.0.1"), true},
	{"gateway-46", gateway("ours-46", "lan46", "172.19.0.46,fd00:172:19::46", "172.19.0.0/16,fd00:172:19::/64", "172.19.0.1,fd00:172:19::1"), true},
}

func networks(nad string) string { return fmt.Sprintf("%q:%q", kubeovn.Networks, nad) }

// gateway returns the annotations of a gateway Pod as kube-ovn-ccm makes it; a
// test of pkg/loadbalancer compares them with those that it would make.
func gateway(service, subnet, addresses, cidr, routers string) string {
	text := networks("default/lb-svc-" + service)
	for field, value := range map[string]string{
		kubeovn.FieldAllocated: "true", kubeovn.FieldIPAddress: addresses, kubeovn.FieldCIDR: cidr, kubeovn.FieldGateway: routers,
		kubeovn.FieldLogicalSwitch: subnet, kubeovn.FieldPodNICType: "veth-pair", kubeovn.FieldMACAddress: "0a:00:00:00:00:18",
	} {
		text += fmt.Sprintf(",%q:%q", kubeovn.AnnotationKey(subnet+".kube-system", field), value)
	}
	return text
}

// derived are the attachments that kube-ovn-ccm makes of an administrator's for
// its gateways, by its own code.
func derived() ([]string, error) {
	var out []string
	for _, from := range []struct {
		service, config string
		sysctls         map[string]string
	}{
		{"ours", lan4, nil},
		{"ours-booked", booked, nil},
		{"ours-46", lan46, map[string]string{
			"net.ipv6.conf.all.forwarding": "1", "net.ipv6.conf.net1.accept_ra": "0", "net.ipv6.conf.net1.disable_ipv6": "0",
		}},
	} {
		config, err := kubeovn.ParseNADConfig(from.config)
		if err != nil {
			return nil, err
		}
		bare, err := config.WithoutIPAM("lb-svc-"+from.service, from.sysctls)
		if err != nil {
			return nil, err
		}
		out = append(out, nad("default", "lb-svc-"+from.service, bare))
	}
	return out, nil
}

func nad(namespace, name, config string) string {
	return fmt.Sprintf(`{"apiVersion":"k8s.cni.cncf.io/v1","kind":"NetworkAttachmentDefinition","metadata":{"namespace":%q,"name":%q},"spec":{"config":%q}}`, namespace, name, config)
}

func subnet(name, protocol, provider, cidr, gateway, exclude string) string {
	return fmt.Sprintf(`{"apiVersion":"kubeovn.io/v1","kind":"Subnet","metadata":{"name":%q},"spec":{"protocol":%q,"provider":%q,"cidrBlock":%q,"gateway":%q,"excludeIps":[%s]}}`,
		name, protocol, provider, cidr, gateway, exclude)
}

func vip(name, subnet, asks, finalizers string) string {
	if asks != "" {
		asks = "," + asks
	}
	return fmt.Sprintf(`{"apiVersion":"kubeovn.io/v1","kind":"Vip","metadata":{"name":%q,"finalizers":[%s]},"spec":{"subnet":%q%s}}`, name, finalizers, subnet, asks)
}

func deployment(name, labels string) string {
	return fmt.Sprintf(`{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"namespace":"default","name":%q},"spec":{"selector":{"matchLabels":%s},
		"template":{"metadata":{"labels":%s},"spec":{"containers":[{"name":"c","image":"i"}]}}}}`, name, labels, labels)
}

func service(name, annotations, status string) string {
	return fmt.Sprintf(`{"apiVersion":"v1","kind":"Service","metadata":{"namespace":"default","name":%q,"annotations":{%s}},
		"spec":{"type":"LoadBalancer","allocateLoadBalancerNodePorts":false,"selector":{"app":"dynamic"},"ports":[{"port":80}]}%s}`, name, annotations, status)
}

func pod(name, labels, annotations string) string {
	return fmt.Sprintf(`{"apiVersion":"v1","kind":"Pod","metadata":{"namespace":"default","name":%q,"labels":{%s},"annotations":{%s}},"spec":{"nodeName":"n1","containers":[{"name":"c","image":"i"}]}}`, name, labels, annotations)
}
