package dns

import (
	"net/netip"
	"slices"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

func lookup(ns, svc string) ([]netip.Addr, bool) {
	switch ns + "/" + svc {
	case "default/web":
		return []netip.Addr{netip.MustParseAddr("10.96.5.5")}, true
	case "default/headless":
		return nil, true
	}
	return nil, false
}

func query(t testing.TB, name string, typ dnsmessage.Type) []byte {
	t.Helper()
	m := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: 7, RecursionDesired: true},
		Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName(name), Type: typ, Class: dnsmessage.ClassINET}},
	}
	b, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestAnswer(t *testing.T) {
	for sentence, tc := range map[string]struct {
		name  string
		typ   dnsmessage.Type
		rcode dnsmessage.RCode
		want  string
	}{
		"a Service's name has its address":                             {"web.default.svc.cluster.local.", dnsmessage.TypeA, dnsmessage.RCodeSuccess, "10.96.5.5"},
		"case does not matter":                                         {"Web.Default.SVC.cluster.local.", dnsmessage.TypeA, dnsmessage.RCodeSuccess, "10.96.5.5"},
		"a Pod's name below a Service is answered by the Service":      {"pod-0.web.default.svc.cluster.local.", dnsmessage.TypeA, dnsmessage.RCodeSuccess, "10.96.5.5"},
		"it exists for AAAA too, with no answer, so nobody gives up":   {"web.default.svc.cluster.local.", dnsmessage.TypeAAAA, dnsmessage.RCodeSuccess, ""},
		"a Service without addresses exists":                           {"headless.default.svc.cluster.local.", dnsmessage.TypeA, dnsmessage.RCodeSuccess, ""},
		"a Service that is not there does not":                         {"nope.default.svc.cluster.local.", dnsmessage.TypeA, dnsmessage.RCodeNameError, ""},
		"names of the outside do not, so resolvers go down their list": {"web.default.svc.cluster.local.default.svc.cluster.local.", dnsmessage.TypeA, dnsmessage.RCodeNameError, ""},
		"a namespace is no Service":                                    {"default.svc.cluster.local.", dnsmessage.TypeA, dnsmessage.RCodeNameError, ""},
	} {
		t.Run(sentence, func(t *testing.T) {
			b, ok := Answer(query(t, tc.name, tc.typ), lookup)
			var m dnsmessage.Message
			if !ok || m.Unpack(b) != nil {
				t.Fatalf("no answer")
			}
			got := ""
			for _, a := range m.Answers {
				got += netip.AddrFrom4(a.Body.(*dnsmessage.AResource).A).String()
			}
			if m.ID != 7 || !m.Response || m.RCode != tc.rcode || got != tc.want {
				t.Errorf("got %q %v (id %d), want %q %v", got, m.RCode, m.ID, tc.want, tc.rcode)
			}
		})
	}
}

func TestAddresses(t *testing.T) {
	yes, no := true, false
	slice := []*discoveryv1.EndpointSlice{{Endpoints: []discoveryv1.Endpoint{
		{Addresses: []string{"10.16.0.2"}, Conditions: discoveryv1.EndpointConditions{Ready: &yes}},
		{Addresses: []string{"10.16.0.3"}, Conditions: discoveryv1.EndpointConditions{Ready: &no}},
		{Addresses: []string{"10.16.0.4"}},
	}}}
	for sentence, tc := range map[string]struct {
		clusterIP string
		want      []string
	}{
		"a Service stands for its ClusterIP":              {"10.96.0.9", []string{"10.96.0.9"}},
		"a headless one for its endpoints that are ready": {corev1.ClusterIPNone, []string{"10.16.0.2", "10.16.0.4"}},
		"one whose address is not allocated, for nothing": {"", nil},
	} {
		t.Run(sentence, func(t *testing.T) {
			var got []string
			for _, a := range addresses(&corev1.Service{Spec: corev1.ServiceSpec{ClusterIP: tc.clusterIP}}, slice) {
				got = append(got, a.String())
			}
			if !slices.Equal(got, tc.want) {
				t.Errorf("got %v, want %v", got, tc.want)
			}
		})
	}
}

func FuzzAnswer(f *testing.F) {
	f.Add(query(f, "web.default.svc.cluster.local.", dnsmessage.TypeA))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		if out, ok := Answer(b, lookup); ok && new(dnsmessage.Message).Unpack(out) != nil {
			t.Errorf("the answer to %x is no message: %x", b, out)
		}
	})
}
