package loadbalancer

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kubeovn/kube-ovn-ccm/pkg/gateway/spec"
	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
)

// applyOptions: what we render is ours, whoever has edited it.
var applyOptions = metav1.ApplyOptions{FieldManager: kubeovn.ManagedBy, Force: true}

// apply makes the three objects what the gateway needs, in the order in which
// a Pod needs them, and has the running Pods see a new document at once.
func (b *Balancer) apply(ctx context.Context, w *world, g *gateway) error {
	document, hash, err := g.document()
	if err != nil {
		return err
	}
	namespace, name := g.owner.Namespace, g.name()

	nad := g.attachment()
	err = b.applied.ensure("NetworkAttachmentDefinition", g.owner, nad.Object, cachedVersion(w.nad), func() (metav1.Object, error) {
		return b.Dynamic.Resource(kubeovn.NADResource).Namespace(namespace).Apply(ctx, name, nad, applyOptions)
	})
	if err != nil {
		return err
	}
	configMap := g.configMap(document)
	err = b.applied.ensure("ConfigMap", g.owner, configMap, cachedVersion(w.configMap), func() (metav1.Object, error) {
		return b.Kube.CoreV1().ConfigMaps(namespace).Apply(ctx, configMap, applyOptions)
	})
	if err != nil {
		return err
	}
	deployment := g.deployment()
	err = b.applied.ensure("Deployment", g.owner, deployment, cachedVersion(w.deployment), func() (metav1.Object, error) {
		return b.Kube.AppsV1().Deployments(namespace).Apply(ctx, deployment, applyOptions)
	})
	if err != nil {
		return err
	}
	return b.touch(ctx, w.pods, hash)
}

// touch puts the document's hash on the running Pods that have another one:
// the kubelet then refreshes what is mounted at once, not within a minute.
func (b *Balancer) touch(ctx context.Context, pods []gatewayPod, hash string) error {
	for _, pod := range pods {
		if pod.DeletionTimestamp != nil || pod.Status.Phase != corev1.PodRunning || pod.Annotations[AnnotationDocumentHash] == hash {
			continue
		}
		patch := mergePatch(pod.UID, map[string]any{"annotations": map[string]any{AnnotationDocumentHash: hash}}, nil)
		_, err := b.Kube.CoreV1().Pods(pod.Namespace).Patch(ctx, pod.Name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: kubeovn.ManagedBy})
		if ignoreGone(err) != nil {
			return fmt.Errorf("telling Pod %s of its new document: %w", pod.Name, err)
		}
	}
	return nil
}

// withdraw takes the address off the Service: it is about to be given up.
func (b *Balancer) withdraw(ctx context.Context, svc *corev1.Service) error {
	if len(svc.Status.LoadBalancer.Ingress) == 0 {
		return nil
	}
	patch := mergePatch(svc.UID, nil, map[string]any{"status": map[string]any{"loadBalancer": map[string]any{"ingress": nil}}})
	_, err := b.Kube.CoreV1().Services(svc.Namespace).Patch(ctx, svc.Name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: kubeovn.ManagedBy}, "status")
	if ignoreGone(err) != nil {
		return fmt.Errorf("withdrawing the address from the status: %w", err)
	}
	return nil
}

// mergePatch renders a patch for the object with this UID and no other: the
// API server refuses to change a UID.
func mergePatch(uid types.UID, metadata, rest map[string]any) []byte {
	patch := map[string]any{}
	for k, v := range rest {
		patch[k] = v
	}
	meta := map[string]any{"uid": string(uid)}
	for k, v := range metadata {
		meta[k] = v
	}
	patch["metadata"] = meta
	out, err := json.Marshal(patch)
	if err != nil {
		panic(err) // strings and maps always marshal
	}
	return out
}

// appliedObjects remembers what was written and which state that made, so that
// an object that nobody has touched since is not written again. Losing it
// costs a write that changes nothing.
type appliedObjects struct {
	mu      sync.Mutex
	objects map[appliedKey]appliedState
}

type appliedKey struct {
	kind  string
	owner kubeovn.Owner
}

type appliedState struct{ hash, version string }

// ensure calls write unless exactly this was written before and the cached
// object still has the version that it had then; "" is no version.
func (a *appliedObjects) ensure(kind string, owner kubeovn.Owner, rendered any, cached string, write func() (metav1.Object, error)) error {
	content, err := json.Marshal(rendered)
	if err != nil {
		return fmt.Errorf("rendering %s %s: %w", kind, ObjectName(owner.Name), err)
	}
	key, hash := appliedKey{kind, owner}, spec.Hash(content)

	a.mu.Lock()
	known := a.objects[key]
	a.mu.Unlock()
	if cached != "" && known == (appliedState{hash, cached}) {
		return nil
	}
	written, err := write()
	if err != nil {
		return fmt.Errorf("applying %s %s: %w", kind, ObjectName(owner.Name), err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.objects == nil {
		a.objects = map[appliedKey]appliedState{}
	}
	a.objects[key] = appliedState{hash, versionOf(written)}
	return nil
}

// forget drops what is remembered of a Service's objects.
func (a *appliedObjects) forget(owner kubeovn.Owner) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for key := range a.objects {
		if key.owner == owner {
			delete(a.objects, key)
		}
	}
}

// cachedVersion is the version of a cached object, "" if there is none.
func cachedVersion[T any, P object[T]](obj P) string {
	if obj == nil {
		return ""
	}
	return versionOf(obj)
}

// versionOf names the state of an object by what its writers made of it. A
// Deployment's status changes its resourceVersion, and its generation leaves
// out its metadata.
func versionOf(obj metav1.Object) string {
	if d, ok := obj.(*appsv1.Deployment); ok {
		return fmt.Sprintf("%s/%d/%v/%v", d.UID, d.Generation, d.Labels, d.OwnerReferences)
	}
	return string(obj.GetUID()) + "/" + obj.GetResourceVersion()
}
