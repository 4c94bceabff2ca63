package kubeovn

import (
	"context"
	"fmt"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
)

// unreadableRetry is how often a kind that cannot be read is tried again. The
// reflector's own backoff grows to a minute, too long for somebody who has
// just installed the CRD and watches.
const unreadableRetry = 2 * time.Second

// source is the watch of one kind.
type source struct {
	kind     Kind
	gvr      schema.GroupVersionResource
	informer cache.SharedIndexInformer
	retry    time.Duration

	mu       sync.Mutex
	troubles map[string]error // by verb: "list", "watch"
}

// newSource makes an informer whose store holds what decode returns, so that
// the objects as they came from the API are garbage at once: a large cluster
// has tens of thousands of IPs.
func newSource(client dynamic.Interface, kind Kind, gvr schema.GroupVersionResource, decode func(*unstructured.Unstructured) metav1.Object, indexers cache.Indexers) *source {
	s := &source{kind: kind, gvr: gvr, retry: unreadableRetry, troubles: map[string]error{}}
	resource := client.Resource(gvr)
	lw := &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			return s.list(ctx, resource, options)
		},
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			return s.watch(ctx, resource, options)
		},
	}
	s.informer = cache.NewSharedIndexInformerWithOptions(
		cache.ToListWatcherWithWatchListSemantics(lw, client), &unstructured.Unstructured{},
		cache.SharedIndexInformerOptions{Indexers: indexers, ObjectDescription: gvr.String()})
	// Neither setter fails before the informer runs.
	_ = s.informer.SetTransform(func(obj any) (any, error) {
		if u, ok := obj.(*unstructured.Unstructured); ok {
			return decode(u), nil
		}
		return obj, nil // decoded before, or a tombstone
	})
	_ = s.informer.SetWatchErrorHandlerWithContext(func(ctx context.Context, r *cache.Reflector, err error) {
		if !unreadable(err) { // those are told by Missing, not by a line every few seconds
			cache.DefaultWatchErrorHandler(ctx, r, err)
		}
	})
	return s
}

// list waits while the kind cannot be read, instead of returning an error
// that makes the reflector wait longer and longer.
func (s *source) list(ctx context.Context, resource dynamic.ResourceInterface, options metav1.ListOptions) (runtime.Object, error) {
	for {
		l, err := resource.List(ctx, options)
		s.note(ctx, "list", err)
		if err == nil {
			return l, nil
		}
		if !unreadable(err) || !s.pause(ctx) {
			return nil, err
		}
	}
}

// watch waits likewise while watching is forbidden. If the kind has gone, or
// if the watch was to bring the first list as well, the reflector lists next,
// and waits there.
func (s *source) watch(ctx context.Context, resource dynamic.ResourceInterface, options metav1.ListOptions) (watch.Interface, error) {
	for {
		w, err := resource.Watch(ctx, options)
		s.note(ctx, "watch", err)
		if err == nil {
			return w, nil
		}
		lists := apierrors.IsNotFound(err) || options.SendInitialEvents != nil
		if !unreadable(err) || lists || !s.pause(ctx) {
			return nil, err
		}
	}
}

// pause waits until the next try; false if there is to be none.
func (s *source) pause(ctx context.Context) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(s.retry):
		return true
	}
}

// note remembers why a verb failed, if it is for a person to mend, and says in
// the log when that begins and ends.
func (s *source) note(ctx context.Context, verb string, err error) {
	before := s.trouble()
	s.remember(verb, err)
	switch now := s.trouble(); {
	case now == before:
	case now != "":
		klog.FromContext(ctx).Error(nil, "Load balancers cannot be made", "trouble", now, "retryEvery", s.retry)
	default:
		klog.FromContext(ctx).Info("Readable again", "kind", s.kind)
	}
}

// remember keeps what went wrong with a verb. A watch that begins shows that
// all is well; a list shows only that one can list.
func (s *source) remember(verb string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case unreadable(err):
		s.troubles[verb] = err
	case err == nil && verb == "watch":
		clear(s.troubles)
	case err == nil:
		delete(s.troubles, verb)
	}
}

// trouble describes why the kind cannot be read; empty if it can.
func (s *source) trouble() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, verb := range []string{"list", "watch"} {
		err := s.troubles[verb]
		switch {
		case err == nil:
		case apierrors.IsNotFound(err):
			return fmt.Sprintf("%s cannot be read: the CustomResourceDefinition %s (version %s) is not installed: install %s",
				s.kind, s.gvr.GroupResource(), s.gvr.Version, s.project())
		default:
			return fmt.Sprintf("%s cannot be read: RBAC must allow kube-ovn-ccm to %s %s: %v",
				s.kind, verb, s.gvr.GroupResource(), err)
		}
	}
	return ""
}

// project is what brings the kind's definition.
func (s *source) project() string {
	if s.kind == KindNAD {
		return "multus"
	}
	return "Kube-OVN"
}

// unreadable tells what only a person can mend from what passes.
func unreadable(err error) bool {
	return apierrors.IsNotFound(err) || apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err)
}

// erase makes a decoder of one kind one of any kind.
func erase[T metav1.Object](decode func(*unstructured.Unstructured) T) func(*unstructured.Unstructured) metav1.Object {
	return func(u *unstructured.Unstructured) metav1.Object { return decode(u) }
}
