package ipam

import (
	"context"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"

	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
)

// reminderPause is how long Kube-OVN may take to let a deleted Vip go before it
// is reminded, and again after each reminder. It takes it less than a second.
const reminderPause = 10 * time.Second

// remind makes Kube-OVN look at a Vip that it should have let go long ago: what
// was deleted while kube-ovn-controller was away is new to it when it is back,
// and it looks only at what changes (vip.go, enqueueUpdateVirtualIP). So the
// Vip's metadata is changed, once in a while.
func (r *Reserver) remind(ctx context.Context, name string, uid types.UID, deleted *metav1.Time) error {
	late := int64(r.now().Sub(deleted.Time) / reminderPause)
	if late < 1 {
		return nil
	}
	// The same text within one pause changes nothing and wakes nobody.
	since := deleted.Add(time.Duration(late) * reminderPause).UTC().Format(time.RFC3339)
	patch := fmt.Appendf(nil, `{"metadata":{"uid":%q,"annotations":{%q:%q}}}`, uid, kubeovn.AnnotationReminded, since)
	_, err := r.vips.Patch(ctx, name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: kubeovn.ManagedBy})
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) { // gone, or another Vip of that name
		return fmt.Errorf("reminding Kube-OVN of the deleted Vip %s: %w", name, err)
	}
	klog.FromContext(ctx).V(3).Info("Reminded Kube-OVN of a deleted Vip", "vip", name, "since", since)
	return nil
}
