package assets

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

// The names of our own programs, which are those of their commands.
const (
	programCCM     = "kube-ovn-ccm"
	programGateway = "lb-gateway"
)

// errEdited means that the sources under a key are not those any more.
var errEdited = errors.New("product: the sources keep changing while they are compiled")

// product builds our own programs and returns the directory they are in. When
// somebody edits the sources meanwhile, it begins again.
func (b *builder) product(ctx context.Context) (dir string, err error) {
	for range 3 {
		if dir, err = b.tryProduct(ctx); !errors.Is(err, errEdited) {
			break
		}
	}
	return dir, err
}

func (b *builder) tryProduct(ctx context.Context) (string, error) {
	sum, flags, err := b.productKey(ctx)
	if err != nil {
		return "", fmt.Errorf("product: %w", err)
	}
	return b.cache.entry(ctx, "product", sum, func(ctx context.Context, dir string) error {
		args := append([]string{"build", "-v"}, goFlags...)
		args = append(args, "-ldflags", flags, "-o", dir+"/", "./cmd/"+programCCM, "./cmd/"+programGateway)
		s := step{name: "product", doing: "compiling kube-ovn-ccm and lb-gateway", log: b.log("product")}
		if err := s.run(ctx, b.progress, goCommand(ctx, b.repo, args...)); err != nil {
			return err
		}
		after, _, err := b.productKey(ctx)
		if err == nil && after != sum {
			err = errEdited
		}
		return err
	})
}

// productKey returns the key of our programs and the flags they are linked
// with.
func (b *builder) productKey(ctx context.Context) (sum, flags string, err error) {
	version, err := goOutput(ctx, b.repo, "env", "GOVERSION")
	if err != nil {
		return "", "", err
	}
	if flags, err = b.productFlags(ctx); err != nil {
		return "", "", err
	}
	k := newKey().text(version, runtime.GOARCH, flags).text(goFlags...).embedded(productSource)
	k.file(b.repo, "go.mod").file(b.repo, "go.sum")
	for _, dir := range []string{"cmd", "pkg"} {
		k.tree(b.repo, dir, goSource)
	}
	sum, err = k.sum()
	return sum, flags, err
}

// productFlags asks the script that the Makefile and the Dockerfiles ask too
// for the version stamps.
func (b *builder) productFlags(ctx context.Context) (string, error) {
	script := filepath.Join(b.repo, "build", "ldflags.sh")
	cmd := exec.CommandContext(ctx, script)
	cmd.Env = append(os.Environ(), "BUILD_VERSION="+b.version)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("finding the version stamps with %s: %w", script, err)
	}
	return strings.TrimSpace(string(out)), nil
}
