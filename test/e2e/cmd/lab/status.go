package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/kubeovn/kube-ovn-ccm/test/e2e/lab"
)

func (c *cli) status() *cobra.Command {
	return &cobra.Command{
		Use: "status", Short: "Show hosts, components and where the logs are", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			l, err := c.open()
			if err != nil {
				return err
			}
			return printStatus(cmd.Context(), cmd.OutOrStdout(), l)
		},
	}
}

func printStatus(ctx context.Context, out io.Writer, l *lab.Lab) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "HOST\tCOMPONENT\tSTATE\tPID\tRESTARTS\tSINCE\tDETAIL")
	for _, h := range l.Status(ctx) {
		var ips []string
		for _, a := range h.Addresses {
			ips = append(ips, a.Addr().String())
		}
		state := "on"
		if h.Machine && h.PID == 0 {
			state = "OFF"
		}
		fmt.Fprintf(w, "%s\t\t%s\t%s\t\t\t%s\n", h.Name, state, number(h.PID), strings.Join(ips, " "))
		if h.Err != nil {
			fmt.Fprintf(w, "\t\t\t\t\t\tcannot ask its init: %v\n", h.Err)
		}
		for _, u := range h.Units {
			fmt.Fprintf(w, "\t%s\t%s\t%s\t%d\t%s\t%s\n", u.Name, u.State, number(u.PID), u.Restarts, time.Since(u.Since).Round(time.Second), u.Detail)
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(out, "\nkubeconfig %s (`lab kubectl` uses it)\nlogs       %s/<host>/<component>.log\n", l.Kubeconfig(), l.LogDir())
	return nil
}

func number(n int) string {
	if n == 0 {
		return "-"
	}
	return fmt.Sprint(n)
}
