package assets

import (
	"context"
	"fmt"
	"path/filepath"
	"runtime"
)

// The packages that Kubernetes' own tests are built from. Ginkgo's command must
// be of the version that the tests are linked with: go.mod sees to it.
const (
	packageSuite  = "k8s.io/kubernetes/test/e2e"
	packageGinkgo = "github.com/onsi/ginkgo/v2/ginkgo"
)

// Conformance is Kubernetes' own test suite, of the version of the cluster.
type Conformance struct {
	// Suite is e2e.test: all of Kubernetes' end-to-end tests in one program.
	Suite string
	// Ginkgo is the command that runs several processes of it side by side.
	Ginkgo string
}

// EnsureConformance makes the programs if they are missing. A cluster does not
// need them, so Ensure does without.
func EnsureConformance(ctx context.Context, opts Options) (*Conformance, error) {
	b, err := newBuilder(opts)
	if err != nil {
		return nil, err
	}
	version, err := goOutput(ctx, b.module, "env", "GOVERSION")
	if err != nil {
		return nil, fmt.Errorf("conformance: %w", err)
	}
	sum, err := newKey().text(version, runtime.GOARCH).text(goFlags...).embedded(conformanceSource).
		file(b.module, "go.mod").file(b.module, "go.sum").sum()
	if err != nil {
		return nil, fmt.Errorf("conformance: %w", err)
	}
	dir, err := b.cache.entry(ctx, "conformance", sum, b.buildConformance)
	if err != nil {
		return nil, err
	}
	return &Conformance{Suite: filepath.Join(dir, "e2e.test"), Ginkgo: filepath.Join(dir, "ginkgo")}, nil
}

func (b *builder) buildConformance(ctx context.Context, dir string) error {
	modules, err := b.modules(ctx, moduleKubernetes, moduleKubeOVN)
	if err != nil {
		return fmt.Errorf("conformance: %w", err)
	}
	flags := append([]string{"-ldflags", programFlags(modules[moduleKubernetes].Version, modules[moduleKubeOVN].Version)}, goFlags...)
	for _, part := range []struct {
		name, pkg string
		verb      []string
	}{
		{"e2e.test", packageSuite, []string{"test", "-c", "-vet=off"}},
		{"ginkgo", packageGinkgo, []string{"build"}},
	} {
		args := append(append(part.verb, flags...), "-o", filepath.Join(dir, part.name), part.pkg)
		s := step{name: "conformance", doing: "compiling " + part.name + " of Kubernetes' tests", log: b.log(part.name)}
		if err := s.run(ctx, b.progress, goCommand(ctx, b.module, args...)); err != nil {
			return err
		}
	}
	return nil
}
