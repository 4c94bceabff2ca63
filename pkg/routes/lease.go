package routes

import (
	"context"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	coordinationv1 "k8s.io/client-go/kubernetes/typed/coordination/v1"
)

// The Lease by which the replicas of kube-ovn-controller agree on one of them.
const (
	leaseNamespace = "kube-system"
	leaseName      = "kube-ovn-controller"
)

// Pulse tells whether kube-ovn-controller lives.
type Pulse interface {
	// Alive returns when kube-ovn-controller last said that it lives, zero if
	// none of its replicas is at work.
	Alive(ctx context.Context) (time.Time, error)
}

// Lease is the Pulse that is felt at kube-ovn-controller's leader election.
type Lease struct{ client coordinationv1.LeaseInterface }

// NewLease returns a Pulse that reads with client.
func NewLease(client coordinationv1.LeasesGetter) Lease {
	return Lease{client.Leases(leaseNamespace)}
}

// Alive returns when the Lease was renewed, by the clock of who did it.
func (l Lease) Alive(ctx context.Context) (time.Time, error) {
	lease, err := l.client.Get(ctx, leaseName, metav1.GetOptions{})
	if err != nil {
		return time.Time{}, fmt.Errorf("reading Lease %s/%s: %w", leaseNamespace, leaseName, err)
	}
	// A leader that ends in order renews the Lease in nobody's name.
	if holder := lease.Spec.HolderIdentity; holder == nil || *holder == "" || lease.Spec.RenewTime == nil {
		return time.Time{}, nil
	}
	return lease.Spec.RenewTime.Time, nil
}
