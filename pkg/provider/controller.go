package provider

import (
	"context"
	"fmt"

	utilfeature "k8s.io/apiserver/pkg/util/feature"
	cloudprovider "k8s.io/cloud-provider"
	"k8s.io/cloud-provider/app"
	"k8s.io/cloud-provider/app/config"
	servicecontroller "k8s.io/cloud-provider/controllers/service"
	"k8s.io/cloud-provider/names"
	"k8s.io/component-base/metrics/legacyregistry"
	genericcontrollermanager "k8s.io/controller-manager/app"
	"k8s.io/controller-manager/controller"
	"k8s.io/klog/v2"

	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
)

// Controllers returns the controllers of kube-ovn-ccm: the service controller
// of k8s.io/cloud-provider, unmodified, over our views of Services and Nodes.
// The node and route controllers are not among them; registered, they would
// say at each start that they have nothing to do.
func Controllers() map[string]app.ControllerInitFuncConstructor {
	return map[string]app.ControllerInitFuncConstructor{
		names.ServiceLBController: {
			InitContext: app.ControllerInitContext{ClientName: kubeovn.ManagedBy},
			Constructor: newServiceController,
		},
	}
}

// newServiceController returns what starts the service controller on the
// leader. It must not wait for caches: the application starts the shared
// informers after it.
func newServiceController(_ app.ControllerInitContext, completed *config.CompletedConfig, cloud cloudprovider.Interface) app.InitFunc {
	return func(ctx context.Context, shared genericcontrollermanager.ControllerContext) (controller.Interface, bool, error) {
		p, ok := cloud.(*Provider)
		if !ok {
			return nil, false, fmt.Errorf("cloud provider %q is not %q", cloud.ProviderName(), Name)
		}
		c, err := servicecontroller.New(p, p.clients.controller, p.services, p.nodes,
			completed.ComponentConfig.KubeCloudShared.ClusterName, utilfeature.DefaultFeatureGate)
		if err != nil {
			return nil, false, fmt.Errorf("service controller: %w", err)
		}
		if err := legacyregistry.CustomRegister(&collector{view: p.services, pending: p.balancer.Pending}); err != nil {
			klog.FromContext(ctx).Error(err, "Services are not counted in the metrics")
		}
		go c.Run(ctx, int(completed.ComponentConfig.ServiceController.ConcurrentServiceSyncs), shared.ControllerManagerMetrics)
		return nil, true, nil
	}
}
