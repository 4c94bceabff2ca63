package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"syscall"

	"github.com/spf13/cobra"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/kubeovn/kube-ovn-ccm/test/e2e/lab"
	"github.com/kubeovn/kube-ovn-ccm/test/e2e/lab/dns"
)

func (c *cli) kubectl() *cobra.Command {
	return &cobra.Command{
		Use: "kubectl ARGS...", Short: "Run kubectl as the cluster's administrator",
		DisableFlagParsing: true, // all of them are kubectl's
		RunE: func(_ *cobra.Command, args []string) error {
			l, err := c.open()
			if err != nil {
				return err
			}
			return become(l.KubectlCommand(context.Background(), args...))
		},
	}
}

func (c *cli) on() *cobra.Command {
	cmd := &cobra.Command{
		Use: "on HOST -- CMD...", Short: "Run a command on a host: client, remote, router, cp, n1, n2...",
		Long: `Run a command on a host: client, remote, router, cp, n1, n2...

On cp and the nodes the command is among the host's own processes and mounts; ovs-vsctl, ovn-nbctl and ctr work there.`,
		Example: "  lab on client -- curl http://172.18.0.18\n  lab on n1 -- ctr images ls\n  lab on cp -- ovn-nbctl show",
		Args:    cobra.MinimumNArgs(2),
		RunE: func(_ *cobra.Command, args []string) error {
			l, err := c.open()
			if err != nil {
				return err
			}
			host, argv := args[0], args[1:]
			if argv[0] == "--" { // flags end at HOST already: the command's own are never taken for ours
				argv = argv[1:]
			}
			if len(argv) == 0 {
				return fmt.Errorf("what shall run on %s? lab on HOST -- CMD", host)
			}
			cmd, err := l.Host(host).Command(context.Background(), argv[0], argv[1:]...)
			if err != nil {
				return err
			}
			return become(cmd)
		},
	}
	cmd.Flags().SetInterspersed(false)
	return cmd
}

// become replaces this process by the command, which so gets the terminal and the signals.
func become(cmd *exec.Cmd) error {
	if err := syscall.Exec(cmd.Path, cmd.Args, cmd.Env); err != nil {
		return fmt.Errorf("run %s: %w", cmd.Path, err)
	}
	return nil
}

func (c *cli) load() *cobra.Command {
	return &cobra.Command{
		Use: "load IMAGE.tar...", Short: "Import image archives into all nodes", Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			l, err := c.open()
			if err != nil {
				return err
			}
			for _, tar := range args {
				if err := l.Load(cmd.Context(), tar); err != nil {
					return err
				}
				fmt.Fprintf(cmd.OutOrStdout(), "%s is on %v\n", tar, l.Nodes())
			}
			return nil
		},
	}
}

// machineInit is the PID 1 of the lab's machines.
func machineInit() *cobra.Command {
	return &cobra.Command{
		Use: lab.InitCommand + " FILE", Hidden: true, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if os.Getpid() != 1 {
				return fmt.Errorf("%s is for the lab's own use", lab.InitCommand)
			}
			return lab.RunInit(context.WithoutCancel(cmd.Context()), args[0]) // signals end no machine, its power does
		},
	}
}

func clusterDNS() *cobra.Command {
	return &cobra.Command{
		Use: lab.DNSCommand + " ADDRESS KUBECONFIG", Hidden: true, Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			config, err := clientcmd.BuildConfigFromFlags("", args[1])
			if err != nil {
				return err
			}
			return dns.Serve(cmd.Context(), args[0], config)
		},
	}
}
