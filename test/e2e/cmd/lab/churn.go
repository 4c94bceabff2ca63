package main

import (
	"errors"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/kubeovn/kube-ovn-ccm/test/e2e/churn"
)

// churn returns the command that lets addresses come and go while controllers are killed.
func (c *cli) churn() *cobra.Command {
	o := churn.Options{Duration: 10 * time.Minute, Seed: uint64(time.Now().UnixNano()), Progress: os.Stderr}
	cmd := &cobra.Command{
		Use:   "churn",
		Short: "Let addresses come and go while controllers are killed, and watch that none is held twice or lost",
		Long: `Let Pods, Services and Vips take addresses and give them back, edit Subnets and kill the controllers of Kube-OVN and
of kube-ovn-ccm, all at the same time; and watch the cluster and the LAN: no address may be held twice, and no Service may
lose its own. kube-ovn-ccm must be installed; hack/churn.sh does it. The last line has the figures.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			l, err := c.open()
			if err != nil {
				return err
			}
			o.Lab = l
			report, err := churn.Run(cmd.Context(), o)
			report.Print(cmd.OutOrStdout())
			return errors.Join(err, report.Err())
		},
	}
	cmd.Flags().DurationVar(&o.Duration, "duration", o.Duration, "how long addresses come and go")
	cmd.Flags().Uint64Var(&o.Seed, "seed", o.Seed, "what decides about what happens")
	return cmd
}
