package churn

import (
	"sync"
)

// The operations that are counted.
const (
	opPodAny       = "Pods that took any address"
	opPodNamed     = "Pods that asked for a certain one"
	opPodGone      = "Pods deleted"
	opServiceAny   = "Services that took any address"
	opServiceNamed = "Services that asked for a certain one"
	opServiceGone  = "Services deleted"
	opVipAny       = "Vips by hand with any address"
	opVipNamed     = "Vips by hand with a certain one"
	opVipInUse     = "Vips by hand that asked for one in use"
	opVipGone      = "Vips by hand deleted"
	opExclude      = "Subnets: excludeIps grown"
	opExcludeUsed  = "Subnets: excludeIps grown over an address in use"
	opInclude      = "Subnets: excludeIps taken back"
	opAnnotate     = "Subnets: annotations changed"
	opKubeOVN      = "kube-ovn-controller killed and started"
	opLeader       = "kube-ovn-ccm: leader killed"
	opOurs         = "kube-ovn-ccm: all Pods killed"
)

// operations are all of them in the order of the table; the last three are restarts.
var operations = []string{
	opPodAny, opPodNamed, opPodGone, opServiceAny, opServiceNamed, opServiceGone, opVipAny, opVipNamed, opVipInUse, opVipGone,
	opExclude, opExcludeUsed, opInclude, opAnnotate, opKubeOVN, opLeader, opOurs,
}

var restarts = operations[len(operations)-3:]

// tally counts operations. It may be used by several goroutines.
type tally struct {
	mu sync.Mutex
	n  map[string]int
}

func newTally() *tally { return &tally{n: map[string]int{}} }

func (t *tally) add(operation string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.n[operation]++
}

// counts returns all the numbers.
func (t *tally) counts() map[string]int {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := map[string]int{}
	for k, v := range t.n {
		out[k] = v
	}
	return out
}
