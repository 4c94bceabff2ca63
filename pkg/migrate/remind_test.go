package migrate

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/kubernetes/fake"
	ktesting "k8s.io/client-go/testing"

	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
)

// kube-ovn-controller is killed just after our Vip was deleted. It comes back with
// the Vip as new, and looks at it when it changes.
func TestAWayBackRemindsKubeOVNOfTheVip(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := onTheirs()
		goes(o, forward, 20)
		goes(o, back, 5) // the Vip is deleted
		backup, err := o.backup.configMap(o.service)
		if err != nil {
			t.Fatal(err)
		}
		dyn := kubeOVN(deletedVip(), subnetOf(o))
		var at []time.Duration
		begin := time.Now()
		dyn.PrependReactor("patch", "vips", func(ktesting.Action) (bool, runtime.Object, error) {
			at = append(at, time.Since(begin).Truncate(time.Second))
			if len(at) == 1 { // it is still on its way up
				return false, nil, nil
			}
			return true, nil, dyn.Tracker().Delete(kubeovn.VipResource, "", "lb-u1")
		})
		var out bytes.Buffer
		m := &mover{kube: fake.NewClientset(o.service, backup), dyn: dyn, out: &out, patience: 2 * time.Minute}
		if err := m.move(t.Context(), "shop", "web", untilIts(actCreatePod)); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(at, []time.Duration{10 * time.Second, 20 * time.Second}) {
			t.Errorf("reminded after %v", at)
		}
		if got := strings.Count(out.String(), "remind Kube-OVN"); got != 2 {
			t.Errorf("told %d times:\n%s", got, &out)
		}
	})
}

// A Vip that is never freed is awaited as long as everything else.
func TestAWayBackThatKubeOVNLeavesAloneComesToAnEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := onTheirs()
		goes(o, forward, 20)
		goes(o, back, 5)
		backup, err := o.backup.configMap(o.service)
		if err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		m := &mover{kube: fake.NewClientset(o.service, backup), dyn: kubeOVN(deletedVip(), subnetOf(o)), out: &bytes.Buffer{}, patience: 2 * time.Minute}
		err = m.move(context.Background(), "shop", "web", untilIts(actCreatePod))
		if err == nil || !strings.Contains(err.Error(), "does kube-ovn-controller run?") || time.Since(begin) > 121*time.Second {
			t.Errorf("after %s: %v", time.Since(begin), err)
		}
	})
}

// untilIts is the way back until what comes next is an act.
func untilIts(end act) func(*observation) step {
	return func(o *observation) step {
		if s := back(o); s.act != end {
			return s
		}
		return step{}
	}
}

func deletedVip() *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "kubeovn.io/v1", "kind": "Vip",
		"metadata": map[string]any{
			"name": "lb-u1", "uid": "v1", "finalizers": []any{"kubeovn.io/kube-ovn-controller"},
			"deletionTimestamp": time.Now().UTC().Format(time.RFC3339),
		},
		"spec": map[string]any{"subnet": "lan"}, "status": map[string]any{"v4ip": "172.18.0.18"},
	}}
}

func subnetOf(o *observation) *unstructured.Unstructured {
	var excludeIPs []any
	for _, entry := range o.subnet.ExcludeIPs {
		excludeIPs = append(excludeIPs, entry)
	}
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "kubeovn.io/v1", "kind": "Subnet", "metadata": map[string]any{"name": "lan"},
		"spec": map[string]any{"provider": provider, "cidrBlock": "172.18.0.0/16", "excludeIps": excludeIPs},
	}}
}

// kubeOVN is an API server with objects of Kube-OVN's and nobody at work.
func kubeOVN(objects ...runtime.Object) *dynamicfake.FakeDynamicClient {
	return dynamicfake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), map[schema.GroupVersionResource]string{
		kubeovn.VipResource: "VipList", kubeovn.SubnetResource: "SubnetList", kubeovn.IPResource: "IPList", kubeovn.NADResource: "NetworkAttachmentDefinitionList",
	}, objects...)
}
