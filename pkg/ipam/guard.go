package ipam

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
)

// Kube-OVN's IPAM is in memory. When kube-ovn-controller starts, it books again
// for each Vip what stands in status.v4ip, and nothing else: the IPv6 address of
// a Vip is free from then on, for any Pod (init.go, InitIPAM, of all versions to
// 1.16). But it reads there what it reads elsewhere, a list: with
// "172.18.0.18,fd00::18" in status.v4ip it books both, before it works on
// anything else, so that there is no moment in which they are free. A Vip of
// IPv6 alone has its address there. No other part of Kube-OVN reads the field of
// a Vip that belongs to nobody's Pods.
//
// An address is granted only when it is guarded (proof.go: in time), and whoever
// was granted one before there were guards gets it, too. What was lost all the
// same is asked for again.

// lostPatience is for how long Kube-OVN's book may disagree with a Vip before
// the Vip is made anew. Kube-OVN writes the Subnet's status within a second.
const lostPatience = 5 * time.Second

// renewGap is how long nothing is made anew that has just been, in case that
// changes nothing in what the Subnet's status says. What somebody else has is
// not asked for again, so that does not repeat.
const renewGap = 5 * time.Minute

// guarded reports whether Kube-OVN books all that a Vip holds when it restarts.
func guarded(vip *kubeovn.Vip) bool {
	restored, err := kubeovn.ParseAddrs(vip.Restored)
	return !vip.Addrs().V6.IsValid() || err == nil && restored == vip.Addrs()
}

// guard adds the guard to what was decided. Before its finalizer is on the Vip,
// Kube-OVN still works on it, and would refuse to go on; Kube-OVN up to 1.14 puts none
// on it, and is done soon.
func (in input) guard(a action) action {
	if len(in.vip.Finalizers) == 0 {
		wait := in.wait.on(in.vip.UID, in.now)
		if left := patience - in.now.Sub(wait.asked); left > 0 {
			if a.result.State == Granted {
				a.result = Result{State: Pending, RetryAfter: min(left, staleRetry)}
			}
			a.wait = wait
			return a
		}
	}
	a.op = opGuard
	return a
}

// lost returns the addresses of the Service's Vip that are not its own, as far
// as can be seen: Kube-OVN does not count them as given out, or somebody else
// has them.
func (in input) lost() kubeovn.Addrs {
	var out kubeovn.Addrs
	if in.vip == nil || in.vip.Subnet != in.request.Subnet.Name || in.vip.DeletionTimestamp != nil {
		return out
	}
	return in.vip.Lost(in.request.Subnet).With(in.taken()...)
}

// taken returns the addresses of the Service's Vip that somebody else has.
func (in input) taken() []netip.Addr {
	return slices.DeleteFunc(in.vip.Addrs().All(), func(a netip.Addr) bool { return in.holder(a) == "" })
}

// decideLost: the Vip holds what it should, but Kube-OVN does not know of it.
// A gateway that there is goes on; a new Vip asks for the same again, unless
// somebody else has it by now.
func decideLost(in input) action {
	in.wait = in.wait.on(in.vip.UID, in.now)
	left := lostPatience - in.now.Sub(in.wait.since)
	if left > 0 && !in.proven() {
		return action{result: Result{State: Pending, RetryAfter: left}, wait: in.wait}
	}
	if !in.renewed.IsZero() && len(in.taken()) == 0 {
		left = max(left, renewGap-in.now.Sub(in.renewed))
	}
	if left > 0 {
		return action{result: Result{State: Granted, RetryAfter: left}, wait: in.wait}
	}
	return action{
		op: opRenew, why: "Kube-OVN has lost " + in.lost().String(), wait: in.wait,
		result: Result{State: Pending, RetryAfter: staleRetry},
	}
}

// guard writes what a restart of Kube-OVN is to restore.
func (r *Reserver) guard(ctx context.Context, vip *kubeovn.Vip) error {
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"uid": vip.UID, "resourceVersion": vip.ResourceVersion},
		"status":   map[string]any{"v4ip": vip.Addrs().String()},
	})
	if err != nil {
		return fmt.Errorf("guarding Vip %s: %w", vip.Name, err)
	}
	_, err = r.vips.Patch(ctx, vip.Name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: kubeovn.ManagedBy})
	switch {
	case apierrors.IsConflict(err), apierrors.IsNotFound(err):
		return errStale
	case err != nil:
		return fmt.Errorf("guarding the addresses of Vip %s against a restart of Kube-OVN: %w", vip.Name, err)
	}
	return nil
}
