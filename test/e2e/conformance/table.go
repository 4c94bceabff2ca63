package conformance

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/onsi/ginkgo/v2/types"
)

// Print writes the table of specs, with the first line of what went wrong below a spec that failed, and the summary as
// its last line.
func (r Result) Print(w io.Writer) {
	fmt.Fprintf(w, "%-11s  %7s  %s\n", "RESULT", "SECONDS", "SPEC")
	for _, s := range r.Specs {
		fmt.Fprintf(w, "%-11s  %7.1f  %s\n", word(s), s.Took.Seconds(), s.Name)
		if !s.Passed() && s.Failure != "" {
			line, _, _ := strings.Cut(s.Failure, "\n")
			fmt.Fprintf(w, "%-11s  %7s    %s\n", "", "", line)
		}
	}
	fmt.Fprintln(w)
	fmt.Fprintln(w, r.Summary())
}

// word is the table's word for a state; what is bad is in capitals.
func word(s Spec) string {
	switch {
	case s.Passed():
		return "passed"
	case s.State == types.SpecStateInvalid:
		return "NOT RUN"
	default:
		return strings.ToUpper(s.State.String())
	}
}

// Keep writes what each spec that failed has printed to a file of its own in dir and returns the files.
func (r Result) Keep(dir string) ([]string, error) {
	var files []string
	var errs []error
	for _, s := range r.Specs {
		if !s.Failed() {
			continue
		}
		path := filepath.Join(dir, fileName(s.Name))
		text := fmt.Sprintf("%s\n%s after %.1f s\n\n%s\n\n%s\n", s.Name, word(s), s.Took.Seconds(), s.Failure, s.Output)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			errs = append(errs, fmt.Errorf("keeping the output of a spec: %w", err))
			continue
		}
		files = append(files, path)
	}
	return files, errors.Join(errs...)
}

var notInNames = regexp.MustCompile(`[^a-z0-9]+`)

func fileName(spec string) string {
	return strings.Trim(notInNames.ReplaceAllString(strings.ToLower(spec), "-"), "-") + ".log"
}
