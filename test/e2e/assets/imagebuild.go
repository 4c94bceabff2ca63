package assets

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/kubeovn/kube-ovn-ccm/test/e2e/assets/oci"
	"github.com/kubeovn/kube-ovn-ccm/test/e2e/assets/rootfs"
)

// image makes an image for the nodes of this machine.
func (b *builder) image(ctx context.Context, img image, in inputs) (Image, error) {
	// An entry's name stands for its content.
	k := newKey().text(img.name, b.version, filepath.Base(in.trixie), filepath.Base(in.programs)).embedded(imagesSource)
	if img.product {
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
	dir, err := b.cache.entry(ctx, "image-"+img.name, sum, func(ctx context.Context, dir string) error {
		b.progress.printf("image %s: building", img.name)
		digest, err := img.write(ctx, filepath.Join(dir, img.name+".tar"), ref, in, b.version, false)
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
		digest, err := d.write(ctx, path, ref, in, b.version, true)
		if err != nil {
			return nil, err
		}
		images = append(images, Image{Ref: ref, Tar: path, Digest: digest})
	}
	return images, nil
}

// moduleDir returns the unpacked directory of a module.
func (b *builder) moduleDir(ctx context.Context, path string) (string, error) {
	found, err := b.modules(ctx, path)
	return found[path].Dir, err
}

func (img image) ref(in inputs, version string) (string, error) {
	tag, err := img.tag(in, version)
	if err != nil {
		return "", fmt.Errorf("image %s: finding its tag: %w", img.name, err)
	}
	return img.repository + ":" + tag, nil
}

// write writes the archive, whole or not at all.
func (img image) write(ctx context.Context, path, ref string, in inputs, version string, compressed bool) (digest string, err error) {
	tree := rootfs.New()
	if err := img.files(ctx, tree, in); err != nil {
		return "", fmt.Errorf("image %s: %w", img.name, err)
	}
	spec := img.spec
	spec.Ref = ref
	if img.product {
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
	if digest, err = oci.Write(f, spec, tree, compressed); err != nil {
		return "", err
	}
	for _, do := range []func() error{
		func() error { return f.Chmod(0o644) },
		f.Close,
		func() error { return os.Rename(f.Name(), path) },
	} {
		if err := do(); err != nil {
			return "", fmt.Errorf("image %s: %w", img.name, err)
		}
	}
	return digest, nil
}
