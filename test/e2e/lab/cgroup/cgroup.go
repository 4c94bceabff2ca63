// Package cgroup keeps every process of a lab below one directory in every cgroup hierarchy of the machine.
//
// That directory is what makes tearing down safe: whoever is in it belongs to the lab, whoever is not does not,
// whatever pid files say and however the programs were killed. It works with cgroup v1 (one mount per controller),
// with pure v2 (a stock Debian 12), and with the mixed layout.
package cgroup

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Base is where cgroup hierarchies are mounted; mounts elsewhere are somebody's private views and are left alone.
const Base = "/sys/fs/cgroup"

// Hierarchy is one mounted cgroup tree.
type Hierarchy struct {
	// Path is the mount point.
	Path string
	// V2 is true for the unified hierarchy.
	V2 bool
}

// Tree is one directory that exists, under the same name, in several hierarchies.
type Tree struct {
	// Name is the path below each mount point, without leading slash. It must not be empty: an empty name is the whole machine.
	Name string
	// Hierarchies are the trees the name exists in.
	Hierarchies []Hierarchy
}

// Open returns the tree of that name in all hierarchies of this machine. Nothing is created.
func Open(name string) (Tree, error) {
	if name == "." || name != filepath.Clean(name) || !filepath.IsLocal(name) {
		return Tree{}, fmt.Errorf("%q cannot name a cgroup of its own", name)
	}
	f, err := os.Open("/proc/self/mounts")
	if err != nil {
		return Tree{}, fmt.Errorf("find the cgroup hierarchies: %w", err)
	}
	defer f.Close()
	hs, err := parseMounts(f, Base)
	if err != nil {
		return Tree{}, fmt.Errorf("find the cgroup hierarchies: %w", err)
	}
	if len(hs) == 0 {
		return Tree{}, fmt.Errorf("no cgroup hierarchy is mounted below %s", Base)
	}
	return Tree{Name: name, Hierarchies: hs}, nil
}

// parseMounts reads lines in the format of /proc/mounts and returns the cgroup mounts at or below base.
func parseMounts(r io.Reader, base string) ([]Hierarchy, error) {
	var out []Hierarchy
	for s := bufio.NewScanner(r); ; {
		if !s.Scan() {
			return out, s.Err()
		}
		f := strings.Fields(s.Text())
		if len(f) < 3 || (f[2] != "cgroup" && f[2] != "cgroup2") {
			continue
		}
		if f[1] != base && !strings.HasPrefix(f[1], base+"/") {
			continue
		}
		h := Hierarchy{Path: f[1], V2: f[2] == "cgroup2"}
		if !slices.Contains(out, h) {
			out = append(out, h)
		}
	}
}

// Create makes sub (a path below the tree) in every hierarchy, ready to take processes and to have children:
// v1 cpusets get their parent's CPUs and memory nodes, v2 parents hand all their controllers down.
// Existing directories are kept.
func (t Tree) Create(sub string) error {
	for _, h := range t.Hierarchies {
		dir := h.Path
		for part := range strings.SplitSeq(filepath.Join(t.Name, sub), "/") {
			if h.V2 {
				delegate(dir)
			}
			parent := dir
			dir = filepath.Join(dir, part)
			if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
				return fmt.Errorf("create cgroup: %w", err)
			}
			if err := inheritCPUSet(parent, dir); err != nil {
				return fmt.Errorf("prepare cgroup %s: %w", dir, err)
			}
		}
	}
	return nil
}

// Prefer gives the whole tree as much CPU time as that many ordinary processes beside it, as long as it asks for it.
// Without that a tree, with everything in it, counts as one. It does nothing where there is no cpu controller.
func (t Tree) Prefer(processes int) error {
	for _, h := range t.Hierarchies {
		// The weights of one process: cgroups(7) of v1, and "cpu.weight" in the kernel's admin-guide/cgroup-v2.rst.
		file, weight := "cpu.shares", 1024*processes
		if h.V2 {
			file, weight = "cpu.weight", min(100*processes, 10000)
		}
		err := writeExisting(filepath.Join(h.Path, t.Name, file), strconv.Itoa(weight))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("prefer cgroup %s: %w", t.Name, err)
		}
	}
	return nil
}

// writeExisting writes a file that must be there: in a directory of cgroups a create is refused in many ways.
func writeExisting(file, text string) error {
	w, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = w.WriteString(text)
	return errors.Join(err, w.Close())
}

// delegate hands every controller of a v2 group down to its children, each by itself: one that cannot be had
// (because a process sits in the group, say) must not keep the others away. A kubelet says clearly what it misses.
func delegate(dir string) {
	b, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
	if err != nil {
		return
	}
	for c := range strings.FieldsSeq(string(b)) {
		_ = os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+"+c), 0o644)
	}
}

func inheritCPUSet(parent, dir string) error {
	for _, f := range []string{"cpuset.cpus", "cpuset.mems"} {
		if _, err := os.Stat(filepath.Join(dir, "cgroup.controllers")); err == nil {
			return nil // v2 inherits by itself
		}
		b, err := os.ReadFile(filepath.Join(parent, f))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, f), b, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// ProcsFiles lists the files of sub to which a process writes "0" to move itself there.
func (t Tree) ProcsFiles(sub string) []string {
	var out []string
	for _, h := range t.Hierarchies {
		out = append(out, filepath.Join(h.Path, t.Name, sub, "cgroup.procs"))
	}
	return out
}

// Join moves the calling process, with all its threads, into sub in every hierarchy. It fails if sub does not exist.
func (t Tree) Join(sub string) error {
	for _, f := range t.ProcsFiles(sub) {
		// A directory that down has just removed must be an error.
		if err := writeExisting(f, "0"); err != nil {
			return fmt.Errorf("join cgroup: %w", err)
		}
	}
	return nil
}

// Pids returns the processes in sub and below it, in any hierarchy, sorted. An absent directory has none.
func (t Tree) Pids(sub string) ([]int, error) {
	var out []int
	for _, h := range t.Hierarchies {
		err := filepath.WalkDir(filepath.Join(h.Path, t.Name, sub), func(p string, d fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err != nil || d.Name() != "cgroup.procs" {
				return err
			}
			pids, err := readPids(p)
			out = append(out, pids...)
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("list the processes of cgroup %s: %w", filepath.Join(t.Name, sub), err)
		}
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

func readPids(file string) ([]int, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		if gone(err) {
			return nil, nil
		}
		return nil, err
	}
	var out []int
	for f := range strings.FieldsSeq(string(b)) {
		n, err := strconv.Atoi(f)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		if n > 0 { // 0 is a process outside our pid namespace
			out = append(out, n)
		}
	}
	return out, nil
}

// Exists says whether any hierarchy has the tree.
func (t Tree) Exists() bool {
	for _, h := range t.Hierarchies {
		if _, err := os.Stat(filepath.Join(h.Path, t.Name)); err == nil {
			return true
		}
	}
	return false
}
