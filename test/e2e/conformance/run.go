package conformance

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/kubeovn/kube-ovn-ccm/test/e2e/assets"
	"github.com/kubeovn/kube-ovn-ccm/test/e2e/lab"
)

// Options say what to run and where.
type Options struct {
	// Lab is the cluster.
	Lab *lab.Lab
	// Programs are Kubernetes' tests.
	Programs assets.Conformance
	// Label is what the specs have in common, such as "Feature:LoadBalancer".
	Label string
	// Procs is how many specs run at a time.
	Procs int
	// Timeout is how long all of them together may take. What runs then, and what has not begun, fails.
	Timeout time.Duration
	// Dir is the directory for the report and for what the specs print. It is emptied first.
	Dir string
	// Progress receives a line for every spec that has ended. Nil is silent.
	Progress io.Writer
}

// cleanup is how long the specs may take to clean up after themselves when they are interrupted.
const cleanup = 2 * time.Minute

// Run runs all specs with the label, from the host behind the lab's router: they look for the client's address, and
// Kubernetes' tests take any address of the nodes' /16 for a node's.
func Run(ctx context.Context, o Options) (Result, error) {
	if err := os.RemoveAll(o.Dir); err != nil {
		return Result{}, fmt.Errorf("emptying the directory of the report: %w", err)
	}
	if err := os.MkdirAll(o.Dir, 0o755); err != nil {
		return Result{}, fmt.Errorf("making the directory of the report: %w", err)
	}
	tmp, err := os.MkdirTemp("", "conformance-") // the suite's processes leave files behind
	if err != nil {
		return Result{}, fmt.Errorf("making a directory for temporary files: %w", err)
	}
	defer os.RemoveAll(tmp)
	wanted, err := list(ctx, o, tmp)
	if err != nil {
		return Result{}, err
	}
	if len(wanted) == 0 {
		return Result{}, fmt.Errorf("none of Kubernetes' tests has the label %s", o.Label)
	}
	runErr := run(ctx, o, tmp)
	reports, err := readReport(filepath.Join(o.Dir, "report.json"))
	if err != nil {
		return Result{}, errors.Join(runErr, err) // ginkgo has not come to write one
	}
	result := Judge(wanted, reports)
	if passed, _, _ := result.Counts(); runErr != nil && passed == len(result.Specs) {
		return result, runErr // all specs passed and still ginkgo says otherwise
	}
	return result, nil
}

// list asks the suite itself, without any filter, which specs there are.
func list(ctx context.Context, o Options, tmp string) ([]string, error) {
	report := filepath.Join(o.Dir, "list.json")
	cmd := exec.CommandContext(ctx, o.Programs.Suite, "--provider=skeleton", "--ginkgo.dry-run", "--ginkgo.json-report="+report)
	cmd.Env = append(os.Environ(), "TMPDIR="+tmp)
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("listing the specs: %w: %s", err, last(out))
	}
	reports, err := readReport(report)
	if err != nil {
		return nil, err
	}
	return labelled(o.Label, reports), os.Remove(report)
}

// run runs ginkgo and the processes of the suite. That specs failed is an error, too.
func run(ctx context.Context, o Options, tmp string) error {
	log, err := os.Create(filepath.Join(o.Dir, "ginkgo.log"))
	if err != nil {
		return fmt.Errorf("running the specs: %w", err)
	}
	defer log.Close()
	cmd, err := o.Lab.Host(lab.Remote).Command(ctx, o.Programs.Ginkgo,
		"run", "-v", "--no-color", fmt.Sprintf("--procs=%d", o.Procs), "--timeout="+o.Timeout.String(),
		"--label-filter="+o.Label, "--output-dir="+o.Dir, "--json-report=report.json", o.Programs.Suite, "--",
		"--provider=skeleton", "--kubeconfig="+o.Lab.Kubeconfig(), "--kubectl-path=kubectl", // the host's PATH has it
		fmt.Sprintf("--num-nodes=%d", len(o.Lab.Nodes())))
	if err != nil {
		return fmt.Errorf("running the specs: %w", err)
	}
	// No proxy stands between the lab's hosts.
	cmd.Env = slices.DeleteFunc(cmd.Env, func(e string) bool {
		name, _, _ := strings.Cut(e, "=")
		return strings.HasSuffix(strings.ToLower(name), "_proxy")
	})
	cmd.Env = append(cmd.Env, "TMPDIR="+tmp)
	cmd.Stdout = io.MultiWriter(log, newProgress(o.Progress))
	cmd.Stderr = cmd.Stdout
	// An interruption is for all processes: ginkgo itself leaves it to those of the suite, which then clean up, and writes
	// its report afterwards. As a group of their own they get it once, from here, and none outlives this one.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	all := func(sig syscall.Signal) error { return syscall.Kill(-cmd.Process.Pid, sig) }
	cmd.Cancel = func() error { return all(syscall.SIGINT) }
	cmd.WaitDelay = cleanup
	err = cmd.Run()
	if cmd.Process != nil {
		_ = all(syscall.SIGKILL)
	}
	if err != nil {
		return fmt.Errorf("running the specs: %w (all of their output is in %s)", err, log.Name())
	}
	return nil
}

// last is the last line of an output.
func last(out []byte) []byte {
	out = bytes.TrimSpace(out)
	return out[bytes.LastIndexByte(out, '\n')+1:]
}
