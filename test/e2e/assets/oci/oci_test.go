package oci

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"github.com/kubeovn/kube-ovn-ccm/test/e2e/assets/rootfs"
)

var testSpec = Spec{
	Ref:        "docker.io/lab/x:1",
	Entrypoint: []string{"/x"},
	Cmd:        []string{"y"},
	User:       "65532:65532",
	Labels:     map[string]string{"b": "2", "a": "1"},
}

func testTree(content string) *rootfs.Tree {
	t := rootfs.New()
	t.Text("/x", content, 0o755)
	return t
}

func write(t *testing.T, spec Spec, tree *rootfs.Tree, compressed bool) (archive []byte, digest string) {
	t.Helper()
	var b bytes.Buffer
	digest, err := Write(&b, spec, tree, compressed)
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes(), digest
}

// unpack lays the archive out as an OCI layout and returns its only image.
func unpack(t *testing.T, archive []byte) (v1.Descriptor, v1.Image) {
	t.Helper()
	dir := t.TempDir()
	for r := tar.NewReader(bytes.NewReader(archive)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, h.Name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	if len(manifest.Manifests) != 1 {
		t.Fatalf("%d images", len(manifest.Manifests))
	}
	img, err := index.Image(manifest.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	return manifest.Manifests[0], img
}

func TestArchiveIsAValidImage(t *testing.T) {
	for name, compressed := range map[string]bool{"plain": false, "compressed": true} {
		t.Run(name, func(t *testing.T) {
			archive, digest := write(t, testSpec, testTree("content"), compressed)
			desc, img := unpack(t, archive)
			if compressed { // The validator takes every layer for gzip.
				if err := validate.Image(img); err != nil {
					t.Errorf("as an OCI layout: %v", err)
				}
			} else {
				checkPlain(t, img)
			}
			if desc.Digest.String() != digest {
				t.Errorf("the layout has %s, Write said %s", desc.Digest, digest)
			}
			if got := desc.Annotations["io.containerd.image.name"]; got != testSpec.Ref {
				t.Errorf("containerd would call it %q", got)
			}
			config, err := img.ConfigFile()
			if err != nil {
				t.Fatal(err)
			}
			if c := config.Config; c.Entrypoint[0] != "/x" || c.Cmd[0] != "y" || c.User != testSpec.User || c.Labels["a"] != "1" {
				t.Errorf("its configuration is %+v", c)
			}

			saved, err := tarball.Image(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(archive)), nil }, nil)
			if err != nil {
				t.Fatalf("as a docker archive: %v", err)
			}
			if err := validate.Image(saved); err != nil {
				t.Errorf("as a docker archive: %v", err)
			}
		})
	}
}

// checkPlain checks that the one layer is what manifest and configuration say.
func checkPlain(t *testing.T, img v1.Image) {
	t.Helper()
	manifest, err := img.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	layers, err := img.Layers()
	if err != nil || len(layers) != 1 {
		t.Fatalf("%d layers, %v", len(layers), err)
	}
	r, err := layers[0].Compressed()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	digest, size, err := v1.SHA256(r)
	if err != nil {
		t.Fatal(err)
	}
	desc := manifest.Layers[0]
	if desc.Digest != digest || desc.Size != size || config.RootFS.DiffIDs[0] != digest || desc.MediaType != types.OCIUncompressedLayer {
		t.Errorf("the layer is %s with %d bytes, the manifest says %+v, the configuration %v", digest, size, desc, config.RootFS.DiffIDs)
	}
}

func TestDigestStandsForTheContent(t *testing.T) {
	archive, digest := write(t, testSpec, testTree("content"), false)
	again, _ := write(t, testSpec, testTree("content"), false)
	if !bytes.Equal(archive, again) {
		t.Error("the same image gives different archives")
	}
	packed, _ := write(t, testSpec, testTree("content"), true)
	packedAgain, _ := write(t, testSpec, testTree("content"), true)
	if !bytes.Equal(packed, packedAgain) {
		t.Error("the same image gives different compressed archives")
	}
	if _, other := write(t, testSpec, testTree("else"), false); other == digest {
		t.Error("another file gives the same digest")
	}
	spec := testSpec
	spec.User = ""
	if _, other := write(t, spec, testTree("content"), false); other == digest {
		t.Error("another user gives the same digest")
	}
}

func TestBothKindsHoldTheSameFiles(t *testing.T) {
	var ids []v1.Hash
	for _, compressed := range []bool{false, true} {
		archive, _ := write(t, testSpec, testTree("content"), compressed)
		_, img := unpack(t, archive)
		config, err := img.ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, config.RootFS.DiffIDs...)
	}
	if len(ids) != 2 || ids[0] != ids[1] {
		t.Errorf("the layers are %v", ids)
	}
}

func TestUnreadableFileFailsTheImage(t *testing.T) {
	tree := rootfs.New()
	tree.File("/x", filepath.Join(t.TempDir(), "gone"), 0o644)
	for _, compressed := range []bool{false, true} {
		if _, err := Write(io.Discard, testSpec, tree, compressed); err == nil {
			t.Errorf("no error, compressed %v", compressed)
		}
	}
}
