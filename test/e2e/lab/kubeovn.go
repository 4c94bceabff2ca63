package lab

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
)

// kubeOVNController is the name of the component, and of the Deployment that runs it where it is a Pod.
const kubeOVNController = "kube-ovn-controller"

// kubeOVNFlags are the flags of kube-ovn-controller.
func (l *Lab) kubeOVNFlags() []string {
	return []string{
		"--kubeconfig=" + l.Kubeconfig(), "--ovn-nb-addr=" + ovnNB, "--ovn-sb-addr=" + ovnSB,
		"--default-cidr=" + podNetwork.String(), "--node-switch-cidr=" + joinNetwork.String(),
		"--service-cluster-ip-range=" + serviceNetwork.String(), "--default-gateway-check=false",
		"--enable-metrics=false", "--logtostderr=true",
		// OVN then answers Pods for the address of a Service with externalTrafficPolicy Local, and leaves them
		// their own address. Without it they are answered by kube-proxy on their node, which sees the address
		// of the node's port ovn0 in its place.
		"--enable-ovn-lb-prefer-local=true",
	}
}

// kubeOVNManifest is the file of the Deployment that says how kube-ovn-controller runs.
func (l *Lab) kubeOVNManifest() string {
	return l.path(ControlPlane, "manifests", "kube-ovn-controller.yaml")
}

// kubeOVNDeployment renders the Deployment with the flags of kube-ovn-controller and further ones behind them.
func (l *Lab) kubeOVNDeployment(further []string) ([]byte, error) {
	args, err := json.Marshal(append(l.kubeOVNFlags(), further...))
	if err != nil {
		return nil, err
	}
	return render("kube-ovn-controller.yaml", map[string]string{"Args": string(args)})
}

// writeKubeOVNDeployment writes that to its file.
func (l *Lab) writeKubeOVNDeployment(further []string) error {
	b, err := l.kubeOVNDeployment(further)
	if err != nil {
		return err
	}
	return os.WriteFile(l.kubeOVNManifest(), b, 0o600)
}

// declareKubeOVN has the Deployment in the cluster say that kube-ovn-controller runs with these further flags.
func (l *Lab) declareKubeOVN(ctx context.Context, further []string) error {
	if err := l.writeKubeOVNDeployment(further); err != nil {
		return err
	}
	if _, err := l.Kubectl(ctx, "apply", "--server-side", "--force-conflicts", "-f", l.kubeOVNManifest()); err != nil {
		return fmt.Errorf("write the flags of %s into its Deployment: %w", kubeOVNController, err)
	}
	return nil
}
