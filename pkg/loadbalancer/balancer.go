// Package loadbalancer implements cloudprovider.LoadBalancer on Kube-OVN: one
// reserved address and one gateway Deployment per Service.
//
// Every call reads the world from caches into one plain struct, decides purely
// what to do next, does it, and returns at once. Nothing is remembered that the
// cluster does not say again, so a call may be killed at any point and the next
// one goes on. What is not there yet wakes the Service when it comes.
package loadbalancer

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	appslisters "k8s.io/client-go/listers/apps/v1"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/record"
	cloudprovider "k8s.io/cloud-provider"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"github.com/kubeovn/kube-ovn-ccm/pkg/ipam"
	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
	"github.com/kubeovn/kube-ovn-ccm/pkg/routes"
)

// Network is what the load balancer reads of Kube-OVN and multus;
// *kubeovn.Cache implements it.
type Network interface {
	Synced() bool
	Missing() []string
	Subnet(name string) (*kubeovn.Subnet, bool)
	SubnetsOf(provider string) []*kubeovn.Subnet
	IPPool(name string) (pool *kubeovn.IPPool, missing string)
	Vip(name string) (*kubeovn.Vip, bool)
	VipsAt(subnet string, addr netip.Addr) []*kubeovn.Vip
	IPsAt(subnet string, addr netip.Addr) []*kubeovn.IP
	Vips() []*kubeovn.Vip
	SubnetOfPodIP(addr netip.Addr, podNamespace, podName string) (subnet string, ok bool)
	NAD(namespace, name string) (*kubeovn.NAD, bool)
	ManagedNADs() []*kubeovn.NAD
}

// Reserver reserves addresses; *ipam.Reserver implements it.
type Reserver interface {
	// Reserve does not block and writes at most once.
	Reserve(ctx context.Context, req ipam.Request) (ipam.Result, error)
	// Release deletes the reservation; gone only when it does not exist any more.
	Release(ctx context.Context, owner kubeovn.Owner) (gone bool, err error)
}

// Router routes the answers of backends back through gateways; *routes.Writer
// implements it.
type Router interface {
	// Want replaces what is routed for a Service. It does not block.
	Want(req routes.Request) routes.Answer
	// Release removes what is routed for a Service; gone only when nothing is
	// left of it.
	Release(ctx context.Context, owner kubeovn.Owner) (gone bool, err error)
	// Owners are the Services for which something is routed.
	Owners() []kubeovn.Owner
}

// Deps is what a Balancer works with. All fields are required.
type Deps struct {
	Config  Config
	Kube    kubernetes.Interface
	Dynamic dynamic.Interface // writes NetworkAttachmentDefinitions

	KubeOVN  Network
	LbSvc    LbSvc
	Reserver Reserver
	Routes   Router
	Recorder record.EventRecorder // component "kube-ovn-ccm"

	// Services lists all Services as they stand in the API (not as the Service
	// view shows them).
	Services corelisters.ServiceLister
	// Deployments, Pods and ConfigMaps may be limited to kubeovn.ManagedSelector.
	Deployments appslisters.DeploymentLister
	Pods        corelisters.PodLister
	ConfigMaps  corelisters.ConfigMapLister
	Nodes       corelisters.NodeLister
	// EndpointSlices returns those of a Service.
	EndpointSlices func(namespace, service string) []*discoveryv1.EndpointSlice

	// SandboxFailure returns the message of the newest FailedCreatePodSandBox
	// Event of a Pod, by the Pod's UID.
	SandboxFailure func(pod *corev1.Pod) (message string, ok bool)
	Clock          clock.PassiveClock
}

// Balancer is the load balancer of Kube-OVN. It is safe for concurrent use.
type Balancer struct {
	Deps
	locks   keyedLocks
	journal journal
	applied appliedObjects
	routed  routedServices
	waker   func(key string, after time.Duration)

	deletionWait time.Duration
}

var _ cloudprovider.LoadBalancer = (*Balancer)(nil)

// deletionWait bounds how long one EnsureLoadBalancerDeleted waits for things
// to go: a gateway Pod has 5 s of grace.
const deletionWait = 10 * time.Second

// New returns a Balancer. SetWaker must be called before its first use.
func New(deps Deps) *Balancer {
	return &Balancer{Deps: deps, deletionWait: deletionWait, waker: func(string, time.Duration) {}}
}

// SetWaker sets the function that asks for another EnsureLoadBalancer of the
// Service with this key ("namespace/name"), after the given time (0: at once).
// It must be quick and must not call the Balancer. Of several requests for one
// Service the earliest is enough: each look asks for the next one itself.
func (b *Balancer) SetWaker(wake func(key string, after time.Duration)) { b.waker = wake }

// Pending returns the keys of the Services that are not served yet as they
// wish: those with a Problem and those that wait for something. They are the
// ones to wake now and then, in case the change they wait for was not seen.
func (b *Balancer) Pending() []string { return b.journal.pending() }

