package churn

import (
	"strings"
	"testing"
	"time"
)

func TestTheLastLineHasTheFigures(t *testing.T) {
	r := Report{Duration: 10 * time.Minute, Operations: map[string]int{}, Addresses: 7, States: 100, Asked: 50, Heard: 40, Made: 10}
	for _, op := range operations {
		r.Operations[op] = 2
	}
	if err := r.Err(); err != nil {
		t.Errorf("a good run: %v", err)
	}
	var b strings.Builder
	r.Print(&b)
	lines := strings.Split(strings.TrimSpace(b.String()), "\n")
	if want := "churn: 10m0s, 34 operations, 6 restarts, 7 addresses, 150 checks: doubles 0, lost 0"; lines[len(lines)-1] != want {
		t.Errorf("the last line is %q, want %q", lines[len(lines)-1], want)
	}
}

func TestWhatIsWrongIsAnError(t *testing.T) {
	good := func() Report {
		r := Report{Duration: time.Minute, Operations: map[string]int{}, Heard: 1, Made: 1}
		for _, op := range operations {
			r.Operations[op] = 1
		}
		return r
	}
	for sentence, spoil := range map[string]func(*Report){
		"an address held twice":          func(r *Report) { r.Doubles = []string{"x"} },
		"an address lost":                func(r *Report) { r.Lost = []string{"x"} },
		"nothing that was killed":        func(r *Report) { delete(r.Operations, opKubeOVN) },
		"nobody who answered on the LAN": func(r *Report) { r.Heard = 0 },
		"no connection that was taken":   func(r *Report) { r.Failed = r.Made },
	} {
		t.Run(sentence, func(t *testing.T) {
			r := good()
			if err := r.Err(); err != nil {
				t.Fatal(err)
			}
			if spoil(&r); r.Err() == nil {
				t.Error("no error")
			}
		})
	}
	r := good()
	if r.Others = []string{"x"}; r.Err() != nil {
		t.Errorf("what Kube-OVN does to others is no error of ours: %v", r.Err())
	}
}
