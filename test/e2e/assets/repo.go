package assets

import (
	"errors"
	"os"
	"path/filepath"
)

// FindRepoRoot returns the root of the kube-ovn-ccm checkout that the running
// program lies in (as bin/lab does), or else the working directory.
func FindRepoRoot() (string, error) {
	var starts []string
	if exe, err := os.Executable(); err == nil {
		starts = append(starts, filepath.Dir(exe))
	}
	if wd, err := os.Getwd(); err == nil {
		starts = append(starts, wd)
	}
	for _, dir := range starts {
		if root, ok := repoAbove(dir); ok {
			return root, nil
		}
	}
	return "", errors.New("finding the checkout of kube-ovn-ccm: neither this program nor the working directory lies in one")
}

func repoAbove(dir string) (string, bool) {
	for {
		_, version := os.Stat(filepath.Join(dir, "VERSION"))
		_, module := os.Stat(filepath.Join(dir, "test", "e2e", "go.mod"))
		if version == nil && module == nil {
			return dir, true
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", false
		}
		dir = parent
	}
}
