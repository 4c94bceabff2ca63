package ipam

import (
	"context"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/klog/v2"

	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
)

// reminderPause is how long Kube-OVN may take to let a deleted Vip go before it
// is reminded, and again after each reminder. It takes it less than a second.
const reminderPause = 10 * time.Second

// Remind makes Kube-OVN look at a Vip that it should have let go since a time
// long ago: what was deleted while kube-ovn-controller was away is new to it when
// it is back, and it looks only at what changes (vip.go, enqueueUpdateVirtualIP).
// So the Vip's metadata is changed, once in a while; it reports whether it was.
func Remind(ctx context.Context, vips dynamic.ResourceInterface, vip *kubeovn.Vip, since, now time.Time) (reminded bool, err error) {
	late := int64(now.Sub(since) / reminderPause)
	// The same text within one pause changes nothing and wakes nobody.
	text := since.Add(time.Duration(late) * reminderPause).UTC().Format(time.RFC3339)
	if late < 1 || text == vip.Reminded {
		return false, nil
	}
	patch := fmt.Appendf(nil, `{"metadata":{"uid":%q,"annotations":{%q:%q}}}`, vip.UID, kubeovn.AnnotationReminded, text)
	_, err = vips.Patch(ctx, vip.Name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: kubeovn.ManagedBy})
	switch {
	case apierrors.IsNotFound(err) || apierrors.IsConflict(err): // gone, or another Vip of that name
		return false, nil
	case err != nil:
		return false, fmt.Errorf("reminding Kube-OVN of the deleted Vip %s: %w", vip.Name, err)
	}
	klog.FromContext(ctx).V(3).Info("Reminded Kube-OVN of a deleted Vip", "vip", vip.Name, "since", text)
	return true, nil
}

// remind reminds Kube-OVN of a Vip that was deleted.
func (r *Reserver) remind(ctx context.Context, vip *kubeovn.Vip) error {
	_, err := Remind(ctx, r.vips, vip, vip.DeletionTimestamp.Time, r.now())
	return err
}
