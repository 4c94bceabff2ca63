package ipam

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/klog/v2"

	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
)

// Cache is what the Reserver reads; *kubeovn.Cache is one.
type Cache interface {
	Vip(name string) (*kubeovn.Vip, bool)
	VipsAt(subnet string, addr netip.Addr) []*kubeovn.Vip
	VipsOf(subnet string) []*kubeovn.Vip
	IPsAt(subnet string, addr netip.Addr) []*kubeovn.IP
	IPsOf(subnet string) []*kubeovn.IP
	IPPoolsOf(subnet string) []*kubeovn.IPPool
	LastGrant() time.Time
	GrantSeen(vip types.UID) time.Time
}

// Reserver reserves addresses in Kube-OVN's IPAM by Vips. It never waits. It
// is safe for concurrent use, for one Service by one caller at a time.
type Reserver struct {
	cache Cache
	vips  dynamic.ResourceInterface
	now   func() time.Time

	// choosing is held from a choice until it is noted in asks.
	choosing sync.Mutex
	asks     asks

	mu    sync.Mutex
	waits map[types.UID]wait   // by Service
	had   map[types.UID]memory // by Service
	// released holds the Vips, UID by name, that Release has seen off while
	// the cache may still show them.
	released map[string]types.UID
}

// NewReserver returns a Reserver that reads from cache and writes with client;
// now is the clock, nil for time.Now.
func NewReserver(cache Cache, client dynamic.Interface, now func() time.Time) *Reserver {
	if now == nil {
		now = time.Now
	}
	return &Reserver{
		cache:    cache,
		vips:     client.Resource(kubeovn.VipResource),
		now:      now,
		asks:     asks{},
		waits:    map[types.UID]wait{},
		had:      map[types.UID]memory{},
		released: map[string]types.UID{},
	}
}

// Reserve takes the next step, at most one write, towards what is
// requested, and reports how far it is. An error is one of the API server.
func (r *Reserver) Reserve(ctx context.Context, req Request) (Result, error) {
	if req.Subnet == nil {
		return Result{}, fmt.Errorf("reserving an address for Service %s: no Subnet given", req.Owner.Key())
	}
	name := VipName(req.Owner.UID)
	vip, _ := r.cache.Vip(name)
	if vip != nil && r.wasReleased(vip) {
		return Result{State: Pending, RetryAfter: staleRetry}, nil
	}
	in := input{request: r.recall(req, vip), vip: vip}
	if vip != nil {
		in.sure = uses(req, vip) || r.isSure(req.Owner.UID, vip.UID)
		in.granted = r.cache.GrantSeen(vip.UID)
	}
	req = in.request
	a := r.decide(in)
	log := klog.FromContext(ctx).WithValues("service", req.Owner.Key(), "vip", name, "subnet", req.Subnet.Name)
	var err error
	switch a.op {
	case opNone:
		if vip != nil && vip.DeletionTimestamp != nil {
			err = r.remind(ctx, vip)
		}
	case opCreate:
		log.V(3).Info("Asking Kube-OVN for addresses", "addresses", asked(req.Subnet, a.want))
		err = r.create(ctx, req, a.want)
	case opDelete:
		log.V(3).Info("Deleting a pending Vip", "reason", a.why)
		err = r.delete(ctx, vip)
	case opRenew:
		log.Info("Asking Kube-OVN for addresses anew", "addresses", vip.Addrs(), "reason", a.why)
		if err = r.delete(ctx, vip); err == nil {
			r.renews(req.Owner.UID)
		}
	case opGuard:
		if err = r.guard(ctx, vip); err == nil && a.result.State == Granted && !in.sure && !in.inTime(r.now()) {
			a.result = Result{State: Pending, RetryAfter: staleRetry} // the writing took too long
		}
	}
	if errors.Is(err, errStale) {
		// What the cache will tell next decides.
		return Result{State: Pending, RetryAfter: staleRetry}, nil
	}
	if err != nil {
		return Result{}, err
	}
	r.remember(req.Owner.UID, a.wait)
	switch {
	case a.result.State == Granted:
		r.nowSure(req.Owner.UID, vip.UID)
		a.result.Risk = r.risk(req, vip)
	case a.result.Reason == ReasonAddressNotGranted:
		a.result.Detail = r.suspects(req)
	}
	if a.result.MustMove {
		r.moves(req.Owner.UID)
	}
	return a.result, nil
}

// decide reads what a decision depends on. Two Services do not decide at the
// same time, so that they do not pick the same address.
func (r *Reserver) decide(in input) action {
	r.choosing.Lock()
	defer r.choosing.Unlock()
	req := in.request
	in.now = r.now()
	in.holder = func(addr netip.Addr) string { return r.holder(req, addr) }
	in.predecessor = func(addr netip.Addr) bool { return r.predecessor(req, addr) }
	in.asked = r.askedByOthers(req, in.now)
	in.pools = r.cache.IPPoolsOf(req.Subnet.Name)
	in.lastGrant = r.cache.LastGrant()
	in.renewed = r.renewed(req.Owner.UID)
	in.wait = r.wait(req.Owner.UID)
	a := decide(in)
	if a.op == opCreate {
		r.asks.note(req, a.want, in.now)
	}
	return a
}

