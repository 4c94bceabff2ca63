package loadbalancer

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"

	"github.com/kubeovn/kube-ovn-ccm/pkg/ipam"
	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
)

// A Service that is deleted and made again is to get its address again if that
// is still free. So the addresses of Services that are gone are noted in one
// ConfigMap. It holds nothing back: whoever asks first gets such an address, and
// without the ConfigMap a new Service gets any.

// PastNamespace and PastName name the ConfigMap with the addresses of Services
// that are gone.
const (
	PastNamespace = metav1.NamespaceSystem
	PastName      = "kube-ovn-ccm-past-addresses"
)

// pastLimit is how many Services are remembered, about 100 bytes each.
const pastLimit = 1000

// pastAddresses is an entry of the ConfigMap, "subnet addresses time".
type pastAddresses struct {
	subnet string
	addrs  kubeovn.Addrs
	at     time.Time
}

// String is the entry as it is written.
func (p pastAddresses) String() string {
	return p.subnet + " " + p.addrs.String() + " " + p.at.UTC().Format(time.RFC3339)
}

// parsePast reads what String writes; an entry that it did not write is empty,
// and so the oldest.
func parsePast(text string) pastAddresses {
	fields := strings.Fields(text)
	if len(fields) != 3 {
		return pastAddresses{}
	}
	addrs, err1 := kubeovn.ParseAddrs(fields[1])
	at, err2 := time.Parse(time.RFC3339, fields[2])
	if err1 != nil || err2 != nil {
		return pastAddresses{}
	}
	return pastAddresses{subnet: fields[0], addrs: addrs, at: at}
}

// pastKey is where a Service's addresses are noted: neither name has a dot.
func pastKey(owner kubeovn.Owner) string { return owner.Namespace + "." + owner.Name }

// past returns the addresses of a Subnet that a Service of this name had.
func (b *Balancer) past(owner kubeovn.Owner, subnet string) kubeovn.Addrs {
	noted, err := b.ConfigMaps.ConfigMaps(PastNamespace).Get(PastName)
	if err != nil {
		return kubeovn.Addrs{} // there is none yet
	}
	if p := parsePast(noted.Data[pastKey(owner)]); p.subnet == subnet {
		return p.addrs
	}
	return kubeovn.Addrs{}
}

// notePast notes the addresses of a Service that lets them go. That it cannot is
// no reason to keep them.
func (b *Balancer) notePast(ctx context.Context, owner kubeovn.Owner) {
	vip, ok := b.KubeOVN.Vip(ipam.VipName(owner.UID))
	if !ok || !vip.Granted() || vip.Subnet == "" {
		return
	}
	if of, ours := kubeovn.OwnerOf(vip); !ours || of != owner {
		return
	}
	noted := map[string]string{}
	if cached, err := b.ConfigMaps.ConfigMaps(PastNamespace).Get(PastName); err == nil {
		noted = cached.Data
	}
	entry := pastAddresses{subnet: vip.Subnet, addrs: vip.Addrs(), at: b.Clock.Now()}
	if before := parsePast(noted[pastKey(owner)]); before.subnet == entry.subnet && before.addrs == entry.addrs && entry.at.Sub(before.at) < time.Minute {
		return // by the look before
	}
	if err := b.writePast(ctx, pastChange(noted, pastKey(owner), entry)); err != nil {
		klog.FromContext(ctx).Error(err, "Cannot note the addresses of a Service that goes; one of its name may get others", "service", owner.Key())
	}
}

// pastChange returns the entries to write: a new one, and null for the oldest if
// there are too many.
func pastChange(noted map[string]string, key string, entry pastAddresses) map[string]any {
	change := map[string]any{key: entry.String()}
	var others []string
	for k := range noted {
		if k != key {
			others = append(others, k)
		}
	}
	slices.SortFunc(others, func(a, b string) int {
		return cmp.Or(parsePast(noted[a]).at.Compare(parsePast(noted[b]).at), cmp.Compare(a, b))
	})
	for _, k := range others[:max(0, len(others)+1-pastLimit)] {
		change[k] = nil
	}
	return change
}

// writePast merges entries into the ConfigMap, which it makes if there is none.
// Every entry is a key of its own, so two writers do not disturb each other.
func (b *Balancer) writePast(ctx context.Context, change map[string]any) error {
	patch, err := json.Marshal(map[string]any{"data": change})
	if err != nil {
		return fmt.Errorf("rendering ConfigMap %s: %w", PastName, err)
	}
	configMaps := b.Kube.CoreV1().ConfigMaps(PastNamespace)
	_, err = configMaps.Patch(ctx, PastName, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: kubeovn.ManagedBy})
	if apierrors.IsNotFound(err) {
		_, err = configMaps.Create(ctx, &corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{Namespace: PastNamespace, Name: PastName, Labels: map[string]string{kubeovn.LabelManagedBy: kubeovn.ManagedBy}},
		}, metav1.CreateOptions{FieldManager: kubeovn.ManagedBy})
		if err == nil || apierrors.IsAlreadyExists(err) {
			_, err = configMaps.Patch(ctx, PastName, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: kubeovn.ManagedBy})
		}
	}
	if err != nil {
		return fmt.Errorf("writing ConfigMap %s/%s: %w", PastNamespace, PastName, err)
	}
	return nil
}