// StatusLost reports whether a Service's status differs from the one that
// EnsureLoadBalancer last returned for it. The service controller writes a
// status once and never looks again; a Service whose status was lost (wiped by
// hand, or not written because the controller's cache was old) must be woken.
func (b *Balancer) StatusLost(svc *corev1.Service) bool { return b.journal.statusLost(svc) }

// GetLoadBalancerName returns the name of the objects made for a Service.
func (b *Balancer) GetLoadBalancerName(_ context.Context, _ string, svc *corev1.Service) string {
	return ObjectName(svc.Name)
}

// EnsureLoadBalancer does the next step for a Service and never blocks. It
// returns the status once the gateway carries traffic. Until then, and when
// the Service asks for something impossible, it returns the bare
// cloudprovider.ImplementedElsewhere: the service controller then writes
// neither a status nor a Warning and keeps its finalizer; what is wrong is
// told by an Event of our own, and what changes wakes the Service.
func (b *Balancer) EnsureLoadBalancer(ctx context.Context, _ string, svc *corev1.Service, _ []*corev1.Node) (*corev1.LoadBalancerStatus, error) {
	status, err := b.reconcile(ctx, svc)
	if err != nil {
		return nil, err
	}
	if status == nil {
		return nil, cloudprovider.ImplementedElsewhere
	}
	return status, nil
}

// UpdateLoadBalancer is called when the set of nodes has changed, beside the
// other methods and with a Service out of the controller's own, possibly old,
// memory. It does what EnsureLoadBalancer does, for the Service as it stands
// now, and has never anything to announce.
func (b *Balancer) UpdateLoadBalancer(ctx context.Context, _ string, svc *corev1.Service, _ []*corev1.Node) error {
	status, err := b.reconcile(ctx, svc)
	if err != nil {
		return err
	}
	if current, ok := b.current(svc); ok && status != nil && !sameStatus(status, &current.Status.LoadBalancer) {
		// Only the answer of EnsureLoadBalancer is written to the Service.
		b.waker(ownerOf(svc).Key(), 0)
	}
	return cloudprovider.ImplementedElsewhere
}

// Refresh does what EnsureLoadBalancer does for a Service that the service
// controller has taken on before. publish says that there is a status that the
// Service does not show: the controller is to be called, for only the answer of
// EnsureLoadBalancer is written.
func (b *Balancer) Refresh(ctx context.Context, namespace, name string) (publish bool, err error) {
	svc, err := b.Services.Services(namespace).Get(name)
	if err != nil || !HasFinalizer(svc) {
		return false, nil //nolint:nilerr // the lister has only one error: there is no such Service
	}
	status, err := b.reconcile(ctx, svc)
	return status != nil && !sameStatus(status, &svc.Status.LoadBalancer), err
}

// ownerOf names a Service.
func ownerOf(svc *corev1.Service) kubeovn.Owner {
	return kubeovn.Owner{Namespace: svc.Namespace, Name: svc.Name, UID: svc.UID}
}

// reconcile does the next step for the Service and returns its status if it is
// to be published.
func (b *Balancer) reconcile(ctx context.Context, given *corev1.Service) (*corev1.LoadBalancerStatus, error) {
	owner := ownerOf(given)
	defer b.locks.lock(owner.Key())()
	ctx = klog.NewContext(ctx, klog.FromContext(ctx).WithValues("service", owner.Key()))

	svc, ok := b.current(given)
	if !ok {
		// The Service that this call is about does not exist any more, goes
		// away or is not ours. Its deletion has a call of its own.
		b.journal.forget(owner)
		return nil, nil
	}
	out, err := b.step(ctx, svc)
	if err != nil {
		b.journal.waiting(owner)
		return nil, fmt.Errorf("load balancer of Service %s: %w", owner.Key(), err)
	}
	out.problem = b.conclude(ctx, svc, out)
	return out.status, b.tellCondition(ctx, svc, out)
}

// current returns the Service as it stands in the cache: the service
// controller may hand over an older one. False if there is nothing to build
// for it: a late call must not bring anything back to life.
func (b *Balancer) current(given *corev1.Service) (*corev1.Service, bool) {
	svc, err := b.Services.Services(given.Namespace).Get(given.Name)
	if err != nil || svc.UID != given.UID {
		return nil, false
	}
	return svc, wanted(svc, b.Config)
}

// wanted reports whether something is to be built for a Service.
func wanted(svc *corev1.Service, cfg Config) bool {
	return svc.DeletionTimestamp == nil && Claims(svc, cfg)
}

// conclude remembers the outcome of a step, tells it by an Event and arranges
// what wakes the Service next. It returns the Problem that there is now.
func (b *Balancer) conclude(ctx context.Context, svc *corev1.Service, out outcome) *Problem {
	owner := ownerOf(svc)
	if out.retryAfter > 0 {
		b.waker(owner.Key(), out.retryAfter)
	}
	if out.wait != "" {
		klog.FromContext(ctx).V(3).Info("Waiting", "for", out.wait)
	}
	before, now := b.journal.conclude(owner, out)
	b.report(svc, before, now)
	return now
}
