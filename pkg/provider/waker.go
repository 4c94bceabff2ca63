package provider

import (
	"context"
	"time"

	"k8s.io/client-go/util/workqueue"
)

// coalesce is how long a wake waits for further ones of the same Service.
// Things change in bursts: a Pod that becomes ready changes its Deployment
// twice.
const coalesce = 50 * time.Millisecond

// waker has Services looked at again, soon or later.
type waker struct {
	queue workqueue.TypedDelayingInterface[string]
}

func newWaker() *waker {
	return &waker{
		// The name gives the queue its metrics (workqueue_adds_total and so on).
		queue: workqueue.NewTypedDelayingQueueWithConfig(workqueue.TypedDelayingQueueConfig[string]{Name: "kube-ovn-ccm-wakes"}),
	}
}

// Wake asks for another look at the Service "namespace/name" after the given
// time. Of several wakes of one Service the earliest counts and the others are
// dropped with it: whoever still needs a later one is asked again by that look.
func (w *waker) Wake(key string, after time.Duration) {
	w.queue.AddAfter(key, max(after, coalesce))
}

// run delivers the wakes until the context ends.
func (w *waker) run(ctx context.Context, deliver func(key string)) {
	stop := context.AfterFunc(ctx, w.queue.ShutDown)
	defer stop()
	for {
		key, quit := w.queue.Get()
		if quit {
			return
		}
		deliver(key)
		w.queue.Done(key)
	}
}
