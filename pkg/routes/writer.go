package routes

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
)

// Cache is what the Writer reads; *kubeovn.Cache is one.
type Cache interface {
	Synced() bool
	Vpc(name string) (*kubeovn.Vpc, bool)
	Vpcs() []*kubeovn.Vpc
	OnChange(fn func(kubeovn.Change))
}

// Writer routes the answers of backends back through gateways. It is safe for
// concurrent use.
type Writer struct {
	vpcs    dynamic.ResourceInterface
	cache   Cache
	pulse   Pulse
	changed func(owner kubeovn.Owner)
	clock   clock.Clock
	kicked  chan struct{}

	edits sync.Mutex // held for an edit, from the reading to the writing; before mu

	mu       sync.Mutex
	networks map[string]*network
	requests requests
	asked    map[types.UID][]Backend // as spelled in the request
	told     map[types.UID]Answer
	leaving  map[types.UID]bool
	turns    uint64
	alive    pulse
	polled   time.Time
}

// NewWriter returns a Writer that reads from cache, which must not have been
// started, and writes with client. changed is called when there is something
// new in the Answer to a Service's Request; it must return quickly. A nil clock
// is the real one.
func NewWriter(client dynamic.Interface, cache Cache, pulse Pulse, changed func(owner kubeovn.Owner), clk clock.Clock) *Writer {
	if clk == nil {
		clk = clock.RealClock{}
	}
	w := &Writer{
		vpcs:     client.Resource(kubeovn.VpcResource),
		cache:    cache,
		pulse:    pulse,
		changed:  changed,
		clock:    clk,
		kicked:   make(chan struct{}, 1),
		networks: map[string]*network{},
		requests: requests{},
		asked:    map[types.UID][]Backend{},
		told:     map[types.UID]Answer{},
		leaving:  map[types.UID]bool{},
	}
	cache.OnChange(w.notice)
	return w
}

// Want says what a Service wants from now on, instead of what it wanted until
// now, be it in another VPC. It does not block.
func (w *Writer) Want(req Request) Answer {
	w.mu.Lock()
	defer w.mu.Unlock()
	uid := req.Owner.UID
	before := w.requests[uid]
	r := &request{Request: req, turn: map[Backend]uint64{}}
	for _, b := range req.Backends {
		if b = b.plain(); b.valid() {
			r.turn[b] = w.turn(before, req.VPC, b)
		}
	}
	delete(w.leaving, uid)
	w.requests[uid], w.asked[uid] = r, slices.Clone(req.Backends)
	if before == nil || before.VPC != r.VPC || before.NextHops != r.NextHops || !maps.Equal(before.turn, r.turn) {
		w.kick()
	}
	a := w.answer(uid, nil)
	w.told[uid] = a
	return a
}

// turn keeps the turn of a backend that was asked for before.
func (w *Writer) turn(before *request, vpc string, b Backend) uint64 {
	if before != nil && before.VPC == vpc {
		if turn, ok := before.turn[b]; ok {
			return turn
		}
	}
	w.turns++
	return w.turns
}

// Owners returns the Services for which something is routed.
func (w *Writer) Owners() []kubeovn.Owner {
	w.mu.Lock()
	defer w.mu.Unlock()
	found := map[types.UID]kubeovn.Owner{}
	for _, n := range w.known() {
		for _, e := range n.record.Entries {
			found[e.UID] = e.owner()
		}
	}
	return slices.Collect(maps.Values(found))
}

// Run writes until ctx ends.
func (w *Writer) Run(ctx context.Context) {
	for {
		next := w.round(ctx)
		var due <-chan time.Time
		var timer clock.Timer
		if !next.IsZero() {
			timer = w.clock.NewTimer(next.Sub(w.clock.Now()))
			due = timer.C()
		}
		select {
		case <-ctx.Done():
		case <-due:
		case <-w.kicked:
		}
		if timer != nil {
			timer.Stop()
		}
		if ctx.Err() != nil {
			return
		}
	}
}

// kick lets Run look at once.
func (w *Writer) kick() {
	select {
	case w.kicked <- struct{}{}:
	default:
	}
}

// notice takes notice of a change that the watch has brought.
func (w *Writer) notice(c kubeovn.Change) {
	vpc, ok := c.Object.(*kubeovn.Vpc)
	if !ok {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	n := w.network(vpc.Name)
	if c.Deleted {
		n.forget()
	} else {
		n.see(vpc, w.clock.Now())
	}
	w.kick()
}

// network returns what is known of a Vpc.
func (w *Writer) network(name string) *network {
	n := w.networks[name]
	if n == nil {
		n = newNetwork(name)
		w.networks[name] = n
	}
	if n.vpc == nil {
		if vpc, ok := w.cache.Vpc(name); ok {
			n.see(vpc, w.clock.Now())
		}
	}
	return n
}

// known returns all Vpcs that there are or that are asked for, by name.
func (w *Writer) known() []*network {
	for _, vpc := range w.cache.Vpcs() {
		w.network(vpc.Name)
	}
	for _, r := range w.requests {
		w.network(r.VPC)
	}
	out := make([]*network, 0, len(w.networks))
	for _, name := range slices.Sorted(maps.Keys(w.networks)) {
		out = append(out, w.networks[name])
	}
	return out
}

// answer says how far a Service's request is; holders may be given for its Vpc.
func (w *Writer) answer(uid types.UID, holders map[Backend]types.UID) Answer {
	r := w.requests[uid]
	n := w.network(r.VPC)
	in := w.input(n)
	if n.vpc == nil && !w.cache.Synced() {
		a := n.answer(r, w.asked[uid], nil, in)
		a.Problem = "" // it is not known yet
		return a
	}
	if holders == nil && n.vpc != nil {
		holders = in.holders()
	}
	return n.answer(r, w.asked[uid], holders, in)
}

func (w *Writer) input(n *network) input {
	return n.input(w.requests, w.leaving, w.alive, w.clock.Now())
}

// tell calls changed for the Services whose answer is not what they were told.
func (w *Writer) tell() {
	w.mu.Lock()
	holders := map[string]map[Backend]types.UID{}
	for _, n := range w.known() {
		if n.vpc != nil {
			holders[n.name] = w.input(n).holders()
		}
	}
	var owners []kubeovn.Owner
	for uid, r := range w.requests {
		a := w.answer(uid, holders[r.VPC])
		if !a.equal(w.told[uid]) {
			w.told[uid] = a
			owners = append(owners, r.Owner)
		}
	}
	w.mu.Unlock()
	for _, o := range owners {
		w.changed(o)
	}
}

func (a Answer) equal(b Answer) bool {
	return a.Problem == b.Problem && maps.Equal(a.Routed, b.Routed) && maps.Equal(a.Pending, b.Pending) && maps.Equal(a.Held, b.Held)
}

// feel reads kube-ovn-controller's pulse if it is time to.
func (w *Writer) feel(ctx context.Context) {
	w.mu.Lock()
	gap := pollLate
	needed := len(w.requests) > 0
	for _, n := range w.known() {
		if len(n.unsettled) > 0 || len(n.record.Removed) > 0 {
			gap, needed = pollSoon, true
		}
	}
	due := w.clock.Since(w.polled) >= gap
	w.mu.Unlock()
	if !needed || !due {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	renewed, err := w.pulse.Alive(ctx)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.polled = w.clock.Now()
	if err != nil {
		klog.FromContext(ctx).V(4).Info("Cannot tell whether kube-ovn-controller lives", "err", err)
		w.alive = pulse{}
		return
	}
	w.alive = w.alive.beat(renewed, w.polled)
}
