package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/kubeovn/kube-ovn-ccm/test/e2e/lab/cgroup"
	"github.com/kubeovn/kube-ovn-ccm/test/e2e/lab/unit"
)

// spec is all that the init of a machine is told.
type spec struct {
	// Hostname of the machine.
	Hostname string
	// Cgroup is the lab's group, System the one below it for the machine's programs.
	Cgroup, System string
	// Tmpfs are directories that begin empty at every power-on.
	Tmpfs []string
	// Binds are files and directories of the machine's own, in the place of the host's: source, target.
	Binds [][2]string
	// Mkdir are directories that programs expect.
	Mkdir []string
	// Env is the environment of all programs.
	Env []string
	// Control is the path of the control socket.
	Control string
	// Logs is the directory for the programs' logs.
	Logs string
	// Units are the programs.
	Units []unit.Unit
}

// readyFD is where init reports: an empty line when the machine stands, else what went wrong.
const readyFD = 3

// RunInit is the PID 1 of a machine: it furnishes the new namespaces after the file spec and supervises the programs.
// It returns only when that cannot be done.
func RunInit(ctx context.Context, file string) error {
	report := os.NewFile(readyFD, "report")
	err := runInit(ctx, file, report)
	if report != nil && err != nil {
		fmt.Fprintln(report, strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	return err
}

func runInit(ctx context.Context, file string, report *os.File) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var s spec
	if err := json.Unmarshal(b, &s); err != nil {
		return fmt.Errorf("read %s: %w", file, err)
	}
	// First of all, so that nothing of this machine can outlive its lab.
	tree, err := cgroup.Open(s.Cgroup)
	if err != nil {
		return err
	}
	if err := tree.Join(s.System); err != nil {
		return err
	}
	if err := s.furnish(); err != nil {
		return err
	}
	os.Clearenv()
	for _, e := range s.Env {
		k, v, _ := strings.Cut(e, "=")
		if err := os.Setenv(k, v); err != nil {
			return err
		}
	}
	sup, err := unit.New(s.Units, s.Logs)
	if err != nil {
		return err
	}
	l, err := unit.Listen(ctx, s.Control)
	if err != nil {
		return fmt.Errorf("control socket: %w", err)
	}
	sup.Start(ctx)
	fmt.Fprintln(report)
	report.Close()
	return sup.Serve(ctx, l)
}

// furnish makes the mounts of a machine.
func (s spec) furnish() error {
	if err := unix.Sethostname([]byte(s.Hostname)); err != nil {
		return fmt.Errorf("set hostname: %w", err)
	}
	// Nothing of what follows may be seen by the host. Shared again below: mounts of the kubelet must reach the containers.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("separate the mounts: %w", err)
	}
	if err := forgetNamespaces("/run/netns"); err != nil {
		return err
	}
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	if err := remountSys(); err != nil {
		return err
	}
	for _, d := range append([]string{"/run"}, s.Tmpfs...) {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return err
		}
		if err := unix.Mount("tmpfs", d, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=755"); err != nil {
			return fmt.Errorf("mount %s: %w", d, err)
		}
	}
	for _, b := range s.Binds {
		if err := bind(b[0], b[1]); err != nil {
			return fmt.Errorf("bind %s to %s: %w", b[0], b[1], err)
		}
	}
	for _, d := range append([]string{"/run/netns", "/run/lock"}, s.Mkdir...) {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return err
		}
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SHARED, ""); err != nil {
		return fmt.Errorf("share the mounts: %w", err)
	}
	return nil
}

// forgetNamespaces drops this machine's copies of the host's named network namespaces: they would keep a namespace
// alive that everybody else has deleted.
func forgetNamespaces(dir string) error {
	es, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range es {
		if err := unix.Unmount(filepath.Join(dir, e.Name()), unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("forget network namespace %s: %w", e.Name(), err)
		}
	}
	return nil
}

// remountSys gives the machine a /sys of its own network namespace and keeps the cgroups in it.
func remountSys() error {
	tree, err := unix.OpenTree(unix.AT_FDCWD, cgroup.Base, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE)
	if err != nil {
		return fmt.Errorf("hold on to %s: %w", cgroup.Base, err)
	}
	defer unix.Close(tree)
	if err := unix.Mount("sysfs", "/sys", "sysfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mount /sys: %w", err)
	}
	if err := unix.MoveMount(tree, "", unix.AT_FDCWD, cgroup.Base, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return fmt.Errorf("bring %s back: %w", cgroup.Base, err)
	}
	return nil
}

// bind puts a file or directory in the place of another one; a missing target directory is made.
func bind(src, dst string) error {
	fi, err := os.Stat(src)
	if err != nil {
		return err
	}
	if fi.IsDir() {
		if err := os.MkdirAll(dst, 0o755); err != nil {
			return err
		}
	}
	return unix.Mount(src, dst, "", unix.MS_BIND, "")
}
