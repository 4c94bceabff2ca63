//go:build tools

package e2e

import (
	_ "github.com/kubeovn/kube-ovn/cmd"
	_ "github.com/kubeovn/kube-ovn/cmd/cni"
	_ "gopkg.in/k8snetworkplumbingwg/multus-cni.v4/cmd/multus"
	_ "k8s.io/kubernetes/test/e2e"
	_ "k8s.io/kubernetes/test/images/agnhost"
)
