package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/kubeovn/kube-ovn-ccm/test/e2e/assets"
	"github.com/kubeovn/kube-ovn-ccm/test/e2e/lab/unit"
)

const (
	ovsSocket    = "/run/openvswitch/db.sock"
	daemonSocket = "/run/openvswitch/kube-ovn-daemon.sock"
	imagesUnit   = "images"
	resolvConf   = "resolv.conf"
	apiProbe     = "tcp:" + controlIP + ":6443"
)

// nodeUnits returns the programs of a node and writes what they read.
func (l *Lab) nodeUnits(h host) ([]unit.Unit, error) {
	dir := l.path(h.name)
	number, err := strconv.Atoi(h.name[1:])
	if err != nil {
		return nil, err
	}
	resolv := filepath.Join(dir, resolvConf)
	if err := os.WriteFile(resolv, []byte("nameserver 127.0.0.1\n"), 0o644); err != nil {
		return nil, err
	}
	values := map[string]string{
		"Name": h.name, "PauseImage": assets.PauseRef, "CNI": l.state.Assets.CNI, "CA": l.path("pki", "ca.crt"),
		"PodsCgroup": "/" + filepath.Join(l.tree.Name, podsGroup(h.name)), "ResolvConf": resolv, "DNS": dnsServiceIP, "Pods": podNetwork.String(),
		"ProxyKubeconfig": l.path("kube-proxy.kubeconfig"), "AdminKubeconfig": l.Kubeconfig(),
	}
	for _, t := range []string{"containerd.toml", "kubelet.yaml", "kube-proxy.yaml", "00-multus.conf"} {
		if err := renderTo(dir, t, values); err != nil {
			return nil, err
		}
	}
	return append(l.switchUnits(h.name, number), l.kubeUnits(h.name, number, dir)...), nil
}

// switchUnits are Open vSwitch with the userspace datapath, and OVN on it.
func (l *Lab) switchUnits(node string, number int) []unit.Unit {
	const db = "/etc/openvswitch/conf.db"
	return []unit.Unit{
		{
			Name: "ovsdb-create", Once: true, Unless: db,
			Commands: [][]string{
				// kube-ovn-daemon reads this file
				{"cp", "/proc/sys/kernel/random/uuid", "/etc/openvswitch/system-id.conf"},
				{"ovsdb-tool", "create", db, filepath.Join(l.state.Assets.Trixie, "usr/share/openvswitch/vswitch.ovsschema")},
			},
		},
		{
			Name: "ovsdb-server", After: []string{"ovsdb-create"}, Ready: []string{"unix:" + ovsSocket},
			Commands: [][]string{{"ovsdb-server", db, "--remote=punix:" + ovsSocket, "--pidfile", "--unixctl=/run/openvswitch/ovsdb.ctl"}},
		},
		{
			Name: "ovs-init", Once: true, After: []string{"ovsdb-server"},
			Commands: [][]string{{"sh", "-ec", `exec ovs-vsctl --no-wait init -- set Open_vSwitch . \
				external-ids:system-id="$(cat /etc/openvswitch/system-id.conf)" "$@"`, "ovs-init",
				"external-ids:hostname=" + node, "external-ids:ovn-remote=" + ovnSB, "external-ids:ovn-encap-type=geneve",
				"external-ids:ovn-encap-ip=" + tunnelIP(number), "external-ids:ovn-bridge-datapath-type=netdev",
				// All of OVN's database instead of what ovn-controller asks for as Pods come and go.
				"external-ids:ovn-monitor-all=true"}},
		},
		{
			Name: "ovs-vswitchd", After: []string{"ovs-init"},
			// The userspace datapath forwards in an ordinary thread, where a real node has the kernel: it goes before the
			// node's other programs, else packets are lost while they keep the CPUs busy.
			Commands: [][]string{{"nice", "-n", "-19", "ovs-vswitchd", "--pidfile"}},
		},
		{
			// br-phy, of the userspace datapath too, holds eth1 and the tunnel address: userspace Geneve works only when
			// the encapsulated packet leaves through a bridge of the same datapath. Nor does that datapath complete checksums.
			Name: "ovs-bridges", Once: true, After: []string{"ovs-vswitchd"},
			Commands: [][]string{
				{"ethtool", "-K", "eth1", "tx", "off"},
				{
					"ovs-vsctl", "--may-exist", "add-br", "br-int", "--", "set", "bridge", "br-int", "datapath_type=netdev", "fail-mode=secure",
					"--", "--may-exist", "add-br", "br-phy", "--", "set", "bridge", "br-phy", "datapath_type=netdev",
					"other-config:hwaddr=" + tunnelMAC(number), "--", "--may-exist", "add-port", "br-phy", "eth1",
				},
			},
		},
		{
			// After a power-on the bridge is in the database already and ovs-vsctl waits for nobody: so its device is waited for.
			Name: "tunnel-address", Once: true, After: []string{"ovs-bridges"}, Wait: []string{"file:/sys/class/net/br-phy"},
			Commands: [][]string{
				{"ip", "addr", "replace", tunnelIP(number) + "/24", "dev", "br-phy"},
				{"ip", "link", "set", "br-phy", "up"},
			},
		},
		{
			Name: "ovn-controller", After: []string{"tunnel-address"},
			Commands: [][]string{{"ovn-controller", "--pidfile"}},
		},
		{
			// After many Pods have gone, ovn-controller sometimes misses the flows to a new one on another node, and all
			// that two nodes say to each other about it is lost, until it computes them all anew. kube-ovn-daemon makes it
			// do that every ten minutes; it takes some milliseconds here.
			Name: "overlay", After: []string{"tunnel-address"},
			Commands: [][]string{{"sh", "-c", "while sleep 1; do " + l.overlay(number) +
				"ovn-appctl -t ovn-controller inc-engine/recompute; done"}},
		},
	}
}

