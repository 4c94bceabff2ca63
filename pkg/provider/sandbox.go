package provider

import (
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
)

// byPod indexes Events by the UID of the Pod that they are about.
const byPod = "pod"

// sandboxFailures knows why the networks of Pods could not be set up. The
// kubelet says so nowhere but in its Events; a Pod's own status says only that
// its containers are being created.
type sandboxFailures struct {
	informer cache.SharedIndexInformer
}

// newSandboxFailures watches the Events with reason FailedCreatePodSandBox,
// and no others: the API server selects them.
func newSandboxFailures(client kubernetes.Interface) (*sandboxFailures, informers.SharedInformerFactory) {
	selector := fields.Set{"reason": "FailedCreatePodSandBox", "involvedObject.kind": "Pod"}.String()
	factory := informers.NewSharedInformerFactoryWithOptions(client, 0,
		informers.WithTweakListOptions(func(o *metav1.ListOptions) { o.FieldSelector = selector }),
		informers.WithTransform(slimEvent))
	informer := factory.Core().V1().Events().Informer()
	// It fails only on an informer that runs.
	_ = informer.AddIndexers(cache.Indexers{byPod: func(obj any) ([]string, error) {
		if event, ok := obj.(*v1.Event); ok {
			return []string{string(event.InvolvedObject.UID)}, nil
		}
		return nil, nil
	}})
	return &sandboxFailures{informer: informer}, factory
}

// message returns the newest failure of a Pod; false if there is none, or if
// the Pod's networks have been set up since.
func (f *sandboxFailures) message(pod *v1.Pod) (string, bool) {
	for _, c := range pod.Status.Conditions {
		if c.Type == v1.PodReadyToStartContainers && c.Status == v1.ConditionTrue {
			return "", false
		}
	}
	objs, err := f.informer.GetIndexer().ByIndex(byPod, string(pod.UID))
	if err != nil {
		return "", false // cannot be: the index exists
	}
	var newest *v1.Event
	for _, obj := range objs {
		if event, ok := obj.(*v1.Event); ok && (newest == nil || seen(event).After(seen(newest))) {
			newest = event
		}
	}
	if newest == nil {
		return "", false
	}
	return newest.Message, true
}

// handler wakes the Service whose gateway Pod a failure is about.
func (f *sandboxFailures) handler(pods corelisters.PodLister, wake func(key string)) cache.ResourceEventHandler {
	tell := func(obj any) {
		event, ok := obj.(*v1.Event)
		if !ok {
			return
		}
		pod, err := pods.Pods(event.InvolvedObject.Namespace).Get(event.InvolvedObject.Name)
		if err != nil || pod.UID != event.InvolvedObject.UID {
			return // no Pod of ours
		}
		if owner, ours := kubeovn.OwnerOf(pod); ours {
			wake(owner.Key())
		}
	}
	return cache.ResourceEventHandlerFuncs{
		AddFunc: tell,
		UpdateFunc: func(before, after any) {
			b, ok1 := before.(*v1.Event)
			a, ok2 := after.(*v1.Event)
			if ok1 && ok2 && b.Message != a.Message {
				tell(after)
			}
		},
	}
}

// seen is when an Event was last seen, in whichever way its writer says so.
func seen(e *v1.Event) time.Time {
	latest := e.CreationTimestamp.Time
	for _, t := range []time.Time{e.EventTime.Time, e.LastTimestamp.Time} {
		if t.After(latest) {
			latest = t
		}
	}
	if e.Series != nil && e.Series.LastObservedTime.After(latest) {
		latest = e.Series.LastObservedTime.Time
	}
	return latest
}

// slimEvent keeps of an Event what is read here. In a cluster with a broken
// network there are many of them.
func slimEvent(obj any) (any, error) {
	e, ok := obj.(*v1.Event)
	if !ok {
		return obj, nil
	}
	return &v1.Event{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: e.Namespace, Name: e.Name, UID: e.UID,
			ResourceVersion: e.ResourceVersion, CreationTimestamp: e.CreationTimestamp,
		},
		InvolvedObject: e.InvolvedObject, Message: e.Message,
		EventTime: e.EventTime, LastTimestamp: e.LastTimestamp, Series: e.Series,
	}, nil
}
