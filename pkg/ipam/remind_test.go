package ipam

import (
	"context"
	"slices"
	"testing"
	"time"

	ktesting "k8s.io/client-go/testing"

	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
)

// A Vip that was deleted while kube-ovn-controller was away is let go when it
// changes once more.
func TestKubeOVNIsRemindedOfADeletedVip(t *testing.T) {
	vip := mine("", "172.18.0.40", deleting)
	for name, step := range map[string]func(r *Reserver) error{
		"by a Service that lets go": func(r *Reserver) error {
			gone, err := r.Release(context.Background(), owner)
			if gone {
				t.Error("gone")
			}
			return err
		},
		"by a Service that wants another": func(r *Reserver) error {
			_, err := r.Reserve(context.Background(), Request{Owner: owner, Subnet: lan()})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			now := start
			api := client(apiVip(vip))
			r := NewReserver(&cacheOf{vips: []*kubeovn.Vip{vip}}, api, func() time.Time { return now })
			var texts []string
			for seconds := range 35 {
				now = start.Add(time.Duration(seconds) * time.Second)
				if err := step(r); err != nil {
					t.Fatal(err)
				}
				for _, w := range writes(api) {
					patch, ok := w.(ktesting.PatchAction)
					if !ok {
						t.Fatalf("write %v", w)
					}
					texts = append(texts, string(patch.GetPatch()))
				}
				api.ClearActions()
				if seconds == 9 && len(texts) > 0 {
					t.Errorf("reminded before it is late: %q", texts)
				}
			}
			if texts = slices.Compact(texts); len(texts) != 3 {
				t.Errorf("three different reminders in 35 s are wanted, got %q", texts)
			}
		})
	}
}
