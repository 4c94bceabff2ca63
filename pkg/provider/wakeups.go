package provider

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
)

const (
	// pendingPatrol is how often Services that are not served yet are looked
	// at although nothing that concerns them was seen.
	pendingPatrol = 30 * time.Second
	// fullPatrol is the same for all Services, in units of pendingPatrol.
	fullPatrol = 20
	// sweepPeriod is how often things are searched whose Service is gone. One
	// sweep takes one step for each of them, and looking costs no request.
	sweepPeriod = time.Minute
	// syncPoll is how often it is asked whether the caches are complete.
	syncPoll = 200 * time.Millisecond
)

// journal is what the load balancer knows about its Services;
// *loadbalancer.Balancer implements it.
type journal interface {
	Pending() []string
	StatusLost(svc *v1.Service) bool
}

// wakeups turns changes into wakes.
type wakeups struct {
	view              *serviceView
	waker             *waker
	balancer          journal
	network           network
	defaultAttachment string

	mu        sync.Mutex
	available map[string][2]float64 // Subnet name → free addresses of each family when last seen
}

// now wakes one Service.
func (w *wakeups) now(key string) { w.waker.Wake(key, 0) }

// asking wakes all Services that ask for a load balancer.
func (w *wakeups) asking() {
	for _, key := range w.view.askingKeys() {
		w.now(key)
	}
}

// changed wakes the Services that a change in Kube-OVN or multus concerns.
func (w *wakeups) changed(c kubeovn.Change) {
	for _, key := range concerned(c, w.freed(c), users{All: w.all, Pending: w.pending}, w.network) {
		w.now(key)
	}
}

// mended wakes the Services that wait, when what was wrong for all of them is
// not any more.
func (w *wakeups) mended() {
	for _, key := range w.balancer.Pending() {
		w.now(key)
	}
}

// freed reports whether a change means that there may be addresses where there
// were none: something that holds one is gone, or a Subnet counts more of them.
func (w *wakeups) freed(c kubeovn.Change) bool {
	s, ok := c.Object.(*kubeovn.Subnet)
	if !ok {
		return c.Deleted
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.available == nil {
		w.available = map[string][2]float64{}
	}
	before := w.available[s.Name]
	if c.Deleted {
		delete(w.available, s.Name)
		return false
	}
	w.available[s.Name] = [2]float64{s.V4Available, s.V6Available}
	return s.V4Available > before[0] || s.V6Available > before[1]
}

func (w *wakeups) all() []user {
	var all []user
	for _, svc := range w.view.claimedServices() {
		all = append(all, userOf(svc, w.defaultAttachment))
	}
	return all
}

func (w *wakeups) pending() []user {
	var pending []user
	for _, key := range w.balancer.Pending() {
		namespace, name, err := cache.SplitMetaNamespaceKey(key)
		if err != nil {
			continue
		}
		if svc, err := w.view.Lister().Services(namespace).Get(name); err == nil {
			pending = append(pending, userOf(svc, w.defaultAttachment))
		}
	}
	return pending
}

// patrol looks after Services in case something was missed: those that wait
// twice a minute, all of them every ten minutes, and all of them once when
// Kube-OVN's objects become readable.
func (w *wakeups) patrol(ctx context.Context, synced cache.InformerSynced) {
	if !waitFor(ctx, synced) {
		return
	}
	for _, key := range w.view.shownKeys() {
		w.now(key)
	}
	ticks := 0
	wait.UntilWithContext(ctx, func(context.Context) {
		if ticks%fullPatrol == 0 && ticks > 0 {
			for _, key := range w.view.shownKeys() {
				w.waker.Wake(key, rand.N(pendingPatrol)) //nolint:gosec // spreads load
			}
		}
		ticks++
		for _, key := range w.balancer.Pending() {
			w.now(key)
		}
		for _, svc := range w.view.claimedServices() {
			if w.balancer.StatusLost(svc) {
				w.now(svc.Namespace + "/" + svc.Name)
			}
		}
	}, pendingPatrol)
}

// sweeper removes what is left of Services that do not exist any more;
// *loadbalancer.Balancer implements it.
type sweeper interface {
	Sweep(ctx context.Context) error
}

// sweep has the sweeper work once everything has been read, and every minute
// from then on.
func sweep(ctx context.Context, s sweeper, synced ...cache.InformerSynced) {
	if !waitFor(ctx, synced...) {
		return
	}
	wait.UntilWithContext(ctx, func(ctx context.Context) {
		if err := s.Sweep(ctx); err != nil {
			klog.FromContext(ctx).Error(err, "Could not remove everything that is left of deleted Services; it is tried again", "in", sweepPeriod)
		}
	}, sweepPeriod)
}

// waitFor waits until all caches are complete; false if the context ended
// before. Unlike cache.WaitForCacheSync it is in no hurry: Kube-OVN's CRDs may
// be installed days later.
func waitFor(ctx context.Context, synced ...cache.InformerSynced) bool {
	err := wait.PollUntilContextCancel(ctx, syncPoll, true, func(context.Context) (bool, error) {
		for _, s := range synced {
			if !s() {
				return false, nil
			}
		}
		return true, nil
	})
	return err == nil
}
