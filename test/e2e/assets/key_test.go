package assets

import (
	"os"
	"path/filepath"
	"testing"
	"testing/fstest"
)

func TestKeyChangesWithEveryInput(t *testing.T) {
	dir := t.TempDir()
	put := func(name, content string) {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	flag := "-a"
	embedded := fstest.MapFS{"x.go": {Data: []byte("1")}}
	sum := func() string {
		s, err := newKey().text("go1", flag).file(dir, "go.mod").tree(dir, "src", goSource).tree(dir, "none", goSource).embedded(embedded).sum()
		if err != nil {
			t.Fatal(err)
		}
		if !isKey(s) {
			t.Fatalf("%q does not look like a key", s)
		}
		return s
	}
	put("go.mod", "module x")
	put("src/a.go", "a")
	put("src/deep/b.go", "b")
	before := sum()
	same := func(what string) {
		t.Helper()
		if sum() != before {
			t.Errorf("%s changes the key", what)
		}
	}
	differs := func(what string) {
		t.Helper()
		now := sum()
		if now == before {
			t.Errorf("%s does not change the key", what)
		}
		before = now
	}
	same("nothing")
	put("src/a_test.go", "a")
	same("a test")
	put("go.mod", "module y")
	differs("go.mod")
	put("src/deep/b.go", "c")
	differs("a source")
	put("src/c.go", "")
	differs("a new source")
	if err := os.Rename(filepath.Join(dir, "src/c.go"), filepath.Join(dir, "src/d.go")); err != nil {
		t.Fatal(err)
	}
	differs("a new name")
	flag = "-b"
	differs("a flag")
	embedded["x.go"].Data = []byte("2")
	differs("the builder")
}

func TestKeyKeepsValuesApart(t *testing.T) {
	one, _ := newKey().text("ab", "c").sum()
	two, _ := newKey().text("a", "bc").sum()
	if one == two {
		t.Error("the border between two values is lost")
	}
}

func TestKeyOfAMissingFileIsAnError(t *testing.T) {
	if _, err := newKey().file(t.TempDir(), "go.mod").text("x").sum(); err == nil {
		t.Error("no error")
	}
}
