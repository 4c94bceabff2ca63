// Package agent is the program of a gateway Pod: it makes the kernel agree
// with the document, at start, on change and every few seconds.
//
// It keeps nothing that it could not find again. Killed at any moment it
// leaves a kernel that goes on forwarding, and its next start finishes what
// was begun.
package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"time"

	"k8s.io/klog/v2"

	"github.com/kubeovn/kube-ovn-ccm/pkg/gateway/desired"
	"github.com/kubeovn/kube-ovn-ccm/pkg/gateway/neighbour"
	"github.com/kubeovn/kube-ovn-ccm/pkg/gateway/nft"
	"github.com/kubeovn/kube-ovn-ccm/pkg/gateway/spec"
)

// Config says where an agent finds things.
type Config struct {
	// Document is the path of the document.
	Document string
	// StatusDir is the directory of the status file.
	StatusDir string
	// ClusterInterface is the Pod's primary interface.
	ClusterInterface string
	// Resync is the time between two looks at the kernel when nothing
	// changes.
	Resync time.Duration
}

// retry is the time to the next attempt after one that failed.
const retry = time.Second

// Kernel is the state that the agent reads and writes.
type Kernel interface {
	Facts(cluster, attachment string) (desired.Facts, error)
	Read(want desired.State, attachment string) (desired.State, error)
	Apply(desired.Op) error
	Forget(func(desired.Flow) bool) (uint, error)
	Lingering(more bool) (bool, error)
	AnsweredBy(addresses []netip.Addr) (bool, error)
	DropAddress(link string, prefix netip.Prefix) error
	Watch(ctx context.Context) (<-chan struct{}, error)
}

// Neighbours is the link on which one address is asked for and announced.
type Neighbours interface {
	Probe(ctx context.Context) (net.HardwareAddr, error)
	Ask(ctx context.Context) (net.HardwareAddr, error)
	Announce() error
	Close() error
}

// Agent is one gateway's agent. Everything happens in the goroutine of Run.
type Agent struct {
	config Config
	kernel Kernel
	dial   func(link string, address netip.Addr) (Neighbours, error)

	document *spec.Document // the last good one; nil if there was none
	applied  string         // hash of the document that the kernel agrees with
	flows    bool           // connection tracking agrees with the document
	// atEndpoints says that no connection of the other target is left.
	atEndpoints bool
	carrier     bool              // the attachment had a carrier at the last look
	held        []desired.Address // those of the document that the kernel has
	announce    announcer
	awaited     []desired.Address // those that other hosts have
	reason      string            // the last reason that was logged
}

// New returns an agent for the network namespace of the process.
func New(config Config, kernel Kernel) *Agent {
	return &Agent{
		config: config,
		kernel: kernel,
		dial: func(link string, address netip.Addr) (Neighbours, error) {
			return neighbour.Dial(link, address)
		},
		reason: "starting",
	}
}

// sync makes the kernel agree with the document on disk and writes the status.
// It returns an error only for what cannot heal.
func (a *Agent) sync(ctx context.Context) (serving bool, err error) {
	log := klog.FromContext(ctx)
	err = a.reconcile(ctx)
	if errors.Is(err, context.Canceled) {
		return false, nil // Run gives the addresses back next
	}
	status := Status{Serving: err == nil, Applied: a.applied, Awaited: prefixes(a.awaited), Time: time.Now()}
	if err != nil {
		status.Reason = err.Error()
	}
	if status.Reason != a.reason {
		if err != nil {
			log.Error(err, "The gateway is not serving")
		} else {
			log.Info("The gateway is serving", "document", a.applied)
		}
		a.reason = status.Reason
	}
	if fatal(err) {
		return false, errors.Join(err, status.write(a.config.StatusDir))
	}
	if err := status.write(a.config.StatusDir); err != nil {
		log.Error(err, "The probes will not see the present state")
	}
	return status.Serving, nil
}

func (a *Agent) reconcile(ctx context.Context) error {
	hash, documentErr := a.load(ctx)
	if a.document == nil {
		return documentErr
	}
	// With a bad document on disk the kernel still agrees with the last good
	// one: what is served stays served.
	err := a.converge(ctx)
	a.announceHeld(ctx, time.Now())
	if err != nil {
		return errors.Join(documentErr, err)
	}
	if documentErr == nil {
		a.applied = hash
	}
	return documentErr
}

// load takes over the document on disk if it is one that can be served.
func (a *Agent) load(ctx context.Context) (hash string, err error) {
	b, err := os.ReadFile(a.config.Document)
	if err != nil {
		return "", fmt.Errorf("read the gateway document: %w", err)
	}
	d, err := spec.Parse(b)
	if err != nil {
		return "", err
	}
	hash = spec.Hash(b)
	if hash != a.applied {
		// An endpoint that drained and is gone changes no rule.
		a.flows = false
		klog.FromContext(ctx).V(2).Info("Read a document", "document", hash, "service", d.Service.Namespace+"/"+d.Service.Name, "ports", len(d.Ports))
	}
	a.document = d
	return hash, nil
}

