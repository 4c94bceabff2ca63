package assets

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestFailedStepSaysWhatAndWhy(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	cmd := exec.CommandContext(t.Context(), "sh", "-c", "echo begin; echo E: no such mirror >&2; echo; exit 3")
	err := step{name: "trixie", doing: "installing", log: log}.run(t.Context(), newProgress(nil), cmd)
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"trixie: installing failed", "exit status 3", "E: no such mirror", log} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q lacks %q", err, want)
		}
	}
	if strings.Contains(err.Error(), "\n") {
		t.Errorf("more than one line: %q", err)
	}
	if content, _ := os.ReadFile(log); !strings.Contains(string(content), "begin\n") {
		t.Errorf("the log holds %q", content)
	}
}

func TestStepEndsWithTheContextAndItsChildrenToo(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	begun := time.Now()
	cmd := exec.CommandContext(ctx, "sh", "-c", "sleep 60 & wait")
	err := step{name: "x", doing: "sleeping", log: filepath.Join(t.TempDir(), "log")}.run(ctx, newProgress(nil), cmd)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	// The child holds the output open: had it survived, the wait for it would
	// take far longer.
	if took := time.Since(begun); took > 5*time.Second {
		t.Errorf("took %v", took)
	}
}

func TestStepReportsBeginAndEnd(t *testing.T) {
	var out strings.Builder
	p := newProgress(&out)
	cmd := exec.CommandContext(t.Context(), "true")
	if err := (step{name: "x", doing: "trying", log: filepath.Join(t.TempDir(), "log")}).run(t.Context(), p, cmd); err != nil {
		t.Fatal(err)
	}
	if lines := strings.Split(strings.TrimSpace(out.String()), "\n"); len(lines) != 2 || !strings.Contains(lines[0], "x: trying") || !strings.Contains(lines[1], "done") {
		t.Errorf("reported %q", out.String())
	}
}

func TestMissingPackages(t *testing.T) {
	needs := []need{{"a", []string{"one", "two"}}, {"b", []string{"three"}}, {"c", []string{"/usr/lib/c"}}}
	for name, tc := range map[string]struct {
		has  []string
		want []string
	}{
		"a package with all its files is there":           {has: []string{"one", "two", "three", "/usr/lib/c"}},
		"one file of a package that lacks is enough":      {has: []string{"one", "three"}, want: []string{"a", "c"}},
		"on an empty machine everything is missing":       {want: []string{"a", "b", "c"}},
		"what is found in a strange place does as well":   {has: []string{"one", "two", "three", "/usr/lib/c", "more"}},
		"the packages come in the order of the one list ": {has: []string{"/usr/lib/c"}, want: []string{"a", "b"}},
	} {
		t.Run(name, func(t *testing.T) {
			got := missingPackages(needs, func(f string) bool { return slices.Contains(tc.has, f) })
			if !slices.Equal(got, tc.want) {
				t.Errorf("got %v, want %v", got, tc.want)
			}
		})
	}
}

func TestCheckVersions(t *testing.T) {
	status := filepath.Join(t.TempDir(), "status")
	content := "Package: ovn-central\nStatus: install ok installed\nVersion: 25.03.0-1\n\nPackage: openvswitch-switch\nVersion: 3.5.0-1+b1\n"
	if err := os.WriteFile(status, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		want    map[string]string
		wantErr string
	}{
		"the wanted versions are there":  {want: map[string]string{"ovn-central": "25.03.", "openvswitch-switch": "3.5."}},
		"another version is named":       {want: map[string]string{"ovn-central": "25.09."}, wantErr: `ovn-central of Debian trixie is "25.03.0-1"`},
		"a package that lacks is named":  {want: map[string]string{"ovn-host": "25.03."}, wantErr: `ovn-host of Debian trixie is ""`},
		"nothing wanted is always there": {},
	} {
		t.Run(name, func(t *testing.T) {
			err := checkVersions(status, tc.want)
			if (err != nil) != (tc.wantErr != "") || (err != nil && !strings.Contains(err.Error(), tc.wantErr)) {
				t.Errorf("got %v, want %q", err, tc.wantErr)
			}
		})
	}
}
