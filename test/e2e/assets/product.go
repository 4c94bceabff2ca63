package assets

import (
	"context"
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

// product builds our own programs and returns the directory they are in.
func (b *builder) product(ctx context.Context) (string, error) {
	version, err := goOutput(ctx, b.repo, "env", "GOVERSION")
	if err != nil {
		return "", fmt.Errorf("product: %w", err)
	}
	flags, err := b.productFlags(ctx)
	if err != nil {
		return "", fmt.Errorf("product: %w", err)
	}
	k := newKey().text(version, runtime.GOARCH, flags).text(goFlags...).embedded(productSource)
	k.file(b.repo, "go.mod").file(b.repo, "go.sum")
	for _, dir := range []string{"cmd", "pkg"} {
		k.tree(b.repo, dir, goSource)
	}
	sum, err := k.sum()
	if err != nil {
		return "", fmt.Errorf("product: %w", err)
	}
	return b.cache.entry(ctx, "product", sum, func(ctx context.Context, dir string) error {
		args := append([]string{"build", "-v"}, goFlags...)
		args = append(args, "-ldflags", flags, "-o", dir+"/", "./cmd/"+programCCM, "./cmd/"+programGateway)
		s := step{name: "product", doing: "compiling kube-ovn-ccm and lb-gateway", log: b.log("product")}
		return s.run(ctx, b.progress, goCommand(ctx, b.repo, args...))
	})
}

// productFlags asks the script that the Makefile and the Dockerfiles ask too
// for the version stamps.
func (b *builder) productFlags(ctx context.Context) (string, error) {
	script := filepath.Join(b.repo, "build", "ldflags.sh")
	cmd := exec.CommandContext(ctx, script)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("finding the version stamps with %s: %w", script, err)
	}
	return strings.TrimSpace(string(out)), nil
}
