// Package command is the command line of lb-gateway.
package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
	"k8s.io/klog/v2"

	"github.com/kubeovn/kube-ovn-ccm/pkg/gateway/agent"
	"github.com/kubeovn/kube-ovn-ccm/pkg/gateway/desired"
	"github.com/kubeovn/kube-ovn-ccm/pkg/gateway/kernel"
)

// New returns the command line. version is what "version" prints.
func New(version string) *cobra.Command {
	config := agent.Config{}
	documentHash := ""
	root := &cobra.Command{
		Use:           "lb-gateway",
		Short:         "The gateway of one LoadBalancer Service of Kube-OVN",
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.NoArgs,
	}
	flags := root.PersistentFlags()
	flags.StringVar(&config.Document, "document", "/etc/lb-gateway/gateway.json", "the document that says what to serve; its directory is watched")
	flags.StringVar(&config.StatusDir, "status-dir", "/run/lb-gateway", "directory of the status file")
	flags.StringVar(&config.ClusterInterface, "cluster-interface", "eth0", "the Pod's primary interface, by which the ClusterIP is reached")
	flags.StringVar(&documentHash, "document-hash", "/etc/pod-info/document-hash", "file with the hash of the newest document, which \"ready\" waits for; it may be absent")

	run := &cobra.Command{
		Use:   "run",
		Short: "Make the kernel agree with the document until told to stop (the default)",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return serve(cmd.Context(), config, version) },
	}
	for _, c := range []*cobra.Command{root, run} {
		c.Flags().DurationVar(&config.Resync, "resync", 5*time.Second, "time between two looks at the kernel when nothing changes")
	}
	root.RunE = run.RunE
	root.AddCommand(run,
		readyCommand(&config, &documentHash),
		&cobra.Command{
			Use:   "status",
			Short: "Print what the agent last found, as JSON",
			Args:  cobra.NoArgs,
			RunE:  func(cmd *cobra.Command, _ []string) error { return status(cmd.OutOrStdout(), config) },
		},
		&cobra.Command{
			Use:   "show",
			Short: "Print what the document asks of the kernel, and what is missing",
			Args:  cobra.NoArgs,
			RunE:  func(cmd *cobra.Command, _ []string) error { return show(cmd.OutOrStdout(), config) },
		},
		&cobra.Command{
			Use:   "version",
			Short: "Print the version",
			Args:  cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error {
				_, err := fmt.Fprintln(cmd.OutOrStdout(), version)
				return err
			},
		})
	return root
}

// Main runs the command line and returns the exit status. The reason of a
// failure is the last line on standard error, where Kubernetes takes the
// termination message from.
func Main(version string) int {
	if err := New(version).Execute(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func serve(ctx context.Context, config agent.Config, version string) error {
	ctx, stop := signal.NotifyContext(ctx, unix.SIGTERM, unix.SIGINT)
	defer stop()
	klog.FromContext(ctx).Info("Starting", "version", version, "document", config.Document)
	k, err := kernel.Open()
	if err != nil {
		return err
	}
	defer k.Close()
	return agent.New(config, k).Run(ctx)
}

// readyCommand is the probe. A startup probe that waits succeeds the moment the
// gateway serves, and a start that goes well has no failed probe, which the
// kubelet would report as a Warning.
func readyCommand(config *agent.Config, documentHash *string) *cobra.Command {
	var wait, waitDocument time.Duration
	c := &cobra.Command{
		Use:   "ready",
		Short: "Succeed if the newest document is being served, else say why not",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return await(cmd.Context(), wait, waitDocument, func() error { return ready(*config, *documentHash) })
		},
	}
	c.Flags().DurationVar(&wait, "wait", 0, "how long to wait for it")
	c.Flags().DurationVar(&waitDocument, "wait-document", 0, "how long to wait if the kubelet has not brought the newest document into the Pod yet")
	return c
}

// await asks until it is answered by nil, for some time; while the newest document
// is on its way, the time has not begun, for up to another one.
func await(ctx context.Context, wait, waitDocument time.Duration, ask func() error) error {
	start := time.Now()
	for until := start.Add(wait); ; {
		err := ask()
		if err == nil {
			return nil
		}
		now := time.Now()
		if _, underWay := errors.AsType[*agent.UnderWayError](err); underWay && now.Sub(start) < waitDocument {
			until = now.Add(wait)
		}
		if !now.Before(until) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func ready(config agent.Config, documentHash string) error {
	status, err := agent.ReadStatus(config.StatusDir)
	if err != nil {
		return err
	}
	document, err := os.ReadFile(config.Document)
	if err != nil {
		return fmt.Errorf("read the gateway document: %w", err)
	}
	announced, err := os.ReadFile(documentHash)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read the hash of the newest document: %w", err)
	}
	return agent.Ready(status, document, string(announced), time.Now())
}

func status(w io.Writer, config agent.Config) error {
	s, err := agent.ReadStatus(config.StatusDir)
	if err != nil {
		return err
	}
	if err := json.NewEncoder(w).Encode(s); err != nil {
		return fmt.Errorf("print status: %w", err)
	}
	return nil
}

func show(w io.Writer, config agent.Config) error {
	k, err := kernel.Open()
	if err != nil {
		return err
	}
	defer k.Close()
	want, steps, err := agent.Plan(config, k)
	if err != nil {
		return err
	}
	_, err = io.WriteString(w, render(want, steps))
	return err
}

// render lists the desired state and what is to be done to reach it.
func render(want desired.State, steps []desired.Op) string {
	out := "The document asks for:\n"
	for _, object := range want.Objects() {
		out += "  " + object.String() + "\n"
	}
	if want.Table != nil {
		for line := range strings.Lines(want.Table.String()) {
			out += "  " + line
		}
		out += "\n"
	}
	if len(steps) == 0 {
		return out + "The kernel agrees.\n"
	}
	out += "To be done:\n"
	for _, op := range steps {
		out += "  " + op.String() + "\n"
	}
	return out
}
