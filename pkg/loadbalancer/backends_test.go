package loadbalancer

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
)

// sliceOf makes an EndpointSlice of the guide's Service; ports are
// "name/protocol/number".
func sliceOf(ports []string, endpoints ...discoveryv1.Endpoint) *discoveryv1.EndpointSlice {
	s := &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Labels: map[string]string{discoveryv1.LabelServiceName: "test-service"}}}
	for _, p := range ports {
		part := strings.Split(p, "/")
		var number int32
		if _, err := fmt.Sscan(part[2], &number); err != nil {
			panic(err)
		}
		s.Ports = append(s.Ports, discoveryv1.EndpointPort{Name: &part[0], Protocol: ptr.To(corev1.Protocol(part[1])), Port: &number})
	}
	s.Endpoints = endpoints
	return s
}

// podAt is a ready endpoint that is the Pod default/<address>.
func podAt(address string, changes ...func(*discoveryv1.Endpoint)) discoveryv1.Endpoint {
	e := discoveryv1.Endpoint{
		Addresses:  []string{address},
		Conditions: discoveryv1.EndpointConditions{Ready: ptr.To(true), Serving: ptr.To(true), Terminating: ptr.To(false)},
		TargetRef:  &corev1.ObjectReference{Kind: "Pod", Namespace: "default", Name: address},
	}
	for _, change := range changes {
		change(&e)
	}
	return e
}

func notReady(e *discoveryv1.Endpoint) {
	e.Conditions.Ready, e.Conditions.Serving = ptr.To(false), ptr.To(false)
}

func ending(e *discoveryv1.Endpoint) {
	e.Conditions.Ready, e.Conditions.Terminating = ptr.To(false), ptr.To(true)
}

func byHand(e *discoveryv1.Endpoint) {
	e.TargetRef, e.Conditions = nil, discoveryv1.EndpointConditions{}
}

// describe writes ports as "TCP 80: a b, draining c".
func describe(ports []portBackends) string {
	list := func(bs []backend) string {
		var out []string
		for _, b := range bs {
			out = append(out, b.address.String())
		}
		return strings.Join(out, " ")
	}
	var out []string
	for _, p := range ports {
		s := fmt.Sprintf("%s %d: %s", p.port.Protocol, p.port.Port, list(p.serving))
		if len(p.draining) > 0 {
			s += ", draining " + list(p.draining)
		}
		out = append(out, s)
	}
	return strings.Join(out, "; ")
}

