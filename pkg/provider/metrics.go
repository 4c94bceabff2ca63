package provider

import (
	v1 "k8s.io/api/core/v1"
	"k8s.io/component-base/metrics"
)

var servicesDesc = metrics.NewDesc("kube_ovn_ccm_services",
	"Number of Services that ask kube-ovn-ccm for a load balancer, by state: served as they ask (served), with an address but not as they ask now (degraded), without an address (pending), on their way out (deleting).",
	[]string{"state"}, nil, metrics.ALPHA, "")

// collector counts the Services when it is asked to.
type collector struct {
	metrics.BaseStableCollector
	view    *serviceView
	pending func() []string
}

// DescribeWithStability implements metrics.StableCollector.
func (c *collector) DescribeWithStability(ch chan<- *metrics.Desc) { ch <- servicesDesc }

// CollectWithStability implements metrics.StableCollector.
func (c *collector) CollectWithStability(ch chan<- metrics.Metric) {
	for state, n := range countByState(c.view.claimedServices(), c.pending()) {
		ch <- metrics.NewLazyConstMetric(servicesDesc, metrics.GaugeValue, float64(n), state)
	}
}

// countByState counts Services; pending are the keys of those that are not
// served as they ask.
func countByState(services []*v1.Service, pending []string) map[string]int {
	waiting := map[string]bool{}
	for _, key := range pending {
		waiting[key] = true
	}
	counts := map[string]int{"served": 0, "degraded": 0, "pending": 0, "deleting": 0}
	for _, svc := range services {
		published := len(svc.Status.LoadBalancer.Ingress) > 0
		switch {
		case svc.DeletionTimestamp != nil:
			counts["deleting"]++
		case !published:
			counts["pending"]++
		case waiting[svc.Namespace+"/"+svc.Name]:
			counts["degraded"]++
		default:
			counts["served"]++
		}
	}
	return counts
}
