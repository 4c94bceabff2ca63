package loadbalancer

import (
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"sigs.k8s.io/yaml"

	"github.com/kubeovn/kube-ovn-ccm/pkg/gateway/spec"
	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// TestRender compares what is made for the guide's Service with files that are
// meant to be read.
func TestRender(t *testing.T) {
	w := guideWorld()
	w.config, _ = ParseConfig(nil, "v0.1.0")
	w.service.Spec.Ports = []corev1.ServicePort{
		{Protocol: corev1.ProtocolUDP, Port: 53},
		{Protocol: corev1.ProtocolTCP, Port: 443},
		{Port: 80},
		{Protocol: corev1.ProtocolTCP, Port: 53},
	}
	w.slices = []*discoveryv1.EndpointSlice{sliceOf([]string{"/TCP/8080", "/UDP/5353"}, podAt("10.16.0.5"), podAt("10.16.0.6", ending))}
	c, _, problem := choose(w)
	if problem != nil {
		t.Fatal(problem)
	}
	g := newGateway(w, c, granted("172.18.0.18"))
	g.ports, _ = documentPorts(c, wayBack{}, nil)
	document, hash, err := g.document()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := spec.Parse([]byte(document)); err != nil || hash != spec.Hash([]byte(document)) {
		t.Errorf("the gateway would not read its document: %v, hash %s", err, hash)
	}
	for name, obj := range map[string]any{
		"deployment": g.deployment(),
		"configmap":  g.configMap(document),
		"nad":        g.attachment().Object,
	} {
		t.Run(name, func(t *testing.T) {
			got, err := yaml.Marshal(obj)
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join("testdata", name+".yaml")
			if *update {
				if err := os.WriteFile(file, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(got)); diff != "" {
				t.Errorf("differs from %s; if that is meant, run go test with -update (-want +got)\n%s", file, diff)
			}
		})
	}
}

func TestTheOrderOfPortsDoesNotMatter(t *testing.T) {
	one, two := guideService(), guideService()
	one.Spec.Ports = []corev1.ServicePort{{Protocol: "TCP", Port: 1}, {Protocol: "UDP", Port: 1}, {Protocol: "TCP", Port: 2}}
	two.Spec.Ports = []corev1.ServicePort{{Protocol: "UDP", Port: 1}, {Protocol: "TCP", Port: 2}, {Protocol: "TCP", Port: 1}}
	if one, two := describe(backendsOf(one, nil, kubeovn.Families{V4: true})), describe(backendsOf(two, nil, kubeovn.Families{V4: true})); one != two {
		t.Errorf("%s and %s", one, two)
	}
}

func TestTheConfigurationReachesThePod(t *testing.T) {
	w := guideWorld()
	w.config = Config{Gateway: GatewayConfig{
		Image: "gw:1", ImagePullPolicy: corev1.PullNever, NodeSelector: map[string]string{"lan": "yes"}, PriorityClassName: "high",
		Tolerations: []corev1.Toleration{{Key: "edge", Operator: corev1.TolerationOpEqual, Value: "x", Effect: corev1.TaintEffectNoSchedule}},
	}}
	c, _, _ := choose(w)
	pod := newGateway(w, c, granted("172.18.0.18")).podTemplate().Spec
	last := pod.Tolerations[len(pod.Tolerations)-1]
	switch {
	case *pod.Containers[0].Image != "gw:1", *pod.Containers[0].ImagePullPolicy != corev1.PullNever,
		pod.NodeSelector["lan"] != "yes", *pod.PriorityClassName != "high",
		*last.Key != "edge", *last.Operator != corev1.TolerationOpEqual, *last.Value != "x", *last.Effect != corev1.TaintEffectNoSchedule:
		t.Errorf("got %+v", pod)
	}
}

func TestAnotherNetworkMakesAnotherPod(t *testing.T) {
	w := guideWorld()
	c, _, _ := choose(w)
	before := newGateway(w, c, granted("172.18.0.18")).podAnnotations()
	c.network, _ = networkOf(c.attachment, &kubeovn.NAD{Config: `{"type": "macvlan", "master": "eth1"}`}, "test-service", false)
	after := newGateway(w, c, granted("172.18.0.18")).podAnnotations()
	if before[AnnotationNetworkHash] == after[AnnotationNetworkHash] {
		t.Error("the Pod template does not change with the attachment's configuration")
	}
}
