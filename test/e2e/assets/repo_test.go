package assets

import (
	"os"
	"path/filepath"
	"testing"
)

func TestRepoAbove(t *testing.T) {
	root := t.TempDir()
	deep := filepath.Join(root, "test", "e2e", "assets")
	if err := os.MkdirAll(deep, 0o755); err != nil {
		t.Fatal(err)
	}
	if got, ok := repoAbove(deep); ok {
		t.Errorf("found %s where there is none", got)
	}
	for _, name := range []string{"VERSION", "test/e2e/go.mod"} {
		if err := os.WriteFile(filepath.Join(root, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, from := range []string{root, deep} {
		if got, ok := repoAbove(from); !ok || got != root {
			t.Errorf("from %s: got %q, %v", from, got, ok)
		}
	}
}
