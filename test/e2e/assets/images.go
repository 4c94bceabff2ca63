package assets

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/kubeovn/kube-ovn-ccm/test/e2e/assets/oci"
	"github.com/kubeovn/kube-ovn-ccm/test/e2e/assets/rootfs"
)

// inputs are the directories that images are made from.
type inputs struct {
	trixie   string // the root of a minimal Debian 13
	programs string // the entry of the cluster's programs
	product  string // the directory of our own programs
	// source finds the unpacked directory of a Go module that the programs are
	// built from. It is a call of the go command: only for what is not there.
	source func(ctx context.Context, module string) (dir string, err error)
}

func (in inputs) debian() rootfs.Debian { return rootfs.Debian(in.trixie) }

// image is the recipe of an image.
type image struct {
	// name is the name of its archive.
	name string
	// repository is its reference without the tag.
	repository string
	// tag finds its tag from the inputs and our version.
	tag func(in inputs, version string) (string, error)
	// spec is everything but the reference and the files.
	spec oci.Spec
	// product marks an image of our own.
	product bool
	// files puts the files together.
	files func(ctx context.Context, t *rootfs.Tree, in inputs) error
}

// clusterImages are the images of the cluster and of the tests.
var clusterImages = []image{
	{
		name:       "pause",
		repository: "docker.io/lab/pause",
		tag:        fixed("1"),
		spec:       oci.Spec{Entrypoint: []string{"/usr/bin/catatonit", "-P"}},
		files: func(_ context.Context, t *rootfs.Tree, in inputs) error {
			return t.CopyPrograms(in.debian(), "catatonit")
		},
	},
	{
		// The guide's Deployment asks for this name; what runs is Debian's
		// nginx with its default page, and curl, which the original has too.
		name:       "nginx",
		repository: "docker.io/library/nginx",
		tag:        fixed("alpine"),
		spec:       oci.Spec{Entrypoint: []string{"nginx", "-g", "daemon off;"}},
		files:      nginxFiles,
	},
	{
		// Kubernetes' own test server and client. The tools are those that
		// its tests and ours run in it; wget is busybox's, as in the original:
		// the other one tries twenty times what is not to be reached.
		name:       "agnhost",
		repository: "registry.k8s.io/e2e-test-images/agnhost",
		tag:        agnhostTag,
		spec:       oci.Spec{Entrypoint: []string{"/agnhost"}, Cmd: []string{"pause"}},
		files: func(_ context.Context, t *rootfs.Tree, in inputs) error {
			t.File("/agnhost", filepath.Join(in.programs, "images", "agnhost"), 0o755)
			t.Link("/agnhost-2", "agnhost")
			t.Dir("/uploads", 0o755)
			users(t)
			certificates(t, in.debian())
			err := t.CopyPrograms(in.debian(), "bash", "curl", "nc", "ip", "ss", "ping", "arping", "tcpdump", "conntrack")
			if err != nil {
				return err
			}
			return busybox(t, in.debian())
		},
	},
	{
		// What Kube-OVN's own gateways run, made by kube-ovn-controller with
		// --enable-lb-svc: its script, and the tools that the script calls.
		name:       "vpc-nat-gateway",
		repository: "docker.io/kubeovn/vpc-nat-gateway",
		tag:        fixed("lab"),
		spec:       oci.Spec{Cmd: []string{"bash"}},
		files:      natGatewayFiles,
	},
}

// productImages are the images that a user of kube-ovn-ccm runs.
var productImages = []image{
	{
		name:       "kube-ovn-ccm",
		repository: "docker.io/kubeovn/kube-ovn-ccm",
		tag:        ours,
		product:    true,
		spec:       oci.Spec{Entrypoint: []string{"/usr/bin/" + programCCM}, User: "65532:65532"},
		files: func(_ context.Context, t *rootfs.Tree, in inputs) error {
			t.File("/usr/bin/"+programCCM, filepath.Join(in.product, programCCM), 0o755)
			users(t)
			certificates(t, in.debian())
			return nil
		},
	},
	{
		// The agent, and what an operator looks around with in a gateway.
		name:       "kube-ovn-lb-gateway",
		repository: "docker.io/kubeovn/kube-ovn-lb-gateway",
		tag:        ours,
		product:    true,
		spec:       oci.Spec{Entrypoint: []string{"/usr/bin/" + programGateway}},
		files: func(_ context.Context, t *rootfs.Tree, in inputs) error {
			t.File("/usr/bin/"+programGateway, filepath.Join(in.product, programGateway), 0o755)
			users(t)
			return networkTools(t, in.debian())
		},
	},
}

