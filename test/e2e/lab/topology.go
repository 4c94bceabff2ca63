package lab

import (
	"fmt"
	"net/netip"
	"regexp"
	"strings"
)

// The IPv4 addresses of a lab are those of Kube-OVN's guide. Every lab has them, each in namespaces of its own.
const (
	routerIP      = "172.18.0.1"
	controlIP     = "172.18.0.2"
	clientIP      = "172.18.0.5"
	firstNode     = 6 // n1 is 172.18.0.6
	remoteIP      = "203.0.113.7"
	remoteGateway = "203.0.113.1"
	tunnelPrefix  = "172.31.1." // n1 is 172.31.1.1
	tunnelNetwork = tunnelPrefix + "0/24"
	apiServiceIP  = "10.96.0.1"
	dnsServiceIP  = "10.96.0.10"
)

// Networks have both families, IPv4 first: so Services that ask for nothing get IPv4, as in the guide. The IPv6 ones of
// the cluster are those of Kube-OVN's own installer.
var (
	lanNetwork     = network{"172.18.0.0/16", "fd00:172:18::/64"}
	remoteNetwork  = network{"203.0.113.0/24", "fd00:203:113::/64"}
	podNetwork     = network{"10.16.0.0/16", "fd00:10:16::/112"}
	serviceNetwork = network{"10.96.0.0/16", "fd00:10:96::/112"}
	joinNetwork    = network{"100.64.0.0/16", "fd00:100:64::/112"} // where Kube-OVN connects nodes with Pods
)

const (
	apiURL = "https://" + controlIP + ":6443"
	ovnNB  = "tcp:" + controlIP + ":6641"
	ovnSB  = "tcp:" + controlIP + ":6642"
)

// MaxNodes is how many nodes a lab may have.
const MaxNodes = 9

// The hosts beside the nodes n1, n2...
const (
	// Switch holds the two Ethernet switches; nothing runs there.
	Switch = "switch"
	// Router is 172.18.0.1, the LAN's way out.
	Router = "router"
	// Client is outside the cluster, on the LAN.
	Client = "client"
	// Remote is outside the cluster, behind the router.
	Remote = "remote"
	// ControlPlane runs etcd, the API server and its controllers, kube-ovn-controller and OVN's databases.
	ControlPlane = "cp"
)

const (
	lanBridge    = "br-lan"
	wanBridge    = "br-wan"
	tunnelBridge = "br-tun"
)

// network is a prefix of each family.
type network struct{ v4, v6 string }

// String is the network as the programs' flags want it.
func (n network) String() string { return n.v4 + "," + n.v6 }

// addresses are those of a host in the network, by its IPv4 address: the IPv6 one ends in the same digits, so that
// 172.18.0.14 is fd00:172:18::14, too.
func (n network) addresses(ip string) []netip.Prefix {
	v4, v6 := netip.MustParsePrefix(n.v4), netip.MustParsePrefix(n.v6)
	last := ip[strings.LastIndexByte(ip, '.')+1:]
	return []netip.Prefix{
		netip.PrefixFrom(netip.MustParseAddr(ip), v4.Bits()),
		netip.PrefixFrom(netip.MustParseAddr(v6.Addr().String()+last), v6.Bits()),
	}
}

// ips are the same without the lengths of the prefixes.
func (n network) ips(ip string) []netip.Addr {
	var out []netip.Addr
	for _, p := range n.addresses(ip) {
		out = append(out, p.Addr())
	}
	return out
}

// nic is one network interface of a host: a cable to a bridge of the switch, or to another host.
type nic struct {
	device string
	// bridge is where the other end of the cable is.
	bridge string
	// addresses on the interface, with their prefix lengths; one per family, IPv4 first.
	addresses []netip.Prefix
}

// host is one network namespace of a lab.
type host struct {
	name     string
	nics     []nic
	gateways []netip.Addr // default routes
	forwards bool         // routes between its interfaces
	machine  bool         // has an init and programs, so also mount, pid, uts and ipc namespaces
}

// topology returns the hosts of a lab in the order in which they are made.
func topology(nodes int) []host {
	lan := func(ip string) nic { return nic{"eth0", lanBridge, lanNetwork.addresses(ip)} }
	wan := func(device, ip string) nic { return nic{device, wanBridge, remoteNetwork.addresses(ip)} }
	out := []host{
		{name: Router, forwards: true, nics: []nic{lan(routerIP), wan("eth1", remoteGateway)}},
		{name: Client, nics: []nic{lan(clientIP)}, gateways: lanNetwork.ips(routerIP)},
		{name: Remote, nics: []nic{wan("eth0", remoteIP)}, gateways: remoteNetwork.ips(remoteGateway)},
		{name: ControlPlane, nics: []nic{lan(controlIP)}, gateways: lanNetwork.ips(routerIP), machine: true},
	}
	for i := 1; i <= nodes; i++ {
		out = append(out, host{
			name: nodeName(i), gateways: lanNetwork.ips(routerIP), forwards: true, machine: true,
			nics: []nic{lan(nodeIP(i)), {device: "eth1", bridge: tunnelBridge}},
		})
	}
	return out
}

func nodeName(i int) string { return fmt.Sprintf("n%d", i) }
func nodeIP(i int) string   { return fmt.Sprintf("172.18.0.%d", firstNode+i-1) }
func tunnelIP(i int) string { return fmt.Sprintf("%s%d", tunnelPrefix, i) }

// tunnelMAC is the hardware address of a node's end of the tunnels.
func tunnelMAC(i int) string { return fmt.Sprintf("02:44:ac:1f:01:%02x", i) }

// nodeIPs are a node's addresses of both families, as the programs' flags want them.
func nodeIPs(i int) string {
	ips := lanNetwork.ips(nodeIP(i))
	return ips[0].String() + "," + ips[1].String()
}

// mac gives an interface the same hardware address whenever its host is powered on, as a real one has.
func mac(device string, addresses []netip.Prefix, host string) [6]byte {
	if len(addresses) > 0 && addresses[0].Addr().Is4() {
		a := addresses[0].Addr().As4()
		return [6]byte{0x02, 0x42, a[0], a[1], a[2], a[3]}
	}
	m := [6]byte{0x02, 0x43}
	copy(m[2:4], device[max(0, len(device)-2):])
	copy(m[4:6], host[max(0, len(host)-2):])
	return m
}

var nameForm = regexp.MustCompile(`^[a-z0-9]{1,12}$`)

// checkName keeps a lab's name usable in namespace, cgroup and directory names, and prefix-free among each other.
func checkName(name string) error {
	if !nameForm.MatchString(name) {
		return fmt.Errorf("lab name %q: want 1 to 12 lower-case letters and digits", name)
	}
	return nil
}

// hostNames are the hosts one can run commands on.
func hostNames(hosts []host) []string {
	var out []string
	for _, h := range hosts {
		out = append(out, h.name)
	}
	return out
}
