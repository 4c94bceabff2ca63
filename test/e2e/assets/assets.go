// Package assets makes everything that a real Kubernetes and Kube-OVN cluster
// on one machine consists of: the programs out of their Go modules, Open
// vSwitch and OVN out of Debian 13, and the container images, built without a
// container engine. What was made is cached by content, so that it is made
// once.
package assets

import (
	"context"
	"io"
)

// Options says where to build from and where to report to.
type Options struct {
	// RepoRoot is the root of the kube-ovn-ccm checkout. It must be set.
	RepoRoot string
	// Progress receives one line per step, with the elapsed time. Nil is
	// silent.
	Progress io.Writer
	// WithoutProduct leaves out the images of kube-ovn-ccm and of its gateway:
	// a bare cluster, into which one can load other builds of them.
	WithoutProduct bool
	// Version is the version that kube-ovn-ccm and its images are built as;
	// empty: what the file VERSION says.
	Version string
}

// Set is a complete set of assets. All paths are absolute and stay valid as
// long as any process runs a program out of them.
type Set struct {
	// Bin holds hyper, the links to it that choose a program by name (etcd,
	// kube-apiserver, kube-controller-manager, kube-scheduler, kubelet,
	// kube-proxy, kubectl), kube-ovn-controller and kube-ovn-daemon.
	Bin string
	// CNI is the nodes' plugin directory: kube-ovn, multus and Debian's
	// plugins (loopback, macvlan, portmap, tuning, bridge ...).
	CNI string
	// CRDs holds the custom resource definitions of Kube-OVN and of the
	// network attachments, as files that kubectl can apply.
	CRDs string
	// Trixie is the root of a minimal Debian 13 with Open vSwitch 3.5 and
	// OVN 25.03. Its programs run on an older host through its own dynamic
	// loader.
	Trixie string
	// Images are the images that every node imports.
	Images []Image
	// Version is the version of kube-ovn-ccm and of its images, such as
	// "v0.1.0".
	Version string
}

// Image is an image in an OCI archive, ready for "ctr images import".
type Image struct {
	// Ref is the full reference, such as "docker.io/library/nginx:alpine".
	Ref string
	// Tar is the path of the archive.
	Tar string
	// Digest is the digest of the image's manifest, such as "sha256:...".
	Digest string
}

// PauseRef is the image that containerd keeps a Pod's namespaces with.
const PauseRef = "docker.io/lab/pause:1"

// NATGatewayRef is the image that kube-ovn-controller makes its own gateways
// of. The tag is the lab's: the files are not those of upstream's image.
const NATGatewayRef = "docker.io/kubeovn/vpc-nat-gateway:lab"

// Ensure makes what is missing and returns the complete set. When everything
// is there it only compares content hashes, which takes well under a second.
// An error names the part that cannot be had and why.
func Ensure(ctx context.Context, opts Options) (*Set, error) {
	b, err := newBuilder(opts)
	if err != nil {
		return nil, err
	}
	return b.ensure(ctx, !opts.WithoutProduct)
}

// Release writes the images that a user would push to a registry into a
// directory: those of kube-ovn-ccm and of its gateway, with compressed layers.
// They hold the same files as the images of a Set.
func Release(ctx context.Context, opts Options, dir string) ([]Image, error) {
	b, err := newBuilder(opts)
	if err != nil {
		return nil, err
	}
	return b.release(ctx, dir)
}
