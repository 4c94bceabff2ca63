package suite

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestASecondLabLivesBesideThisOneAndLeavesNothing brings another lab up, kills
// its machines as a crash would, takes what is left of it down and looks for
// anything that stayed behind.
func TestASecondLabLivesBesideThisOneAndLeavesNothing(t *testing.T) {
	ns, ip := c.served(t, "beside")
	name := c.Name() + "b"
	lab := func(args ...string) string {
		t.Helper()
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, filepath.Join(c.root, "bin/lab"), args...)
		cmd.Env = append(os.Environ(), "LAB_NAME="+name)
		cmd.Dir = c.root
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("lab %v: %v\n%s", args, err, out)
		}
		return string(out)
	}
	t.Cleanup(func() { lab("down") })
	before := machineWide(t)
	start := time.Now()
	lab("up", "--nodes", "1")
	t.Logf("up after %s", time.Since(start).Round(time.Millisecond))
	if out := lab("kubectl", "get", "svc", "--all-namespaces"); strings.Contains(out, "beside") {
		t.Errorf("the other lab shows this one's Services:\n%s", out)
	}

	for _, pid := range processesOf(t, name) {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && err != syscall.ESRCH {
			t.Error(err)
		}
	}
	start = time.Now()
	lab("down")
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("down took %s", took)
	} else {
		t.Logf("down after %s", took.Round(time.Millisecond))
	}
	for what, left := range traces(t, name) {
		t.Errorf("%s left behind: %v", what, left)
	}
	if after := machineWide(t); after != before {
		t.Errorf("machine-wide settings were\n%s\nand are\n%s", before, after)
	}
	c.answers(t, 5*time.Second, onLink, ip+":80")
	c.sameAddress(t, ns, "beside", ip)
}

// processesOf are the processes in a lab's cgroups.
func processesOf(t *testing.T, lab string) []int {
	t.Helper()
	var pids []int
	for _, dir := range cgroups(t, lab) {
		err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
			if err != nil || filepath.Base(path) != "cgroup.procs" {
				return nil //nolint:nilerr // a cgroup may go while it is looked at
			}
			b, _ := os.ReadFile(path)
			for line := range strings.FieldsSeq(string(b)) {
				if pid, err := strconv.Atoi(line); err == nil && pid > 0 {
					pids = append(pids, pid)
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return pids
}

func cgroups(t *testing.T, lab string) []string {
	t.Helper()
	var dirs []string
	for _, pattern := range []string{"/sys/fs/cgroup/ccmlab-" + lab, "/sys/fs/cgroup/*/ccmlab-" + lab} {
		dirs = append(dirs, must(filepath.Glob(pattern))(t)...)
	}
	return dirs
}

// traces are what a lab that is gone must not leave.
func traces(t *testing.T, lab string) map[string][]string {
	t.Helper()
	left := map[string][]string{}
	note := func(what string, names []string) {
		if len(names) > 0 {
			left[what] = names
		}
	}
	note("network namespaces", must(filepath.Glob("/run/netns/ccmlab-"+lab+"-*"))(t))
	note("cgroups", cgroups(t, lab))
	note("state", must(filepath.Glob("/var/lib/kube-ovn-ccm-lab/"+lab))(t))
	for line := range strings.Lines(string(must(os.ReadFile("/proc/self/mountinfo"))(t))) {
		if strings.Contains(line, "kube-ovn-ccm-lab/"+lab+"/") || strings.Contains(line, "ccmlab-"+lab+"-") {
			left["mounts"] = append(left["mounts"], strings.TrimSpace(line))
		}
	}
	for _, dir := range must(filepath.Glob("/proc/[0-9]*"))(t) {
		command, err := os.ReadFile(filepath.Join(dir, "cmdline"))
		if err == nil && strings.Contains(string(command), "kube-ovn-ccm-lab/"+lab+"/") {
			left["processes"] = append(left["processes"], fmt.Sprintf("%s: %q", filepath.Base(dir), command))
		}
	}
	return left
}

// machineWide are the settings outside of all namespaces that a kubelet writes.
func machineWide(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	for _, key := range []string{"vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops"} {
		fmt.Fprintf(&b, "%s %s", key, must(os.ReadFile("/proc/sys/"+key))(t))
	}
	return b.String()
}