// networkTools are those that a gateway is set up or looked at with.
func networkTools(t *rootfs.Tree, from rootfs.Debian) error {
	err := t.CopyPrograms(from, "ip", "ss", "conntrack",
		"iptables", "iptables-save", "iptables-restore", "ip6tables", "ip6tables-save", "ip6tables-restore")
	if err != nil {
		return err
	}
	for _, dir := range []string{"/usr/lib/" + debianTriplet() + "/xtables", "/usr/share/iproute2"} {
		if err := t.CopyTree(from, dir); err != nil {
			return err
		}
	}
	return busybox(t, from)
}

func natGatewayFiles(ctx context.Context, t *rootfs.Tree, in inputs) error {
	dir, err := in.source(ctx, moduleKubeOVN)
	if err != nil {
		return err
	}
	t.File("/kube-ovn/lb-svc.sh", filepath.Join(dir, "dist", "images", "vpcnatgateway", "lb-svc.sh"), 0o755)
	users(t)
	// Not busybox's: its arping asks on eth0 only, unless it is told otherwise.
	if err := t.CopyPrograms(in.debian(), "bash", "arping", "sleep", "tcpdump"); err != nil {
		return err
	}
	t.Link("/usr/bin/ipcalc", "busybox")
	return networkTools(t, in.debian())
}

func fixed(tag string) func(inputs, string) (string, error) {
	return func(inputs, string) (string, error) { return tag, nil }
}

// ours is the tag of our images: the version that the programs are stamped
// with, because kube-ovn-ccm looks for the gateway image of its own version.
func ours(_ inputs, version string) (string, error) { return version, nil }

// agnhostTag is the version that Kubernetes' tests of this release ask for.
func agnhostTag(in inputs, _ string) (string, error) {
	b, err := os.ReadFile(filepath.Join(in.programs, "images", "agnhost.version"))
	return strings.TrimSpace(string(b)), err
}

// applets are the tools that busybox is linked to, unless the image has the
// real ones.
var applets = strings.Fields(`ash awk basename cat chmod cp cut date df dirname du echo env expr false find free grep
	head hostname id kill less ln ls mkdir mktemp mv nc nslookup od ping printf ps pwd readlink rm sed seq sh sha256sum
	sleep sort stat stty sync tail tee test timeout top touch tr true uname uniq uptime vi wc wget which xargs`)

func busybox(t *rootfs.Tree, from rootfs.Debian) error {
	if err := t.CopyPrograms(from, "busybox"); err != nil {
		return err
	}
	for _, a := range applets {
		if !t.Has("/usr/bin/"+a) && !t.Has("/usr/sbin/"+a) {
			t.Link("/usr/bin/"+a, "busybox")
		}
	}
	return nil
}

func users(t *rootfs.Tree) {
	t.Text("/etc/passwd", "root:x:0:0:root:/root:/bin/sh\nwww-data:x:33:33::/var/www:/bin/false\nnobody:x:65534:65534::/:/bin/false\nnonroot:x:65532:65532::/:/bin/false\n", 0o644)
	t.Text("/etc/group", "root:x:0:\nwww-data:x:33:\nnogroup:x:65534:\nnonroot:x:65532:\n", 0o644)
}

func certificates(t *rootfs.Tree, from rootfs.Debian) {
	const bundle = "/etc/ssl/certs/ca-certificates.crt"
	t.File(bundle, filepath.Join(string(from), bundle), 0o644)
}

const nginxConf = `user www-data;
worker_processes 2;
error_log /dev/stderr notice;
pid /run/nginx.pid;
events { worker_connections 1000; }
http {
	include mime.types;
	access_log /dev/stdout;
	server {
		listen 80 default_server;
		listen [::]:80 default_server;
		root /usr/share/nginx/html;
		index index.html;
	}
}
`

func nginxFiles(_ context.Context, t *rootfs.Tree, in inputs) error {
	users(t)
	t.Text("/etc/nginx/nginx.conf", nginxConf, 0o644)
	t.Dir("/var/lib/nginx", 0o755)
	t.Dir("/var/log/nginx", 0o755)
	if err := t.CopyPrograms(in.debian(), "nginx", "curl"); err != nil {
		return err
	}
	for _, name := range []string{"/etc/nginx/mime.types", "/usr/share/nginx/html"} {
		if err := t.CopyTree(in.debian(), name); err != nil {
			return err
		}
	}
	return busybox(t, in.debian())
}

// debianTriplet is Debian's name for this machine's libraries.
func debianTriplet() string {
	if runtime.GOARCH == "arm64" {
		return "aarch64-linux-gnu"
	}
	return "x86_64-linux-gnu"
}
