// Command kube-ovn-ccm is a cloud-controller-manager that implements Services
// of type LoadBalancer on Kube-OVN.
package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/util/wait"
	cloudprovider "k8s.io/cloud-provider"
	"k8s.io/cloud-provider/app"
	"k8s.io/cloud-provider/app/config"
	"k8s.io/cloud-provider/names"
	"k8s.io/cloud-provider/options"
	"k8s.io/component-base/cli"
	cliflag "k8s.io/component-base/cli/flag"
	_ "k8s.io/component-base/logs/json/register"          // --logging-format=json
	_ "k8s.io/component-base/metrics/prometheus/clientgo" // metrics of client-go
	_ "k8s.io/component-base/metrics/prometheus/version"  // metric with the version
	"k8s.io/component-base/version"
	"k8s.io/klog/v2"

	"github.com/kubeovn/kube-ovn-ccm/pkg/migrate"
	"github.com/kubeovn/kube-ovn-ccm/pkg/provider"
)

const program = "kube-ovn-ccm"

func main() {
	noWebhooks := 0
	opts, err := options.NewCloudControllerManagerOptionsWithProviderDefaults(options.ProviderDefaults{WebhookBindPort: &noWebhooks})
	if err != nil {
		klog.ErrorS(err, "Cannot make the options")
		klog.FlushAndExit(klog.ExitFlushTimeout, 1)
	}
	setDefaults(opts)
	command := app.NewCloudControllerManagerCommand(opts, newCloud, provider.Controllers(),
		names.CCMControllerAliases(), cliflag.NamedFlagSets{}, wait.NeverStop)
	command.Use = program
	command.Long = "kube-ovn-ccm is a cloud-controller-manager that implements Services of type LoadBalancer on Kube-OVN."
	command.PreRun = printVersion
	command.AddCommand(migrate.Command())
	os.Exit(cli.Run(command))
}

// setDefaults sets the defaults of flags that differ from the framework's.
func setDefaults(opts *options.CloudControllerManagerOptions) {
	opts.KubeCloudShared.CloudProvider.Name = provider.Name
	// The framework's name would make two cloud-controller-managers in one
	// cluster take turns.
	opts.Generic.LeaderElection.ResourceName = program
	// Workers do not wait for gateways, but an address that moves and a load
	// balancer that is deleted take some seconds.
	opts.ServiceController.ConcurrentServiceSyncs = 64
	opts.Generic.ClientConnection.QPS = 100
	opts.Generic.ClientConnection.Burst = 200
	// Requests to /metrics are checked by TokenReview; the request-header CA
	// in kube-system/extension-apiserver-authentication is not needed for it.
	opts.Authentication.SkipInClusterLookup = true
}

func newCloud(c *config.CompletedConfig) cloudprovider.Interface {
	p := c.ComponentConfig.KubeCloudShared.CloudProvider
	cloud, err := cloudprovider.InitCloudProvider(p.Name, p.CloudConfigFile)
	if err != nil || cloud == nil {
		klog.ErrorS(err, "Cannot make the cloud provider", "name", p.Name, "config", p.CloudConfigFile)
		klog.FlushAndExit(klog.ExitFlushTimeout, 1)
	}
	return cloud
}

// printVersion answers --version; the framework would say "Kubernetes" and
// leave out the commit.
func printVersion(cmd *cobra.Command, _ []string) {
	if cmd.Flag("version").Value.String() == "true" {
		v := version.Get()
		fmt.Fprintf(cmd.OutOrStdout(), "%s %s (commit %s, %s)\n", program, v.GitVersion, v.GitCommit, v.GoVersion)
		os.Exit(0)
	}
}
