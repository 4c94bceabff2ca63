package lab

import (
	"bytes"
	"embed"
	"encoding/base64"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"text/template"

	"github.com/kubeovn/kube-ovn-ccm/test/e2e/lab/pki"
)

//go:embed templates
var templateFiles embed.FS

var templates = template.Must(template.New("").Option("missingkey=error").ParseFS(templateFiles, "templates/*"))

// render fills a template in.
func render(name string, values map[string]string) ([]byte, error) {
	var b bytes.Buffer
	if err := templates.ExecuteTemplate(&b, name, values); err != nil {
		return nil, fmt.Errorf("fill in %s: %w", name, err)
	}
	return b.Bytes(), nil
}

// renderTo fills a template in and writes it to dir under its own name.
func renderTo(dir, name string, values map[string]string) error {
	b, err := render(name, values)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, name), b, 0o600)
}

// ovsPrograms are the programs of Open vSwitch and OVN that machines use.
var ovsPrograms = []string{
	"ovs-vsctl", "ovs-ofctl", "ovs-appctl", "ovs-dpctl", "ovsdb-client", "ovsdb-tool", "ovsdb-server", "ovs-vswitchd",
	"ovn-nbctl", "ovn-sbctl", "ovn-appctl", "ovn-northd", "ovn-controller", "ovn-trace",
}

// writeOVSWrappers makes programs of Debian 13 usable on an older host: each is run by its own dynamic loader with its
// own libraries. No chroot: they see the host's files, and the machine's namespaces.
func writeOVSWrappers(dir, root string) error {
	loaders, err := filepath.Glob(filepath.Join(root, "usr/lib*", "ld-linux-*.so.*"))
	if err != nil || len(loaders) == 0 {
		return fmt.Errorf("no dynamic loader in %s/usr/lib*", root)
	}
	libs, err := filepath.Glob(filepath.Join(root, "usr/lib", "*-linux-gnu*"))
	if err != nil || len(libs) == 0 {
		return fmt.Errorf("no libraries in %s/usr/lib", root)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, p := range ovsPrograms {
		at := ""
		for _, d := range []string{"usr/bin", "usr/sbin", "usr/lib/openvswitch-switch"} {
			if f := filepath.Join(root, d, p); at == "" && isFile(f) {
				at = f
			}
		}
		if at == "" {
			return fmt.Errorf("%s has no program %s", root, p)
		}
		script := fmt.Sprintf("#!/bin/sh\nexec %s --library-path %s --argv0 %s %s \"$@\"\n", loaders[0], libs[0], p, at)
		if err := os.WriteFile(filepath.Join(dir, p), []byte(script), 0o755); err != nil {
			return err
		}
	}
	return nil
}

func isFile(path string) bool {
	fi, err := os.Stat(path)
	return err == nil && fi.Mode().IsRegular()
}

// writeCredentials makes the certificates, and a kubeconfig for each user.
func (l *Lab) writeCredentials() error {
	dir := l.path("pki")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	ca, err := pki.NewCA("ccmlab-" + l.name)
	if err != nil {
		return err
	}
	front, err := pki.NewCA("ccmlab-" + l.name + "-front-proxy")
	if err != nil {
		return err
	}
	apiserver, err := ca.Server("kube-apiserver",
		[]string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"},
		[]net.IP{net.IPv4(127, 0, 0, 1), net.ParseIP(controlIP), net.ParseIP(apiServiceIP)})
	if err != nil {
		return err
	}
	kubeletClient, err := ca.Client("kube-apiserver-kubelet-client", "system:masters")
	if err != nil {
		return err
	}
	frontClient, err := front.Client("front-proxy-client")
	if err != nil {
		return err
	}
	sa, err := pki.Key()
	if err != nil {
		return err
	}
	for name, p := range map[string]pki.Pair{
		"ca": ca.Pair, "front-proxy-ca": front.Pair, "apiserver": apiserver,
		"apiserver-kubelet-client": kubeletClient, "front-proxy-client": frontClient, "sa": {Key: sa},
	} {
		if err := writePair(filepath.Join(dir, name), p); err != nil {
			return err
		}
	}
	users := []struct{ file, user, group string }{
		{"admin", "kubernetes-admin", "system:masters"},
		{"kube-controller-manager", "system:kube-controller-manager", ""},
		{"kube-scheduler", "system:kube-scheduler", ""},
		{"kube-proxy", "system:kube-proxy", ""},
	}
	for _, n := range l.Nodes() {
		users = append(users, struct{ file, user, group string }{"kubelet-" + n, "system:node:" + n, "system:nodes"})
	}
	for _, u := range users {
		var groups []string
		if u.group != "" {
			groups = []string{u.group}
		}
		p, err := ca.Client(u.user, groups...)
		if err != nil {
			return err
		}
		b64 := base64.StdEncoding.EncodeToString
		b, err := render("kubeconfig", map[string]string{
			"Lab": l.name, "Server": apiURL, "User": u.user, "CA": b64(ca.Cert), "Cert": b64(p.Cert), "Key": b64(p.Key),
		})
		if err != nil {
			return err
		}
		if err := os.WriteFile(l.path(u.file+".kubeconfig"), b, 0o600); err != nil {
			return err
		}
	}
	return nil
}

func writePair(base string, p pki.Pair) error {
	if p.Cert != nil {
		if err := os.WriteFile(base+".crt", p.Cert, 0o644); err != nil {
			return err
		}
	}
	return os.WriteFile(base+".key", p.Key, 0o600)
}