// staleRetry is when to look again after a write that the API server did not
// take because the cache was behind; normally the watch is faster.
const staleRetry = time.Second

// errStale says that an object is not as the cache has it.
var errStale = errors.New("the cache is behind the API server")

func (r *Reserver) create(ctx context.Context, req Request, want kubeovn.Addrs) error {
	labels := map[string]any{}
	for k, v := range req.Owner.Labels() {
		labels[k] = v
	}
	spec := map[string]any{"subnet": req.Subnet.Name}
	if want.V4.IsValid() {
		spec["v4ip"] = want.V4.String()
	}
	if want.V6.IsValid() {
		spec["v6ip"] = want.V6.String()
	}
	name := VipName(req.Owner.UID)
	_, err := r.vips.Create(ctx, &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": kubeovn.VipResource.GroupVersion().String(),
		"kind":       string(kubeovn.KindVip),
		"metadata": map[string]any{
			"name": name, "labels": labels,
			"annotations": map[string]any{kubeovn.AnnotationAsked: asked(req.Subnet, want)},
		},
		"spec": spec,
	}}, metav1.CreateOptions{FieldManager: kubeovn.ManagedBy})
	if err != nil && !apierrors.IsAlreadyExists(err) { // else the cache is behind: there it is
		return fmt.Errorf("creating Vip %s for Service %s: %w", name, req.Owner.Key(), err)
	}
	return nil
}

// delete removes a Vip that is as the cache has it, and no other: in between
// Kube-OVN may have granted it.
func (r *Reserver) delete(ctx context.Context, vip *kubeovn.Vip) error {
	pre := metav1.Preconditions{UID: &vip.UID, ResourceVersion: &vip.ResourceVersion}
	err := r.vips.Delete(ctx, vip.Name, metav1.DeleteOptions{Preconditions: &pre})
	if apierrors.IsConflict(err) {
		return errStale
	}
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("deleting Vip %s, which is to be made anew: %w", vip.Name, err)
	}
	return nil
}

// Release gives the Service's addresses back. It reports true only when the API
// server says that the Vip does not exist, or that the Vip of that name is not
// this Service's; until then it is to be called again.
func (r *Reserver) Release(ctx context.Context, owner kubeovn.Owner) (gone bool, err error) {
	name := VipName(owner.UID)
	r.remember(owner.UID, wait{})
	r.choosing.Lock()
	delete(r.asks, owner.UID)
	r.choosing.Unlock()
	vip, err := r.vips.Get(ctx, name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		r.markReleased(owner)
		return true, nil
	case err != nil:
		return false, fmt.Errorf("reading Vip %s of Service %s: %w", name, owner.Key(), err)
	case !ownedBy(vip, owner):
		klog.FromContext(ctx).V(2).Info("Leaving a Vip alone that does not carry our labels", "vip", name, "service", owner.Key())
		return true, nil
	case vip.GetDeletionTimestamp() != nil:
		return false, r.remind(ctx, kubeovn.DecodeVip(vip))
	}
	uid := vip.GetUID()
	err = r.vips.Delete(ctx, name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}})
	switch {
	case apierrors.IsNotFound(err):
		r.markReleased(owner)
		return true, nil
	case err != nil && !apierrors.IsConflict(err): // conflict: another Vip of that name by now
		return false, fmt.Errorf("deleting Vip %s of Service %s: %w", name, owner.Key(), err)
	}
	return false, nil
}

// markReleased notes that the Vip which the cache may still show is gone, so
// that Reserve does not grant its addresses, and forgets those that the cache
// does not show any more, and what a Service had that is not on the move.
func (r *Reserver) markReleased(owner kubeovn.Owner) {
	name := VipName(owner.UID)
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.had[owner.UID].moves {
		delete(r.had, owner.UID)
	}
	for n, uid := range r.released {
		if vip, ok := r.cache.Vip(n); !ok || vip.UID != uid {
			delete(r.released, n)
		}
	}
	if vip, ok := r.cache.Vip(name); ok {
		r.released[name] = vip.UID
	}
}

func (r *Reserver) wasReleased(vip *kubeovn.Vip) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.released[vip.Name] == vip.UID && vip.UID != ""
}

// ownedBy reports whether an object was made for the Service.
func ownedBy(obj metav1.Object, owner kubeovn.Owner) bool {
	o, ours := kubeovn.OwnerOf(obj)
	return ours && o.UID == owner.UID
}

func (r *Reserver) holder(req Request, addr netip.Addr) string {
	return HolderOf(VipName(req.Owner.UID), r.cache.VipsAt(req.Subnet.Name, addr), r.cache.IPsAt(req.Subnet.Name, addr))
}

func (r *Reserver) wait(uid types.UID) wait {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.waits[uid]
}

func (r *Reserver) remember(uid types.UID, w wait) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if w == (wait{}) {
		delete(r.waits, uid)
		return
	}
	r.waits[uid] = w
}
