package churn

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// Report is what was seen.
type Report struct {
	Duration time.Duration
	Seed     uint64
	// Operations are how many there were of each kind.
	Operations map[string]int
	// Addresses is how many different ones were held, States how many states of objects were noted, and Asked and Heard how
	// many questions on the LAN were judged and how many of them were answered.
	Addresses, States, Asked, Heard int
	// Deaf is how many questions about Services that stay fell into a time in which the LAN itself stood still.
	Deaf int
	// Doubles are the addresses that two holders had at once, one of them a Service, in words; Others are those that only
	// others had.
	Doubles, Others []string
	// Lost are the addresses that a Service did not keep, in words.
	Lost []string
	// Made and Failed are the client's connections to the Services that stay.
	Made, Failed int
	FirstFailure error
	// Outage is the longest time without a connection to one address, Silence without an answer on the LAN, and WithoutVip
	// in which a Service showed an address that its Vip did not hold, and Uncounted in which it showed one that Kube-OVN did
	// not count.
	Outage, Silence, WithoutVip, Uncounted time.Duration
}

func (c *churn) report(doubles []Double, traffic []Traffic) Report {
	r := Report{Duration: c.Duration, Seed: c.Seed, Operations: c.done.counts(), Lost: c.observer.Lost()}
	for _, d := range doubles {
		if d.withService() {
			r.Doubles = append(r.Doubles, d.String())
		} else {
			r.Others = append(r.Others, d.String())
		}
	}
	r.Addresses, r.States, r.WithoutVip = c.observer.figures()
	c.lan.mu.Lock()
	r.Asked, r.Heard, r.Deaf, r.Silence = c.lan.asked, c.lan.heard, c.lan.deaf, c.lan.longest
	for _, f := range c.lan.doubles {
		r.Doubles = append(r.Doubles, f.String())
	}
	r.Lost = slices.Concat(r.Lost, c.lan.silent, c.silences.told, c.forgotten)
	r.Uncounted = c.silences.longest
	c.lan.mu.Unlock()
	for _, t := range traffic {
		r.Made += t.Made
		r.Failed += t.Failed
		r.Outage = max(r.Outage, t.Longest)
		if r.FirstFailure == nil {
			r.FirstFailure = t.First
		}
	}
	return r
}

func (d Double) withService() bool {
	return kindOf(d.Holders[0]) == kindService || kindOf(d.Holders[1]) == kindService
}

func (o *Observer) figures() (addresses, states int, withoutVip time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, g := range o.book.Gaps(time.Now()) {
		withoutVip = max(withoutVip, g.Took)
	}
	return o.book.Addresses(), o.states, withoutVip
}

// String is the line of figures.
func (r Report) String() string {
	total, restarted := 0, 0
	for _, n := range r.Operations {
		total += n
	}
	for _, op := range restarts {
		restarted += r.Operations[op]
	}
	return fmt.Sprintf("churn: %s, %d operations, %d restarts, %d addresses, %d checks: doubles %d, lost %d",
		r.Duration, total, restarted, r.Addresses, r.States+r.Asked, len(r.Doubles), len(r.Lost))
}

// Err is not nil if an address was held twice or was lost, or if too little happened to tell.
func (r Report) Err() error {
	var errs []error
	if n := len(r.Doubles); n > 0 {
		errs = append(errs, fmt.Errorf("%d times an address was held twice:\n%s", n, strings.Join(r.Doubles, "\n")))
	}
	if n := len(r.Lost); n > 0 {
		errs = append(errs, fmt.Errorf("%d times a Service lost its address:\n%s", n, strings.Join(r.Lost, "\n")))
	}
	for _, op := range operations {
		if r.Operations[op] == 0 && r.Duration >= time.Minute {
			errs = append(errs, fmt.Errorf("nothing happened of: %s", op))
		}
	}
	if r.Heard == 0 || r.Made == r.Failed {
		errs = append(errs, errors.New("nobody answered on the LAN, or took a connection"))
	}
	return errors.Join(errs...)
}

// Print writes the table of operations, and the line of figures as the last one.
func (r Report) Print(w io.Writer) {
	for _, op := range operations {
		fmt.Fprintf(w, "%6d  %s\n", r.Operations[op], op)
	}
	fmt.Fprintf(w, "%6d  states of objects noted\n", r.States)
	fmt.Fprintf(w, "%6d  questions on the LAN, %d answered; the longest silence of a Service that stays was %s; %d while the LAN itself stood still\n", r.Asked, r.Heard, r.Silence.Round(time.Millisecond), r.Deaf)
	fmt.Fprintf(w, "%6d  connections to the Services that stay, %d failed; the longest time without one was %s\n", r.Made, r.Failed, r.Outage.Round(time.Millisecond))
	if r.FirstFailure != nil {
		fmt.Fprintf(w, "        the first failure: %v\n", r.FirstFailure)
	}
	fmt.Fprintf(w, "%6s  the longest time in which a Vip did not hold what its Service showed\n", r.WithoutVip.Round(time.Millisecond))
	fmt.Fprintf(w, "%6s  the longest time in which Kube-OVN did not count what a Service showed\n", r.Uncounted.Round(time.Millisecond))
	fmt.Fprintf(w, "%6d  doubles among Pods and Vips by hand, which Kube-OVN alone can prevent\n", len(r.Others))
	for _, line := range r.Others {
		fmt.Fprintln(w, "       ", line)
	}
	fmt.Fprintf(w, "        seed %d\n", r.Seed)
	fmt.Fprintln(w, r)
}
