package assets

import (
	"cmp"
	"context"
	"embed"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sync/errgroup"
)

// The code that builds a part is one of the part's inputs: when it changes,
// the part is built again.
var (
	//go:embed programs.go gobuild.go
	programsSource embed.FS
	//go:embed conformance.go gobuild.go
	conformanceSource embed.FS
	//go:embed trixie.go
	trixieSource embed.FS
	//go:embed product.go
	productSource embed.FS
	//go:embed images.go imagebuild.go rootfs/*.go oci/*.go
	imagesSource embed.FS
)

// builder makes one set.
type builder struct {
	repo     string // the main module
	module   string // the module of the cluster's programs, which this is part of
	version  string
	progress *progress
	cache    *cache
}

func newBuilder(opts Options) (*builder, error) {
	if opts.RepoRoot == "" {
		return nil, errors.New("assets: the root of the repository is not given")
	}
	if os.Geteuid() != 0 {
		return nil, errors.New("assets: the cluster needs root (namespaces, mounts, debootstrap), run this as root")
	}
	repo, err := filepath.Abs(opts.RepoRoot)
	if err != nil {
		return nil, fmt.Errorf("assets: %w", err)
	}
	version, err := os.ReadFile(filepath.Join(repo, "VERSION"))
	if err != nil {
		return nil, fmt.Errorf("assets: reading the version, is %s the root of kube-ovn-ccm? %w", repo, err)
	}
	p := newProgress(opts.Progress)
	c, err := openCache(p)
	if err != nil {
		return nil, fmt.Errorf("assets: %w", err)
	}
	return &builder{
		repo:     repo,
		module:   filepath.Join(repo, "test", "e2e"),
		version:  cmp.Or(opts.Version, strings.TrimSpace(string(version))),
		progress: p,
		cache:    c,
	}, nil
}

func (b *builder) log(name string) string { return filepath.Join(b.cache.root, "logs", name+".log") }

// ensure makes the parts. Debian's part waits for the network most of the
// time, the Go programs for the processor, so they go side by side.
func (b *builder) ensure(ctx context.Context, withProduct bool) (*Set, error) {
	if err := b.ensureHost(ctx); err != nil {
		return nil, err
	}
	in := inputs{source: b.moduleDir}
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		in.trixie, err = b.trixie(gctx)
		return err
	})
	g.Go(func() (err error) {
		if in.programs, err = b.programs(gctx); err == nil && withProduct {
			in.product, err = b.product(gctx)
		}
		return err
	})
	if err := g.Wait(); err != nil {
		return nil, err
	}
	set := &Set{
		Bin:     filepath.Join(in.programs, "bin"),
		CNI:     filepath.Join(in.programs, "cni"),
		CRDs:    filepath.Join(in.programs, "crds"),
		Trixie:  in.trixie,
		Version: b.version,
	}
	definitions := clusterImages
	if withProduct {
		definitions = append(definitions[:len(definitions):len(definitions)], productImages...)
	}
	for _, d := range definitions {
		img, err := b.image(ctx, d, in)
		if err != nil {
			return nil, err
		}
		set.Images = append(set.Images, img)
	}
	if b.progress.spoke() {
		b.progress.printf("all parts of the cluster are built")
	}
	return set, nil
}
