package assets

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// need is something of the host's own that the build or the cluster uses.
type need struct {
	// debian is the package that has it.
	debian string
	// files prove that it is there: program names, or absolute paths. The
	// package itself is not asked for, so that for instance another packaging
	// of containerd does as well.
	files []string
}

// hostNeeds is the one list of what the host must have.
var hostNeeds = []need{
	{"containerd", []string{"containerd", "containerd-shim-runc-v2", "ctr"}},
	{"runc", []string{"runc"}},
	{"containernetworking-plugins", debianPluginPaths()},
	{"iptables", []string{"iptables", "ip6tables", "iptables-save", "iptables-restore"}}, // kube-proxy, kube-ovn-daemon
	{"ipset", []string{"ipset"}},                                                         // kube-ovn-daemon
	{"ethtool", []string{"ethtool"}},                                                     // checksum offload of the tunnel devices
	{"iproute2", []string{"ip", "ss", "bridge"}},                                         // kube-ovn-daemon, tests
	{"procps", []string{"sysctl", "ps"}},                                                 // nodes
	{"util-linux", []string{"nsenter", "unshare", "mount"}},                              // nodes
	{"openssl", []string{"openssl"}},                                                     // kube-ovn-daemon
	{"conntrack", []string{"conntrack"}},                                                 // tests look at a gateway's connections
	{"iputils-arping", []string{"arping"}},                                               // the clients on the LAN
	{"iputils-ping", []string{"ping"}},                                                   // the clients on the LAN
	{"tcpdump", []string{"tcpdump"}},                                                     // the clients on the LAN
	{"curl", []string{"curl"}},                                                           // the clients on the LAN
	{"debootstrap", []string{"debootstrap"}},                                             // Open vSwitch and OVN
}

// debianPlugins are the CNI plugins taken from Debian.
var debianPlugins = []string{"bridge", "host-local", "ipvlan", "loopback", "macvlan", "portmap", "static", "tuning", "vlan"}

const debianPluginDir = "/usr/lib/cni"

func debianPluginPaths() []string {
	var paths []string
	for _, p := range debianPlugins {
		paths = append(paths, filepath.Join(debianPluginDir, p))
	}
	return paths
}

// sbin are the directories with programs that an ordinary PATH lacks.
var sbin = []string{"/usr/local/sbin", "/usr/sbin", "/sbin"}

// ensureHost installs the Debian packages that the host lacks.
func (b *builder) ensureHost(ctx context.Context) error {
	missing := missingPackages(hostNeeds, onHost)
	if len(missing) == 0 {
		return nil
	}
	list := strings.Join(missing, " ")
	apt, err := exec.LookPath("apt-get")
	if err != nil {
		return fmt.Errorf("host: these Debian packages are missing and there is no apt-get to install them with: %s", list)
	}
	env := append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
	log := filepath.Join(b.cache.root, "logs", "apt-get.log")
	update := exec.CommandContext(ctx, apt, "-q", "update")
	update.Env = env
	if err := (step{name: "host", doing: "refreshing the package lists", log: log}).run(ctx, b.progress, update); err != nil {
		return err
	}
	install := exec.CommandContext(ctx, apt, append([]string{"-q", "-y", "--no-install-recommends", "install"}, missing...)...)
	install.Env = env
	if err := (step{name: "host", doing: "installing " + list, log: log}).run(ctx, b.progress, install); err != nil {
		return err
	}
	if still := missingPackages(hostNeeds, onHost); len(still) > 0 {
		return fmt.Errorf("host: apt-get has installed %s, but their programs are not there", strings.Join(still, " "))
	}
	return nil
}

// missingPackages returns the packages of the needs that are not met, in
// order.
func missingPackages(needs []need, has func(file string) bool) []string {
	var missing []string
	for _, n := range needs {
		if slices.ContainsFunc(n.files, func(f string) bool { return !has(f) }) {
			missing = append(missing, n.debian)
		}
	}
	return missing
}

// onHost reports whether a program, or a file with an absolute path, is there.
func onHost(file string) bool {
	if filepath.IsAbs(file) {
		_, err := os.Stat(file)
		return err == nil
	}
	if _, err := exec.LookPath(file); err == nil {
		return true
	}
	return slices.ContainsFunc(sbin, func(dir string) bool {
		_, err := os.Stat(filepath.Join(dir, file))
		return err == nil
	})
}
