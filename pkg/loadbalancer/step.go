package loadbalancer

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/klog/v2"
)

// moveRetry is when to look again during a move, should the change that it
// waits for not be seen.
const moveRetry = time.Second

// heldRetry is when to look again at endpoints that do not take connections
// yet, should what they wait for not be seen.
const heldRetry = 2 * time.Second

// handoverRetry is when to look again at what Kube-OVN's own gateway leaves.
const handoverRetry = 200 * time.Millisecond

// step reads the world, decides and does the next thing for a Service that
// wants a load balancer.
func (b *Balancer) step(ctx context.Context, svc *corev1.Service) (outcome, error) {
	w, err := b.gather(svc)
	if err != nil {
		return outcome{}, err
	}
	c, wait, problem := choose(w)
	if problem != nil || wait != "" {
		return outcome{problem: problem, wait: wait}, nil
	}
	if w.incomplete() {
		stillWanted, err := b.lookAgain(ctx, w)
		if err != nil {
			return outcome{}, err
		}
		if !stillWanted {
			return outcome{wait: "the cache to see that the Service has gone or changed"}, nil
		}
	}
	remove, wait, problem := obstacles(w)
	for _, p := range remove {
		klog.FromContext(ctx).V(2).Info("Deleting an object of an earlier Service of this name", "kind", p.kind, "object", klog.KObj(p.object))
		if err := b.deleteObject(ctx, p); err != nil {
			return outcome{}, err
		}
	}
	if problem != nil || wait != "" {
		out := outcome{problem: problem, wait: wait}
		if _, handing := handoverOf(svc); handing {
			out.retryAfter = handoverRetry // nothing of Kube-OVN's own gateways is watched
		}
		return out, nil
	}
	reserved, err := b.Reserver.Reserve(ctx, w.request(c))
	if err != nil {
		return outcome{}, fmt.Errorf("reserving an address: %w", err)
	}
	return b.carryOut(ctx, w, c, decide(w, c, reserved))
}

// carryOut does what was decided.
func (b *Balancer) carryOut(ctx context.Context, w *world, c choice, p plan) (outcome, error) {
	switch {
	case p.move:
		out, err := b.move(ctx, w, p.release)
		out.problem = p.problem
		return out, err
	case p.build == nil:
		return outcome{problem: p.problem, wait: p.wait, retryAfter: p.retryAfter}, nil
	}
	way := b.routeBack(w, c, p.build)
	var held int
	p.build.ports, held = documentPorts(c, way, previousDocument(w.configMap))
	err := b.apply(ctx, w, p.build)
	if apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		return outcome{wait: "the end of the namespace"}, nil
	}
	if err != nil {
		return outcome{}, err
	}
	out := announce(w, p.build, held)
	if p.ahead {
		out = awaitHandover(w, out)
	}
	out.where = whereaboutsOf(c, p.build, w.pods)
	if out.problem == nil {
		out.problem = way.problem()
	}
	if out.problem == nil {
		out.problem = contest(w)
	}
	if out.problem == nil && out.status != nil {
		out.problem = p.risk // of what is in use; what is being set up may still be interrupted
	}
	if held > 0 && out.retryAfter == 0 {
		out.retryAfter = heldRetry
	}
	if way.lookAgain > 0 && (out.retryAfter == 0 || way.lookAgain < out.retryAfter) {
		out.retryAfter = way.lookAgain
	}
	if out.retryAfter == 0 {
		out.retryAfter = p.retryAfter
	}
	return out, nil
}

// move takes down a gateway whose address is to be another one: first the
// Service stops showing the address, then the gateway stops using it, then it
// is given back. What is built anew is the next step's.
func (b *Balancer) move(ctx context.Context, w *world, release bool) (outcome, error) {
	if err := b.withdraw(ctx, w.service); err != nil {
		return outcome{}, err
	}
	left, err := b.stopGateway(ctx, w.owner)
	if err != nil {
		return outcome{}, err
	}
	if len(left) == 0 && release {
		if _, err := b.Reserver.Release(ctx, w.owner); err != nil {
			return outcome{}, fmt.Errorf("releasing the address: %w", err)
		}
	}
	return outcome{wait: "the end of the gateway with the previous address", retryAfter: moveRetry}, nil
}
