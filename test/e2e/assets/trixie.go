package assets

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
)

// debianSuite is the Debian release whose Open vSwitch and OVN fit Kube-OVN
// v1.16: its northbound schema needs OVN 25.03 or later, Debian 12 has 23.03.
const debianSuite = "trixie"

// debianMirror is where debootstrap fetches from. The variable DEBIAN_MIRROR
// names another mirror; what it serves is signed by Debian all the same.
const debianMirror = "http://deb.debian.org/debian"

// trixiePackages is what the minimal Debian holds beside its base.
var trixiePackages = []string{
	"openvswitch-switch", "ovn-central", "ovn-host", // the cluster's network
	"iptables", "iproute2", "conntrack", "busybox", // the gateway image
	"nginx-light", "catatonit", "ca-certificates", // the other images
	"curl", "wget", "netcat-openbsd", "iputils-ping", "iputils-arping", "tcpdump", // the tools of the test image
}

// trixieVersions are the beginnings of the versions that must have come.
var trixieVersions = map[string]string{"openvswitch-switch": "3.5.", "ovn-central": "25.03."}

// trixieUnwanted is what nobody reads in a tree that is only run from.
var trixieUnwanted = []string{
	"boot", "dev", "home", "media", "mnt", "opt", "proc", "srv", "sys", "var/cache", "var/lib/apt", "var/log",
	"usr/share/doc", "usr/share/man", "usr/share/info", "usr/share/locale", "usr/share/i18n", "usr/share/lintian", "usr/share/zoneinfo",
	"usr/lib/python3", "usr/lib/python3.13", "usr/share/perl", "usr/share/python3",
}

// trixie makes the minimal Debian 13 and returns its root.
func (b *builder) trixie(ctx context.Context) (string, error) {
	k := newKey().text(debianSuite, runtime.GOARCH).text(trixiePackages...).text(trixieUnwanted...).embedded(trixieSource)
	sum, err := k.sum()
	if err != nil {
		return "", fmt.Errorf("trixie: %w", err)
	}
	return b.cache.entry(ctx, "trixie", sum, b.buildTrixie)
}

func (b *builder) buildTrixie(ctx context.Context, dir string) error {
	mirror := os.Getenv("DEBIAN_MIRROR")
	if mirror == "" {
		mirror = debianMirror
	}
	path, err := lookPath("debootstrap")
	if err != nil {
		return fmt.Errorf("trixie: %w", err)
	}
	cmd := exec.CommandContext(ctx, path, "--variant=minbase", "--include="+strings.Join(trixiePackages, ","), debianSuite, dir, mirror)
	cmd.Env = append(os.Environ(), "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive", "PATH="+os.Getenv("PATH")+":"+strings.Join(sbin, ":"))
	// debootstrap mounts /proc and /sys below the new root. In namespaces of
	// its own those mounts and every process end with it, however it ends, so
	// that removing a half-built tree never reaches the host's.
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID, Unshareflags: syscall.CLONE_NEWNS}
	s := step{name: "trixie", doing: "installing Open vSwitch and OVN of Debian 13", log: b.log("trixie")}
	if err := s.run(ctx, b.progress, cmd); err != nil {
		return err
	}
	if err := checkVersions(filepath.Join(dir, "var/lib/dpkg/status"), trixieVersions); err != nil {
		return fmt.Errorf("trixie: %w", err)
	}
	for _, name := range trixieUnwanted {
		if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
			return fmt.Errorf("trixie: trimming: %w", err)
		}
	}
	return nil
}

// checkVersions reads a dpkg status file and returns an error unless every
// package of want is there in a version that begins as wanted.
func checkVersions(status string, want map[string]string) error {
	f, err := os.Open(status)
	if err != nil {
		return fmt.Errorf("reading the list of installed packages: %w", err)
	}
	defer f.Close()
	have := map[string]string{}
	var name string
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if v, ok := strings.CutPrefix(lines.Text(), "Package: "); ok {
			name = v
		}
		if v, ok := strings.CutPrefix(lines.Text(), "Version: "); ok {
			have[name] = v
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("reading the list of installed packages: %w", err)
	}
	for pkg, version := range want {
		if !strings.HasPrefix(have[pkg], version) {
			return fmt.Errorf("%s of Debian %s is %q, but the cluster needs %sx", pkg, debianSuite, have[pkg], version)
		}
	}
	return nil
}

// lookPath finds a program in PATH or in a system directory.
func lookPath(name string) (string, error) {
	path, err := exec.LookPath(name)
	if err == nil {
		return path, nil
	}
	for _, dir := range sbin {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path, nil
		}
	}
	return "", err
}
