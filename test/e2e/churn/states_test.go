package churn

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

func object(t *testing.T, text string) *unstructured.Unstructured {
	t.Helper()
	u := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(text), &u.Object); err != nil {
		t.Fatal(err)
	}
	return u
}

var scope = Scope{Providers: []string{"four.ns"}, Subnets: []string{"s"}}

func TestWhatObjectsHold(t *testing.T) {
	for sentence, tc := range map[string]struct {
		object string
		holder string // empty: it is not looked at
		addrs  string
	}{
		"a Vip that was granted": {
			`{kind: Vip, metadata: {name: v, resourceVersion: "7"}, spec: {subnet: s, v4ip: 10.0.0.9}, status: {v4ip: 10.0.0.1, v6ip: "fd00::0:1"}}`,
			"Vip v", "10.0.0.1,fd00::1",
		},
		"a Vip that asks":              {`{kind: Vip, metadata: {name: v, resourceVersion: "7"}, spec: {subnet: s, v4ip: 10.0.0.9}}`, "Vip v", ""},
		"a Vip that goes":              {`{kind: Vip, metadata: {name: v, resourceVersion: "7", deletionTimestamp: "2026-03-01T12:00:00Z"}, spec: {subnet: s}, status: {v4ip: 10.0.0.1}}`, "Vip v", ""},
		"a Vip of another Subnet":      {`{kind: Vip, metadata: {name: v, resourceVersion: "7"}, spec: {subnet: x}, status: {v4ip: 10.0.0.1}}`, "", ""},
		"a Vip of ours is a Service's": {`{kind: Vip, metadata: {name: lb-123, resourceVersion: "7", labels: {app.kubernetes.io/managed-by: kube-ovn-ccm, kube-ovn.io/service-namespace: a, kube-ovn.io/service-name: b, kube-ovn.io/service-uid: "123456789"}}, spec: {subnet: s}, status: {v4ip: 10.0.0.1}}`, "Service a/b (12345678)", "10.0.0.1"},
		"a Service":                    {`{kind: Service, metadata: {namespace: a, name: b, uid: "123456789", resourceVersion: "7", annotations: {ovn.kubernetes.io/attachmentprovider: four.ns}}, status: {loadBalancer: {ingress: [{ip: 10.0.0.1}]}}}`, "Service a/b (12345678)", "10.0.0.1"},
		"a Service elsewhere":          {`{kind: Service, metadata: {namespace: a, name: b, resourceVersion: "7"}, status: {loadBalancer: {ingress: [{ip: 10.0.0.1}]}}}`, "", ""},
		"a Pod that has an address":    {`{kind: Pod, metadata: {namespace: a, name: p, resourceVersion: "7", annotations: {four.ns.kubernetes.io/allocated: "true", four.ns.kubernetes.io/ip_address: "10.0.0.1,fd00::1"}}}`, "Pod a/p", "10.0.0.1,fd00::1"},
		"a Pod that asks for one":      {`{kind: Pod, metadata: {namespace: a, name: p, resourceVersion: "7", annotations: {four.ns.kubernetes.io/ip_address: "10.0.0.1"}}}`, "", ""},
		"a Pod that has ended":         {`{kind: Pod, metadata: {namespace: a, name: p, resourceVersion: "7", annotations: {four.ns.kubernetes.io/allocated: "true", four.ns.kubernetes.io/ip_address: "10.0.0.1"}}, status: {phase: Failed}}`, "Pod a/p", ""},
		"an IP is its Pod's":           {`{kind: IP, metadata: {name: p.a.four.ns, resourceVersion: "7"}, spec: {subnet: s, namespace: a, podName: p, v4IpAddress: 10.0.0.1}}`, "Pod a/p", "10.0.0.1"},
	} {
		t.Run(sentence, func(t *testing.T) {
			s, ok := scope.state(object(t, tc.object), false, start)
			if ok != (tc.holder != "") || ok && (s.Holder != tc.holder || s.Rev != 7) {
				t.Fatalf("%t, %+v", ok, s)
			}
			if want := addresses(tc.addrs); ok && !slices.Equal(s.Addrs, want) {
				t.Errorf("it holds %v, want %v", s.Addrs, want)
			}
			if s, _ := scope.state(object(t, tc.object), true, start); len(s.Addrs) > 0 {
				t.Errorf("when it is gone it holds %v", s.Addrs)
			}
		})
	}
}

func TestAServiceMustKeepItsAddress(t *testing.T) {
	k := keeping{name: "a/b", addrs: []netip.Addr{one, six}}
	both := []string{one.String(), six.String()}
	k.saw(both, false, "1", start)
	if len(k.lost) != 0 {
		t.Errorf("told of what is as it was: %v", k.lost)
	}
	for i, step := range []struct {
		ingress []string
		gone    bool
		want    string
	}{
		{nil, false, "shows no address"},
		{both, false, ""},
		{[]string{other.String(), six.String()}, false, "shows 172.20.4.7"},
		{[]string{other.String(), six.String()}, false, ""}, // it was told
		{both, false, ""},
		{both[:1], false, "shows 172.20.4.6 "},
		{both, true, "is gone"},
	} {
		before := len(k.lost)
		k.saw(step.ingress, step.gone, "2", start.Add(time.Second))
		told := k.lost[before:]
		if (len(told) > 0) != (step.want != "") || len(told) > 0 && !strings.Contains(told[0], step.want) {
			t.Errorf("step %d: told %v, want %q", i, told, step.want)
		}
	}
}

func TestWhatKubeOVNHasAsUsed(t *testing.T) {
	s := subnetOf(object(t, `{kind: Subnet, metadata: {name: s},
		spec: {cidrBlock: "172.20.4.0/26,fd00::/122", excludeIps: [172.20.4.1..172.20.4.5, "fd00::1"]},
		status: {v4usingIPrange: "172.20.4.6,172.20.4.8-172.20.4.9", v6usingIPrange: "fd00::8-fd00::a"}}`))
	for addr, want := range map[string]bool{
		"172.20.4.6": true, "172.20.4.7": false, "172.20.4.8": true, "172.20.4.9": true, "172.20.4.10": false, "172.20.4.3": true,
		"fd00::7": false, "fd00::9": true, "fd00::a": true, "fd00::b": false, "fd00::1": true,
	} {
		a := netip.MustParseAddr(addr)
		if !s.contains(a) {
			t.Errorf("%s is not in the Subnet", addr)
		}
		if got := s.knows(a); got != want {
			t.Errorf("%s: %t", addr, got)
		}
	}
	if s.contains(netip.MustParseAddr("172.20.4.64")) {
		t.Error("an address behind the end is in the Subnet")
	}
}
