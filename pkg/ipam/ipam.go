// Package ipam decides which addresses a Service gets and reserves them in
// Kube-OVN's own IPAM, which is the only truth: an address is used only while
// a Vip named lb-<service-uid> has it in its status. There is no second book.
//
// One Vip holds an address of every family that its Subnet has: Kube-OVN gives
// both of a dual-stack Subnet or none.
//
// A Vip is created complete and never edited (Kube-OVN copies a pending Vip's
// spec into its status without asking its IPAM); to retry or to change, it is
// deleted and created anew.
package ipam

import (
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
)

// VipName is the name of the Vip that holds a Service's addresses. It has no
// dot: Kube-OVN takes a name with a dot for a logical switch port of a Pod.
func VipName(uid types.UID) string { return "lb-" + string(uid) }

// Request is the wish of one Service for addresses.
type Request struct {
	// Owner is the Service.
	Owner kubeovn.Owner
	// Subnet is where the addresses are to come from; it must not be nil.
	Subnet *kubeovn.Subnet
	// Needs are the families that the Service cannot do without. The Vip gets
	// the others of the Subnet as well, but nothing is changed for their sake.
	Needs kubeovn.Families
	// Wish are the addresses that the user asks for, and so needs; Kube-OVN
	// picks those of the other families.
	Wish kubeovn.Addrs
	// Sticky are the addresses that the Service already has. They are asked for
	// where there is no Wish and no Vip, as long as nobody else holds them.
	Sticky kubeovn.Addrs
	// Previous are the addresses that a Service of this name had which is gone.
	// They are asked for before any others.
	Previous kubeovn.Addrs
	// Pool is where addresses are picked that nobody wishes; nil: anywhere in
	// the Subnet. It has ranges of all families that are needed.
	Pool *kubeovn.IPPool
	// PoolField is where the Service names the Pool, for messages. Empty: it is
	// the Subnet's, and a wish or what the Service has may lie elsewhere.
	PoolField string
	// AvoidBuggyIPs says not to pick IPv4 addresses that end in .0 or .255.
	AvoidBuggyIPs bool
	// Ahead counts the Services that have waited longer for an address of the
	// same Subnet and Pool, those that have asked for one included if they have
	// no Pool. It stops at most: who waits for one of few addresses need not
	// count those who wait for the others. Nil: there are none.
	Ahead func(most int) int
	// Field is where Wish was read, "spec.loadBalancerIP", for messages.
	Field string
	// Predecessor is the Pod, in the Service's namespace, that has served the
	// Service so far and is about to hand its addresses over, which are the Wish;
	// empty: none is.
	Predecessor string
}

// State is how far a reservation is.
type State int

const (
	// Pending means that Kube-OVN, or the API server, is at it. There is nothing
	// to tell anybody.
	Pending State = iota
	// Granted means that the addresses of the needed families may be used.
	Granted
	// Refused means that it stays as it is until somebody changes something;
	// Reason and Message say what.
	Refused
)

// String returns the state's name.
func (s State) String() string {
	switch s {
	case Pending:
		return "Pending"
	case Granted:
		return "Granted"
	case Refused:
		return "Refused"
	}
	return "unknown"
}

// Result is the answer to a Request.
type Result struct {
	State State
	// Addrs and MAC are what the Service's Vip holds now, of every family. They
	// are set when Granted, and also when a Vip holds addresses that do not
	// satisfy the request: those go on serving until they are released.
	Addrs kubeovn.Addrs
	MAC   string
	// Reason (one of the Reason constants) and Message are set when Refused.
	// They stay the same as long as the cause is the same.
	Reason, Message string
	// Detail, set when Refused, may differ while the cause is the same: who has
	// the addresses of a pool.
	Detail string
	// Risk, in state Granted, says what a restart of Kube-OVN may do to Addrs.
	Risk Risk
	// Ahead, in state Pending: the Service's predecessor holds Addrs, the Wish. A
	// gateway may be made for them; as long as they are answered for on the
	// network, it does not take them.
	Ahead bool
	// MustMove, in state Pending: Addrs do not satisfy the request and addresses
	// that would are to be had. The caller takes the gateway down,
	// calls Release until that reports true, then Reserve again.
	MustMove bool
	// RetryAfter, if positive, asks the caller to look again after that time
	// even if nothing changes.
	RetryAfter time.Duration
}

// The reasons for Refused.
const (
	ReasonInvalidAddress       = "InvalidAddress"       // the wish is no address; found by whoever reads it
	ReasonAddressOutOfRange    = "AddressOutOfRange"    // not in the Subnet's CIDR
	ReasonAddressReserved      = "AddressReserved"      // gateway, first or last of the range
	ReasonAddressInUse         = "AddressInUse"         // somebody else holds it
	ReasonAddressAtRisk        = "AddressAtRisk"        // a restart of Kube-OVN may take it: the reason of a Risk
	ReasonAddressNotGranted    = "AddressNotGranted"    // Kube-OVN works, but does not grant it
	ReasonSubnetWithoutIPv4    = "SubnetWithoutIPv4"    // the Subnet has no IPv4 CIDR
	ReasonSubnetWithoutIPv6    = "SubnetWithoutIPv6"    // the Subnet has no IPv6 CIDR
	ReasonSubnetTerminating    = "SubnetTerminating"    // the Subnet is being deleted
	ReasonAddressOutsideIPPool = "AddressOutsideIPPool" // not in the IPPool that the Service names
	ReasonIPPoolWithoutIPv4    = "IPPoolWithoutIPv4"    // the IPPool has no IPv4 address; found by whoever reads it
	ReasonIPPoolWithoutIPv6    = "IPPoolWithoutIPv6"    // the same for IPv6
	ReasonIPPoolFull           = "IPPoolFull"           // no address of the IPPool is left
	ReasonSubnetFull           = "SubnetFull"           // no address is left
	ReasonKubeOVNNotResponding = "KubeOVNNotResponding" // kube-ovn-controller is silent
	ReasonVipConflict          = "VipConflict"          // a Vip of our name is not ours
)
