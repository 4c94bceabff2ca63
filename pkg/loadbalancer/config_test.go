package loadbalancer

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

func TestParseConfig(t *testing.T) {
	defaults := GatewayConfig{
		Image:           GatewayImage + ":v1.2.3",
		ImagePullPolicy: corev1.PullIfNotPresent,
		Resources: &corev1.ResourceRequirements{Requests: corev1.ResourceList{
			corev1.ResourceCPU: resource.MustParse("10m"), corev1.ResourceMemory: resource.MustParse("32Mi"),
		}},
	}
	with := func(change func(*Config)) Config {
		c := Config{Gateway: defaults}
		change(&c)
		return c
	}
	for name, tc := range map[string]struct {
		yaml string
		want Config
		err  string
	}{
		"an empty file has every default": {
			want: with(func(*Config) {}),
		},
		"a default attachment": {
			yaml: "defaultAttachment: lb.kube-system",
			want: with(func(c *Config) { c.DefaultAttachment = "lb.kube-system" }),
		},
		"everything about the gateway": {
			yaml: `
gateway:
  image: example.com/gw:1
  imagePullPolicy: Never
  resources: {limits: {memory: 64Mi}}
  nodeSelector: {lan: "yes"}
  tolerations: [{key: edge, operator: Exists}]
  priorityClassName: system-cluster-critical`,
			want: Config{Gateway: GatewayConfig{
				Image: "example.com/gw:1", ImagePullPolicy: corev1.PullNever,
				Resources:         &corev1.ResourceRequirements{Limits: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("64Mi")}},
				NodeSelector:      map[string]string{"lan": "yes"},
				Tolerations:       []corev1.Toleration{{Key: "edge", Operator: corev1.TolerationOpExists}},
				PriorityClassName: "system-cluster-critical",
			}},
		},
		"a misspelt field is an error":           {yaml: "gateway: {imagee: x}", err: `unknown field "imagee"`},
		"a field twice is an error":              {yaml: "gateway: {image: x}\ngateway: {image: y}", err: `already set`},
		"a list is an error":                     {yaml: "[1]", err: "cloud-config"},
		"a malformed default attachment":         {yaml: "defaultAttachment: lb", err: `defaultAttachment: "lb" has no dot`},
		"a pull policy that does not exist":      {yaml: "gateway: {imagePullPolicy: Sometimes}", err: `gateway.imagePullPolicy "Sometimes" is none of Always, IfNotPresent, Never`},
		"an image name with white space":         {yaml: "gateway: {image: a b}", err: `gateway.image "a b" is not the reference of an image`},
		"a quantity that cannot be read":         {yaml: "gateway: {resources: {requests: {cpu: lots}}}", err: "quantities must match"},
		"all faults are told at once":            {yaml: "{defaultAttachment: lb, gateway: {imagePullPolicy: X}}", err: "imagePullPolicy"},
		"all faults are told at once, the other": {yaml: "{defaultAttachment: lb, gateway: {imagePullPolicy: X}}", err: "defaultAttachment"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := ParseConfig(strings.NewReader(tc.yaml), "v1.2.3")
			if tc.err != "" {
				if err == nil || !strings.Contains(err.Error(), tc.err) {
					t.Fatalf("got error %v, want one with %q", err, tc.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
	t.Run("a program that was built without a version must be told its image", func(t *testing.T) {
		const unstamped = "v0.0.0-master+$Format:%H$"
		if _, err := ParseConfig(nil, unstamped); err == nil || !strings.Contains(err.Error(), "built without a version") {
			t.Errorf("got error %v", err)
		}
		if _, err := ParseConfig(strings.NewReader("gateway: {image: example.com/gw:1}"), unstamped); err != nil {
			t.Error(err)
		}
	})
	t.Run("without a file", func(t *testing.T) {
		got, err := ParseConfig(nil, "v1.2.3")
		if diff := cmp.Diff(Config{Gateway: defaults}, got); err != nil || diff != "" {
			t.Errorf("%v (-want +got)\n%s", err, diff)
		}
	})
}
