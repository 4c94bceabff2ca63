// Command lb-gateway is PID 1 of a gateway Pod: it carries one LoadBalancer
// Service's traffic from the attachment into the cluster.
package main

import (
	"os"

	"k8s.io/component-base/version"

	"github.com/kubeovn/kube-ovn-ccm/pkg/gateway/command"
)

func main() {
	os.Exit(command.Main(version.Get().String()))
}
