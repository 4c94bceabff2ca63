package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/kubeovn/kube-ovn-ccm/test/e2e/lab/netns"
)

// Down removes the lab of that name, whatever is left of it: one that runs, one that was never finished, one that was
// killed half-way. Nothing to remove is no error; existed tells.
func Down(ctx context.Context, name string) (existed bool, err error) {
	l, err := byName(name)
	if err != nil {
		return false, err
	}
	unlock, err := l.lock(ctx)
	if err != nil {
		return false, err
	}
	defer func() {
		unlock()
		_ = os.Remove(Root) // only if it is empty
	}()
	_ = l.readState() // without it the rest is found by name
	existed, err = l.exists()
	if err != nil {
		return existed, err
	}
	if err := os.RemoveAll(failedLogs(name)); err != nil {
		return existed, err
	}
	return existed, l.remove(ctx)
}

// exists says whether anything of the lab is there.
func (l *Lab) exists() (bool, error) {
	spaces, err := netns.List(l.netnsPrefix())
	if err != nil {
		return false, err
	}
	_, err = os.Stat(l.Dir())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	return err == nil || len(spaces) > 0 || l.tree.Exists(), nil
}

// remove ends and removes everything of the lab; the lock is held. Processes go first, so that nothing makes anything
// new; the directory goes last, so that what failed can be tried again.
func (l *Lab) remove(ctx context.Context) error {
	if err := l.tree.Remove(ctx, ""); err != nil {
		return fmt.Errorf("remove lab %q: %w", l.name, err)
	}
	// The switch first: with its end of the cables gone, they are all gone.
	spaces, err := netns.List(l.netnsPrefix())
	if err != nil {
		return fmt.Errorf("remove lab %q: %w", l.name, err)
	}
	for _, s := range spaces {
		if err := netns.Delete(s); err != nil {
			return fmt.Errorf("remove lab %q: %w", l.name, err)
		}
	}
	if err := os.RemoveAll(l.Dir()); err != nil {
		return fmt.Errorf("remove lab %q: %w", l.name, err)
	}
	return l.restoreMachine(ctx)
}

// failedLogs is where the logs of a lab that did not come up are kept until the next command about it.
func failedLogs(name string) string { return filepath.Join(Root, "."+name+".failed") }

// keepLogs moves the logs out of the lab's directory before that is removed.
func (l *Lab) keepLogs() (string, error) {
	to := failedLogs(l.name)
	if err := os.RemoveAll(to); err != nil {
		return "", err
	}
	return to, os.Rename(l.LogDir(), to)
}
