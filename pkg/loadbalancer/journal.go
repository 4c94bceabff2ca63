package loadbalancer

import (
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
)

// outcome is what one step came to.
type outcome struct {
	// status is what the Service is to show, nil to leave it as it is.
	status *corev1.LoadBalancerStatus
	// how says what serves the Service, set with status.
	how string
	// where is what the Service shows of its whereabouts, nil if nothing is known.
	where *whereabouts
	// problem is what keeps the Service from what it asks for.
	problem *Problem
	// wait says, for the log, what is awaited; empty if nothing is.
	wait string
	// retryAfter asks for another look though nothing may change; 0 for none.
	retryAfter time.Duration
}

// journal remembers the last outcome of each Service, to write an Event once
// and to know which Services are pending. Losing it costs a repeated Event.
type journal struct {
	mu      sync.Mutex
	entries map[string]entry
}

type entry struct {
	uid     types.UID
	problem *Problem
	pending bool
	status  *corev1.LoadBalancerStatus
}

// conclude notes an outcome and returns the problem before it and the one that
// there is now.
func (j *journal) conclude(owner kubeovn.Owner, out outcome) (before, now *Problem) {
	before = j.put(owner, func(e *entry) {
		if out.wait != "" && out.problem == nil && e.problem != nil && e.problem.untilServed {
			out.problem = e.problem
		}
		e.problem = out.problem
		e.pending = out.problem != nil || out.wait != "" || out.status == nil
		e.status = out.status.DeepCopy()
	})
	return before, out.problem
}

// waiting notes that a Service has to be looked at again; a problem that was
// told stays told.
func (j *journal) waiting(owner kubeovn.Owner) {
	j.put(owner, func(e *entry) { e.pending = true })
}

func (j *journal) put(owner kubeovn.Owner, change func(*entry)) (before *Problem) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.entries == nil {
		j.entries = map[string]entry{}
	}
	e := j.entries[owner.Key()]
	if e.uid != owner.UID {
		e = entry{uid: owner.UID}
	}
	before = e.problem
	change(&e)
	j.entries[owner.Key()] = e
	return before
}

// forget drops what is known of a Service, unless another one has its name.
func (j *journal) forget(owner kubeovn.Owner) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.entries[owner.Key()].uid == owner.UID {
		delete(j.entries, owner.Key())
	}
}

func (j *journal) pending() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	var keys []string
	for key, e := range j.entries {
		if e.pending {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

// lacksNothingBut reports whether a Service has no problem, or one of these; one
// of which nothing is known yet has none.
func (j *journal) lacksNothingBut(owner kubeovn.Owner, reasons ...string) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	e := j.entries[owner.Key()]
	return e.uid != owner.UID || e.problem == nil || slices.Contains(reasons, e.problem.Reason)
}

func (j *journal) statusLost(svc *corev1.Service) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	e, ok := j.entries[ownerOf(svc).Key()]
	return ok && e.uid == svc.UID && e.status != nil && !sameStatus(e.status, &svc.Status.LoadBalancer)
}

// sameStatus compares two statuses as the service controller does.
func sameStatus(a, b *corev1.LoadBalancerStatus) bool {
	return equality.Semantic.DeepEqual(a.Ingress, b.Ingress)
}
