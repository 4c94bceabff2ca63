// Package conformance runs Kubernetes' own end-to-end tests of one feature on a lab, every one of them, and judges
// the report: a spec that did not run is as bad as one that failed.
package conformance

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/onsi/ginkgo/v2/types"
)

// Spec is one of the specs with what became of it.
type Spec struct {
	// Name is its full text without labels, such as "LoadBalancers should ...".
	Name string
	// State is ginkgo's; SpecStateInvalid stands for a spec that the report does not mention.
	State types.SpecState
	// Took is how long it ran.
	Took time.Duration
	// Failure says what went wrong, and Output is all that the spec has printed.
	Failure, Output string
}

// Passed reports whether the spec ran and nothing was wrong.
func (s Spec) Passed() bool { return s.State == types.SpecStatePassed }

// Failed reports whether the spec ran and did not pass, which includes its being interrupted.
func (s Spec) Failed() bool { return s.State.Is(types.SpecStateFailureStates) }

// Result is what became of all specs that had to run.
type Result struct {
	// Specs are in the order of the wanted ones; what went wrong before or after the specs follows.
	Specs []Spec
}

// Judge looks up in a report what became of the wanted specs.
func Judge(wanted []string, reports []types.Report) Result {
	var r Result
	for _, name := range wanted {
		s := Spec{Name: name}
		for _, report := range reports {
			for _, found := range report.SpecReports {
				if found.LeafNodeType.Is(types.NodeTypeIt) && plain(found.FullText()) == name {
					s = specOf(name, found)
				}
			}
		}
		r.Specs = append(r.Specs, s)
	}
	for _, report := range reports {
		for _, found := range report.SpecReports {
			if !found.LeafNodeType.Is(types.NodeTypeIt) && found.Failed() {
				r.Specs = append(r.Specs, specOf(found.LeafNodeType.String(), found))
			}
		}
	}
	return r
}

func specOf(name string, found types.SpecReport) Spec {
	return Spec{
		Name: name, State: found.State, Took: found.RunTime,
		Failure: strings.TrimSpace(found.FailureMessage()),
		Output:  found.CapturedStdOutErr + found.CapturedGinkgoWriterOutput,
	}
}

// Counts returns how many specs passed, failed, and were skipped or did not run.
func (r Result) Counts() (passed, failed, skipped int) {
	for _, s := range r.Specs {
		switch {
		case s.Passed():
			passed++
		case s.Failed():
			failed++
		default:
			skipped++
		}
	}
	return passed, failed, skipped
}

// Summary is the counts as the last line of a run.
func (r Result) Summary() string {
	passed, failed, skipped := r.Counts()
	return fmt.Sprintf("%d passed, %d failed, %d skipped", passed, failed, skipped)
}

// labelled returns the names of the specs with a label, sorted, whether a filter of the report's run has selected them
// or not.
func labelled(label string, reports []types.Report) []string {
	var names []string
	for _, report := range reports {
		for _, s := range report.SpecReports {
			if s.LeafNodeType.Is(types.NodeTypeIt) && slices.Contains(s.Labels(), label) {
				names = append(names, plain(s.FullText()))
			}
		}
	}
	slices.Sort(names)
	return names
}

var brackets = regexp.MustCompile(`\s*\[[^]]*\]`)

// plain is a spec's text without the labels in it: "[sig-network] A [Slow] b" is "A b".
func plain(text string) string { return strings.TrimSpace(brackets.ReplaceAllString(text, "")) }

// readReport reads a report in ginkgo's JSON.
func readReport(path string) ([]types.Report, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading the report of the specs: %w", err)
	}
	var reports []types.Report
	if err := json.Unmarshal(b, &reports); err != nil {
		return nil, fmt.Errorf("reading the report of the specs in %s: %w", path, err)
	}
	return reports, nil
}
