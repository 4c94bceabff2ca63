package loadbalancer

import (
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/kubeovn/kube-ovn-ccm/pkg/ipam"
)

// lineOfServices is a Balancer with so many Services that wait for an address,
// the eldest first.
func lineOfServices(tb testing.TB, n int) (*Balancer, []*corev1.Service) {
	tb.Helper()
	indexer := cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc})
	config, err := ParseConfig(nil, "v0.1.0")
	if err != nil {
		tb.Fatal(err)
	}
	b := New(Deps{Config: config, KubeOVN: &pretendedKubeOVN{subnetList: subnetList{guideSubnet()}}, Services: corelisters.NewServiceLister(indexer)})
	var waiting []*corev1.Service
	for i := range n {
		svc := guideService()
		svc.Name, svc.UID, svc.CreationTimestamp = fmt.Sprintf("service-%04d", i), types.UID(fmt.Sprint(i)), metav1.Unix(int64(i), 0)
		if err := indexer.Add(svc); err != nil {
			tb.Fatal(err)
		}
		b.journal.conclude(ownerOf(svc), outcome{problem: &Problem{Reason: ipam.ReasonSubnetFull, Message: "full"}, retryAfter: time.Second})
		waiting = append(waiting, svc)
	}
	return b, waiting
}

// BenchmarkTheLine has every Service of a line look once, as all of them do every
// other second: while one address is free, while as many are as matter, and as
// if every Service counted all before it.
func BenchmarkTheLine(b *testing.B) {
	for _, n := range []int{125, 250, 500, 1000} {
		for _, free := range []int{1, 16, 256, n} {
			b.Run(fmt.Sprintf("%d waiting/%d free", n, free), func(b *testing.B) {
				balancer, waiting := lineOfServices(b, n)
				for b.Loop() {
					for _, svc := range waiting {
						balancer.ahead(svc, free)
					}
				}
				b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*n), "µs/look")
			})
		}
	}
}
