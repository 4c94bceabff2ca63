package cgroup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const poll = 10 * time.Millisecond

// Kill sends SIGKILL to every process in sub and below until none is left. It returns the context's error, with the
// processes that are left, when they do not go in time.
func (t Tree) Kill(ctx context.Context, sub string) error {
	for {
		for _, h := range t.Hierarchies {
			if h.V2 { // the kernel's own, atomic; absent before Linux 5.14
				_ = os.WriteFile(filepath.Join(h.Path, t.Name, sub, "cgroup.kill"), []byte("1"), 0)
			}
		}
		pids, err := t.Pids(sub)
		if err != nil {
			return err
		}
		if len(pids) == 0 {
			return nil
		}
		for _, pid := range pids {
			t.kill(pid, sub)
		}
		if err := sleep(ctx, poll); err != nil {
			return fmt.Errorf("kill the processes %v of cgroup %s: %w", pids, filepath.Join(t.Name, sub), err)
		}
	}
}

// kill ends one process, if it is still in the group once we hold on to it: the number may have been given to another one.
func (t Tree) kill(pid int, sub string) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil || !member(string(b), "/"+filepath.Join(t.Name, sub)) {
		return
	}
	_ = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
}

// member reads the format of /proc/PID/cgroup and says whether any line's path is dir or below it.
func member(lines, dir string) bool {
	for line := range strings.Lines(lines) {
		f := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(f) == 3 && (f[2] == dir || strings.HasPrefix(f[2], dir+"/")) {
			return true
		}
	}
	return false
}

// Remove kills what is in sub and removes the directories, in every hierarchy. A process that joins meanwhile keeps its
// directory busy and is killed in the next round, so nothing slips through. Absent directories are fine.
func (t Tree) Remove(ctx context.Context, sub string) error {
	for {
		if err := t.Kill(ctx, sub); err != nil {
			return err
		}
		var last error
		for _, h := range t.Hierarchies {
			if err := removeDirs(filepath.Join(h.Path, t.Name, sub)); err != nil {
				last = err
			}
		}
		if last == nil {
			return nil
		}
		if err := sleep(ctx, poll); err != nil {
			return fmt.Errorf("remove cgroup: %w (%w)", last, err)
		}
	}
}

func removeDirs(root string) error {
	var dirs []string
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			dirs = append(dirs, p)
		}
		if gone(err) {
			return nil
		}
		return err
	})
	if err != nil {
		return err
	}
	for _, d := range slices.Backward(dirs) { // children first
		if err := os.Remove(d); err != nil && !gone(err) {
			return err
		}
	}
	return nil
}

// gone recognises what reading a group says while it is being removed.
func gone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV)
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
