package assets

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
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
