// Package reference holds the reference page; the test here sees to it that
// the page keeps up with the code.
package reference

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// reasons finds the reasons of problems in the sources: the first argument of
// problemf and the constants Reason….
var reasons = regexp.MustCompile(`(?:problemf\(|\bReason\w+ += )"(\w+)"`)

func TestEveryReasonIsDocumentedAndNoOther(t *testing.T) {
	page, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(page), "## Reasons of Warning Events")
	section, _, _ = strings.Cut(section, "\n## ")
	documented := map[string]bool{}
	for _, row := range regexp.MustCompile("(?m)^\\| (`[^|]*) \\|").FindAllStringSubmatch(section, -1) {
		for _, name := range strings.Split(row[1], ", ") {
			documented[strings.Trim(name, "`")] = true
		}
	}
	used := map[string]bool{}
	for _, pattern := range []string{"../../pkg/loadbalancer/*.go", "../../pkg/ipam/*.go", "../../pkg/kubeovn/*.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %d files, %v", pattern, len(files), err)
		}
		for _, file := range files {
			source, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			for _, match := range reasons.FindAllStringSubmatch(string(source), -1) {
				used[match[1]] = true
			}
		}
	}
	for reason := range used {
		if !documented[reason] {
			t.Errorf("reason %s is not in the page", reason)
		}
	}
	for reason := range documented {
		if !used[reason] {
			t.Errorf("reason %s is in the page but not in the code", reason)
		}
	}
}
