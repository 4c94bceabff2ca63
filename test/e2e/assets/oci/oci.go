// Package oci writes container images as archives, without a container engine.
// The archives load with "ctr images import", "docker load" and "podman load",
// and push with every tool that knows OCI layouts.
package oci

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"runtime"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/kubeovn/kube-ovn-ccm/test/e2e/assets/rootfs"
)

// Spec is everything about an image but its files.
type Spec struct {
	// Ref is the full reference, such as "docker.io/library/nginx:alpine".
	Ref string
	// Entrypoint and Cmd are the program and its default arguments.
	Entrypoint, Cmd []string
	// User is "uid:gid"; empty is root.
	User string
	// Labels are the image's labels, usually of org.opencontainers.image.
	Labels map[string]string
}

const path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Write writes an image with the tree as its one layer and returns the digest
// of its manifest. Equal specs and trees give equal archives. Compressed
// layers are for pushing; nodes of this machine import plain ones faster.
func Write(w io.Writer, spec Spec, tree *rootfs.Tree, compressed bool) (string, error) {
	img, err := image(spec, tree, compressed)
	if err != nil {
		return "", fmt.Errorf("building the image %s: %w", spec.Ref, err)
	}
	digest, err := archive(w, spec.Ref, img)
	if err != nil {
		return "", fmt.Errorf("writing the image %s: %w", spec.Ref, err)
	}
	return digest.String(), nil
}

func image(spec Spec, tree *rootfs.Tree, compressed bool) (v1.Image, error) {
	layer, err := newLayer(tree, compressed)
	if err != nil {
		return nil, err
	}
	base := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	epoch := v1.Time{Time: time.Unix(0, 0).UTC()}
	img, err := mutate.ConfigFile(base, &v1.ConfigFile{
		Architecture: runtime.GOARCH,
		OS:           "linux",
		Created:      epoch,
		RootFS:       v1.RootFS{Type: "layers"},
		Config: v1.Config{
			Entrypoint: spec.Entrypoint,
			Cmd:        spec.Cmd,
			Env:        []string{path},
			User:       spec.User,
			WorkingDir: "/",
			Labels:     spec.Labels,
		},
	})
	if err != nil {
		return nil, err
	}
	return mutate.Append(img, mutate.Addendum{Layer: layer, History: v1.History{Created: epoch, CreatedBy: "kube-ovn-ccm"}})
}

// archive writes an OCI layout with one image in it. It also holds the
// manifest.json of "docker save", for loaders that do not know OCI layouts.
func archive(w io.Writer, ref string, img v1.Image) (v1.Hash, error) {
	manifest, err := img.Manifest()
	if err != nil {
		return v1.Hash{}, err
	}
	raw, err := img.RawManifest()
	if err != nil {
		return v1.Hash{}, err
	}
	config, err := img.RawConfigFile()
	if err != nil {
		return v1.Hash{}, err
	}
	digest, err := img.Digest()
	if err != nil {
		return v1.Hash{}, err
	}
	index, err := json.Marshal(v1.IndexManifest{
		SchemaVersion: 2,
		MediaType:     types.OCIImageIndex,
		Manifests: []v1.Descriptor{{
			MediaType: types.OCIManifestSchema1,
			Digest:    digest,
			Size:      int64(len(raw)),
			Platform:  &v1.Platform{Architecture: runtime.GOARCH, OS: "linux"},
			// containerd takes the reference from the first, docker and
			// podman from the second.
			Annotations: map[string]string{"io.containerd.image.name": ref, "org.opencontainers.image.ref.name": ref},
		}},
	})
	if err != nil {
		return v1.Hash{}, err
	}
	type saved struct {
		Config   string
		RepoTags []string
		Layers   []string
	}
	docker := saved{Config: blob(manifest.Config.Digest), RepoTags: []string{ref}}
	for _, l := range manifest.Layers {
		docker.Layers = append(docker.Layers, blob(l.Digest))
	}
	dockerManifest, err := json.Marshal([]saved{docker})
	if err != nil {
		return v1.Hash{}, err
	}

	out := &archiver{tar: tar.NewWriter(w)}
	out.bytes("oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`))
	out.bytes("index.json", index)
	out.bytes("manifest.json", dockerManifest)
	out.bytes(blob(digest), raw)
	out.bytes(blob(manifest.Config.Digest), config)
	layers, err := img.Layers()
	if err != nil {
		return v1.Hash{}, err
	}
	for _, l := range layers {
		out.layer(l)
	}
	return digest, out.close()
}

func blob(h v1.Hash) string { return "blobs/" + h.Algorithm + "/" + h.Hex }

// archiver writes the files of an archive. The first error sticks.
type archiver struct {
	tar *tar.Writer
	err error
}

func (a *archiver) bytes(name string, content []byte) {
	a.stream(name, int64(len(content)), bytes.NewReader(content))
}

func (a *archiver) layer(l v1.Layer) {
	digest, err := l.Digest()
	if err != nil {
		a.fail(err)
		return
	}
	size, err := l.Size()
	if err != nil {
		a.fail(err)
		return
	}
	r, err := l.Compressed()
	if err != nil {
		a.fail(err)
		return
	}
	defer r.Close()
	a.stream(blob(digest), size, r)
}

func (a *archiver) stream(name string, size int64, content io.Reader) {
	if a.err != nil {
		return
	}
	// The name goes into the plain header: no time, no owner.
	if a.err = a.tar.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: size}); a.err == nil {
		_, a.err = io.Copy(a.tar, content)
	}
}

func (a *archiver) fail(err error) {
	if a.err == nil {
		a.err = err
	}
}

func (a *archiver) close() error {
	if a.err != nil {
		return a.err
	}
	return a.tar.Close()
}
