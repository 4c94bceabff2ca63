package lab

import (
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

const systemPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// spec returns what a machine's init is told, and writes the configuration files it refers to.
func (l *Lab) spec(h host) (spec, error) {
	if err := os.MkdirAll(l.path(h.name), 0o755); err != nil {
		return spec{}, err
	}
	s := spec{Env: l.environment(h.name)}
	disks := map[string]string{"var-log": "/var/log"}
	var err error
	if h.name == ControlPlane {
		s.Mkdir = []string{"/run/ovn", "/var/log/kube-ovn"}
		s.Units, err = l.controlPlane()
	} else {
		disks["kubelet"], disks["containerd"], disks["cni"], disks["openvswitch"] =
			"/var/lib/kubelet", "/var/lib/containerd", "/var/lib/cni", "/etc/openvswitch"
		s.Mkdir = []string{"/run/openvswitch", "/run/ovn", "/var/log/kube-ovn"}
		s.Tmpfs = []string{"/etc/cni/net.d"}
		// A pull from a registry fails at once, as it would with a name that does not exist, and not after the
		// time-outs of the real machine's name servers.
		s.Binds = append(s.Binds, [2]string{l.path(h.name, resolvConf), "/etc/resolv.conf"})
		s.Units, err = l.nodeUnits(h)
	}
	if err != nil {
		return spec{}, fmt.Errorf("configure %s: %w", h.name, err)
	}
	for dir, target := range disks {
		src := l.path(h.name, dir)
		if err := os.MkdirAll(src, 0o755); err != nil {
			return spec{}, err
		}
		s.Binds = append(s.Binds, [2]string{src, target})
	}
	ids, err := l.identity(h.name)
	if err != nil {
		return spec{}, err
	}
	s.Binds = append(s.Binds, ids...)
	return s, nil
}

// identity makes the machine's own machine-id, which it keeps, and boot_id, new at every power-on: by it the kubelet
// tells that the node was restarted.
func (l *Lab) identity(name string) (binds [][2]string, err error) {
	for _, id := range []struct {
		target string
		keep   bool
	}{{"/etc/machine-id", true}, {"/proc/sys/kernel/random/boot_id", false}} {
		if _, err := os.Stat(id.target); err != nil {
			continue // nothing to put it over; whoever reads it does without
		}
		file := l.path(name, filepath.Base(id.target))
		if _, err := os.Stat(file); err != nil || !id.keep {
			u := uuid()
			if id.keep {
				u = strings.ReplaceAll(u, "-", "") // the form of /etc/machine-id
			}
			if err := os.WriteFile(file, []byte(u+"\n"), 0o444); err != nil {
				return nil, err
			}
		}
		binds = append(binds, [2]string{file, id.target})
	}
	return binds, nil
}

func uuid() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// environment is what programs on a host, and commands that people run there, find in their environment.
func (l *Lab) environment(host string) []string {
	env := []string{
		"PATH=" + l.path("ovs") + ":" + l.state.Assets.Bin + ":" + systemPath,
		"HOME=/root",
		"LAB_NAME=" + l.name,
		"KUBECONFIG=" + l.Kubeconfig(),
		"OVN_NB_DB=" + ovnNB,
		"OVN_SB_DB=" + ovnSB,
	}
	for _, n := range l.Nodes() {
		if n == host {
			env = append(env, "CONTAINERD_ADDRESS=/run/containerd/containerd.sock", "CONTAINERD_NAMESPACE=k8s.io")
		}
	}
	return env
}
