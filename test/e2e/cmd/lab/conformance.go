package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/kubeovn/kube-ovn-ccm/test/e2e/assets"
	"github.com/kubeovn/kube-ovn-ccm/test/e2e/conformance"
)

// conformance returns the command that runs Kubernetes' own tests of load balancers.
func (c *cli) conformance() *cobra.Command {
	o := conformance.Options{Label: "Feature:LoadBalancer", Procs: 8, Timeout: 22 * time.Minute, Dir: "bin/conformance", Progress: os.Stderr}
	cmd := &cobra.Command{
		Use:   "conformance",
		Short: "Run Kubernetes' own tests of load balancers, every one of them",
		Long: `Run Kubernetes' own tests of load balancers, every one of them, from the host behind the router.

The cluster must serve Services of type LoadBalancer that name neither a class nor an attachment: hack/conformance.sh
installs kube-ovn-ccm so. It fails when a spec fails, is skipped, or does not run.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			l, err := c.open()
			if err != nil {
				return err
			}
			root, err := assets.FindRepoRoot()
			if err != nil {
				return err
			}
			programs, err := assets.EnsureConformance(cmd.Context(), assets.Options{RepoRoot: root, Progress: os.Stderr})
			if err != nil {
				return err
			}
			if o.Dir, err = filepath.Abs(o.Dir); err != nil {
				return err
			}
			o.Lab, o.Programs = l, *programs
			result, err := conformance.Run(cmd.Context(), o)
			if err != nil {
				return err
			}
			files, err := result.Keep(o.Dir)
			for _, f := range files {
				fmt.Fprintln(cmd.OutOrStdout(), "what it printed:", f)
			}
			result.Print(cmd.OutOrStdout())
			if passed, _, _ := result.Counts(); passed != len(result.Specs) {
				err = errors.Join(err, fmt.Errorf("not every spec passed; all output is in %s", o.Dir))
			}
			return err
		},
	}
	cmd.Flags().IntVar(&o.Procs, "procs", o.Procs, "how many specs run at a time")
	cmd.Flags().DurationVar(&o.Timeout, "timeout", o.Timeout, "how long all of them together may take")
	cmd.Flags().StringVarP(&o.Dir, "output", "o", o.Dir, "the directory for the report and for what failing specs print")
	return cmd
}
