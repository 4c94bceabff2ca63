package assets

import (
	"context"
	"fmt"
	"io/fs"
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
}

func (in inputs) debian() rootfs.Debian { return rootfs.Debian(in.trixie) }

// image is the recipe of an image.
type image struct {
	// name is the name of its archive.
	name string
	// repository is its reference without the tag.
	repository string
	// tag is its tag, or a function of the inputs and our version.
	tag func(in inputs, version string) (string, error)
	// spec is everything but the reference and the files.
	spec oci.Spec
	// files puts the files together.
	files func(t *rootfs.Tree, in inputs) error
}

// clusterImages are the images of the cluster and of the tests.
var clusterImages = []image{
	{
		name:       "pause",
		repository: "docker.io/lab/pause",
		tag:        fixed("1"),
		spec:       oci.Spec{Entrypoint: []string{"/usr/bin/catatonit", "-P"}},
		files: func(t *rootfs.Tree, in inputs) error {
			return t.CopyPrograms(in.debian(), "catatonit")
		},
	},
	{
		// The guide's Deployment asks for this name; what runs is Debian's
		// nginx with its default page.
		name:       "nginx",
		repository: "docker.io/library/nginx",
		tag:        fixed("alpine"),
		spec:       oci.Spec{Entrypoint: []string{"nginx", "-g", "daemon off;"}},
		files:      nginxFiles,
	},
	{
		// Kubernetes' own test server and client. The tools are those that
		// its tests and ours run in it.
		name:       "agnhost",
		repository: "registry.k8s.io/e2e-test-images/agnhost",
		tag:        agnhostTag,
		spec:       oci.Spec{Entrypoint: []string{"/agnhost"}, Cmd: []string{"pause"}},
		files: func(t *rootfs.Tree, in inputs) error {
			t.File("/agnhost", filepath.Join(in.programs, "images", "agnhost"), 0o755)
			t.Link("/agnhost-2", "agnhost")
			t.Dir("/uploads", 0o755)
			users(t)
			certificates(t, in.debian())
			err := t.CopyPrograms(in.debian(), "bash", "curl", "wget", "nc", "ip", "ss", "ping", "arping", "tcpdump", "conntrack")
			if err != nil {
				return err
			}
			return busybox(t, in.debian())
		},
	},
}

// productImages are the images that a user of kube-ovn-ccm runs.
var productImages = []image{
	{
		name:       "kube-ovn-ccm",
		repository: "docker.io/kubeovn/kube-ovn-ccm",
		tag:        ours,
		spec:       oci.Spec{Entrypoint: []string{"/usr/bin/" + programCCM}, User: "65532:65532"},
		files: func(t *rootfs.Tree, in inputs) error {
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
		spec:       oci.Spec{Entrypoint: []string{"/usr/bin/" + programGateway}},
		files: func(t *rootfs.Tree, in inputs) error {
			t.File("/usr/bin/"+programGateway, filepath.Join(in.product, programGateway), 0o755)
			users(t)
			err := t.CopyPrograms(in.debian(), "ip", "ss", "conntrack",
				"iptables", "iptables-save", "iptables-restore", "ip6tables", "ip6tables-save", "ip6tables-restore")
			if err != nil {
				return err
			}
			for _, dir := range []string{"/usr/lib/" + debianTriplet() + "/xtables", "/usr/share/iproute2"} {
				if err := t.CopyTree(in.debian(), dir); err != nil {
					return err
				}
			}
			return busybox(t, in.debian())
		},
	},
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
worker_processes 1;
error_log /dev/stderr notice;
pid /run/nginx.pid;
events { worker_connections 4096; }
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

func nginxFiles(t *rootfs.Tree, in inputs) error {
	users(t)
	t.Text("/etc/nginx/nginx.conf", nginxConf, 0o644)
	t.Dir("/var/lib/nginx", 0o755)
	t.Dir("/var/log/nginx", 0o755)
	if err := t.CopyPrograms(in.debian(), "nginx"); err != nil {
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

// image makes an image for the nodes of this machine.
func (b *builder) image(ctx context.Context, img image, in inputs) (Image, error) {
	// An entry's name stands for its content.
	k := newKey().text(img.name, b.version, filepath.Base(in.trixie), filepath.Base(in.programs)).embedded(imagesSource)
	if img.isProduct() {
		k.text(filepath.Base(in.product))
	}
	sum, err := k.sum()
	if err != nil {
		return Image{}, fmt.Errorf("image %s: %w", img.name, err)
	}
	ref, err := img.ref(in, b.version)
	if err != nil {
		return Image{}, err
	}
	dir, err := b.cache.entry(ctx, "image-"+img.name, sum, func(_ context.Context, dir string) error {
		b.progress.printf("image %s: building", img.name)
		digest, err := img.write(filepath.Join(dir, img.name+".tar"), ref, in, b.version, false)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(dir, "digest"), []byte(digest), 0o644)
	})
	if err != nil {
		return Image{}, err
	}
	digest, err := os.ReadFile(filepath.Join(dir, "digest"))
	if err != nil {
		return Image{}, fmt.Errorf("image %s: %w", img.name, err)
	}
	return Image{Ref: ref, Tar: filepath.Join(dir, img.name+".tar"), Digest: string(digest)}, nil
}

// release makes the images to push.
func (b *builder) release(ctx context.Context, dir string) ([]Image, error) {
	if err := b.ensureHost(ctx); err != nil {
		return nil, err
	}
	var in inputs
	var err error
	if in.trixie, err = b.trixie(ctx); err != nil {
		return nil, err
	}
	if in.product, err = b.product(ctx); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("images: %w", err)
	}
	var images []Image
	for _, d := range productImages {
		ref, err := d.ref(in, b.version)
		if err != nil {
			return nil, err
		}
		b.progress.printf("image %s: building", d.name)
		path := filepath.Join(dir, d.name+".tar")
		digest, err := d.write(path, ref, in, b.version, true)
		if err != nil {
			return nil, err
		}
		images = append(images, Image{Ref: ref, Tar: path, Digest: digest})
	}
	return images, nil
}

func (img image) isProduct() bool {
	return strings.HasPrefix(img.repository, "docker.io/kubeovn/")
}

func (img image) ref(in inputs, version string) (string, error) {
	tag, err := img.tag(in, version)
	if err != nil {
		return "", fmt.Errorf("image %s: finding its tag: %w", img.name, err)
	}
	return img.repository + ":" + tag, nil
}

// write writes the archive, whole or not at all.
func (img image) write(path, ref string, in inputs, version string, compressed bool) (digest string, err error) {
	tree := rootfs.New()
	if err := img.files(tree, in); err != nil {
		return "", fmt.Errorf("image %s: %w", img.name, err)
	}
	spec := img.spec
	spec.Ref = ref
	if img.isProduct() {
		spec.Labels = map[string]string{
			"org.opencontainers.image.title":    img.name,
			"org.opencontainers.image.version":  version,
			"org.opencontainers.image.licenses": "Apache-2.0",
		}
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".*.tar")
	if err != nil {
		return "", fmt.Errorf("image %s: %w", img.name, err)
	}
	defer os.Remove(f.Name()) // Renamed away on success.
	defer f.Close()
	digest, err = oci.Write(f, spec, tree, compressed)
	if err != nil {
		return "", err
	}
	for _, do := range []func() error{
		func() error { return f.Chmod(fs.FileMode(0o644)) },
		f.Close,
		func() error { return os.Rename(f.Name(), path) },
	} {
		if err := do(); err != nil {
			return "", fmt.Errorf("image %s: %w", img.name, err)
		}
	}
	return digest, nil
}
