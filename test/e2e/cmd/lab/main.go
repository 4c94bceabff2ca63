// Command lab runs a real Kubernetes cluster with real Kube-OVN on this machine: `lab up`, `lab kubectl get nodes`,
// `lab on client -- curl ...`, `lab down`.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/kubeovn/kube-ovn-ccm/test/e2e/lab"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	err := command().ExecuteContext(ctx)
	stop()
	if err == nil {
		return
	}
	fmt.Fprintln(os.Stderr, "lab:", err)
	os.Exit(1)
}

// cli is what the commands share.
type cli struct{ name string }

func command() *cobra.Command {
	c := &cli{}
	root := &cobra.Command{
		Use:   "lab",
		Short: "A real Kubernetes and Kube-OVN cluster on this machine",
		Long: `lab runs a real Kubernetes cluster with real Kube-OVN on this machine, its nodes in namespaces. It needs root.

Its hosts are on the network of Kube-OVN's guide:
  router  172.18.0.1   the LAN's gateway
  cp      172.18.0.2   control plane
  client  172.18.0.5   outside of the cluster, on the LAN
  n1...   172.18.0.6...  nodes
  remote  203.0.113.7  outside of the cluster, behind the router
and they have IPv6 addresses that end alike, fd00:172:18::1 and fd00:203:113::7.`,
		SilenceUsage: true, SilenceErrors: true,
		TraverseChildren: true, // `lab --name x kubectl ...` too, although kubectl's flags are not ours
	}
	name := os.Getenv("LAB_NAME")
	if name == "" {
		name = "lab"
	}
	root.PersistentFlags().StringVar(&c.name, "name", name, "the lab's name; labs of different names live side by side (environment: LAB_NAME)")
	root.AddCommand(
		c.up(), c.down(), c.status(),
		c.kubectl(), c.on(), c.load(), c.conformance(), c.churn(),
		c.power("power-off", "Cut a node's power: its processes and containers end at once, its disks stay", (*lab.Lab).PowerOff),
		c.power("power-on", "Start a node that is off", (*lab.Lab).PowerOn),
		c.component("stop", "Stop a component and keep it stopped", (*lab.Lab).Stop),
		c.component("kill", "Stop a component by SIGKILL and keep it stopped", (*lab.Lab).Kill),
		c.component("start", "Start a stopped component", (*lab.Lab).Start),
		c.restart(),
		newBuildCommand(), newImagesCommand(),
		machineInit(), clusterDNS(),
	)
	return root
}

// open finds the lab that --name means.
func (c *cli) open() (*lab.Lab, error) { return lab.Open(c.name) }
