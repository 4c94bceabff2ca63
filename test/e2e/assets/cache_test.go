package assets

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func testCache(t *testing.T) *cache {
	t.Helper()
	return &cache{root: t.TempDir(), progress: newProgress(nil)}
}

// testKey is a key that looks like a real one.
func testKey(c string) string { return strings.Repeat(c, keyLength) }

func fill(_ context.Context, dir string) error {
	return os.WriteFile(filepath.Join(dir, "file"), []byte("x"), 0o644)
}

func TestEntryIsBuiltOnceForAllWhoWantIt(t *testing.T) {
	c := testCache(t)
	var built atomic.Int32
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			dir, err := c.entry(t.Context(), "kind", testKey("a"), func(ctx context.Context, dir string) error {
				built.Add(1)
				time.Sleep(50 * time.Millisecond)
				return fill(ctx, dir)
			})
			if err != nil {
				t.Error(err)
				return
			}
			if _, err := os.Stat(filepath.Join(dir, "file")); err != nil {
				t.Errorf("an entry is not complete: %v", err)
			}
		})
	}
	wg.Wait()
	if built.Load() != 1 {
		t.Errorf("built %d times", built.Load())
	}
}

func TestFailedBuildLeavesNothing(t *testing.T) {
	c := testCache(t)
	cause := errors.New("no network")
	_, err := c.entry(t.Context(), "kind", testKey("a"), func(ctx context.Context, dir string) error {
		return errors.Join(fill(ctx, dir), cause)
	})
	if !errors.Is(err, cause) {
		t.Errorf("got %v", err)
	}
	left, _ := filepath.Glob(filepath.Join(c.root, "*kind-*"))
	if len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	if _, err := c.entry(t.Context(), "kind", testKey("a"), fill); err != nil {
		t.Errorf("the next try: %v", err)
	}
}

func TestWhatAnInterruptedBuildLeftIsRemoved(t *testing.T) {
	c := testCache(t)
	stale := filepath.Join(c.root, ".building-kind-123")
	foreign := filepath.Join(c.root, ".building-other-123")
	for _, dir := range []string{stale, foreign} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.entry(t.Context(), "kind", testKey("a"), fill); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(stale); err == nil {
		t.Error("it is still there")
	}
	if _, err := os.Stat(foreign); err != nil {
		t.Error("another kind may be under construction at this moment, and its directory is gone")
	}
}

func TestWaitingForTheLockEndsWithTheContext(t *testing.T) {
	c := testCache(t)
	unlock, err := c.lock(t.Context(), "kind")
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := c.entry(ctx, "kind", testKey("a"), fill); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func TestPruneKeepsTheLastUsedAndOtherKinds(t *testing.T) {
	c := testCache(t)
	age := func(name string, d time.Duration) {
		at := time.Now().Add(-d)
		if err := os.Chtimes(filepath.Join(c.root, name), at, at); err != nil {
			t.Fatal(err)
		}
	}
	for i, name := range []string{"kind-" + testKey("1"), "kind-" + testKey("2"), "kind-other-" + testKey("3"), "kind-readme"} {
		if err := os.Mkdir(filepath.Join(c.root, name), 0o755); err != nil {
			t.Fatal(err)
		}
		age(name, time.Duration(i+1)*time.Hour)
	}
	// Using the oldest makes it the youngest.
	if _, err := c.entry(t.Context(), "kind", testKey("2"), nil); err != nil {
		t.Fatal(err)
	}
	if _, err := c.entry(t.Context(), "kind", testKey("4"), fill); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{
		"kind-" + testKey("1"): false, "kind-" + testKey("2"): true, "kind-" + testKey("4"): true,
		"kind-other-" + testKey("3"): true, "kind-readme": true,
	} {
		if _, err := os.Stat(filepath.Join(c.root, name)); (err == nil) != want {
			t.Errorf("%s is there: %v, want %v", name, err == nil, want)
		}
	}
}

func TestPruneSparesWhatRuns(t *testing.T) {
	running := []string{"/usr/bin/x", "/c/kind-1/bin/y"}
	if !underAny("/c/kind-1", running) {
		t.Error("a running program is not seen")
	}
	if underAny("/c/kind", running) {
		t.Error("a longer name passes for a directory")
	}
}
