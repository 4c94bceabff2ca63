package rootfs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// Debian is the root directory of an installed Debian, seen from the host.
type Debian string

// maxLinks is how many symbolic links one path may lead through, as in Linux.
const maxLinks = 40

// walk follows a path inside the tree, like chroot would: absolute links stay
// below the root. It returns where the path ends, without links, and the links
// it went through as path and target. A missing file is fs.ErrNotExist.
func (d Debian) walk(name string) (final string, links [][2]string, err error) {
	todo := strings.Split(path.Clean("/"+name), "/")[1:]
	at := "/"
	for len(todo) > 0 {
		next := path.Join(at, todo[0]) // ".." at the root stays at the root.
		todo = todo[1:]
		info, err := os.Lstat(d.host(next))
		if err != nil {
			return "", nil, fmt.Errorf("following %s in the Debian tree: %w", name, err)
		}
		if info.Mode()&fs.ModeSymlink == 0 {
			at = next
			continue
		}
		if len(links) == maxLinks {
			return "", nil, fmt.Errorf("following %s in the Debian tree: too many links", name)
		}
		target, err := os.Readlink(d.host(next))
		if err != nil {
			return "", nil, fmt.Errorf("following %s in the Debian tree: %w", name, err)
		}
		links = append(links, [2]string{next, target})
		if path.IsAbs(target) {
			at = "/"
		}
		var parts []string
		for _, p := range strings.Split(target, "/") {
			if p != "" && p != "." {
				parts = append(parts, p)
			}
		}
		todo = append(parts, todo...)
	}
	return at, links, nil
}

// host returns where a path without links is on the host.
func (d Debian) host(name string) string { return filepath.Join(string(d), filepath.FromSlash(name)) }

// CopyPrograms adds programs of the Debian tree, the links that lead to them
// (such as Debian's alternatives) and all libraries they need. A name without
// a slash is looked for in the directories of an ordinary PATH.
func (t *Tree) CopyPrograms(from Debian, names ...string) error {
	for _, name := range names {
		found, err := from.find(name)
		if err != nil {
			return err
		}
		if err := t.copyFile(from, found); err != nil {
			return fmt.Errorf("adding the program %s: %w", name, err)
		}
	}
	return nil
}

// CopyTree adds a directory of the Debian tree, or a single file, with all it
// contains, and the libraries that programs and libraries in it need.
func (t *Tree) CopyTree(from Debian, name string) error {
	top, _, err := from.walk(name)
	if err != nil {
		return err
	}
	return fs.WalkDir(os.DirFS(string(from)), strings.TrimPrefix(top, "/"), func(p string, e fs.DirEntry, err error) error {
		if err != nil {
			return fmt.Errorf("adding the tree %s: %w", name, err)
		}
		if e.IsDir() {
			t.Dir("/"+p, 0o755)
			return nil
		}
		if err := t.copyFile(from, "/"+p); err != nil {
			return fmt.Errorf("adding the tree %s: %w", name, err)
		}
		return nil
	})
}

// find returns the path of a program.
func (d Debian) find(name string) (string, error) {
	if strings.Contains(name, "/") {
		return name, nil
	}
	for _, dir := range []string{"/usr/sbin", "/usr/bin", "/usr/local/bin"} {
		_, _, err := d.walk(path.Join(dir, name))
		if err == nil {
			return path.Join(dir, name), nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
	}
	return "", fmt.Errorf("the Debian tree has no program %s", name)
}

// copyFile adds one file with the links that lead to it and what it needs to
// run.
func (t *Tree) copyFile(from Debian, name string) error {
	final, links, err := from.walk(name)
	if err != nil {
		return err
	}
	for _, l := range links {
		t.Link(l[0], l[1])
	}
	if _, ok := t.entries[final]; ok {
		return nil
	}
	info, err := os.Lstat(from.host(final))
	if err != nil {
		return fmt.Errorf("adding %s: %w", final, err)
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("adding %s: not a regular file but %s", final, info.Mode().Type())
	}
	t.File(final, from.host(final), info.Mode().Perm())
	needs, err := from.libraries(final)
	if err != nil {
		return err
	}
	for _, lib := range needs {
		if err := t.copyFile(from, lib); err != nil {
			return err
		}
	}
	return nil
}
