// Package migrate moves Services from Kube-OVN's own load balancer
// (kube-ovn-controller --enable-lb-svc) to kube-ovn-ccm, and back, with their
// addresses and with a gap of less than two seconds.
//
// Kube-OVN's gateway and ours have the same name, so the one's Deployment and
// ReplicaSet are deleted and leave their Pod, which goes on serving, while the
// other is built beside it. An address changes hands when it falls silent on the
// network. All that is known about a move stands in the cluster: on the Service,
// on the Subnet and in a ConfigMap; a run that was killed is finished by the next.
package migrate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

// options are the flags.
type options struct {
	kubeconfig, context string
	which               selection
	apply, rollback     bool
	json                bool
	timeout             time.Duration
}

// Command returns the subcommand "migrate".
func Command() *cobra.Command {
	var o options
	c := &cobra.Command{
		Use:   "migrate [namespace/service...]",
		Short: "Move Services from Kube-OVN's own lb-svc to kube-ovn-ccm, and back",
		Long: `Show how the Services with a gateway of Kube-OVN's own lb-svc would be moved to
kube-ovn-ccm, and what stands in the way. Nothing is changed without --apply.

With --apply they are moved, one after the other. Every Service keeps its address.
A run that was interrupted is finished by running the same command again. With
--rollback it goes the other way.`,
		SilenceUsage: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.which.services = args
			return run(cmd.Context(), o, cmd.OutOrStdout())
		},
	}
	flags := c.Flags()
	flags.StringVar(&o.kubeconfig, "kubeconfig", "", "kubeconfig of an administrator; default: $KUBECONFIG, ~/.kube/config, or the Pod's own account")
	flags.StringVar(&o.context, "context", "", "context in the kubeconfig; default: the current one")
	flags.StringVarP(&o.which.namespace, "namespace", "n", "", "only Services of this namespace; default: all")
	flags.BoolVar(&o.apply, "apply", false, "do it; without, only show what would be done")
	flags.BoolVar(&o.rollback, "rollback", false, "the other way: back to Kube-OVN's gateways")
	flags.BoolVar(&o.json, "json", false, "print the plan as JSON")
	flags.DurationVar(&o.timeout, "timeout", 2*time.Minute, "how long to wait for any one thing")
	// The parent's are about a controller.
	c.SetUsageFunc((&cobra.Command{}).UsageFunc())
	c.SetHelpFunc((&cobra.Command{}).HelpFunc())
	return c
}

// The errors that the exit status tells of.
var (
	errInTheWay = errors.New("something is in the way of all Services: nothing was changed")
	errSkipped  = errors.New("not all Services could be moved")
)

func run(ctx context.Context, o options, out io.Writer) error {
	ctx, stop := signal.NotifyContext(ctx, unix.SIGTERM, os.Interrupt)
	defer stop()
	m, err := connect(o, out)
	if err != nil {
		return err
	}
	plan, err := m.plan(ctx, o.which, o.rollback)
	if err != nil {
		return err
	}
	if o.json {
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		err = encoder.Encode(plan)
	} else {
		err = plan.print(out)
	}
	switch {
	case err != nil:
		return fmt.Errorf("printing the plan: %w", err)
	case len(plan.Cluster) > 0:
		return errInTheWay
	case o.apply:
		return m.carryOut(ctx, plan, o.rollback)
	case plan.blocked() > 0:
		return fmt.Errorf("%d of %d Services cannot be moved as they are", plan.blocked(), len(plan.Services))
	}
	return nil
}

// carryOut moves the Services of a plan that nothing stands in the way of. It
// stops at the first that does not come to its end.
func (m *mover) carryOut(ctx context.Context, plan *report, rollback bool) error {
	next, done := forward, "is served by kube-ovn-ccm"
	if rollback {
		next, done = back, "is served by Kube-OVN"
	}
	late := 0
	for _, e := range plan.Services {
		if e.Action == nothing || len(e.Obstacles) > 0 {
			continue
		}
		// Others' moves took their time.
		now, err := m.plan(ctx, selection{services: []string{e.key()}}, rollback)
		if err != nil {
			return err
		}
		if len(now.Cluster) > 0 || now.blocked() > 0 {
			late++
			if err := now.print(m.out); err != nil {
				return err
			}
			continue
		}
		fmt.Fprintf(m.out, "\n%s (%s): %s\n", e.key(), e.Addresses, e.Action)
		if err := m.move(ctx, e.Namespace, e.Name, next); err != nil {
			return fmt.Errorf("moving Service %s: %w", e.key(), err)
		}
		m.say("%s %s at %s", e.key(), done, e.Addresses)
	}
	if n := plan.blocked() + late; n > 0 {
		return fmt.Errorf("%w: %d of %d have something in their way", errSkipped, n, len(plan.Services))
	}
	return nil
}

// connect makes the clients.
func connect(o options, out io.Writer) (*mover, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = o.kubeconfig
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{CurrentContext: o.context}).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("reading the kubeconfig: %w", err)
	}
	config.UserAgent = fieldManager
	config.QPS, config.Burst = 100, 200
	kube, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("client for Kubernetes: %w", err)
	}
	dyn, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("client for Kube-OVN: %w", err)
	}
	return &mover{kube: kube, dyn: dyn, exec: podExecutor{config: config, kube: kube}, out: out, patience: o.timeout}, nil
}
