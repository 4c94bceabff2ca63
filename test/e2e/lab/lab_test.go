package lab

import (
	"encoding/json"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/kubeovn/kube-ovn-ccm/test/e2e/assets"
	"github.com/kubeovn/kube-ovn-ccm/test/e2e/lab/cgroup"
	"github.com/kubeovn/kube-ovn-ccm/test/e2e/lab/unit"
)

func TestCheckName(t *testing.T) {
	for name, ok := range map[string]bool{
		"lab": true, "e2e": true, "123456789012": true,
		"": false, "1234567890123": false, "a-b": false, "A": false, "a/b": false, "..": false, ".": false, "a b": false,
	} {
		if err := checkName(name); (err == nil) != ok {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestTopology(t *testing.T) {
	hosts := topology(MaxNodes)
	seen := map[string]string{}
	unique := func(what, value, owner string) {
		if other, ok := seen[what+value]; ok {
			t.Errorf("%s %s is of %s and of %s", what, value, other, owner)
		}
		seen[what+value] = owner
	}
	for _, h := range hosts {
		unique("name", h.name, h.name)
		for _, n := range h.nics {
			m := mac(n.device, n.addresses, h.name)
			unique("hardware address", string(m[:]), h.name+n.device)
			if m[0]&1 != 0 || m[0]&2 == 0 {
				t.Errorf("%s %s: %x is not a local unicast address", h.name, n.device, m)
			}
			if p := switchPort(h.name, n.device); len(p) > 15 {
				t.Errorf("interface name %s is too long", p)
			}
			for _, a := range n.addresses {
				unique("address", a.Addr().String(), h.name)
			}
		}
	}
	for host, ips := range map[string][]string{
		Router: {"172.18.0.1", "fd00:172:18::1", "203.0.113.1", "fd00:203:113::1"}, ControlPlane: {"172.18.0.2", "fd00:172:18::2"},
		Client: {"172.18.0.5", "fd00:172:18::5"}, Remote: {"203.0.113.7", "fd00:203:113::7"},
		"n1": {"172.18.0.6", "fd00:172:18::6"}, "n2": {"172.18.0.7", "fd00:172:18::7"}, "n9": {"172.18.0.14", "fd00:172:18::14"},
	} {
		for _, ip := range ips {
			if seen["address"+ip] != host {
				t.Errorf("%s is of %q, want %s", ip, seen["address"+ip], host)
			}
		}
	}
}

func TestHostsReachTheirRoutersInBothFamilies(t *testing.T) {
	for _, h := range topology(1) {
		if h.name == Router {
			continue
		}
		for _, gw := range h.gateways {
			if !slices.ContainsFunc(h.nics[0].addresses, func(p netip.Prefix) bool { return p.Contains(gw) && p.Addr() != gw }) {
				t.Errorf("%s has no address beside its router %s, only %v", h.name, gw, h.nics[0].addresses)
			}
		}
		if len(h.gateways) != 2 || !h.gateways[0].Is4() || !h.gateways[1].Is6() {
			t.Errorf("the routers of %s are %v, want one of each family", h.name, h.gateways)
		}
	}
	if got := nodeIPs(2); got != "172.18.0.7,fd00:172:18::7" {
		t.Errorf("the addresses of n2 are %s", got)
	}
}

func TestWhere(t *testing.T) {
	for in, want := range map[string][2]string{
		"kube-apiserver": {ControlPlane, "kube-apiserver"},
		"n1/kubelet":     {"n1", "kubelet"},
	} {
		if h, n := where(in); h != want[0] || n != want[1] {
			t.Errorf("%s: %s %s", in, h, n)
		}
	}
}

func TestIsInit(t *testing.T) {
	for sentence, tc := range map[string]struct {
		status string
		want   bool
	}{
		"the first of its namespace":       {"Name:\tlab\nNSpid:\t1234\t1\n", true},
		"another one there":                {"Name:\tetcd\nNSpid:\t1240\t9\n", false},
		"the machine's own init":           {"Name:\tsystemd\nNSpid:\t1\n", false},
		"a program outside of any machine": {"NSpid:\t4711\n", false},
		"a program of a kernel without it": {"Name:\tx\n", false},
	} {
		t.Run(sentence, func(t *testing.T) {
			if got := isInit(tc.status); got != tc.want {
				t.Errorf("got %t", got)
			}
		})
	}
}

// TestConfiguration checks what the machines are told, as far as that is possible without starting them.
func TestConfiguration(t *testing.T) {
	dir := t.TempDir()
	l := &Lab{name: "x", tree: cgroup.Tree{Name: "ccmlab-x"}, state: state{Nodes: 2, Assets: assets.Set{
		Bin: "/bin", CNI: "/cni", CRDs: "/crds", Trixie: "/trixie", Images: []assets.Image{{Ref: assets.PauseRef, Tar: "/pause.tar"}, {Ref: "a:1", Tar: "/a.tar"}},
	}}}
	values := map[string]string{
		"Name": "n1", "PauseImage": "p", "CNI": "/cni", "CA": "/ca", "PodsCgroup": "/g", "ResolvConf": "/r", "DNS": dnsServiceIP, "Pods": podNetwork.String(),
		"ProxyKubeconfig": "/p", "AdminKubeconfig": "/a", "Lab": "x", "Server": apiURL, "User": "u", "Cert": "YQ==", "Key": "YQ==", "Control": controlIP,
		"Image": assets.NATGatewayRef, "Args": `["--a"]`,
	}
	for _, f := range templates.Templates() {
		if f.Name() == "" {
			continue
		}
		b, err := render(f.Name(), values)
		if err != nil {
			t.Fatal(err)
		}
		for doc := range strings.SplitSeq(string(b), "\n---\n") {
			if strings.HasSuffix(f.Name(), ".toml") {
				continue
			}
			if err := yaml.Unmarshal([]byte(doc), &map[string]any{}); err != nil {
				t.Errorf("%s: %v\n%s", f.Name(), err, doc)
			}
		}
	}
	if b, _ := render("00-multus.conf", values); !json.Valid(b) {
		t.Errorf("multus reads JSON only: %s", b)
	}
	for host, units := range map[string][]unit.Unit{
		"n1": append(l.switchUnits("n1", 1), l.kubeUnits("n1", 1, dir)...),
		"cp": append(l.kubernetes(dir), l.ovn(dir)...),
	} {
		if _, err := unit.New(units, dir); err != nil {
			t.Errorf("%s: %v", host, err)
		}
	}
	if err := l.checkHost("n3"); err == nil || !strings.Contains(err.Error(), "n1") {
		t.Errorf("a host that is not there: %v", err)
	}
}

func (l *Lab) checkHost(name string) error {
	_, err := l.host(name)
	return err
}

func TestOVSWrappers(t *testing.T) {
	root, dir := t.TempDir(), t.TempDir()
	write := func(path, text string) {
		t.Helper()
		path = filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := writeOVSWrappers(dir, root); err == nil {
		t.Error("an empty tree was accepted")
	}
	write("usr/lib64/ld-linux-x86-64.so.2", "#!/bin/sh\necho \"$@\"\n") // stands for the loader: shows what it is asked
	write("usr/lib/x86_64-linux-gnu/libc.so.6", "")
	for _, p := range ovsPrograms[1:] {
		write("usr/sbin/"+p, "")
	}
	if err := writeOVSWrappers(dir, root); err == nil || !strings.Contains(err.Error(), ovsPrograms[0]) {
		t.Errorf("a missing program: %v", err)
	}
	write("usr/bin/"+ovsPrograms[0], "")
	if err := writeOVSWrappers(dir, root); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(filepath.Join(dir, "ovs-vsctl"), "a b", "c").Output()
	want := "--library-path " + root + "/usr/lib/x86_64-linux-gnu --argv0 ovs-vsctl " + root + "/usr/bin/ovs-vsctl a b c\n"
	if err != nil || string(out) != want {
		t.Errorf("got %q (%v), want %q", out, err, want)
	}
}

func TestUUID(t *testing.T) {
	a, b := uuid(), uuid()
	if a == b || len(a) != 36 || a[14] != '4' || !slices.Contains([]byte("89ab"), a[19]) {
		t.Errorf("%s, %s", a, b)
	}
}
