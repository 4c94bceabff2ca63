package provider

import (
	"slices"
	"sync"
	"time"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"
	coreinformers "k8s.io/client-go/informers/core/v1"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	servicehelper "k8s.io/cloud-provider/service/helpers"
	"k8s.io/utils/ptr"

	"github.com/kubeovn/kube-ovn-ccm/pkg/loadbalancer"
)

// serviceView is the Service informer that the service controller is given
// instead of the shared one. The controller itself is unmodified; what it
// cannot do is done here:
//
//   - It would put its finalizer on every LoadBalancer Service of the cluster
//     and would handle none that has a class. The view delivers only our
//     Services, in the form that show gives them.
//   - It has no periodic reconciliation and no way to ask it for another look
//     from outside. The view keeps the handlers that the controller registers,
//     so that wake can deliver a Service once more.
type serviceView struct {
	shared coreinformers.ServiceInformer
	cfg    loadbalancer.Config
	// statusLost reports a Service that does not show what was published.
	statusLost func(*v1.Service) bool
	beside     beside
	// synced holds further informers that must be complete before the
	// controller begins to work.
	synced []cache.InformerSynced

	mu       sync.RWMutex
	handlers []cache.ResourceEventHandler
}

var _ coreinformers.ServiceInformer = &serviceView{}

func newServiceView(shared coreinformers.ServiceInformer, cfg loadbalancer.Config, statusLost func(*v1.Service) bool, synced ...cache.InformerSynced) *serviceView {
	return &serviceView{shared: shared, cfg: cfg, statusLost: statusLost, synced: synced}
}

// Informer returns the view as the informer on which handlers are registered.
func (v *serviceView) Informer() cache.SharedIndexInformer {
	return &viewInformer{SharedIndexInformer: v.shared.Informer(), view: v}
}

// Lister returns a lister of the Services in the form in which they are shown.
func (v *serviceView) Lister() corelisters.ServiceLister {
	return &viewLister{shared: v.shared.Lister(), view: v}
}

func (v *serviceView) show(svc *v1.Service) *v1.Service {
	if v.claimOf(svc) == foreign {
		return nil
	}
	return show(svc, v.cfg)
}

// claimOf decides what a Service is to us as things stand with Kube-OVN's own
// lb-svc.
func (v *serviceView) claimOf(svc *v1.Service) claim {
	c := claimOf(svc, v.cfg)
	if c == claimed && v.beside.left(svc) != nil {
		return foreign
	}
	return c
}

// claimedServices returns the Services that ask for a load balancer from us.
func (v *serviceView) claimedServices() []*v1.Service {
	all, err := v.shared.Lister().List(labels.Everything())
	if err != nil {
		return nil // cannot be: the lister reads memory
	}
	return slices.DeleteFunc(all, func(svc *v1.Service) bool { return v.claimOf(svc) != claimed })
}

// askingKeys returns the keys of the Services that ask for a load balancer from
// us, whether they are to get one or are left to Kube-OVN.
func (v *serviceView) askingKeys() []string {
	return v.keys(func(svc *v1.Service) bool { return claimOf(svc, v.cfg) == claimed })
}

// shownKeys returns the keys of all Services that the controller sees.
func (v *serviceView) shownKeys() []string {
	return v.keys(func(svc *v1.Service) bool { return v.claimOf(svc) != foreign })
}

func (v *serviceView) keys(of func(*v1.Service) bool) []string {
	all, err := v.shared.Lister().List(labels.Everything())
	if err != nil {
		return nil // cannot be: the lister reads memory
	}
	var keys []string
	for _, svc := range all {
		if of(svc) {
			keys = append(keys, svc.Namespace+"/"+svc.Name)
		}
	}
	return keys
}

// deliver hands the Service to the controller as if it were new, which makes
// the controller look at it again. Nothing happens to a Service that is not
// shown or not there.
func (v *serviceView) deliver(key string) {
	namespace, name, err := cache.SplitMetaNamespaceKey(key)
	if err != nil {
		return
	}
	svc, err := v.Lister().Services(namespace).Get(name)
	if err != nil {
		return
	}
	v.mu.RLock()
	defer v.mu.RUnlock()
	for _, h := range v.handlers {
		h.OnAdd(svc, false)
	}
}

func (v *serviceView) register(h cache.ResourceEventHandler) cache.ResourceEventHandler {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.handlers = append(v.handlers, h)
	return &viewHandler{view: v, next: h}
}

// viewInformer is the shared informer with filtered handlers.
type viewInformer struct {
	cache.SharedIndexInformer
	view *serviceView
}

func (i *viewInformer) AddEventHandler(h cache.ResourceEventHandler) (cache.ResourceEventHandlerRegistration, error) {
	return i.SharedIndexInformer.AddEventHandler(i.view.register(h))
}

