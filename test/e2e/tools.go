//go:build tools

// Package e2e only holds the programs of assets/programs.go and assets/conformance.go that no code here imports, so that
// go.mod keeps their modules.
package e2e

import (
	_ "github.com/kubeovn/kube-ovn/cmd/cni"
	_ "github.com/kubeovn/kube-ovn/cmd/controller"
	_ "github.com/kubeovn/kube-ovn/cmd/daemon"
	_ "github.com/onsi/ginkgo/v2/ginkgo"
	_ "gopkg.in/k8snetworkplumbingwg/multus-cni.v4/cmd/multus"
	_ "k8s.io/kubernetes/test/e2e"
	_ "k8s.io/kubernetes/test/images/agnhost"
)