// want decides what the kernel should hold for the last good document.
func (a *Agent) want() (desired.State, error) {
	facts, err := a.kernel.Facts(a.config.ClusterInterface, a.document.Interface)
	switch {
	case err != nil:
	case a.document.Target == spec.TargetClusterIP:
		// Until the kernel has this document, connections may still be opened
		// by the rules of the former one.
		facts.Lingering, err = a.kernel.Lingering(!a.flows)
		a.atEndpoints = false
	case !a.atEndpoints:
		facts.FormerClusterIP, err = a.kernel.AnsweredBy(clusterIPs(a.document))
		a.atEndpoints = err == nil && !facts.FormerClusterIP
	}
	if err != nil {
		return desired.State{}, err
	}
	return desired.Build(a.document, facts)
}

func clusterIPs(d *spec.Document) (all []netip.Addr) {
	for _, f := range d.Families {
		all = append(all, f.ClusterIP)
	}
	return all
}

// converge makes the kernel agree with the last good document.
func (a *Agent) converge(ctx context.Context) error {
	a.held, a.awaited = nil, nil
	link := a.document.Interface
	want, err := a.want()
	if err != nil {
		return err
	}
	have, err := a.kernel.Read(want, link)
	if err != nil {
		return err
	}
	for _, address := range have.Addresses {
		if slices.Contains(want.Addresses, address) {
			a.held = append(a.held, address)
		}
	}
	ops := desired.Diff(want, have)
	if err := a.apply(ctx, ops); err != nil {
		return err
	}
	if len(ops) > 0 {
		if have, err = a.kernel.Read(want, link); err != nil {
			return err
		}
		if rest := desired.Diff(want, have); len(rest) > 0 {
			return fmt.Errorf("the kernel does not keep what it was given: still to do: %s (%d in all)", rest[0], len(rest))
		}
	}
	return a.checkCarrier()
}

// apply does the steps. The addresses come last, by Diff; before the first of
// them connection tracking is put right, so that no flow is on an old way when
// the address appears.
func (a *Agent) apply(ctx context.Context, ops []desired.Op) error {
	for i, op := range ops {
		// Hundreds of rules take seconds, and the address is wanted back at
		// once.
		if err := ctx.Err(); err != nil {
			return err
		}
		switch op.Object.(type) {
		case desired.Filter, nft.Change:
			a.flows = false
		}
		if _, ok := op.Object.(desired.Address); ok && op.Verb == desired.Add {
			if err := a.forget(ctx); err != nil {
				return err
			}
			return a.take(ctx, ops[i:])
		}
		if err := a.do(ctx, op); err != nil {
			return err
		}
	}
	return a.forget(ctx)
}

func (a *Agent) do(ctx context.Context, op desired.Op) error {
	if err := a.kernel.Apply(op); err != nil {
		return err
	}
	klog.FromContext(ctx).V(2).Info("Changed the kernel", "step", op.String())
	return nil
}

// forget deletes what connection tracking knows against the document, once
// after each change of the document or of the filters and after each start.
func (a *Agent) forget(ctx context.Context) error {
	if a.flows {
		return nil
	}
	n, err := a.kernel.Forget(desired.Stale(a.document))
	if err != nil {
		return err
	}
	if n > 0 {
		klog.FromContext(ctx).V(2).Info("Deleted stale connection tracking entries", "entries", n)
	}
	a.flows = true
	return nil
}

// checkCarrier reports an attachment that carries nothing. When it is back,
// the switches behind it may have forgotten us: the addresses are announced
// anew.
func (a *Agent) checkCarrier() error {
	facts, err := a.kernel.Facts(a.config.ClusterInterface, a.document.Interface)
	if err != nil {
		return err
	}
	if !facts.Attachment.Carrier {
		a.carrier, a.held = false, nil
		return fmt.Errorf("interface %s has no carrier: is the attachment's master interface on this node up?", facts.Attachment.Name)
	}
	if !a.carrier {
		a.carrier = true
		a.announce.restart()
	}
	return nil
}

// shutdown gives the addresses back, so that another gateway can take them at
// once. The rest stays: what is in flight is still forwarded.
func (a *Agent) shutdown(ctx context.Context) error {
	if a.document == nil {
		return nil
	}
	var errs []error
	for _, f := range a.document.Families {
		errs = append(errs, a.kernel.DropAddress(a.document.Interface, f.Address))
	}
	status := Status{Applied: a.applied, Reason: "the gateway is terminating", Time: time.Now()}
	errs = append(errs, status.write(a.config.StatusDir))
	klog.FromContext(ctx).Info("Gave the addresses back")
	return errors.Join(errs...)
}