func TestBackends(t *testing.T) {
	web := []string{"/TCP/8080"}
	for sentence, tc := range map[string]struct {
		ports  []corev1.ServicePort
		slices []*discoveryv1.EndpointSlice
		v6     bool
		want   string
	}{
		"nothing is behind a Service without slices": {want: "TCP 80: "},
		"what is ready takes connections, sorted": {
			slices: []*discoveryv1.EndpointSlice{sliceOf(web, podAt("10.16.0.9"), podAt("10.16.0.5"))},
			want:   "TCP 80: 10.16.0.5:8080 10.16.0.9:8080",
		},
		"what is not ready exists, no more": {
			slices: []*discoveryv1.EndpointSlice{sliceOf(web, podAt("10.16.0.5"), podAt("10.16.0.6", notReady))},
			want:   "TCP 80: 10.16.0.5:8080, draining 10.16.0.6:8080",
		},
		"what terminates keeps its connections": {
			slices: []*discoveryv1.EndpointSlice{sliceOf(web, podAt("10.16.0.5"), podAt("10.16.0.6", ending))},
			want:   "TCP 80: 10.16.0.5:8080, draining 10.16.0.6:8080",
		},
		"and takes new ones if nothing else is left": {
			slices: []*discoveryv1.EndpointSlice{sliceOf(web, podAt("10.16.0.5", notReady), podAt("10.16.0.6", ending))},
			want:   "TCP 80: 10.16.0.6:8080, draining 10.16.0.5:8080",
		},
		"but not if it does not serve any more": {
			slices: []*discoveryv1.EndpointSlice{sliceOf(web, podAt("10.16.0.6", ending, notReady))},
			want:   "TCP 80: , draining 10.16.0.6:8080",
		},
		"an endpoint that moves between slices is one, and ready if one says so": {
			slices: []*discoveryv1.EndpointSlice{sliceOf(web, podAt("10.16.0.5", notReady)), sliceOf(web, podAt("10.16.0.5"))},
			want:   "TCP 80: 10.16.0.5:8080",
		},
		"conditions that are not said are ready: slices made by hand": {
			slices: []*discoveryv1.EndpointSlice{sliceOf(web, podAt("192.0.2.1", byHand))},
			want:   "TCP 80: 192.0.2.1:8080",
		},
		"a named target port may differ from Pod to Pod": {
			ports:  []corev1.ServicePort{{Name: "http", Port: 80}},
			slices: []*discoveryv1.EndpointSlice{sliceOf([]string{"http/TCP/8080"}, podAt("10.16.0.5")), sliceOf([]string{"http/TCP/9090"}, podAt("10.16.0.6"))},
			want:   "TCP 80: 10.16.0.5:8080 10.16.0.6:9090",
		},
		"one port number with two protocols is two ports": {
			ports:  []corev1.ServicePort{{Name: "u", Protocol: corev1.ProtocolUDP, Port: 53}, {Name: "t", Port: 53}},
			slices: []*discoveryv1.EndpointSlice{sliceOf([]string{"t/TCP/5353", "u/UDP/5354"}, podAt("10.16.0.5"))},
			want:   "TCP 53: 10.16.0.5:5353; UDP 53: 10.16.0.5:5354",
		},
		"a family that is not served is left out": {
			slices: []*discoveryv1.EndpointSlice{sliceOf(web, podAt("10.16.0.5")), sliceOf(web, podAt("fd00:10:16::5"))},
			want:   "TCP 80: 10.16.0.5:8080",
		},
		"each family falls back by itself": {
			slices: []*discoveryv1.EndpointSlice{sliceOf(web, podAt("10.16.0.5")), sliceOf(web, podAt("fd00:10:16::6", ending))}, v6: true,
			want: "TCP 80: 10.16.0.5:8080 [fd00:10:16::6]:8080",
		},
		"what is no address is left out": {
			slices: []*discoveryv1.EndpointSlice{sliceOf(web, podAt("example.com"), podAt("fe80::1%eth0"))}, v6: true,
			want: "TCP 80: ",
		},
	} {
		t.Run(sentence, func(t *testing.T) {
			svc := guideService()
			if tc.ports != nil {
				svc.Spec.Ports = tc.ports
			} else {
				svc.Spec.Ports = []corev1.ServicePort{{Port: 80}}
			}
			if got := describe(backendsOf(svc, tc.slices, kubeovn.Families{V4: true, V6: tc.v6})); got != tc.want {
				t.Errorf("got  %s\nwant %s", got, tc.want)
			}
			slices.Reverse(tc.slices)
			if got := describe(backendsOf(svc, tc.slices, kubeovn.Families{V4: true, V6: tc.v6})); got != tc.want {
				t.Errorf("the order of the slices matters: %s", got)
			}
		})
	}
}

// FuzzBackends: whatever the conditions, an address is in one list of a port
// at most, and something serves if anything is ready.
func FuzzBackends(f *testing.F) {
	f.Add([]byte{0, 1, 2, 0x83, 0x44})
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 200 {
			return
		}
		var all []*discoveryv1.EndpointSlice
		anyReady := false
		for i, b := range data {
			e := podAt(netip.AddrFrom4([4]byte{10, 16, 0, 1 + b&3}).String())
			e.Conditions.Ready, e.Conditions.Serving, e.Conditions.Terminating = ptr.To(b&4 != 0), ptr.To(b&8 != 0), ptr.To(b&16 != 0)
			anyReady = anyReady || b&4 != 0
			if i%3 == 0 {
				all = append(all, sliceOf([]string{"/TCP/80"}))
			}
			last := all[len(all)-1]
			last.Endpoints = append(last.Endpoints, e)
		}
		svc := guideService()
		svc.Spec.Ports = []corev1.ServicePort{{Port: 80}}
		port := backendsOf(svc, all, kubeovn.Families{V4: true})[0]
		if anyReady && len(port.serving) == 0 {
			t.Fatalf("nothing serves of %v", data)
		}
		seen := map[netip.AddrPort]bool{}
		for _, b := range slices.Concat(port.serving, port.draining) {
			if seen[b.address] {
				t.Fatalf("%s twice", b.address)
			}
			seen[b.address] = true
		}
	})
}
