package dns

import (
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

func lookup(ns, svc string) ([]netip.Addr, bool) {
	switch ns + "/" + svc {
	case "default/web":
		return []netip.Addr{netip.MustParseAddr("10.96.5.5")}, true
	case "default/dual":
		return []netip.Addr{netip.MustParseAddr("10.96.5.6"), netip.MustParseAddr("fd00:10:96::6")}, true
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

// text is the addresses of an answer.
func text(t *testing.T, m dnsmessage.Message) string {
	t.Helper()
	var out []string
	for _, a := range m.Answers {
		switch body := a.Body.(type) {
		case *dnsmessage.AResource:
			out = append(out, netip.AddrFrom4(body.A).String())
		case *dnsmessage.AAAAResource:
			out = append(out, netip.AddrFrom16(body.AAAA).String())
		default:
			t.Errorf("a record of type %v", a.Header.Type)
		}
	}
	return strings.Join(out, " ")
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
		"a dual-stack Service has its IPv4 address for A":              {"dual.default.svc.cluster.local.", dnsmessage.TypeA, dnsmessage.RCodeSuccess, "10.96.5.6"},
		"and its IPv6 address for AAAA":                                {"dual.default.svc.cluster.local.", dnsmessage.TypeAAAA, dnsmessage.RCodeSuccess, "fd00:10:96::6"},
		"and both for whoever asks for all":                            {"dual.default.svc.cluster.local.", dnsmessage.TypeALL, dnsmessage.RCodeSuccess, "10.96.5.6 fd00:10:96::6"},
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
			got := text(t, m)
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
	}}, {Endpoints: []discoveryv1.Endpoint{{Addresses: []string{"fd00:10:16::2"}}}}}
	for sentence, tc := range map[string]struct {
		clusterIPs []string
		want       []string
	}{
		"a Service stands for its ClusterIP":              {[]string{"10.96.0.9"}, []string{"10.96.0.9"}},
		"a dual-stack one for both":                       {[]string{"10.96.0.9", "fd00:10:96::9"}, []string{"10.96.0.9", "fd00:10:96::9"}},
		"a headless one for its endpoints that are ready": {[]string{corev1.ClusterIPNone}, []string{"10.16.0.2", "10.16.0.4", "fd00:10:16::2"}},
		"one whose address is not allocated, for nothing": {nil, nil},
	} {
		t.Run(sentence, func(t *testing.T) {
			var got []string
			spec := corev1.ServiceSpec{ClusterIPs: tc.clusterIPs}
			if len(tc.clusterIPs) > 0 {
				spec.ClusterIP = tc.clusterIPs[0]
			}
			for _, a := range addresses(&corev1.Service{Spec: spec}, slice) {
				got = append(got, a.String())
			}
			if !slices.Equal(got, tc.want) {
				t.Errorf("got %v, want %v", got, tc.want)
			}
		})
	}
}

func TestSeveralQueriesOverOneConnectionAreAnswered(t *testing.T) {
	client, server := net.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer server.Close()
		answerStream(server, lookup)
	}()
	_ = client.SetDeadline(time.Now().Add(5 * time.Second))
	for _, want := range []string{"10.96.5.6", "10.96.5.6"} {
		q := query(t, "dual.default.svc.cluster.local.", dnsmessage.TypeA)
		if _, err := client.Write(append([]byte{0, byte(len(q))}, q...)); err != nil {
			t.Fatal(err)
		}
		var length [2]byte
		if _, err := io.ReadFull(client, length[:]); err != nil {
			t.Fatal(err)
		}
		answer := make([]byte, int(length[0])<<8|int(length[1]))
		if _, err := io.ReadFull(client, answer); err != nil {
			t.Fatal(err)
		}
		var m dnsmessage.Message
		if err := m.Unpack(answer); err != nil || text(t, m) != want {
			t.Errorf("got %v (%v), want %s", m.Answers, err, want)
		}
	}
	if _, err := client.Write([]byte{0, 1, 'x'}); err != nil {
		t.Fatal(err)
	}
	<-done // what is no query ends the connection
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
