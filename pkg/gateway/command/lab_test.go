package command_test

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/kubeovn/kube-ovn-ccm/pkg/gateway/command"
	"github.com/kubeovn/kube-ovn-ccm/pkg/gateway/spec"
)

// agentVariable makes the test binary behave as lb-gateway.
const agentVariable = "GWT_AGENT"

// prefix begins the name of every network namespace of the tests.
const prefix = "gwt-"

func TestMain(m *testing.M) {
	if os.Getenv(agentVariable) != "" {
		os.Exit(command.Main("test"))
	}
	if os.Geteuid() != 0 {
		fmt.Fprintln(os.Stderr, "the tests of the gateway make network namespaces and need root")
		os.Exit(1)
	}
	sweep()
	code := m.Run()
	os.Exit(code)
}

// sweep removes what test processes that are gone left behind.
func sweep() {
	entries, err := os.ReadDir("/run/netns")
	if err != nil {
		return
	}
	for _, e := range entries {
		rest, ok := strings.CutPrefix(e.Name(), prefix)
		owner, _, _ := strings.Cut(rest, "-")
		pid, err := strconv.Atoi(owner)
		if ok && err == nil && unix.Kill(pid, 0) != nil {
			_ = netns.DeleteNamed(e.Name())
		}
	}
}

// The addresses of the guide.
const (
	lbAddress     = "172.18.0.18"
	routerAddress = "172.18.0.1"
	clientAddress = "172.18.0.5"
	remoteAddress = "203.0.113.7"
	podAddress    = "10.16.0.2"
	clusterIP     = "10.109.201.193"
	clusterIP2    = "10.109.201.194"
)

// lab is a gateway Pod's surroundings in network namespaces:
//
//	remote ── lan (bridge 172.18.0.1, the router) ── client
//	            │
//	          node (eth0, the macvlan's parent)
//	            │ net1
//	           gw ── eth0 ── cluster (10.16.0.1, holds the ClusterIPs)
type lab struct {
	t     *testing.T
	names map[string]string
	dir   string
	// resync is the agents' time between two looks when nothing changes.
	resync string
}

var labs int

// newLab builds the surroundings, without an agent in the gateway.
func newLab(t *testing.T) *lab {
	t.Helper()
	labs++
	l := &lab{t: t, names: map[string]string{}, dir: t.TempDir(), resync: "500ms"}
	t.Cleanup(func() {
		for _, name := range l.names {
			if err := netns.DeleteNamed(name); err != nil {
				t.Errorf("remove network namespace %s: %v", name, err)
			}
		}
	})
	for _, role := range []string{"lan", "client", "remote", "node", "gw", "cluster"} {
		name := fmt.Sprintf("%s%d-%d-%s", prefix, os.Getpid(), labs, role)
		l.run("", "ip", "netns", "add", name)
		l.names[role] = name
		l.ip(role, "link set lo up")
	}
	l.cable("lan", "p-client", "client", "eth0")
	l.cable("lan", "p-node", "node", "eth0")
	l.cable("lan", "p-remote", "remote", "eth0")
	l.cable("cluster", "pod0", "gw", "eth0")
	for _, command := range []struct{ role, args string }{
		{"lan", "link add br0 type bridge forward_delay 0"},
		{"lan", "link set br0 up"},
		{"lan", "link set p-client master br0"},
		{"lan", "link set p-node master br0"},
		{"lan", "addr add 172.18.0.1/16 dev br0"},
		{"lan", "addr add 203.0.113.1/24 dev p-remote"},
		{"client", "addr add 172.18.0.5/16 dev eth0"},
		{"client", "route add default via 172.18.0.1"},
		{"remote", "addr add 203.0.113.7/24 dev eth0"},
		{"remote", "route add default via 203.0.113.1"},
		{"node", "link add net1 link eth0 type macvlan mode bridge"},
		{"node", "link set net1 netns " + l.names["gw"]},
		{"gw", "link set net1 up"},
		{"gw", "link set eth0 mtu 1400"},
		{"gw", "addr add 10.16.0.2/16 dev eth0"},
		{"gw", "route add default via 10.16.0.1"},
		{"cluster", "addr add 10.16.0.1/16 dev pod0"},
		{"cluster", "addr add 10.109.201.193/32 dev lo"},
		{"cluster", "addr add 10.109.201.194/32 dev lo"},
	} {
		l.ip(command.role, command.args)
	}
	l.inside("lan", func() error {
		return os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0)
	})
	return l
}

// cable joins two namespaces.
func (l *lab) cable(role1, name1, role2, name2 string) {
	l.t.Helper()
	l.ip(role1, fmt.Sprintf("link add %s type veth peer name %s netns %s", name1, name2, l.names[role2]))
	l.ip(role1, "link set "+name1+" up")
	l.ip(role2, "link set "+name2+" up")
}

