package loadbalancer

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/kubeovn/kube-ovn-ccm/pkg/gateway/spec"
	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
	"github.com/kubeovn/kube-ovn-ccm/pkg/routes"
)

// describeDocument writes a document's ports as "TCP 80: a keep, b; draining c".
func describeDocument(ports []spec.Port) string {
	var out []string
	for _, p := range ports {
		var parts []string
		for _, e := range p.Endpoints {
			s := e.Address.String()
			if e.KeepClient {
				s += " keep"
			}
			parts = append(parts, s)
		}
		s := fmt.Sprintf("%s %d: %s", p.Protocol, p.Port, strings.Join(parts, ", "))
		if p.Refuse {
			s += "refuse"
		}
		for _, a := range p.Draining {
			s += "; draining " + a.String()
		}
		out = append(out, s)
	}
	return strings.Join(out, " | ")
}

func TestWhatTheGatewayIsToldOfEndpoints(t *testing.T) {
	b := func(ip string) routes.Backend {
		return routes.Backend{Protocol: spec.TCP, Address: netip.MustParseAddrPort(ip + ":8080")}
	}
	set := func(ips ...string) map[routes.Backend]bool {
		m := map[routes.Backend]bool{}
		for _, ip := range ips {
			m[b(ip)] = true
		}
		return m
	}
	before := func(target spec.Target, endpoints ...spec.Endpoint) *spec.Document {
		return &spec.Document{Target: target, Ports: []spec.Port{{Protocol: spec.TCP, Port: 80, Endpoints: endpoints}}}
	}
	kept := func(ip string) spec.Endpoint { return spec.Endpoint{Address: b(ip).Address, KeepClient: true} }
	masked := func(ip string) spec.Endpoint { return spec.Endpoint{Address: b(ip).Address} }
	two := []discoveryv1.Endpoint{podAt("10.16.0.5"), podAt("10.16.0.6")}
	for sentence, tc := range map[string]struct {
		target   spec.Target
		pods     []discoveryv1.Endpoint
		way      wayBack
		previous *spec.Document
		want     string
		held     int
	}{
		"the cluster IP needs no endpoints": {target: spec.TargetClusterIP, pods: two, want: "TCP 80: "},
		"but is not asked without any":      {target: spec.TargetClusterIP, want: "TCP 80: refuse"},
		"endpoints are told, and what drains": {
			pods: []discoveryv1.Endpoint{podAt("10.16.0.5"), podAt("10.16.0.6", ending)}, want: "TCP 80: 10.16.0.5:8080; draining 10.16.0.6:8080",
		},
		"a routed endpoint sees the client": {
			pods: two, way: wayBack{asked: true, answer: routes.Answer{Routed: set("10.16.0.5", "10.16.0.6")}}, want: "TCP 80: 10.16.0.5:8080 keep, 10.16.0.6:8080 keep",
		},
		"a new one waits for its route": {
			pods: two, way: wayBack{asked: true, answer: routes.Answer{Routed: set("10.16.0.5"), Pending: set("10.16.0.6")}},
			previous: before(spec.TargetEndpoints, kept("10.16.0.5")), want: "TCP 80: 10.16.0.5:8080 keep", held: 1,
		},
		"all of a new gateway wait": {
			pods: two, way: wayBack{asked: true}, want: "TCP 80: ", held: 2,
		},
		"one that the gateway has stays while its route moves to a new gateway Pod": {
			pods: two, way: wayBack{asked: true, answer: routes.Answer{Pending: set("10.16.0.5", "10.16.0.6")}},
			previous: before(spec.TargetEndpoints, kept("10.16.0.5"), kept("10.16.0.6")), want: "TCP 80: 10.16.0.5:8080 keep, 10.16.0.6:8080 keep",
		},
		"from Cluster to Local nothing stops: masqueraded until the routes are there": {
			pods: two, way: wayBack{asked: true, answer: routes.Answer{Pending: set("10.16.0.5", "10.16.0.6")}},
			previous: before(spec.TargetEndpoints, masked("10.16.0.5"), masked("10.16.0.6")), want: "TCP 80: 10.16.0.5:8080, 10.16.0.6:8080",
		},
		"also from the cluster IP": {
			pods: two, way: wayBack{asked: true, answer: routes.Answer{Pending: set("10.16.0.5", "10.16.0.6")}},
			previous: before(spec.TargetClusterIP), want: "TCP 80: 10.16.0.5:8080, 10.16.0.6:8080",
		},
		"what another gateway has is masqueraded": {
			pods: two, way: wayBack{asked: true, answer: routes.Answer{Routed: set("10.16.0.5"), Held: map[routes.Backend]string{b("10.16.0.6"): "default/other"}}},
			want: "TCP 80: 10.16.0.5:8080 keep, 10.16.0.6:8080",
		},
		"so is what no route can reach": {
			pods: two, way: wayBack{asked: true, answer: routes.Answer{Routed: set("10.16.0.5")}, foreign: []netip.AddrPort{b("10.16.0.6").Address}},
			want: "TCP 80: 10.16.0.5:8080 keep, 10.16.0.6:8080",
		},
		"and what cannot be routed now, beside what is": {
			pods: two, way: wayBack{asked: true, obstacle: "x", answer: routes.Answer{Routed: set("10.16.0.5"), Pending: set("10.16.0.6")}}, want: "TCP 80: 10.16.0.5:8080 keep, 10.16.0.6:8080",
		},
	} {
		t.Run(sentence, func(t *testing.T) {
			w := guideWorld()
			w.slices = []*discoveryv1.EndpointSlice{sliceOf([]string{"test/TCP/8080"}, tc.pods...)}
			c := choice{ports: backendsOf(w.service, w.slices, kubeovn.Families{V4: true}), forwarding: forwarding{target: tc.target, keepClient: tc.way.asked}}
			if c.forwarding.target == "" {
				c.forwarding.target = spec.TargetEndpoints
			}
			ports, held := documentPorts(c, tc.way, tc.previous)
			if got := describeDocument(ports); got != tc.want || held != tc.held {
				t.Errorf("got  %s (%d held)\nwant %s (%d held)", got, held, tc.want, tc.held)
			}
		})
	}
}