// overlay keeps what Open vSwitch needs to know of its way to the other nodes, where the kernel of a real node would know it.
// It would ask for their hardware addresses by ARP; but when it has forgotten one, it does not look at the answer if the last
// one was seconds ago, and the node is cut off. And it reads the node's addresses and routes whenever one changes, at each
// Pod's coming and going; what it lacks after that it gets with the next change, so there is one.
func (l *Lab) overlay(node int) string {
	ip := tunnelIP(node)
	script := "{ ovs-appctl ovs/route/show | grep -q ' " + ip + "/32 dev br-phy' && ovs-appctl ovs/route/show | grep -q ' " + tunnelNetwork +
		" dev br-phy' && ovs-appctl tnl/ports/show -v | grep -q 'dst=" + ip + ",'; } || " +
		"{ echo 'the tunnel is not known'; ip route replace 192.0.2.1 dev br-phy; ip route del 192.0.2.1 dev br-phy; }; "
	for i := range l.Nodes() {
		if peer := i + 1; peer != node {
			script += fmt.Sprintf("ovs-appctl tnl/neigh/set br-phy %s %s >/dev/null; ", tunnelIP(peer), tunnelMAC(peer))
		}
	}
	return script
}

// kubeUnits are the node's part of Kubernetes and Kube-OVN.
func (l *Lab) kubeUnits(node string, number int, dir string) []unit.Unit {
	// Once for the life of the node's disk. The kubelet waits only for the image that every Pod needs: the others take
	// their time beside it, and Up waits for them.
	pause := unit.Unit{Name: "pause-image", Once: true, After: []string{"containerd"}, Unless: "/var/lib/containerd/.pause-imported"}
	images := unit.Unit{Name: imagesUnit, Once: true, After: []string{"pause-image"}, Unless: "/var/lib/containerd/.images-imported"}
	for _, i := range l.state.Assets.Images {
		u := &images
		if i.Ref == assets.PauseRef {
			u = &pause
		}
		u.Commands = append(u.Commands, []string{"ctr", "images", "import", i.Tar})
	}
	for _, u := range []*unit.Unit{&pause, &images} {
		u.Commands = append(u.Commands, []string{"touch", u.Unless})
	}
	return []unit.Unit{
		{
			Name: "containerd", Ready: []string{"unix:/run/containerd/containerd.sock"},
			Commands: [][]string{{"containerd", "--config", filepath.Join(dir, "containerd.toml")}},
		},
		pause,
		images,
		{
			Name: "kubelet", After: []string{"pause-image"}, Wait: []string{apiProbe}, Ready: []string{"tcp:" + nodeIP(number) + ":10250"},
			Commands: [][]string{{
				"kubelet", "--config=" + filepath.Join(dir, "kubelet.yaml"), "--kubeconfig=" + l.path("kubelet-"+node+".kubeconfig"),
				"--hostname-override=" + node, "--node-ip=" + nodeIPs(number),
			}},
		},
		{
			Name: "kube-proxy", Wait: []string{apiProbe}, Ready: []string{"tcp:127.0.0.1:10249"},
			Commands: [][]string{{"kube-proxy", "--config=" + filepath.Join(dir, "kube-proxy.yaml")}},
		},
		{
			// It exits until its Node and the subnets exist, and is started again, as a DaemonSet's Pod would be.
			Name: "kube-ovn-daemon", After: []string{"tunnel-address", "kubelet"}, Ready: []string{"unix:" + daemonSocket},
			Env: []string{
				"NODE_NAME=" + node, "KUBE_NODE_NAME=" + node, "POD_NAME=kube-ovn-cni-" + node, "POD_NAMESPACE=kube-system",
				"POD_IP=" + nodeIP(number), "POD_IPS=" + nodeIPs(number),
			},
			// One that was killed has left its socket, over which the next one would stumble for ever; upstream's start
			// script removes it, too.
			Commands: [][]string{{
				"sh", "-ec", "rm -f " + daemonSocket + `; exec kube-ovn-daemon "$@"`, "kube-ovn-daemon",
				"--kubeconfig=" + l.Kubeconfig(), "--ovs-socket=" + ovsSocket, "--bind-socket=" + daemonSocket,
				"--service-cluster-ip-range=" + serviceNetwork.String(),
				"--iface=br-phy", // else it sets the tunnel's address to eth0's
				"--enable-metrics=false", "--logtostderr=true",
				// Looking for and announcing duplicates of each Pod's address takes
				// 5.5 s a Pod, and nobody else gives out addresses here.
				"--enable-arp-detect-ip-conflict=false",
			}},
		},
		{
			// Only now does the node turn Ready: so the first Pods do not fail and wait for the kubelet's back-off.
			Name: "cni-config", Once: true, After: []string{"kube-ovn-daemon"},
			Commands: [][]string{{"cp", filepath.Join(dir, "00-multus.conf"), "/etc/cni/net.d/"}},
		},
	}
}
