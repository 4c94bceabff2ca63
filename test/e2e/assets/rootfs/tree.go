// Package rootfs puts together the file system of a container image: single
// files, and programs of a Debian tree with the libraries they need. It reads
// the tree like data and runs nothing of it.
package rootfs

import (
	"archive/tar"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"sort"
	"strings"
	"time"
)

// Tree is the content of an image. Paths in it are absolute and clean.
// Everything belongs to root and has the same modification time, so that equal
// trees become equal archives.
type Tree struct {
	entries map[string]entry
}

// entry is a directory, a regular file (from source, or else content), or a
// symbolic link.
type entry struct {
	mode    fs.FileMode // type, permissions and the sticky bit
	source  string
	content []byte
	link    string
}

// New returns a tree with the directories that every container runtime mounts
// something on, and with /bin, /lib, /lib64 and /sbin as links to /usr, as in
// Debian: files go below /usr.
func New() *Tree {
	t := &Tree{entries: map[string]entry{}}
	for _, d := range []string{"/dev", "/etc", "/proc", "/root", "/run", "/sys", "/usr/bin", "/usr/lib", "/usr/lib64", "/usr/sbin", "/var"} {
		t.Dir(d, 0o755)
	}
	t.Dir("/tmp", 0o777|fs.ModeSticky)
	for _, d := range []string{"bin", "lib", "lib64", "sbin"} {
		t.Link("/"+d, "usr/"+d)
	}
	return t
}

// Has reports whether the tree has something at this path.
func (t *Tree) Has(name string) bool {
	_, ok := t.entries[path.Clean("/"+name)]
	return ok
}

// Dir adds a directory.
func (t *Tree) Dir(name string, mode fs.FileMode) {
	t.add(name, entry{mode: fs.ModeDir | mode})
}

// Text adds a regular file with this content.
func (t *Tree) Text(name, content string, mode fs.FileMode) {
	t.add(name, entry{mode: mode, content: []byte(content)})
}

// File adds a regular file with the content of source, a file of the host that
// must not change until the tree has been written.
func (t *Tree) File(name, source string, mode fs.FileMode) {
	t.add(name, entry{mode: mode, source: source})
}

// Link adds a symbolic link.
func (t *Tree) Link(name, target string) {
	t.add(name, entry{mode: fs.ModeSymlink | 0o777, link: target})
}

// Paths returns the sorted paths of everything in the tree.
func (t *Tree) Paths() []string {
	names := make([]string, 0, len(t.entries))
	for name := range t.entries {
		names = append(names, name)
	}
	sort.Strings(names) // A directory sorts before what it contains.
	return names
}

func (t *Tree) add(name string, e entry) {
	name = path.Clean("/" + name)
	if name == "/" {
		return
	}
	t.entries[name] = e
	for dir := path.Dir(name); dir != "/"; dir = path.Dir(dir) {
		if _, ok := t.entries[dir]; !ok {
			t.entries[dir] = entry{mode: fs.ModeDir | 0o755}
		}
	}
}

// WriteTar writes the tree as an archive. Called twice it writes the same
// bytes.
func (t *Tree) WriteTar(w io.Writer) error {
	tw := tar.NewWriter(w)
	for _, name := range t.Paths() {
		if err := t.entries[name].write(tw, strings.TrimPrefix(name, "/")); err != nil {
			return fmt.Errorf("archiving %s: %w", name, err)
		}
	}
	if err := tw.Close(); err != nil {
		return fmt.Errorf("finishing the archive: %w", err)
	}
	return nil
}

func (e entry) write(tw *tar.Writer, name string) error {
	h := &tar.Header{Name: name, Mode: int64(e.mode.Perm()), ModTime: time.Unix(0, 0), Format: tar.FormatPAX}
	if e.mode&fs.ModeSticky != 0 {
		h.Mode |= 0o1000
	}
	switch {
	case e.mode.IsDir():
		h.Typeflag, h.Name = tar.TypeDir, name+"/"
		return tw.WriteHeader(h)
	case e.mode&fs.ModeSymlink != 0:
		h.Typeflag, h.Linkname = tar.TypeSymlink, e.link
		return tw.WriteHeader(h)
	case e.source == "":
		h.Typeflag, h.Size = tar.TypeReg, int64(len(e.content))
		if err := tw.WriteHeader(h); err != nil {
			return err
		}
		_, err := tw.Write(e.content)
		return err
	}
	f, err := os.Open(e.source)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	h.Typeflag, h.Size = tar.TypeReg, info.Size()
	if err := tw.WriteHeader(h); err != nil {
		return err
	}
	_, err = io.Copy(tw, f)
	return err
}
