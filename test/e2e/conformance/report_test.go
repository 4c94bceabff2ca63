package conformance

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/onsi/ginkgo/v2/types"
)

const feature = "Feature:LoadBalancer"

// spec is a spec of the feature, as ginkgo reports it.
func spec(text string, state types.SpecState) types.SpecReport {
	return types.SpecReport{
		ContainerHierarchyTexts:  []string{"[sig-network] LoadBalancers [" + feature + "]"},
		ContainerHierarchyLabels: [][]string{{"sig-network", feature}},
		LeafNodeText:             text, LeafNodeType: types.NodeTypeIt, State: state, RunTime: 1500 * time.Millisecond,
	}
}

func failing(s types.SpecReport, message string) types.SpecReport {
	s.Failure.Message = message
	s.CapturedGinkgoWriterOutput = "what it wrote\n"
	return s
}

func report(specs ...types.SpecReport) []types.Report {
	return []types.Report{{SpecReports: specs}}
}

func TestOnlySpecsThatPassedCountAsPassed(t *testing.T) {
	beforeSuite := types.SpecReport{LeafNodeType: types.NodeTypeSynchronizedBeforeSuite}
	for sentence, tc := range map[string]struct {
		wanted  []string
		reports []types.Report
		want    string
	}{
		"all ran and passed": {
			[]string{"LoadBalancers a", "LoadBalancers b"}, report(spec("a [Slow]", types.SpecStatePassed), spec("b", types.SpecStatePassed)), "2 passed, 0 failed, 0 skipped",
		},
		"one failed": {
			[]string{"LoadBalancers a", "LoadBalancers b"}, report(spec("a", types.SpecStateFailed), spec("b", types.SpecStatePassed)), "1 passed, 1 failed, 0 skipped",
		},
		"one skipped itself": {
			[]string{"LoadBalancers a"}, report(spec("a", types.SpecStateSkipped)), "0 passed, 0 failed, 1 skipped",
		},
		"a time-out, a panic and an interruption are failures": {
			[]string{"LoadBalancers a", "LoadBalancers b", "LoadBalancers c"},
			report(spec("a", types.SpecStateTimedout), spec("b", types.SpecStatePanicked), spec("c", types.SpecStateInterrupted)), "0 passed, 3 failed, 0 skipped",
		},
		"one that the report does not mention did not pass": {
			[]string{"LoadBalancers a", "LoadBalancers b"}, report(spec("a", types.SpecStatePassed)), "1 passed, 0 failed, 1 skipped",
		},
		"a pending one did not run": {
			[]string{"LoadBalancers a"}, report(spec("a", types.SpecStatePending)), "0 passed, 0 failed, 1 skipped",
		},
		"what fails before the specs is told beside them": {
			[]string{"LoadBalancers a"},
			report(failing(types.SpecReport{LeafNodeType: types.NodeTypeSynchronizedBeforeSuite, State: types.SpecStateFailed}, "no nodes"), spec("a", types.SpecStateSkipped)),
			"0 passed, 1 failed, 1 skipped",
		},
		"what goes well before the specs is no spec": {
			[]string{"LoadBalancers a"}, report(beforeSuite, spec("a", types.SpecStatePassed)), "1 passed, 0 failed, 0 skipped",
		},
		"specs that nobody asked for do not count": {
			[]string{"LoadBalancers a"}, report(spec("a", types.SpecStatePassed), spec("other", types.SpecStateSkipped)), "1 passed, 0 failed, 0 skipped",
		},
	} {
		t.Run(sentence, func(t *testing.T) {
			if got := Judge(tc.wanted, tc.reports).Summary(); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

func TestTheListHoldsEverySpecOfTheFeatureWhateverAFilterSaid(t *testing.T) {
	other := spec("of another feature", types.SpecStatePassed)
	other.ContainerHierarchyLabels = [][]string{{"sig-network"}}
	own := spec("labelled itself", types.SpecStateSkipped)
	own.ContainerHierarchyLabels, own.LeafNodeLabels = nil, []string{feature}
	got := labelled(feature, report(spec("z [Slow] [LinuxOnly]", types.SpecStateSkipped), other, spec("b", types.SpecStatePassed), own))
	if want := []string{"LoadBalancers b", "LoadBalancers labelled itself", "LoadBalancers z"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestTheReportIsReadAsGinkgoWritesIt(t *testing.T) {
	path := filepath.Join(t.TempDir(), "report.json")
	b, err := json.Marshal(report(failing(spec("a", types.SpecStateFailed), "no answer")))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
	reports, err := readReport(path)
	if err != nil {
		t.Fatal(err)
	}
	got := Judge([]string{"LoadBalancers a"}, reports).Specs[0]
	if want := (Spec{"LoadBalancers a", types.SpecStateFailed, 1500 * time.Millisecond, "no answer", "what it wrote\n"}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if _, err := readReport(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("a report that is not there was read")
	}
}

func TestTable(t *testing.T) {
	r := Judge([]string{"LoadBalancers a", "LoadBalancers b", "LoadBalancers c"}, report(
		spec("a", types.SpecStatePassed), failing(spec("b", types.SpecStateFailed), "no answer\nfor long")))
	var b strings.Builder
	r.Print(&b)
	want := `RESULT       SECONDS  SPEC
passed           1.5  LoadBalancers a
FAILED           1.5  LoadBalancers b
                        no answer
NOT RUN          0.0  LoadBalancers c

1 passed, 1 failed, 1 skipped
`
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
}

func TestWhatFailingSpecsPrintedIsKept(t *testing.T) {
	dir := t.TempDir()
	files, err := Judge([]string{"LoadBalancers a", "LoadBalancers Policy: b/c"}, report(
		spec("a", types.SpecStatePassed), failing(spec("Policy: b/c", types.SpecStateFailed), "no answer"))).Keep(dir)
	if err != nil || len(files) != 1 || filepath.Base(files[0]) != "loadbalancers-policy-b-c.log" {
		t.Fatalf("kept %v (%v)", files, err)
	}
	b, err := os.ReadFile(files[0])
	if err != nil || !strings.Contains(string(b), "no answer") || !strings.Contains(string(b), "what it wrote") {
		t.Errorf("kept %q (%v)", b, err)
	}
}

func TestProgressNamesSpecsAsTheyEnd(t *testing.T) {
	var b strings.Builder
	p := newProgress(&b)
	for _, part := range []string{
		"[SynchronizedBeforeSuite] PASSED [0.1 seconds]\nnoise\n",
		"• [14.799 seconds]\n[sig-network] LoadBalancers [Feature:LoadBalancer] should a [Slow]\n/some/file.go:1\n",
		"• [FAILED] [3.5 sec", "onds]\n[sig-network] LoadBalancers should b\n", "S [SKIPPED] [0.1 seconds]\nLoadBalancers should c\n",
	} {
		if n, err := p.Write([]byte(part)); n != len(part) || err != nil {
			t.Fatal(n, err)
		}
	}
	var got []string
	for line := range strings.Lines(b.String()) {
		_, rest, _ := strings.Cut(line, "] ")
		got = append(got, strings.TrimSpace(rest))
	}
	want := []string{"passed after 14.799 s: LoadBalancers should a", "FAILED after 3.5 s: LoadBalancers should b", "SKIPPED after 0.1 s: LoadBalancers should c"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
