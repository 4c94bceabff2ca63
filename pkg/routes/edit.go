package routes

import (
	"context"
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/klog/v2"

	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
)

const (
	// callTimeout bounds a call of the API server.
	callTimeout = 10 * time.Second
	// conflictRetry is when to try again if somebody else was quicker.
	conflictRetry = 50 * time.Millisecond
	// errorRetry is when to try again after any other failure.
	errorRetry = 5 * time.Second
)

// round does what there is to do now and returns when to come again if nothing
// happens; zero: never.
func (w *Writer) round(ctx context.Context) (next time.Time) {
	if !w.cache.Synced() {
		return w.clock.Now().Add(syncPoll)
	}
	w.feel(ctx)
	w.mu.Lock()
	networks := w.known()
	w.mu.Unlock()
	for _, n := range networks {
		w.edit(ctx, n)
	}
	w.mu.Lock()
	now := w.clock.Now()
	busy := false
	for _, n := range networks {
		next = sooner(next, n.again)
		if settles := n.settle(w.alive, now); !settles.IsZero() {
			busy = true
			if settles.After(now) {
				next = sooner(next, settles)
			}
		}
		busy = busy || len(n.record.Removed) > 0
	}
	if busy {
		next = sooner(next, w.polled.Add(pollSoon))
	} else if len(w.requests) > 0 {
		next = sooner(next, w.polled.Add(pollLate))
	}
	w.mu.Unlock()
	w.tell()
	return next
}

// syncPoll is how often it is asked whether the cache is complete.
const syncPoll = 200 * time.Millisecond

// edit makes a Vpc as it is to be, if it is time to. It returns false if that
// is still to be done.
func (w *Writer) edit(ctx context.Context, n *network) (done bool) {
	w.edits.Lock()
	defer w.edits.Unlock()
	if out, due := w.decide(n); !due {
		return !out.edit
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	wrote, err := w.write(ctx, n)
	w.mu.Lock()
	defer w.mu.Unlock()
	now := w.clock.Now()
	n.writing, n.trouble = false, ""
	switch {
	case apierrors.IsNotFound(err):
		n.forget()
		done = true
	case errors.Is(err, errBlocked):
		n.again = n.ready(w.alive)
	case apierrors.IsConflict(err):
		n.again = now.Add(conflictRetry)
	case err != nil:
		klog.FromContext(ctx).Error(err, "Cannot route answers of backends through their gateways", "vpc", n.name)
		n.trouble, n.edited, n.retry = err.Error(), now, now.Add(errorRetry)
		n.again = n.retry
	default:
		done = true
		if wrote != nil {
			n.wrote(wrote, now)
			n.again = now.Add(pace)
			w.polled = time.Time{} // the sooner it is known what was missed
		}
	}
	if seen := n.meanwhile; seen != nil && n.vpc != nil {
		n.meanwhile = nil
		n.see(seen, now)
	}
	return done
}

// decide says how a Vpc is to be and whether to write it now.
func (w *Writer) decide(n *network) (out outcome, due bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	n.again = time.Time{}
	if n.vpc == nil || n.unreadable != nil {
		return outcome{}, false
	}
	now := w.clock.Now()
	out = plan(w.input(n))
	n.excess, n.again = out.excess, out.again
	if !out.edit {
		return out, false
	}
	if ready := n.ready(w.alive); now.Before(ready) {
		n.again = ready
		return out, false
	}
	return out, true
}

// errBlocked says that somebody else has edited the Vpc just now.
var errBlocked = errors.New("the Vpc is being edited")

// write reads a Vpc, decides again and writes it; what it returns is nil if
// there was nothing to write.
func (w *Writer) write(ctx context.Context, n *network) (*kubeovn.Vpc, error) {
	u, err := w.vpcs.Get(ctx, n.name, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("reading Vpc %s: %w", n.name, err)
	}
	w.mu.Lock()
	blocked := n.blocked(kubeovn.DecodeVpc(u), w.clock.Now())
	n.writing, n.meanwhile = !blocked, nil
	out := plan(w.input(n))
	w.mu.Unlock()
	switch {
	case blocked:
		return nil, errBlocked
	case !out.edit:
		return nil, nil
	}
	if err := out.applyTo(u); err != nil {
		return nil, fmt.Errorf("policyRoutes of Vpc %s: %w", n.name, err)
	}
	written, err := w.vpcs.Update(ctx, u, metav1.UpdateOptions{FieldManager: kubeovn.ManagedBy})
	if err != nil {
		return nil, fmt.Errorf("writing policyRoutes of Vpc %s: %w", n.name, err)
	}
	klog.FromContext(ctx).V(3).Info("Wrote policy routes", "vpc", n.name, "entries", len(out.record.Entries), "removed", len(out.record.Removed))
	return kubeovn.DecodeVpc(written), nil
}

// applyTo changes a Vpc and nothing of it that is not ours.
func (out outcome) applyTo(u *unstructured.Unstructured) error {
	annotations := u.GetAnnotations()
	if annotations == nil {
		annotations = map[string]string{}
	}
	if annotations[kubeovn.AnnotationPolicyRoutes] = out.text; out.text == "" {
		delete(annotations, kubeovn.AnnotationPolicyRoutes)
	}
	u.SetAnnotations(annotations)
	if len(out.members) == 0 {
		unstructured.RemoveNestedField(u.Object, "spec", "policyRoutes")
		return nil
	}
	return unstructured.SetNestedSlice(u.Object, out.members, "spec", "policyRoutes")
}

// Release takes back what is routed for a Service, as far as the pace of edits
// allows at the moment. gone only when no Vpc holds anything of it; until then
// it is to be called again.
func (w *Writer) Release(ctx context.Context, owner kubeovn.Owner) (gone bool, err error) {
	w.mu.Lock()
	delete(w.requests, owner.UID)
	delete(w.asked, owner.UID)
	delete(w.told, owner.UID)
	w.leaving[owner.UID] = true
	w.mu.Unlock()
	w.kick() // others may wait for its backends

	list, err := w.vpcs.List(ctx, metav1.ListOptions{})
	if err != nil {
		return false, fmt.Errorf("listing Vpcs for the routes of Service %s: %w", owner.Key(), err)
	}
	gone = true
	for i := range list.Items {
		vpc := kubeovn.DecodeVpc(&list.Items[i])
		r, err := decodeRecord(vpc)
		if err != nil {
			return false, err
		}
		if !r.holds(owner) {
			continue
		}
		w.mu.Lock()
		n := w.network(vpc.Name)
		n.see(vpc, w.clock.Now())
		w.mu.Unlock()
		if !w.edit(ctx, n) {
			gone = false
			continue
		}
		w.mu.Lock()
		gone = gone && !n.record.holds(owner)
		w.mu.Unlock()
	}
	if gone {
		w.mu.Lock()
		delete(w.leaving, owner.UID)
		w.mu.Unlock()
	}
	return gone, nil
}
