package provider

import (
	discoveryv1 "k8s.io/api/discovery/v1"
	discoveryinformers "k8s.io/client-go/informers/discovery/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
)

// byService is the index of EndpointSlices by the Service that they belong to.
const byService = "service"

// endpointSlices knows the EndpointSlices of each Service.
type endpointSlices struct{ informer cache.SharedIndexInformer }

func newEndpointSlices(shared discoveryinformers.EndpointSliceInformer) endpointSlices {
	e := endpointSlices{shared.Informer()}
	err := e.informer.AddIndexers(cache.Indexers{byService: func(obj any) ([]string, error) {
		if key := serviceOf(obj); key != "" {
			return []string{key}, nil
		}
		return nil, nil
	}})
	if err != nil {
		// Only an informer that was stopped refuses an index.
		klog.ErrorS(err, "Cannot find endpoints by their Service")
	}
	return e
}

// of returns the EndpointSlices of a Service.
func (e endpointSlices) of(namespace, service string) []*discoveryv1.EndpointSlice {
	objs, err := e.informer.GetIndexer().ByIndex(byService, namespace+"/"+service)
	if err != nil {
		return nil // cannot be: the index is ours
	}
	out := make([]*discoveryv1.EndpointSlice, 0, len(objs))
	for _, obj := range objs {
		if slice, ok := obj.(*discoveryv1.EndpointSlice); ok {
			out = append(out, slice)
		}
	}
	return out
}

// listen wakes the Service whose endpoints change. The first list wakes
// nobody: every Service is looked at then anyway.
func (e endpointSlices) listen(wake func(key string)) {
	changed := func(obj any) {
		if key := serviceOf(obj); key != "" {
			wake(key)
		}
	}
	_, err := e.informer.AddEventHandler(cache.ResourceEventHandlerDetailedFuncs{
		AddFunc: func(obj any, isInInitialList bool) {
			if !isInInitialList {
				changed(obj)
			}
		},
		UpdateFunc: func(before, after any) {
			if serviceOf(before) != serviceOf(after) {
				changed(before)
			}
			changed(after)
		},
		DeleteFunc: changed,
	})
	if err != nil {
		// Only an informer that was stopped refuses a handler.
		klog.ErrorS(err, "Cannot listen to changes of endpoints")
	}
}

// serviceOf is the key of the Service that an EndpointSlice belongs to, empty
// if there is none.
func serviceOf(obj any) string {
	if unknown, ok := obj.(cache.DeletedFinalStateUnknown); ok {
		obj = unknown.Obj
	}
	slice, ok := obj.(*discoveryv1.EndpointSlice)
	if !ok || slice.Labels[discoveryv1.LabelServiceName] == "" {
		return ""
	}
	return slice.Namespace + "/" + slice.Labels[discoveryv1.LabelServiceName]
}
