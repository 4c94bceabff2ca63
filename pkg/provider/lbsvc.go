package provider

import (
	"context"
	"sync/atomic"

	appsv1 "k8s.io/api/apps/v1"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"github.com/kubeovn/kube-ovn-ccm/pkg/lbsvc"
)

// lbSvc knows Kube-OVN's own lb-svc: whether it is switched on, and for which
// Services there is a gateway of it.
type lbSvc struct {
	controller cache.SharedIndexInformer // Deployments of kube-ovn-controller: one or none
	gateways   cache.SharedIndexInformer // ReplicaSets of Kube-OVN's gateways
	factories  []informers.SharedInformerFactory

	enabled atomic.Bool
	told    []cache.InformerSynced // of the handlers: what they have not been told does not count
}

// newLbSvc watches the Deployment of kube-ovn-controller, and the ReplicaSets
// that have the labels of Kube-OVN's gateways: the API server selects them.
// Their Deployments have no label to select them by, and Pods are not always
// there; a ReplicaSet is as long as its Deployment.
func newLbSvc(client kubernetes.Interface) *lbSvc {
	name := fields.OneTermEqualSelector(metav1.ObjectNameField, lbsvc.ControllerName).String()
	controller := informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithNamespace(lbsvc.ControllerNamespace),
		informers.WithTweakListOptions(func(o *metav1.ListOptions) { o.FieldSelector = name }))
	gateways := informers.NewSharedInformerFactoryWithOptions(client, 0,
		informers.WithTweakListOptions(func(o *metav1.ListOptions) { o.LabelSelector = lbsvc.Selector().String() }))
	l := &lbSvc{
		controller: controller.Apps().V1().Deployments().Informer(),
		gateways:   gateways.Apps().V1().ReplicaSets().Informer(),
		factories:  []informers.SharedInformerFactory{controller, gateways},
	}
	// It fails only on an informer that runs.
	_ = l.gateways.AddIndexers(cache.Indexers{byService: func(obj any) ([]string, error) {
		if key := gatewayFor(obj); key != "" {
			return []string{key}, nil
		}
		return nil, nil
	}})
	return l
}

// listen calls all when the lb-svc is switched on or off, and one with the key
// of a Service for which a gateway of Kube-OVN appears or goes; to be called
// before start.
func (l *lbSvc) listen(one func(key string), all func()) {
	seen := func(enabled bool) {
		if l.enabled.Swap(enabled) != enabled {
			klog.InfoS("Kube-OVN's own lb-svc was switched", "enabled", enabled)
			all()
		}
	}
	l.handle(l.controller, cache.FilteringResourceEventHandler{FilterFunc: isController, Handler: cache.ResourceEventHandlerFuncs{
		AddFunc:    func(obj any) { seen(enabledIn(obj)) },
		UpdateFunc: func(_, obj any) { seen(enabledIn(obj)) },
		DeleteFunc: func(any) { seen(false) },
	}})
	changed := func(obj any) {
		if key := gatewayFor(obj); key != "" {
			one(key)
		}
	}
	l.handle(l.gateways, cache.ResourceEventHandlerFuncs{AddFunc: changed, DeleteFunc: changed})
}

func (l *lbSvc) handle(informer cache.SharedIndexInformer, handler cache.ResourceEventHandler) {
	registration, err := informer.AddEventHandler(handler)
	if err != nil {
		// Only an informer that was stopped refuses a handler.
		klog.ErrorS(err, "Cannot listen to changes of Kube-OVN's own lb-svc")
		return
	}
	l.told = append(l.told, registration.HasSynced)
}

func (l *lbSvc) start(ctx context.Context) {
	for _, factory := range l.factories {
		factory.Start(ctx.Done())
	}
}

// Synced implements loadbalancer.LbSvc.
func (l *lbSvc) Synced() bool {
	for _, synced := range l.told {
		if !synced() {
			return false
		}
	}
	return true
}

// Enabled implements loadbalancer.LbSvc.
func (l *lbSvc) Enabled() bool { return l.enabled.Load() }

// hasGateway reports whether Kube-OVN has a gateway for a Service.
func (l *lbSvc) hasGateway(svc *v1.Service) bool {
	found, err := l.gateways.GetIndexer().IndexKeys(byService, svc.Namespace+"/"+svc.Name)
	return err == nil && len(found) > 0
}

// isController recognizes the Deployment of kube-ovn-controller.
func isController(obj any) bool {
	if unknown, ok := obj.(cache.DeletedFinalStateUnknown); ok {
		obj = unknown.Obj
	}
	d, ok := obj.(*appsv1.Deployment)
	return ok && d.Namespace == lbsvc.ControllerNamespace && d.Name == lbsvc.ControllerName
}

func enabledIn(obj any) bool {
	d, ok := obj.(*appsv1.Deployment)
	return ok && lbsvc.Enabled(d)
}

// gatewayFor is the key of the Service that a ReplicaSet is a gateway of Kube-OVN
// for, empty if it is none.
func gatewayFor(obj any) string {
	if unknown, ok := obj.(cache.DeletedFinalStateUnknown); ok {
		obj = unknown.Obj
	}
	if rs, ok := obj.(*appsv1.ReplicaSet); ok {
		if service, theirs := lbsvc.ServiceOf(rs.Namespace, rs.Spec.Template.ObjectMeta, rs.Spec.Template.Spec); theirs {
			return rs.Namespace + "/" + service
		}
	}
	return ""
}
