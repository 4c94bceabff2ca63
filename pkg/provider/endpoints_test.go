package provider

import (
	"slices"
	"sync"
	"testing"

	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
)

func TestAChangeOfEndpointsWakesTheirService(t *testing.T) {
	slice := func(name, service string) *discoveryv1.EndpointSlice {
		return &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{
			Namespace: "default", Name: name, Labels: map[string]string{discoveryv1.LabelServiceName: service},
		}}
	}
	client := fake.NewClientset(slice("web-1", "web"), slice("nobody", ""))
	factory := informers.NewSharedInformerFactory(client, 0)
	endpoints := newEndpointSlices(factory.Discovery().V1().EndpointSlices())
	var mu sync.Mutex
	var woken []string
	endpoints.listen(func(key string) {
		mu.Lock()
		defer mu.Unlock()
		woken = append(woken, key)
	})
	factory.Start(t.Context().Done())
	factory.WaitForCacheSync(t.Context().Done())
	cluster := &cluster{Clientset: client, t: t, balancer: &recorder{}}
	wokenAre := func(want ...string) func() bool {
		return func() bool {
			mu.Lock()
			defer mu.Unlock()
			return slices.Equal(woken, want)
		}
	}
	api := client.DiscoveryV1().EndpointSlices("default")
	if _, err := api.Create(t.Context(), slice("web-2", "web"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	cluster.eventually("a new slice wakes, and the first list has not", wokenAre("default/web"))
	if _, err := api.Update(t.Context(), slice("web-2", "shop"), metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	cluster.eventually("a slice that changes sides wakes both", wokenAre("default/web", "default/web", "default/shop"))
	if got := endpoints.of("default", "web"); len(got) != 1 || got[0].Name != "web-1" {
		t.Errorf("web has %v", got)
	}
	if err := api.Delete(t.Context(), "web-1", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	cluster.eventually("a slice that goes wakes", wokenAre("default/web", "default/web", "default/shop", "default/web"))
	if got := endpoints.of("default", "web"); len(got) != 0 {
		t.Errorf("web has %v", got)
	}
}
