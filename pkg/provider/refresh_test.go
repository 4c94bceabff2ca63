package provider

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/tools/cache"

	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
	"github.com/kubeovn/kube-ovn-ccm/pkg/loadbalancer"
)

// TestWhoLooksAtAWokenService: the service controller only if it has something
// to do that nobody else can.
func TestWhoLooksAtAWokenService(t *testing.T) {
	for sentence, tc := range map[string]struct {
		finalized, publish  bool
		failures            int32
		refreshes, delivers int32
	}{
		"a new one is the service controller's":          {delivers: 1},
		"one that it has taken on is looked at quietly":  {finalized: true, refreshes: 1},
		"unless there is a status to publish":            {finalized: true, publish: true, refreshes: 1, delivers: 1},
		"and again if the API server could not be asked": {finalized: true, failures: 2, refreshes: 3},
	} {
		t.Run(sentence, func(t *testing.T) {
			svc := service("web", attached)
			if tc.finalized {
				finalizedBy(kubeovn.ManagedBy)(svc)
			}
			factory := informers.NewSharedInformerFactory(fake.NewClientset(svc), 0)
			view := newServiceView(factory.Core().V1().Services(), loadbalancer.Config{}, func(*v1.Service) bool { return false })
			var delivers, refreshes atomic.Int32
			if _, err := view.Informer().AddEventHandler(cache.ResourceEventHandlerDetailedFuncs{AddFunc: func(_ any, initial bool) {
				if !initial {
					delivers.Add(1)
				}
			}}); err != nil {
				t.Fatal(err)
			}
			factory.Start(t.Context().Done())
			factory.WaitForCacheSync(t.Context().Done())
			r := newRefresher(view, func(context.Context, string, string) (bool, error) {
				if refreshes.Add(1) <= tc.failures {
					return false, errors.New("the API server is away")
				}
				return tc.publish, nil
			})
			go r.run(t.Context())
			r.look("default/web")
			is := func() bool { return refreshes.Load() == tc.refreshes && delivers.Load() == tc.delivers }
			(&cluster{t: t, balancer: &recorder{}}).eventually("the look", is)
			if time.Sleep(quiet); !is() {
				t.Errorf("then there were %d refreshes and %d deliveries", refreshes.Load(), delivers.Load())
			}
		})
	}
}
