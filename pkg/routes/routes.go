// Package routes brings the answers of backends back through the gateways that
// serve them, so that backends can see their clients' own addresses. It is the
// one writer of ours of Vpc.spec.policyRoutes.
//
// That list is one plain array that others write as well, and Kube-OVN keeps
// no good account of it: for the VPC of the nodes it compares two states of
// the list that it happened to see, and what it misses while it does not run
// or because edits come quickly it never does. Hence the rules here. Others'
// entries stay as they are. Ours are recorded in an annotation of the same
// Vpc, written in the same update. There is at most one edit a second. And
// what was removed is put back and removed again, twice, to be sure that it is
// gone from OVN too.
package routes

import (
	"net/netip"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/kubeovn/kube-ovn-ccm/pkg/gateway/spec"
	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
)

const (
	// pace is the least time between two edits of a Vpc, whoever makes them.
	// Kube-OVN handles an edit within a tenth of a second; edits that come
	// quicker than it handles them swallow one another.
	pace = time.Second
	// settling is how long after the edit a route is taken to be in effect: on
	// a real cluster the first packet took it after 123 ms.
	settling = 300 * time.Millisecond
	// sizeLimit is what Kubernetes allows for all annotations of an object;
	// recordLimit leaves room for others', and for what is removed.
	sizeLimit   = 256 << 10
	recordLimit = sizeLimit * 3 / 4
)

// Backend is where a gateway sends what it receives, and so where answers come
// from.
type Backend struct {
	Protocol spec.Protocol
	Address  netip.AddrPort
}

// valid reports whether answers of the backend can be told from others.
func (b Backend) valid() bool {
	return fieldOf[b.Protocol] != "" && b.Address.IsValid() && b.Address.Port() != 0 && b.Address.Addr().Zone() == ""
}

// plain returns the backend in the one spelling that is compared.
func (b Backend) plain() Backend {
	b.Address = netip.AddrPortFrom(b.Address.Addr().Unmap(), b.Address.Port())
	return b
}

// Request says what one Service wants.
type Request struct {
	// Owner is the Service.
	Owner kubeovn.Owner
	// VPC is the name of the Vpc that the backends and the gateway are in.
	VPC string
	// NextHops are the gateway's addresses in that VPC. Backends of a family
	// without one are not routed.
	NextHops kubeovn.Addrs
	// Backends are whose answers are to come back through the gateway.
	Backends []Backend
}

// Answer says how far a Request is. A backend that cannot be routed at all is
// in none of the maps.
type Answer struct {
	// Routed backends answer through the gateway: their clients' addresses may
	// be kept.
	Routed map[Backend]bool
	// Pending backends will do so, unless there is a Problem.
	Pending map[Backend]bool
	// Held backends answer through the gateway of another Service, whose
	// "namespace/name" this is.
	Held map[Backend]string
	// Problem says why nothing gets on with the Pending ones, and what to do;
	// empty if nothing is wrong.
	Problem string
}

// request is a Request as it is kept, with plain backends.
type request struct {
	Request
	// turn says for each backend when it was first asked for.
	turn map[Backend]uint64
}

// requests are those of all Services.
type requests map[types.UID]*request

// wants reports whether a Service asks for a backend in a VPC.
func (r *request) wants(vpc string, b Backend) bool {
	_, ok := r.turn[b]
	return ok && r.VPC == vpc && r.NextHops.Of(b.Address.Addr().Is4()).IsValid()
}
