package cgroup

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestParseMounts(t *testing.T) {
	for sentence, tc := range map[string]struct {
		mounts string
		want   []Hierarchy
	}{
		"pure v2 is one hierarchy at the base": {
			"sysfs /sys sysfs rw 0 0\ncgroup2 /sys/fs/cgroup cgroup2 rw,nosuid 0 0\n",
			[]Hierarchy{{"/sys/fs/cgroup", true}},
		},
		"v1 has a hierarchy per controller, and a mixed layout the unified one beside them": {
			"tmpfs /sys/fs/cgroup tmpfs ro 0 0\ncgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,cpu,cpuacct 0 0\n" +
				"cgroup /sys/fs/cgroup/systemd cgroup rw,name=systemd 0 0\ncgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n",
			[]Hierarchy{{"/sys/fs/cgroup/cpu,cpuacct", false}, {"/sys/fs/cgroup/systemd", false}, {"/sys/fs/cgroup/unified", true}},
		},
		"a mount seen twice counts once, one elsewhere does not count": {
			"cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\ncgroup2 /sys/fs/cgroup cgroup2 rw 0 0\ncgroup2 /sys/fs/cgroup2 cgroup2 rw 0 0\ncgroup2 /mnt cgroup2 rw 0 0\n",
			[]Hierarchy{{"/sys/fs/cgroup", true}},
		},
		"lines that are none are passed over": {"\nnonsense\n", nil},
	} {
		t.Run(sentence, func(t *testing.T) {
			got, err := parseMounts(strings.NewReader(tc.mounts), Base)
			if err != nil || !slices.Equal(got, tc.want) {
				t.Errorf("got %v, %v, want %v", got, err, tc.want)
			}
		})
	}
}

func TestMember(t *testing.T) {
	for sentence, tc := range map[string]struct {
		lines string
		want  bool
	}{
		"a process in the group itself is a member":       {"3:cpu:/lab\n0::/\n", true},
		"a process below it is one":                       {"0::/lab/n1/pods/x:y\n", true},
		"a group whose name only begins alike is another": {"0::/lab-b/n1\n", false},
		"a group of that name further down is another":    {"0::/other/lab\n", false},
		"a process that has ended is in no group":         {"", false},
		"membership in one hierarchy is enough":           {"9:pids:/\n3:cpu:/lab/cp\n0::/\n", true},
	} {
		t.Run(sentence, func(t *testing.T) {
			if got := member(tc.lines, "/lab"); got != tc.want {
				t.Errorf("member(%q) = %t", tc.lines, got)
			}
		})
	}
}

func TestOpenRefusesNamesThatAreNotBelowTheRoot(t *testing.T) {
	for _, name := range []string{"", ".", "..", "../x", "/x", "a/../..", "a/"} {
		if _, err := Open(name); err == nil {
			t.Errorf("%q was accepted", name)
		}
	}
}

// TestTree works on the machine's own hierarchies: it needs root, as everything about labs.
func TestTree(t *testing.T) {
	tree, err := Open("ccmlab-test")
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := tree.Remove(t.Context(), ""); err != nil {
			t.Error(err)
		}
	}()
	if err := tree.Create("a/system"); err != nil {
		t.Fatal(err)
	}
	if err := tree.Create("b"); err != nil {
		t.Fatal(err)
	}
	if err := tree.Prefer(3); err != nil {
		t.Fatal(err)
	}
	if got := weights(tree); !slices.Equal(got, []string{"cpu.shares 3072"}) && !slices.Equal(got, []string{"cpu.weight 300"}) {
		t.Errorf("the tree that counts as three processes has %v", got)
	}
	start := func(sub string) int {
		script := "for f; do echo 0 >$f; done; exec sleep 600"
		cmd := exec.Command("/bin/sh", append([]string{"-ec", script, "sh"}, tree.ProcsFiles(sub)...)...)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		go func() { _ = cmd.Wait() }()
		for {
			if pids, _ := tree.Pids(sub); slices.Contains(pids, cmd.Process.Pid) && inAll(tree, sub, cmd.Process.Pid) {
				return cmd.Process.Pid
			}
		}
	}
	start("a/system")
	b := start("b")
	if err := tree.Remove(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	for _, h := range tree.Hierarchies {
		if _, err := os.Stat(filepath.Join(h.Path, tree.Name, "a")); err == nil {
			t.Errorf("%s still has the group", h.Path)
		}
	}
	if pids, err := tree.Pids(""); err != nil || !slices.Equal(pids, []int{b}) {
		t.Errorf("after removing the group beside it, the processes are %v, %v, want %d alone", pids, err, b)
	}
	if err := tree.Remove(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	if tree.Exists() {
		t.Error("the tree is still there")
	}
	if err := tree.Remove(t.Context(), ""); err != nil {
		t.Errorf("removing it again: %v", err)
	}
	if err := tree.Join("b"); err == nil {
		t.Error("a group that has been removed was joined")
	}
}

// weights are the CPU weights of a tree, of which the machine's hierarchies have one.
func weights(tree Tree) []string {
	var out []string
	for _, h := range tree.Hierarchies {
		for _, file := range []string{"cpu.shares", "cpu.weight"} {
			if b, err := os.ReadFile(filepath.Join(h.Path, tree.Name, file)); err == nil {
				out = append(out, file+" "+strings.TrimSpace(string(b)))
			}
		}
	}
	return out
}

func inAll(tree Tree, sub string, pid int) bool {
	for _, f := range tree.ProcsFiles(sub) {
		if pids, _ := readPids(f); !slices.Contains(pids, pid) {
			return false
		}
	}
	return true
}
