package churn

import (
	"context"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/cache"
	watchtools "k8s.io/client-go/tools/watch"

	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
)

// resources are the kinds that are watched.
var resources = map[string]schema.GroupVersionResource{
	kindVip:     kubeovn.VipResource,
	kindIP:      kubeovn.IPResource,
	kindSubnet:  kubeovn.SubnetResource,
	kindPod:     {Version: "v1", Resource: "pods"},
	kindService: {Version: "v1", Resource: "services"},
}

// event is one state of one object.
type event struct {
	object *unstructured.Unstructured
	gone   bool
	seen   time.Time
}

// follow delivers all objects of a kind, then each of their changes, and leaves none out: unlike an informer, which may
// skip what lasted for a moment only. It returns when the context ends, or with an error when a change was lost.
func follow(ctx context.Context, client dynamic.Interface, kind string, events chan<- event) error {
	resource := client.Resource(resources[kind])
	list, err := resource.List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("listing every %s: %w", kind, err)
	}
	deliver := func(u *unstructured.Unstructured, gone bool) {
		u.SetKind(kind)
		select {
		case events <- event{u, gone, time.Now()}:
		case <-ctx.Done():
		}
	}
	for i := range list.Items {
		deliver(&list.Items[i], false)
	}
	w, err := watchtools.NewRetryWatcherWithContext(ctx, list.GetResourceVersion(), &cache.ListWatch{
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			return resource.Watch(ctx, o)
		},
	})
	if err != nil {
		return fmt.Errorf("watching every %s: %w", kind, err)
	}
	defer w.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case e, ok := <-w.ResultChan():
			u, isObject := e.Object.(*unstructured.Unstructured)
			switch {
			case ctx.Err() != nil:
				return nil
			case !ok:
				return fmt.Errorf("watching every %s: it ended", kind)
			case e.Type == watch.Error:
				return fmt.Errorf("watching every %s: %v", kind, e.Object)
			case isObject && e.Type != watch.Bookmark:
				deliver(u, e.Type == watch.Deleted)
			}
		}
	}
}
