package migrate

import (
	"fmt"
	"io"
	"text/tabwriter"
)

// report is a plan for all Services that were asked about.
type report struct {
	// Cluster is what stands in the way of all of them.
	Cluster  []string `json:"cluster,omitempty"`
	Services []entry  `json:"services"`
}

// blocked counts the Services that cannot be moved.
func (r *report) blocked() (n int) {
	for _, e := range r.Services {
		if len(e.Obstacles) > 0 {
			n++
		}
	}
	return n
}

// print writes a plan for people.
func (r *report) print(out io.Writer) error {
	if len(r.Services) == 0 {
		if _, err := fmt.Fprintln(out, "There is no Service with a gateway of Kube-OVN's lb-svc, and none that was moved from there."); err != nil {
			return err
		}
	} else if err := r.printServices(out); err != nil {
		return err
	}
	for _, obstacle := range r.Cluster {
		if _, err := fmt.Fprintf(out, "in the way of all: %s\n", obstacle); err != nil {
			return err
		}
	}
	return nil
}

func (r *report) printServices(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	fmt.Fprintln(w, "SERVICE\tADDRESS\tSOURCE\tSUBNET\tGATEWAY POD\tNODE\tWHAT WILL BE DONE")
	for _, e := range r.Services {
		action := e.Action
		if len(e.Obstacles) > 0 {
			action = "nothing: see below"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", e.key(), orDash(e.Addresses), e.Source, orDash(e.Subnet), orDash(e.Pod), orDash(e.Node), action)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, e := range r.Services {
		for _, obstacle := range e.Obstacles {
			fmt.Fprintf(out, "in the way of %s: %s\n", e.key(), obstacle)
		}
		for _, note := range e.Notes {
			fmt.Fprintf(out, "note on %s: %s\n", e.key(), note)
		}
	}
	return nil
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
