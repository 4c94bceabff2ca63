package provider

import (
	"context"
	"time"

	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/klog/v2"

	"github.com/kubeovn/kube-ovn-ccm/pkg/loadbalancer"
)

const (
	// refreshWorkers look at woken Services at the same time. None of them
	// waits for a gateway.
	refreshWorkers = 16
	// Errors are those of the API server; they are tried again soon, and not
	// rarer than a user has patience.
	firstRefreshRetry = 100 * time.Millisecond
	lastRefreshRetry  = 30 * time.Second
	// deletionPause is how long a Service that is being deleted waits for its
	// next look. Most are gone by then; looked at again before the cache knows
	// that, the service controller would warn that it cannot take its finalizer
	// off what does not exist.
	deletionPause = time.Second
)

// refresher looks at Services that the service controller has taken on
// already. The controller itself would write an Event "EnsuringLoadBalancer" at
// each look, and a Service is looked at whenever one of its Pods comes or goes;
// it is called only when there is a status to publish.
type refresher struct {
	view  *serviceView
	queue workqueue.TypedRateLimitingInterface[string]
	// refresh does the next step for a Service; publish says that there is a
	// status that the Service does not show.
	refresh func(ctx context.Context, namespace, name string) (publish bool, err error)
}

func newRefresher(view *serviceView, refresh func(ctx context.Context, namespace, name string) (bool, error)) *refresher {
	return &refresher{
		view:    view,
		refresh: refresh,
		queue: workqueue.NewTypedRateLimitingQueueWithConfig(
			workqueue.NewTypedItemExponentialFailureRateLimiter[string](firstRefreshRetry, lastRefreshRetry),
			workqueue.TypedRateLimitingQueueConfig[string]{Name: "kube-ovn-ccm-refreshes"}),
	}
}

// look has a Service looked at: by the service controller if it has to put its
// finalizer on it first or to take a load balancer down, else by refresh.
func (r *refresher) look(key string) {
	namespace, name, err := cache.SplitMetaNamespaceKey(key)
	if err != nil {
		return
	}
	svc, err := r.view.shared.Lister().Services(namespace).Get(name)
	switch {
	case err == nil && r.view.claimOf(svc) == foreign:
		r.view.beside.pass(svc, r.view.cfg)
	case err == nil && svc.DeletionTimestamp != nil:
		r.queue.AddAfter(key, deletionPause)
	case err == nil && r.view.claimOf(svc) == claimed && loadbalancer.HasFinalizer(svc):
		r.queue.Add(key)
	default:
		r.view.deliver(key)
	}
}

// run works until the context ends.
func (r *refresher) run(ctx context.Context) {
	for range refreshWorkers {
		go func() {
			for r.next(ctx) {
			}
		}()
	}
	<-ctx.Done()
	r.queue.ShutDown()
}

func (r *refresher) next(ctx context.Context) bool {
	key, quit := r.queue.Get()
	if quit {
		return false
	}
	defer r.queue.Done(key)
	namespace, name, err := cache.SplitMetaNamespaceKey(key)
	if err != nil {
		return true
	}
	if svc, err := r.view.shared.Lister().Services(namespace).Get(name); err == nil && svc.DeletionTimestamp != nil {
		r.view.deliver(key)
		return true
	}
	publish, err := r.refresh(ctx, namespace, name)
	if err != nil {
		klog.FromContext(ctx).Error(err, "Looking at a Service failed; it is tried again", "service", key)
		r.queue.AddRateLimited(key)
		return true
	}
	r.queue.Forget(key)
	if publish {
		r.view.deliver(key)
	}
	return true
}
