package provider

import (
	"context"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	appsinformers "k8s.io/client-go/informers/apps/v1"
	coreinformers "k8s.io/client-go/informers/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
)

// managed are the informers of what kube-ovn-ccm itself made, selected by
// label in the API server: the cluster's other Pods never reach this process.
type managed struct {
	deployments appsinformers.DeploymentInformer
	pods        coreinformers.PodInformer
	configMaps  coreinformers.ConfigMapInformer
	sandboxes   *sandboxFailures
	// synced are the informers without which no decision is sound. The Events
	// are not among them: they only improve a message.
	synced []cache.InformerSynced

	factories []informers.SharedInformerFactory
}

func newManaged(client kubernetes.Interface) *managed {
	factory := informers.NewSharedInformerFactoryWithOptions(client, 0,
		informers.WithTweakListOptions(func(o *metav1.ListOptions) { o.LabelSelector = kubeovn.ManagedSelector().String() }))
	sandboxes, events := newSandboxFailures(client)
	m := &managed{
		deployments: factory.Apps().V1().Deployments(),
		pods:        factory.Core().V1().Pods(),
		configMaps:  factory.Core().V1().ConfigMaps(),
		sandboxes:   sandboxes,
		factories:   []informers.SharedInformerFactory{factory, events},
	}
	for _, informer := range m.owned() {
		m.synced = append(m.synced, informer.HasSynced)
	}
	return m
}

// owned are the informers of objects that carry the labels of their Service.
func (m *managed) owned() []cache.SharedIndexInformer {
	return []cache.SharedIndexInformer{m.deployments.Informer(), m.pods.Informer(), m.configMaps.Informer()}
}

// listen wakes the Service that a change of these objects concerns; to be
// called before start.
func (m *managed) listen(wake func(key string)) {
	handlers := map[cache.SharedIndexInformer]cache.ResourceEventHandler{
		m.sandboxes.informer: m.sandboxes.handler(m.pods.Lister(), wake),
	}
	for _, informer := range m.owned() {
		handlers[informer] = wakeOwner(wake)
	}
	for informer, handler := range handlers {
		if _, err := informer.AddEventHandler(handler); err != nil {
			// Only an informer that was stopped refuses a handler.
			klog.ErrorS(err, "Cannot listen to changes of gateways")
		}
	}
}

func (m *managed) start(ctx context.Context) {
	for _, factory := range m.factories {
		factory.Start(ctx.Done())
	}
}