func (i *viewInformer) AddEventHandlerWithResyncPeriod(h cache.ResourceEventHandler, period time.Duration) (cache.ResourceEventHandlerRegistration, error) {
	return i.SharedIndexInformer.AddEventHandlerWithResyncPeriod(i.view.register(h), period)
}

func (i *viewInformer) AddEventHandlerWithOptions(h cache.ResourceEventHandler, options cache.HandlerOptions) (cache.ResourceEventHandlerRegistration, error) {
	return i.SharedIndexInformer.AddEventHandlerWithOptions(i.view.register(h), options)
}

// HasSynced is true when the Services and everything else that the
// controller's first calls depend on are known.
func (i *viewInformer) HasSynced() bool {
	for _, synced := range i.view.synced {
		if !synced() {
			return false
		}
	}
	return i.SharedIndexInformer.HasSynced()
}

// viewHandler translates the events of all Services to those of the shown
// ones.
type viewHandler struct {
	view *serviceView
	next cache.ResourceEventHandler
}

func (h *viewHandler) OnAdd(obj any, isInInitialList bool) {
	if svc, ok := obj.(*v1.Service); ok {
		if shown := h.view.show(svc); shown != nil {
			h.next.OnAdd(shown, isInInitialList)
		} else {
			h.view.beside.pass(svc, h.view.cfg)
		}
	}
}

func (h *viewHandler) OnUpdate(oldObj, newObj any) {
	oldSvc, ok1 := oldObj.(*v1.Service)
	newSvc, ok2 := newObj.(*v1.Service)
	if !ok1 || !ok2 {
		return
	}
	before, after := h.view.show(oldSvc), h.view.show(newSvc)
	switch {
	case before == nil && after == nil:
		h.view.beside.pass(newSvc, h.view.cfg)
	case before == nil:
		h.next.OnAdd(after, false)
	case after == nil:
		h.gone(before)
	case needsLook(before, after) || h.view.statusLost(newSvc):
		h.next.OnAdd(after, false)
	default:
		h.next.OnUpdate(before, after)
	}
}

func (h *viewHandler) OnDelete(obj any) {
	if unknown, ok := obj.(cache.DeletedFinalStateUnknown); ok {
		obj = unknown.Obj
	}
	if svc, ok := obj.(*v1.Service); ok {
		if shown := h.view.show(svc); shown != nil {
			h.gone(shown)
		} else {
			h.view.beside.forget(svc)
		}
	}
}

// gone reports a Service that is not shown any more, and has the controller
// look at its key once more: it ignores deletions, trusting its finalizer, but
// a Service whose finalizer was taken off by hand has things of ours left. The
// controller then finds the key in its own memory but not in the lister, and
// cleans up; usually it has done so before and forgotten the key.
func (h *viewHandler) gone(svc *v1.Service) {
	h.next.OnDelete(svc)
	h.next.OnAdd(svc, false)
}

// needsLook reports a change of a Service that matters to a load balancer but
// that the controller takes no notice of: its finalizer was taken off by
// somebody, or the addresses inside the cluster or the policies are others.
func needsLook(before, after *v1.Service) bool {
	if servicehelper.HasLBFinalizer(before) && !servicehelper.HasLBFinalizer(after) {
		return true
	}
	return !slices.Equal(before.Spec.ClusterIPs, after.Spec.ClusterIPs) ||
		!slices.Equal(before.Spec.IPFamilies, after.Spec.IPFamilies) ||
		!ptr.Equal(before.Spec.IPFamilyPolicy, after.Spec.IPFamilyPolicy) ||
		!ptr.Equal(before.Spec.InternalTrafficPolicy, after.Spec.InternalTrafficPolicy)
}

// viewLister lists the Services in the form in which they are shown.
type viewLister struct {
	shared corelisters.ServiceLister
	view   *serviceView
}

func (l *viewLister) List(selector labels.Selector) ([]*v1.Service, error) {
	all, err := l.shared.List(selector)
	return l.view.showAll(all), err
}

func (l *viewLister) Services(namespace string) corelisters.ServiceNamespaceLister {
	return &viewNamespaceLister{shared: l.shared.Services(namespace), view: l.view}
}

type viewNamespaceLister struct {
	shared corelisters.ServiceNamespaceLister
	view   *serviceView
}

func (l *viewNamespaceLister) List(selector labels.Selector) ([]*v1.Service, error) {
	all, err := l.shared.List(selector)
	return l.view.showAll(all), err
}

func (l *viewNamespaceLister) Get(name string) (*v1.Service, error) {
	svc, err := l.shared.Get(name)
	if err != nil {
		return nil, err
	}
	shown := l.view.show(svc)
	if shown == nil {
		return nil, apierrors.NewNotFound(v1.Resource("services"), name)
	}
	return shown, nil
}

func (v *serviceView) showAll(services []*v1.Service) []*v1.Service {
	var shown []*v1.Service
	for _, svc := range services {
		if s := v.show(svc); s != nil {
			shown = append(shown, s)
		}
	}
	return shown
}
