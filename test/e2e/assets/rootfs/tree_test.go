package rootfs

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

func archive(t *testing.T, tree *Tree) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := tree.WriteTar(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestEqualTreesAreEqualArchives(t *testing.T) {
	source := filepath.Join(t.TempDir(), "source")
	if err := os.WriteFile(source, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	adds := []func(*Tree){
		func(t *Tree) { t.File("/usr/bin/b", source, 0o755) },
		func(t *Tree) { t.Text("/etc/a/b/c", "text", 0o644) },
		func(t *Tree) { t.Link("usr/bin/a", "b") },
	}
	one, two := New(), New()
	for _, add := range adds {
		add(one)
	}
	first := archive(t, one)
	later := time.Now().Add(time.Hour)
	if err := os.Chtimes(source, later, later); err != nil {
		t.Fatal(err)
	}
	slices.Reverse(adds)
	for _, add := range adds {
		add(two)
	}
	if !bytes.Equal(first, archive(t, two)) {
		t.Error("the order of adding or the time of a source shows in the archive")
	}
}

func TestArchiveHolds(t *testing.T) {
	tree := New()
	tree.Text("/a/b", "text", 0o640)
	got := map[string]*tar.Header{}
	var order []string
	content := map[string]string{}
	for r := tar.NewReader(bytes.NewReader(archive(t, tree))); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		got[h.Name], content[h.Name] = h, string(b)
		order = append(order, h.Name)
		if !h.ModTime.Equal(time.Unix(0, 0)) || h.Uid != 0 || h.Gid != 0 || h.Uname != "" {
			t.Errorf("%s has a time or an owner: %+v", h.Name, h)
		}
	}
	if h := got["a/b"]; h == nil || h.Mode != 0o640 || content["a/b"] != "text" {
		t.Errorf("the file came out as %+v %q", h, content["a/b"])
	}
	if h := got["tmp/"]; h == nil || h.FileInfo().Mode() != fs.ModeDir|fs.ModeSticky|0o777 {
		t.Errorf("/tmp came out as %+v", h)
	}
	if h := got["bin"]; h == nil || h.Linkname != "usr/bin" {
		t.Errorf("/bin came out as %+v", h)
	}
	if slices.Index(order, "a/") != slices.Index(order, "a/b")-1 {
		t.Errorf("a directory must come before its files: %v", order)
	}
}

func TestUnreadableSourceIsAnError(t *testing.T) {
	tree := New()
	tree.File("/x", filepath.Join(t.TempDir(), "gone"), 0o644)
	if err := tree.WriteTar(io.Discard); err == nil {
		t.Error("no error")
	}
}