func TestWhichBackendsAreRoutedBack(t *testing.T) {
	w := guideWorld()
	w.subnets = subnetList{guideSubnet(), ovnSubnet("ovn-default", "ovn-cluster"), ovnSubnet("v1s", "v1")}
	w.subnetOfPod = func(b backend) (string, bool) {
		s, ok := map[string]string{"10.16.0.5": "ovn-default", "10.16.0.6": "ovn-default", "10.0.1.5": "v1s"}[b.address.Addr().String()]
		return s, ok
	}
	w.isNodeAddress = func(a netip.Addr) bool { return a.String() == "172.18.0.6" }
	w.slices = []*discoveryv1.EndpointSlice{sliceOf([]string{"test/TCP/8080"},
		podAt("10.16.0.5"), podAt("10.16.0.6", notReady), podAt("10.0.1.5"), podAt("172.18.0.6"), podAt("192.0.2.1", byHand), podAt("10.16.0.99"))}
	c := choice{ports: backendsOf(w.service, w.slices, kubeovn.Families{V4: true}), forwarding: forwarding{keepClient: true}, placement: placement{vpc: "ovn-cluster"}}
	routed, foreign := eligible(w, c)
	if got, want := fmt.Sprint(routed), "[{TCP 10.16.0.5:8080} {TCP 10.16.0.6:8080}]"; got != want {
		t.Errorf("routed %s, want %s: what is not ready has its route when it will be", got, want)
	}
	if got, want := joinAddrPorts(foreign), "10.0.1.5:8080, 172.18.0.6:8080, 192.0.2.1:8080"; got != want {
		t.Errorf("foreign %s, want %s: a Pod without a record is awaited", got, want)
	}
	c.forwarding.keepClient = false
	if routed, foreign := eligible(w, c); routed != nil || foreign != nil {
		t.Error("nothing is to be routed if nobody asks for the client's address")
	}
}

func TestTheNextHopIsTheGatewayPodThatServes(t *testing.T) {
	at := func(name, ip string, age int, changes ...func(*corev1.Pod)) gatewayPod {
		return gatewayPodWith(func(p *corev1.Pod) {
			p.Name, p.Status.PodIPs = name, []corev1.PodIP{{IP: ip}, {IP: "fd00::" + ip[len(ip)-1:]}}
			p.CreationTimestamp.Time = p.CreationTimestamp.AddDate(0, 0, -age)
			for _, change := range changes {
				change(p)
			}
		})
	}
	g := &gateway{provider: guideProvider, held: kubeovn.Addrs{V4: netip.MustParseAddr("172.18.0.18")}}
	w := guideWorld()
	for sentence, tc := range map[string]struct {
		pods    []gatewayPod
		want    string
		secured bool
	}{
		"none without a Pod":              {want: ""},
		"the one that is ready":           {pods: []gatewayPod{at("a", "10.16.0.1", 0), at("b", "10.16.0.2", 5, ready)}, want: "10.16.0.2,fd00::2"},
		"else the newest":                 {pods: []gatewayPod{at("a", "10.16.0.1", 3), at("b", "10.16.0.2", 1), at("c", "10.16.0.3", 2)}, want: "10.16.0.2,fd00::2"},
		"port security would drop it all": {pods: []gatewayPod{at("a", "10.16.0.1", 0, ready, func(p *corev1.Pod) { p.Annotations[annotationPortSecurity] = "true" })}, want: "10.16.0.1,fd00::1", secured: true},
	} {
		t.Run(sentence, func(t *testing.T) {
			w.pods = tc.pods
			if hops, secured := nextHops(w, g); hops.String() != tc.want || secured != tc.secured {
				t.Errorf("got %s, %t", hops, secured)
			}
		})
	}
}
