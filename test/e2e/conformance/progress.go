package conformance

import (
	"bytes"
	"fmt"
	"io"
	"regexp"
	"time"
)

// ended is ginkgo's line about a spec that has ended; the line after it is the spec's text.
var ended = regexp.MustCompile(`^(?:•|S|P)(?: \[([A-Z ]+)\])? \[([0-9.]+) seconds\]$`)

// progress picks the specs that have ended out of ginkgo's verbose output.
type progress struct {
	out     io.Writer
	start   time.Time
	partial []byte
	result  string // of the spec that the next line names; empty for none
}

func newProgress(out io.Writer) *progress {
	if out == nil {
		out = io.Discard
	}
	return &progress{out: out, start: time.Now()}
}

// Write never fails: progress is for the eye only.
func (p *progress) Write(b []byte) (int, error) {
	p.partial = append(p.partial, b...)
	for {
		line, rest, ok := bytes.Cut(p.partial, []byte("\n"))
		if !ok {
			return len(b), nil
		}
		p.line(string(line))
		p.partial = rest
	}
}

func (p *progress) line(line string) {
	if p.result != "" {
		fmt.Fprintf(p.out, "[%6.1fs] %s: %s\n", time.Since(p.start).Seconds(), p.result, plain(line))
		p.result = ""
		return
	}
	if m := ended.FindStringSubmatch(line); m != nil {
		p.result = "passed"
		if m[1] != "" {
			p.result = m[1]
		}
		p.result += " after " + m[2] + " s"
	}
}
