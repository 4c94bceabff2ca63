package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/kubeovn/kube-ovn-ccm/test/e2e/assets"
	"github.com/kubeovn/kube-ovn-ccm/test/e2e/lab"
)

func (c *cli) up() *cobra.Command {
	nodes := 2
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Make the cluster (and, the first time, its parts)",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := lab.Available(c.name); err != nil {
				return err // before the parts are made, which may take minutes
			}
			set, err := ensure(cmd.Context())
			if err != nil {
				return err
			}
			self, err := os.Executable()
			if err != nil {
				return err
			}
			start := time.Now()
			l, err := lab.Up(cmd.Context(), lab.Options{Name: c.name, Nodes: nodes, Assets: *set, Program: self, Progress: os.Stderr})
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "lab %q is up after %.1f s\n  kubeconfig %s (use `lab kubectl`: the API server is on the lab's LAN)\n  logs       %s/<host>/<component>.log\n",
				l.Name(), time.Since(start).Seconds(), l.Kubeconfig(), l.LogDir())
			return nil
		},
	}
	cmd.Flags().IntVar(&nodes, "nodes", nodes, fmt.Sprintf("how many nodes, 1 to %d", lab.MaxNodes))
	return cmd
}

func (c *cli) down() *cobra.Command {
	return &cobra.Command{
		Use:   "down",
		Short: "Remove the cluster, whatever is left of it",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			start := time.Now()
			ctx, cancel := context.WithTimeout(cmd.Context(), 30*time.Second)
			defer cancel()
			existed, err := lab.Down(ctx, c.name)
			switch {
			case err != nil:
				return err
			case existed:
				fmt.Fprintf(cmd.OutOrStdout(), "lab %q is gone after %.1f s\n", c.name, time.Since(start).Seconds())
			default:
				fmt.Fprintf(cmd.OutOrStdout(), "there is no lab %q\n", c.name)
			}
			return nil
		},
	}
}

func (c *cli) power(use, short string, do func(*lab.Lab, context.Context, string) error) *cobra.Command {
	return &cobra.Command{
		Use: use + " NODE", Short: short, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			l, err := c.open()
			if err != nil {
				return err
			}
			return do(l, cmd.Context(), args[0])
		},
	}
}

func (c *cli) component(use, short string, do func(*lab.Lab, context.Context, string) error) *cobra.Command {
	return &cobra.Command{
		Use: use + " COMPONENT", Short: short, Args: cobra.ExactArgs(1),
		Long: short + ".\n\nA component of the control plane (kube-apiserver, kube-ovn-controller...) or of a node (n1/kubelet). `lab status` lists them.",
		RunE: func(cmd *cobra.Command, args []string) error {
			l, err := c.open()
			if err != nil {
				return err
			}
			return do(l, cmd.Context(), args[0])
		},
	}
}

func (c *cli) restart() *cobra.Command {
	cmd := &cobra.Command{
		Use: "restart COMPONENT [-- FLAGS...]", Short: "Restart a component with further flags, or again without them",
		Example: "  lab restart kube-ovn-controller -- --enable-lb-svc=true\n  lab restart kube-ovn-controller",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			l, err := c.open()
			if err != nil {
				return err
			}
			flags := args[1:]
			if len(flags) > 0 && flags[0] == "--" {
				flags = flags[1:]
			}
			return l.Restart(cmd.Context(), args[0], flags...)
		},
	}
	cmd.Flags().SetInterspersed(false) // flags after the component are the component's
	return cmd
}

// ensure makes the cluster's parts out of the checkout that this program or the working directory is in.
func ensure(ctx context.Context) (*assets.Set, error) {
	root, err := assets.FindRepoRoot()
	if err != nil {
		return nil, err
	}
	return assets.Ensure(ctx, assets.Options{RepoRoot: root, Progress: os.Stderr})
}
