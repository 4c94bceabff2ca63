package loadbalancer

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/kubeovn/kube-ovn-ccm/pkg/routes"
)

// routesLinger is for how long routes stay after the gateway was told to put its
// own address into packets again. Until it has read that, Pods go on seeing
// clients, and their answers need the way back. The kubelet brings a document to
// its Pod within 2 s, on a busy node.
const routesLinger = 5 * time.Second

// routedServices remembers what is routed for each Service that keeps, or has
// just kept, its clients' addresses. Losing it ends the routes earlier.
type routedServices struct {
	mu       sync.Mutex
	services map[types.UID]routedService
}

type routedService struct {
	request routes.Request
	// until is when the routes go; zero while clients' addresses are kept.
	until time.Time
}

// keep notes what is routed for a Service.
func (r *routedServices) keep(req routes.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.services == nil {
		r.services = map[types.UID]routedService{}
	}
	r.services[req.Owner.UID] = routedService{request: req}
}

// leave returns what is to stay routed, and for how long, for a Service that
// does not keep its clients' addresses; nothing if it did not before, or that
// was long ago.
func (r *routedServices) leave(uid types.UID, now time.Time) (req routes.Request, left time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s, ok := r.services[uid]
	if !ok {
		return req, 0
	}
	if s.until.IsZero() {
		s.until = now.Add(routesLinger)
		r.services[uid] = s
	}
	if left = s.until.Sub(now); left <= 0 {
		delete(r.services, uid)
		return routes.Request{}, 0
	}
	return s.request, left
}

func (r *routedServices) forget(uid types.UID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.services, uid)
}

// routeBack asks for the routes by which the answers of a Service's backends
// return through its gateway; for none if clients' addresses are not kept.
func (b *Balancer) routeBack(w *world, c choice, g *gateway) wayBack {
	way := wayBack{asked: c.forwarding.keepClient}
	if !way.asked {
		var req routes.Request
		if req, way.lookAgain = b.routed.leave(w.owner.UID, w.now); way.lookAgain == 0 {
			req = routes.Request{Owner: w.owner}
		}
		b.Routes.Want(req)
		return way
	}
	backends, foreign := eligible(w, c)
	way.foreign = foreign
	hops, secured := nextHops(w, g)
	switch {
	case secured:
		way.obstacle = "annotation " + annotationPortSecurity + " on the gateway Pod lets nothing pass that has the client's address: remove it"
		backends = nil
	case hops.IsZero():
		return way // the gateway has no Pod now; what is routed stays until there is one
	}
	req := routes.Request{Owner: w.owner, VPC: c.placement.vpc, NextHops: hops, Backends: backends}
	b.routed.keep(req)
	way.answer = b.Routes.Want(req)
	if way.obstacle == "" && len(way.answer.Pending) > 0 {
		way.obstacle = way.answer.Problem // what is routed stays so
	}
	for _, b := range backends {
		if _, held := way.answer.Held[b]; !held && !way.answer.Routed[b] && !way.answer.Pending[b] {
			way.foreign = append(way.foreign, b.Address) // it cannot be routed at all
		}
	}
	return way
}
