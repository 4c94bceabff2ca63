package assets

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
)

// goFlags are the flags of every build. They are always the same, because the
// Go build cache is shared by what was built with the same flags only.
var goFlags = []string{"-trimpath", "-buildvcs=false"}

// programFlags stamps the versions. Without them Kubernetes calls itself
// v0.0.0-master, and clients and kubelets refuse one another.
func programFlags(kubernetes, kubeOVN string) string {
	minor, _, _ := strings.Cut(strings.TrimPrefix(kubernetes, "v1."), ".")
	flags := []string{"-s", "-w", "-X", moduleKubeOVN + "/versions.VERSION=" + kubeOVN}
	for _, pkg := range []string{"k8s.io/component-base/version", "k8s.io/client-go/pkg/version"} {
		for _, v := range []string{
			"gitVersion=" + kubernetes, "gitMajor=1", "gitMinor=" + minor,
			"gitTreeState=clean", "gitCommit=lab", "buildDate=1970-01-01T00:00:00Z",
		} {
			flags = append(flags, "-X", pkg+"."+v)
		}
	}
	return strings.Join(flags, " ")
}

// module is what Go says about a module.
type module struct{ Path, Version, Dir string }

// modules returns the chosen versions and the unpacked directories of modules,
// downloading them when needed.
func (b *builder) modules(ctx context.Context, paths ...string) (map[string]module, error) {
	if _, err := goOutput(ctx, b.module, append([]string{"mod", "download"}, paths...)...); err != nil {
		return nil, err
	}
	out, err := goOutput(ctx, b.module, append([]string{"list", "-m", "-json"}, paths...)...)
	if err != nil {
		return nil, err
	}
	found := map[string]module{}
	for dec := json.NewDecoder(strings.NewReader(out)); ; {
		var m module
		err := dec.Decode(&m)
		if errors.Is(err, io.EOF) {
			return found, nil
		}
		if err != nil {
			return nil, fmt.Errorf("reading the answer of go list: %w", err)
		}
		found[m.Path] = m
	}
}

// goCommand is a go command with the environment of every build.
func goCommand(ctx context.Context, dir string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=", "GOWORK=off")
	if os.Getenv("GOGC") == "" {
		// The compiler and the linker are short-lived: collecting less is a
		// good deal faster.
		cmd.Env = append(cmd.Env, "GOGC=400")
	}
	return cmd
}

// goOutput runs a go command and returns what it printed, without the last
// newline.
func goOutput(ctx context.Context, dir string, args ...string) (string, error) {
	out, err := goCommand(ctx, dir, args...).Output()
	if err != nil {
		var said string
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			said = ": " + strings.TrimSpace(string(exit.Stderr))
		}
		return "", fmt.Errorf("go %s: %w%s", strings.Join(args, " "), err, said)
	}
	return strings.TrimSuffix(string(out), "\n"), nil
}
