package kubeovn

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestDecodeVpc(t *testing.T) {
	route := map[string]any{"priority": int64(30000), "match": "ip4.src == 10.0.0.0/8", "action": "allow", "note": "theirs"}
	for name, tc := range map[string]struct {
		text string
		want Vpc
	}{
		"the default VPC by its name": {
			`{"kind":"Vpc","metadata":{"name":"ovn-cluster","annotations":{"a":"b"}}}`,
			Vpc{ObjectMeta: metav1.ObjectMeta{Name: "ovn-cluster"}, Default: true},
		},
		"the default VPC by its status, with everything of its routes": {
			`{"kind":"Vpc","metadata":{"name":"v","annotations":{"a":"b","kube-ovn.io/lb-svc-policy-routes":"{}"}},
			  "spec":{"policyRoutes":[{"priority":30000,"match":"ip4.src == 10.0.0.0/8","action":"allow","note":"theirs"}]},"status":{"default":true}}`,
			Vpc{
				ObjectMeta: metav1.ObjectMeta{Name: "v", Annotations: map[string]string{AnnotationPolicyRoutes: "{}"}},
				Default:    true, PolicyRoutes: []any{route},
			},
		},
		"what is malformed is left out": {
			`{"kind":"Vpc","metadata":{"name":"v"},"spec":{"policyRoutes":"none"},"status":{"default":"yes"}}`,
			Vpc{ObjectMeta: metav1.ObjectMeta{Name: "v"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if d := cmp.Diff(tc.want, *DecodeVpc(object(t, tc.text))); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestCacheTellsOfEveryChangeOfAVpc(t *testing.T) {
	client := fakeClient(thing(t, "Vpc", "v", `"metadata":{"resourceVersion":"1"},"spec":{}`))
	c, changes := started(t, client)
	eventually(t, "synced", c.Synced)
	for _, step := range []struct{ what, object, want string }{
		{"what is there at the start", "", "Vpc v spec"},
		{"what is not kept", `"metadata":{"resourceVersion":"2"},"spec":{"staticRoutes":[]}`, "Vpc v"},
		{"the policy routes", `"metadata":{"resourceVersion":"3"},"spec":{"policyRoutes":[{"priority":1}]}`, "Vpc v spec"},
	} {
		if step.object != "" {
			if _, err := client.Resource(VpcResource).Update(context.Background(), thing(t, "Vpc", "v", step.object), metav1.UpdateOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		var got []string
		eventually(t, step.what, func() bool { got = append(got, changes.take()...); return len(got) > 0 })
		if len(got) != 1 || got[0] != step.want {
			t.Errorf("%s: %q, want %q", step.what, got, step.want)
		}
	}
	if v, ok := c.Vpc("v"); !ok || len(v.PolicyRoutes) != 1 || names(c.Vpcs()) != "v" {
		t.Errorf("%+v of %s", v, names(c.Vpcs()))
	}
}