func (l *lab) ip(role, args string) string {
	l.t.Helper()
	return l.run("", append([]string{"ip", "-n", l.names[role]}, strings.Fields(args)...)...)
}

// exec runs a program inside a namespace; it must succeed.
func (l *lab) exec(role string, args ...string) string {
	l.t.Helper()
	return l.run(role, args...)
}

func (l *lab) run(role string, args ...string) string {
	l.t.Helper()
	if role != "" {
		args = append([]string{"ip", "netns", "exec", l.names[role]}, args...)
	}
	out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
	if err != nil {
		l.t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// inside runs a function in a namespace. Sockets that it opens stay there.
func (l *lab) inside(role string, f func() error) {
	l.t.Helper()
	if err := within(l.names[role], f); err != nil {
		l.t.Fatalf("in %s: %v", role, err)
	}
}

func within(name string, f func() error) error {
	runtime.LockOSThread()
	here, err := netns.Get()
	if err != nil {
		return err
	}
	defer here.Close()
	there, err := netns.GetFromName(name)
	if err != nil {
		return err
	}
	defer there.Close()
	if err := netns.Set(there); err != nil {
		return err
	}
	ferr := f()
	if err := netns.Set(here); err != nil {
		return err // the thread stays locked and ends with its goroutine
	}
	runtime.UnlockOSThread()
	return ferr
}

// document is what the guide asks for.
func document(ports ...spec.Port) *spec.Document {
	return &spec.Document{
		Version:   spec.Version,
		Target:    spec.TargetClusterIP,
		Service:   spec.ServiceRef{Namespace: "default", Name: "test-service", UID: "161edee1"},
		Interface: "net1",
		Families: []spec.Family{{
			Address:   netip.MustParsePrefix(lbAddress + "/16"),
			Gateway:   netip.MustParseAddr(routerAddress),
			ClusterIP: netip.MustParseAddr(clusterIP),
		}},
		Ports: ports,
	}
}

func tcp(port uint16) spec.Port  { return spec.Port{Protocol: spec.TCP, Port: port} }
func udp(port uint16) spec.Port  { return spec.Port{Protocol: spec.UDP, Port: port} }
func sctp(port uint16) spec.Port { return spec.Port{Protocol: spec.SCTP, Port: port} }

func (l *lab) documentDir() string { return filepath.Join(l.dir, "document") }
func (l *lab) statusDir() string   { return filepath.Join(l.dir, "status") }

// publish writes the document as the kubelet does for a mounted ConfigMap.
func (l *lab) publish(d *spec.Document) {
	l.t.Helper()
	b, err := d.Marshal()
	if err != nil {
		l.t.Fatal(err)
	}
	l.publishBytes(b)
}

func (l *lab) publishBytes(b []byte) {
	l.t.Helper()
	dir := l.documentDir()
	version := fmt.Sprintf("..%d", time.Now().UnixNano())
	steps := []func() error{
		func() error { return os.MkdirAll(filepath.Join(dir, version), 0o755) },
		func() error { return os.WriteFile(filepath.Join(dir, version, spec.ConfigMapKey), b, 0o644) },
		func() error { return os.Symlink(version, filepath.Join(dir, "..data_tmp")) },
		func() error { return os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")) },
	}
	for _, step := range steps {
		if err := step(); err != nil {
			l.t.Fatal(err)
		}
	}
	err := os.Symlink(filepath.Join("..data", spec.ConfigMapKey), filepath.Join(dir, spec.ConfigMapKey))
	if err != nil && !os.IsExist(err) {
		l.t.Fatal(err)
	}
}

// filters are the gateway's rules of all tables, one a line.
func (l *lab) filters() string {
	l.t.Helper()
	var out []string
	for _, table := range []string{"filter", "mangle", "nat"} {
		for line := range strings.Lines(l.exec("gw", "iptables", "-t", table, "-S")) {
			if strings.HasPrefix(line, "-A") {
				out = append(out, table+": "+strings.TrimSpace(line))
			}
		}
	}
	return strings.Join(out, "\n")
}

// addresses are the IPv4 addresses of an interface.
func (l *lab) addresses(role, link string) string {
	l.t.Helper()
	var links []struct {
		AddrInfo []struct {
			Local     string `json:"local"`
			PrefixLen int    `json:"prefixlen"`
			Broadcast string `json:"broadcast"`
			Scope     string `json:"scope"`
		} `json:"addr_info"`
	}
	if err := json.Unmarshal([]byte(l.run("", "ip", "-n", l.names[role], "-4", "-j", "addr", "show", "dev", link)), &links); err != nil {
		l.t.Fatal(err)
	}
	var out []string
	for _, link := range links {
		for _, a := range link.AddrInfo {
			out = append(out, strings.TrimSpace(fmt.Sprintf("%s/%d scope %s %s", a.Local, a.PrefixLen, a.Scope, a.Broadcast)))
		}
	}
	return strings.Join(out, "\n")
}
