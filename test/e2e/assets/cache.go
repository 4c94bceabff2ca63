package assets

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// keepEntries is how many entries of a kind stay when a new one is made: the
// new one, and the one before for whoever switches between two branches.
const keepEntries = 2

// cache is a directory of finished builds, each named by its kind and by the
// hash of everything it was made from. An entry appears whole or not at all.
type cache struct {
	root     string
	progress *progress
}

// openCache opens the cache of this user, which need not exist yet.
func openCache(p *progress) (*cache, error) {
	base, err := os.UserCacheDir()
	if err != nil {
		return nil, fmt.Errorf("finding the cache directory: %w", err)
	}
	root := filepath.Join(base, "kube-ovn-ccm", "lab")
	if err := os.MkdirAll(filepath.Join(root, "logs"), 0o755); err != nil {
		return nil, fmt.Errorf("creating the cache directory: %w", err)
	}
	return &cache{root: root, progress: p}, nil
}

// entry returns the directory of the build with this kind and key. If there is
// none, build is called with an empty directory to fill. Of several processes
// that want the same entry at once, one builds and the others wait for it.
func (c *cache) entry(ctx context.Context, kind, key string, build func(ctx context.Context, dir string) error) (string, error) {
	path := filepath.Join(c.root, kind+"-"+key)
	if c.use(path) {
		return path, nil
	}
	unlock, err := c.lock(ctx, kind)
	if err != nil {
		return "", err
	}
	defer unlock()
	if c.use(path) { // The process that held the lock before us has built it.
		return path, nil
	}
	prefix := ".building-" + kind + "-"
	// The lock is ours, so anything half built was left by a run that died.
	if stale, _ := filepath.Glob(filepath.Join(c.root, prefix+"*")); len(stale) > 0 {
		for _, dir := range stale {
			if err := os.RemoveAll(dir); err != nil {
				return "", fmt.Errorf("removing what an interrupted build left: %w", err)
			}
		}
	}
	dir, err := os.MkdirTemp(c.root, prefix)
	if err != nil {
		return "", fmt.Errorf("creating a directory to build %s in: %w", kind, err)
	}
	defer os.RemoveAll(dir) // Renamed away on success.
	if err := os.Chmod(dir, 0o755); err != nil {
		return "", fmt.Errorf("opening the directory to build %s in: %w", kind, err)
	}
	if err := build(ctx, dir); err != nil {
		return "", err
	}
	if err := os.Rename(dir, path); err != nil {
		return "", fmt.Errorf("putting the finished %s in place: %w", kind, err)
	}
	return path, c.prune(kind)
}

// use reports whether the entry is there, and marks it as used now, so that
// pruning spares it.
func (c *cache) use(path string) bool {
	now := time.Now()
	return os.Chtimes(path, now, now) == nil
}

// lock takes the lock of a kind and says so if it has to wait for it.
func (c *cache) lock(ctx context.Context, kind string) (func(), error) {
	f, err := os.OpenFile(filepath.Join(c.root, "."+kind+".lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("opening the lock of %s: %w", kind, err)
	}
	for waiting := false; ; waiting = true {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { f.Close() }, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			f.Close()
			return nil, fmt.Errorf("locking %s: %w", kind, err)
		}
		if !waiting {
			c.progress.printf("%s: another run is building it, waiting", kind)
		}
		select {
		case <-ctx.Done():
			f.Close()
			return nil, fmt.Errorf("waiting for the lock of %s: %w", kind, ctx.Err())
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// prune removes all but the latest used entries of a kind. An entry that a
// process runs out of stays: it belongs to a cluster that is up.
func (c *cache) prune(kind string) error {
	entries, err := os.ReadDir(c.root)
	if err != nil {
		return fmt.Errorf("listing the cache: %w", err)
	}
	type old struct {
		path string
		used time.Time
	}
	var olds []old
	for _, e := range entries {
		key, ok := strings.CutPrefix(e.Name(), kind+"-")
		if !ok || !isKey(key) {
			continue
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("looking at cache entry %s: %w", e.Name(), err)
		}
		olds = append(olds, old{filepath.Join(c.root, e.Name()), info.ModTime()})
	}
	if len(olds) <= keepEntries {
		return nil
	}
	sort.Slice(olds, func(i, j int) bool { return olds[i].used.After(olds[j].used) })
	running := runningPrograms()
	for _, o := range olds[keepEntries:] {
		if underAny(o.path, running) {
			continue
		}
		if err := os.RemoveAll(o.path); err != nil {
			return fmt.Errorf("removing the old cache entry %s: %w", filepath.Base(o.path), err)
		}
	}
	return nil
}

// runningPrograms returns the paths of the executables of all processes.
func runningPrograms() []string {
	links, _ := filepath.Glob("/proc/[0-9]*/exe")
	var paths []string
	for _, l := range links {
		// Kernel threads and processes that have just ended have none.
		if p, err := os.Readlink(l); err == nil {
			paths = append(paths, p)
		}
	}
	return paths
}

func underAny(dir string, paths []string) bool {
	for _, p := range paths {
		if strings.HasPrefix(p, dir+"/") {
			return true
		}
	}
	return false
}
