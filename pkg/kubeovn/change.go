package kubeovn

import (
	"reflect"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
)

// Kind names one of the watched kinds.
type Kind string

// The watched kinds.
const (
	KindSubnet Kind = "Subnet"
	KindVip    Kind = "Vip"
	KindIP     Kind = "IP"
	KindNAD    Kind = "NAD"
	KindVpc    Kind = "Vpc"
	KindIPPool Kind = "IPPool"
)

// Finalizer is what kube-ovn-controller puts on a Vip when it has booked an
// address for it, and takes off when it has freed the address.
const Finalizer = "kubeovn.io/kube-ovn-controller"

// Change says that an object has appeared, changed or gone.
type Change struct {
	Kind Kind
	// Object is the newest known state: *Subnet, *Vip, *IP, *NAD, *Vpc or
	// *IPPool. Read only.
	Object metav1.Object
	// Deleted is set when the object is gone, not when it is being deleted.
	Deleted bool
	// SpecChanged is set when more than the status or the metadata differs,
	// and when the object appears or is gone.
	SpecChanged bool
}

// OnChange registers a function that is called for every change that is
// visible in the typed objects, also for what is there at the start; of Vpcs,
// for every change at all. It must be registered before Start and return quickly.
func (c *Cache) OnChange(fn func(Change)) { c.handlers = append(c.handlers, fn) }

// LastGrant is when Kube-OVN was last seen to work on any Vip: to grant or
// withdraw an address, or to add or remove its finalizer. Zero if it has not
// been seen to since Start. It is measured by this process's clock.
func (c *Cache) LastGrant() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.lastGrant
}

// GrantSeen is when the watch told that Kube-OVN has granted addresses to the
// Vip with this UID. Zero if they were there when it was first seen: nobody knows
// since when. It is measured by this process's clock.
func (c *Cache) GrantSeen(vip types.UID) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.grants[vip]
}

// noteWork notes a step of a Vip that is Kube-OVN's work.
func (c *Cache) noteWork(before, after any) {
	b, _ := before.(*Vip)
	a, _ := after.(*Vip)
	c.mu.Lock()
	defer c.mu.Unlock()
	if worked(b, a) {
		c.lastGrant = c.now()
	}
	switch {
	case a == nil:
		delete(c.grants, b.UID)
	case b != nil && b.UID == a.UID && !b.Granted() && a.Granted():
		c.grants[a.UID] = c.now()
	}
}

func (c *Cache) eventHandler(kind Kind) cache.ResourceEventHandler {
	return cache.ResourceEventHandlerDetailedFuncs{
		AddFunc: func(obj any, initial bool) {
			// When an object of the first list was worked on is not known.
			c.changed(kind, nil, obj, initial)
		},
		UpdateFunc: func(before, after any) { c.changed(kind, before, after, false) },
		DeleteFunc: func(obj any) {
			if tomb, ok := obj.(cache.DeletedFinalStateUnknown); ok {
				obj = tomb.Obj
			}
			c.changed(kind, obj, nil, false)
		},
	}
}

// changed tells the handlers of a step from before to after, either of which
// may be nil.
func (c *Cache) changed(kind Kind, before, after any, initial bool) {
	old, hadOld := before.(metav1.Object)
	now, hasNow := after.(metav1.Object)
	change := Change{Kind: kind, Object: now, SpecChanged: true}
	switch {
	case hadOld && hasNow:
		if same(old, now) {
			return
		}
		change.SpecChanged = old.GetUID() != now.GetUID() || !reflect.DeepEqual(specOf(old), specOf(now))
	case hadOld:
		change.Object, change.Deleted = old, true
	case !hasNow:
		return
	}
	if kind == KindVip && !initial {
		c.noteWork(before, after)
	}
	for _, fn := range c.handlers {
		fn(change)
	}
}

// same reports whether nothing that is kept differs but the resourceVersion. Of
// a Vpc that counts as well: who writes its policy routes must know of every
// edit.
func same(a, b metav1.Object) bool { return reflect.DeepEqual(unversioned(a), unversioned(b)) }

func unversioned(obj metav1.Object) any {
	switch o := obj.(type) {
	case *Subnet:
		c := *o
		c.ResourceVersion = ""
		return c
	case *Vip:
		c := *o
		c.ResourceVersion = ""
		return c
	case *IP:
		c := *o
		c.ResourceVersion = ""
		return c
	case *NAD:
		c := *o
		c.ResourceVersion = ""
		return c
	case *IPPool:
		c := *o
		c.ResourceVersion = ""
		return c
	}
	return obj
}

// specOf returns what the object's writer asks for, without metadata and
// status.
func specOf(obj metav1.Object) any {
	switch o := obj.(type) {
	case *Subnet:
		return Subnet{Provider: o.Provider, VPC: o.VPC, CIDRs: o.CIDRs, Gateways: o.Gateways, ExcludeIPs: o.ExcludeIPs,
			Pool: o.Pool, AvoidBuggyIPs: o.AvoidBuggyIPs}
	case *Vip:
		return Vip{Subnet: o.Subnet, WantV4: o.WantV4, WantV6: o.WantV6}
	case *IP:
		c := *o
		c.ObjectMeta = metav1.ObjectMeta{}
		return c
	case *IPPool:
		return IPPool{Subnet: o.Subnet, IPs: o.IPs}
	case *NAD:
		return o.Config
	case *Vpc:
		return o.PolicyRoutes
	}
	return nil
}

// worked reports whether the step from one state of a Vip to the next, either
// of which may be nil, is the work of kube-ovn-controller.
func worked(b, a *Vip) bool {
	switch {
	case a == nil: // it is gone: only Kube-OVN takes its finalizer off
		return slices.Contains(b.Finalizers, Finalizer)
	case b == nil:
		return a.Granted() || slices.Contains(a.Finalizers, Finalizer)
	}
	return a.V4 != b.V4 || a.V6 != b.V6 ||
		slices.Contains(a.Finalizers, Finalizer) != slices.Contains(b.Finalizers, Finalizer)
}
