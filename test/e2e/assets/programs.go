package assets

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

// The modules that versions and files are read from.
const (
	moduleKubernetes = "k8s.io/kubernetes"
	moduleKubeOVN    = "github.com/kubeovn/kube-ovn"
	moduleNAD        = "github.com/k8snetworkplumbingwg/network-attachment-definition-client"
)

// program is a program that is built from this module's dependencies.
type program struct {
	// pkg is its main package. Go names the output after the last element.
	pkg string
	// path is where it goes, below the entry.
	path string
}

// programs is everything the cluster runs beside Debian's programs. Kube-OVN's
// and multus' main packages cannot be imported, so they stay separate; etcd,
// Kubernetes and kubectl are one program, which saves six slow links.
var programs = []program{
	{"github.com/kubeovn/kube-ovn-ccm/test/e2e/cmd/hyper", "bin/hyper"},
	{"github.com/kubeovn/kube-ovn/cmd/controller", "bin/kube-ovn-controller"}, // It looks at its own name.
	{"github.com/kubeovn/kube-ovn/cmd/daemon", "bin/kube-ovn-daemon"},
	{"github.com/kubeovn/kube-ovn/cmd/cni", "cni/kube-ovn"},
	{"gopkg.in/k8snetworkplumbingwg/multus-cni.v4/cmd/multus", "cni/multus"},
	{"k8s.io/kubernetes/test/images/agnhost", "images/agnhost"},
}

// hyperNames are the names under which hyper is a program of its own.
var hyperNames = []string{"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "kubectl"}

// crds are the files with custom resource definitions, by module.
var crds = map[string]string{
	moduleKubeOVN: "charts/kube-ovn-v2/crds/kube-ovn-crd.yaml",
	moduleNAD:     "artifacts/networks-crd.yaml",
}

// goFlags are the flags of every build. They are always the same, because the
// Go build cache is shared by what was built with the same flags only.
var goFlags = []string{"-trimpath", "-buildvcs=false"}

// programs builds the programs and returns the entry with bin, cni, crds and
// images.
func (b *builder) programs(ctx context.Context) (string, error) {
	version, err := goOutput(ctx, b.module, "env", "GOVERSION")
	if err != nil {
		return "", fmt.Errorf("programs: %w", err)
	}
	k := newKey().text(version, runtime.GOARCH).text(goFlags...).text(hyperNames...).text(debianPlugins...)
	for _, p := range programs {
		k.text(p.pkg, p.path)
	}
	k.embedded(programsSource)
	k.file(b.module, "go.mod").file(b.module, "go.sum").tree(b.module, "cmd/hyper", goSource)
	sum, err := k.sum()
	if err != nil {
		return "", fmt.Errorf("programs: %w", err)
	}
	return b.cache.entry(ctx, "programs", sum, b.buildPrograms)
}

func (b *builder) buildPrograms(ctx context.Context, dir string) error {
	modules, err := b.modules(ctx, moduleKubernetes, moduleKubeOVN, moduleNAD)
	if err != nil {
		return fmt.Errorf("programs: %w", err)
	}
	out := filepath.Join(dir, "out")
	args := append([]string{"build", "-v"}, goFlags...)
	args = append(args, "-ldflags", programFlags(modules[moduleKubernetes].Version, modules[moduleKubeOVN].Version), "-o", out+"/")
	for _, p := range programs {
		args = append(args, p.pkg)
	}
	// One build for all: most packages are shared, and Go compiles each once.
	cmd := goCommand(ctx, b.module, args...)
	s := step{name: "programs", doing: "compiling Kubernetes, etcd, Kube-OVN and multus", log: b.log("programs")}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return fmt.Errorf("programs: %w", err)
	}
	if err := s.run(ctx, b.progress, cmd); err != nil {
		return err
	}
	if err := arrangePrograms(dir, out, modules); err != nil {
		return fmt.Errorf("programs: %w", err)
	}
	return nil
}

// arrangePrograms moves what Go has built from out to its places in dir.
func arrangePrograms(dir, out string, modules map[string]module) error {
	for _, d := range []string{"bin", "cni", "crds", "images"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			return err
		}
	}
	for _, p := range programs {
		if err := os.Rename(filepath.Join(out, filepath.Base(p.pkg)), filepath.Join(dir, p.path)); err != nil {
			return err
		}
	}
	for _, name := range hyperNames {
		if err := os.Symlink("hyper", filepath.Join(dir, "bin", name)); err != nil {
			return err
		}
	}
	for _, name := range debianPlugins {
		if err := os.Symlink(filepath.Join(debianPluginDir, name), filepath.Join(dir, "cni", name)); err != nil {
			return err
		}
	}
	for mod, file := range crds {
		if err := copyFile(filepath.Join(modules[mod].Dir, file), filepath.Join(dir, "crds", filepath.Base(file)), 0o644); err != nil {
			return err
		}
	}
	version := filepath.Join(modules[moduleKubernetes].Dir, "test", "images", "agnhost", "VERSION")
	if err := copyFile(version, filepath.Join(dir, "images", "agnhost.version"), 0o644); err != nil {
		return err
	}
	return os.Remove(out)
}

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

func copyFile(from, to string, mode os.FileMode) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		out.Close()
		return fmt.Errorf("copying %s: %w", from, err)
	}
	return out.Close()
}
