// Command recorder runs one version of kube-ovn-controller against a real API
// server and real OVN databases, lets kube-ovn-ccm's own code ask it for
// addresses and routes, and writes down what both have made of it: the objects
// as that version writes them, the schema of its definitions, and what our code
// decided. The unit tests read these records (pkg/kubeovn/recorded/versions).
//
// It must run as root in namespaces of its own; hack/record-kube-ovn.sh does
// all of it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/kubeovn/kube-ovn-ccm/test/e2e/assets"
)

// limit is how long a recording may take; it takes about a minute.
const limit = 5 * time.Minute

func main() {
	controller := flag.String("controller", "", "the kube-ovn-controller to run, a file of this name; empty: record the definitions alone")
	definitions := flag.String("definitions", "", "the file with its custom resource definitions")
	out := flag.String("output", "", "the directory to write to")
	logs := flag.String("logs", "", "the directory for the logs and databases")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("not done after %s", limit))
	defer cancel()
	if err := run(ctx, *controller, *definitions, *out, *logs); err != nil {
		if cause := context.Cause(ctx); cause != nil && !errors.Is(err, cause) {
			err = fmt.Errorf("%w (%w)", err, cause)
		}
		fmt.Fprintln(os.Stderr, "recorder:", err)
		os.Exit(1) //nolint:gocritic // what the deferred functions free ends with the process
	}
}

func run(ctx context.Context, controller, definitions, out, logs string) error {
	for name, value := range map[string]string{"definitions": definitions, "output": out, "logs": logs} {
		if value == "" {
			return fmt.Errorf("--%s is not set", name)
		}
	}
	root, err := assets.FindRepoRoot()
	if err != nil {
		return err
	}
	set, err := assets.Ensure(ctx, assets.Options{RepoRoot: root, Progress: os.Stderr, WithoutProduct: true})
	if err != nil {
		return err
	}
	c, err := newCluster(set, logs)
	if err != nil {
		return err
	}
	defer c.stop()
	if err := c.start(ctx, definitions); err != nil {
		return err
	}
	s := newScenario(c, controller)
	if controller != "" {
		if err := s.play(ctx); err != nil {
			return err
		}
	}
	return s.write(ctx, out)
}
