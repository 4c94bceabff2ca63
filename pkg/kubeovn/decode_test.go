package kubeovn

import (
	"encoding/json"
	"math"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

func object(t testing.TB, text string) *unstructured.Unstructured {
	t.Helper()
	u := &unstructured.Unstructured{}
	if err := u.UnmarshalJSON([]byte(text)); err != nil {
		t.Fatal(err)
	}
	return u
}

var comparers = cmp.Options{cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})}

func TestDecodeSubnet(t *testing.T) {
	for name, tc := range map[string]struct {
		text string
		want Subnet
	}{
		"the guide's": {
			`{"kind":"Subnet","apiVersion":"kubeovn.io/v1","metadata":{"name":"attach-subnet","managedFields":[{"manager":"x"}]},
			  "spec":{"protocol":"IPv4","provider":"lb-svc-attachment.kube-system","cidrBlock":"172.18.0.0/16","gateway":"172.18.0.1","excludeIps":["172.18.0.0..172.18.0.10"]},
			  "status":{"v4availableIPs":65523,"v6availableIPs":0,"conditions":[{"type":"Validated","status":"True"},{"type":"Ready","status":"True"}]}}`,
			Subnet{
				ObjectMeta: metav1.ObjectMeta{Name: "attach-subnet"}, Provider: "lb-svc-attachment.kube-system",
				CIDRs: []netip.Prefix{netip.MustParsePrefix("172.18.0.0/16")}, Gateways: []netip.Addr{netip.MustParseAddr("172.18.0.1")},
				ExcludeIPs: []string{"172.18.0.0..172.18.0.10"}, V4Available: 65523,
			},
		},
		"both families, and more addresses than an int64 counts": {
			`{"kind":"Subnet","metadata":{"name":"s"},"spec":{"vpc":"shop","cidrBlock":"fd00::1/64, 10.0.0.1/8","gateway":"fd00::1,10.0.0.1"},
			  "status":{"v4availableIPs":"16777213","v6availableIPs":1.8446744073709552e+19}}`,
			Subnet{
				ObjectMeta: metav1.ObjectMeta{Name: "s"}, VPC: "shop",
				CIDRs:    []netip.Prefix{netip.MustParsePrefix("fd00::/64"), netip.MustParsePrefix("10.0.0.0/8")},
				Gateways: []netip.Addr{netip.MustParseAddr("fd00::1"), netip.MustParseAddr("10.0.0.1")}, V4Available: 16777213, V6Available: 18446744073709551616,
			},
		},
		"what is malformed is left out": {
			`{"kind":"Subnet","metadata":{"name":"s","labels":7},"spec":{"provider":5,"cidrBlock":"10.0.0.0/99,,10.0.0.0/8","gateway":["10.0.0.1"],"excludeIps":["a",3]},
			  "status":{"v4availableIPs":"many","v6availableIPs":-4}}`,
			Subnet{
				ObjectMeta: metav1.ObjectMeta{Name: "s"}, CIDRs: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")},
				ExcludeIPs: []string{"a"}, V4Available: Unreported, V6Available: Unreported,
			},
		},
		"a Subnet that Kube-OVN has not counted yet is not full": {
			`{"kind":"Subnet","metadata":{"name":"s"},"status":{"v4availableIPs":0,"v6availableIPs":0,"conditions":[{"type":"Validated","status":"True"}]}}`,
			Subnet{ObjectMeta: metav1.ObjectMeta{Name: "s"}, V4Available: Unreported, V6Available: Unreported},
		},
		"a full Subnet that is Ready": {
			`{"kind":"Subnet","metadata":{"name":"s"},"status":{"v4availableIPs":0,"v6availableIPs":7,"conditions":[{"type":"Ready","status":"True"}]}}`,
			Subnet{ObjectMeta: metav1.ObjectMeta{Name: "s"}, V6Available: 7},
		},
		"whose last address was given to what Kube-OVN did not count": {
			`{"kind":"Subnet","metadata":{"name":"s"},"status":{"v4availableIPs":1,"v4availableIPrange":"","v4usingIPrange":"10.0.0.2","v6availableIPs":7,"v6availableIPrange":"","v6usingIPrange":"","conditions":[{"type":"Ready","status":"True"}]}}`,
			Subnet{ObjectMeta: metav1.ObjectMeta{Name: "s"}, V6Available: 7},
		},
		"whose last addresses are free, though Kube-OVN counts what is gone": {
			`{"kind":"Subnet","metadata":{"name":"s"},"status":{"v4availableIPs":0,"v4availableIPrange":"10.0.0.2,10.0.0.5-10.0.0.6","v6availableIPs":0,"v6availableIPrange":"fd00::2-fd00:0:0:1::1","conditions":[{"type":"Ready","status":"True"}]}}`,
			Subnet{ObjectMeta: metav1.ObjectMeta{Name: "s"}, V4Available: 3, V6Available: 18446744073709551616},
		},
		"nothing at all": {`{"kind":"Subnet","spec":[],"status":"x"}`, Subnet{V4Available: Unreported, V6Available: Unreported}},
	} {
		t.Run(name, func(t *testing.T) {
			got := decodeSubnet(object(t, tc.text))
			if d := cmp.Diff(&tc.want, got, comparers); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestSubnetFamilies(t *testing.T) {
	s := &Subnet{
		CIDRs:    []netip.Prefix{netip.MustParsePrefix("fd00::/64"), netip.MustParsePrefix("10.0.0.0/8")},
		Gateways: []netip.Addr{netip.MustParseAddr("10.0.0.1")},
	}
	if p, ok := s.CIDR(true); !ok || p.String() != "10.0.0.0/8" {
		t.Error(p, ok)
	}
	if p, ok := s.CIDR(false); !ok || p.String() != "fd00::/64" {
		t.Error(p, ok)
	}
	if a, ok := s.Gateway(true); !ok || a.String() != "10.0.0.1" {
		t.Error(a, ok)
	}
	if a, ok := s.Gateway(false); ok {
		t.Error(a, ok)
	}
}

func TestNumber(t *testing.T) {
	for name, tc := range map[string]struct {
		in   any
		want float64
	}{
		"an integer":              {int64(7), 7},
		"a Go integer":            {7, 7},
		"a float":                 {7.0, 7},
		"a number with digits":    {json.Number("18446744073709551615"), 18446744073709551615},
		"a string":                {" 7 ", 7},
		"a string beyond floats":  {"1e999", math.Inf(1)},
		"a negative number":       {int64(-7), Unreported},
		"not a number":            {math.NaN(), Unreported},
		"not a number, as text":   {"NaN", Unreported},
		"a word":                  {"seven", Unreported},
		"an object":               {map[string]any{}, Unreported},
		"nothing":                 {nil, Unreported},
		"a boolean":               {true, Unreported},
		"less than any, as text":  {"-1e999", Unreported},
		"an empty string":         {"", Unreported},
		"an integer, as a string": {"0", 0},
	} {
		t.Run(name, func(t *testing.T) {
			u := &unstructured.Unstructured{Object: map[string]any{"n": tc.in}}
			if got := number(u, "n"); got != tc.want {
				t.Errorf("got %v, want %v", got, tc.want)
			}
		})
	}
}

func TestDecodeVipIPAndNAD(t *testing.T) {
	vip := decodeVip(object(t, `{"kind":"Vip","metadata":{"name":"lb-1","uid":"u","resourceVersion":"9","labels":{"a":"b"},"finalizers":["f"],
		"creationTimestamp":"2026-01-02T03:04:05Z","annotations":{"x":"y","kube-ovn.io/asked":"10.0.0.9"}},
		"spec":{"subnet":"s","v4ip":"10.0.0.9","macAddress":"m"},"status":{"v4ip":"10.0.0.9","v6ip":"","mac":"00:00:00:00:00:01"}}`))
	created := metav1.NewTime(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
	want := &Vip{
		ObjectMeta: metav1.ObjectMeta{Name: "lb-1", UID: "u", ResourceVersion: "9", Labels: map[string]string{"a": "b"}, Finalizers: []string{"f"}, CreationTimestamp: created},
		Subnet:     "s", WantV4: "10.0.0.9", V4: "10.0.0.9", Restored: "10.0.0.9", MAC: "00:00:00:00:00:01", Asked: "10.0.0.9",
	}
	if d := cmp.Diff(want, vip, comparers); d != "" {
		t.Error(d)
	}
	ip := decodeIP(object(t, `{"kind":"IP","metadata":{"name":"p.n.lan.kube-system","labels":{"a":"b"}},
		"spec":{"podName":"p","namespace":"n","subnet":"s","ipAddress":"10.0.0.7,fd00::7","v4IpAddress":"10.0.0.7","v6IpAddress":"fd00::7"}}`))
	if d := cmp.Diff(&IP{ObjectMeta: metav1.ObjectMeta{Name: "p.n.lan.kube-system"}, PodName: "p", PodNamespace: "n", Subnet: "s", V4: "10.0.0.7", V6: "fd00::7"}, ip); d != "" {
		t.Error(d)
	}
	nad := decodeNAD(object(t, `{"kind":"NetworkAttachmentDefinition","metadata":{"name":"n","namespace":"ns",
		"annotations":{"kubectl.kubernetes.io/last-applied-configuration":"{}","k":"v"}},"spec":{"config":"{}"}}`))
	if d := cmp.Diff(&NAD{ObjectMeta: metav1.ObjectMeta{Name: "n", Namespace: "ns", Annotations: map[string]string{"k": "v"}}, Config: "{}"}, nad); d != "" {
		t.Error(d)
	}
}

// FuzzDecode: no object makes a decoder panic, and what comes out is sane.
func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"kind":"x","metadata":{"name":"n"},"spec":{"cidrBlock":"10.0.0.0/8,fd00::/8","gateway":"1.1.1.1","v4ip":5},"status":{"v4availableIPs":1e300}}`))
	f.Add([]byte(`{"kind":"x","metadata":[],"spec":null,"status":{"v4availableIPs":99999999999999999999}}`))
	f.Add([]byte(`{"kind":"x","metadata":{"creationTimestamp":4,"deletionTimestamp":"x","labels":{"a":1},"finalizers":{}}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var o map[string]any
		if json.Unmarshal(data, &o) != nil {
			return
		}
		u := &unstructured.Unstructured{Object: o}
		s := decodeSubnet(u)
		for _, p := range s.CIDRs {
			if !p.IsValid() || p != p.Masked() {
				t.Errorf("CIDR %s", p)
			}
		}
		if !(s.V4Available >= 0 || s.V4Available == Unreported) {
			t.Errorf("available %v", s.V4Available)
		}
		decodeVip(u)
		decodeIP(u)
		decodeNAD(u)
	})
}
