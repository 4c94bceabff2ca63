package loadbalancer

import (
	"errors"
	"fmt"
	"io"
	"regexp"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"sigs.k8s.io/yaml"
)

// GatewayImage is the repository of the gateway's image; its tag is the
// version of the binary, because the two speak one document format.
const GatewayImage = "docker.io/kubeovn/kube-ovn-lb-gateway"

// Config is the content of the file that --cloud-config names. Everything in
// it is optional.
type Config struct {
	// DefaultAttachment, "<name>.<namespace>" of a NetworkAttachmentDefinition,
	// serves Services of type LoadBalancer without a class that do not name an
	// attachment themselves. Empty (the default) leaves such Services alone.
	DefaultAttachment string `json:"defaultAttachment,omitempty"`
	// AvoidBuggyIPs keeps IPv4 addresses that end in .0 or .255 from Services
	// that do not ask for them; default false. A Subnet may say otherwise by its
	// annotation kubeovn.SubnetAvoidBuggyIPs.
	AvoidBuggyIPs bool `json:"avoidBuggyIPs,omitempty"`
	// Gateway says how gateway Pods are run.
	Gateway GatewayConfig `json:"gateway,omitempty"`
}

// GatewayConfig says how gateway Pods are run. A change rolls all gateways.
type GatewayConfig struct {
	// Image is the gateway's image; default GatewayImage with the version of
	// the binary as tag.
	Image string `json:"image,omitempty"`
	// ImagePullPolicy is Always, IfNotPresent (default) or Never.
	ImagePullPolicy corev1.PullPolicy `json:"imagePullPolicy,omitempty"`
	// Resources of the gateway container; default requests 10m CPU, 32Mi memory.
	Resources *corev1.ResourceRequirements `json:"resources,omitempty"`
	// NodeSelector chooses the nodes that have the attachment's network.
	NodeSelector map[string]string `json:"nodeSelector,omitempty"`
	// Tolerations are added to those for nodes that are not ready.
	Tolerations []corev1.Toleration `json:"tolerations,omitempty"`
	// PriorityClassName of the gateway Pods; default none.
	PriorityClassName string `json:"priorityClassName,omitempty"`
}

// ParseConfig reads a cloud-config in YAML. r may be nil: then everything has
// its default. A field that does not exist is an error, so that a misspelt one
// is not silently ignored. version is the version of the binary, which is the
// tag of the default image.
func ParseConfig(r io.Reader, version string) (Config, error) {
	var cfg Config
	if r != nil {
		b, err := io.ReadAll(r)
		if err != nil {
			return Config{}, fmt.Errorf("reading the cloud-config: %w", err)
		}
		if err := yaml.UnmarshalStrict(b, &cfg); err != nil {
			return Config{}, fmt.Errorf("cloud-config: %w", err)
		}
	}
	cfg.setDefaults(version)
	if err := cfg.validate(); err != nil {
		return Config{}, fmt.Errorf("cloud-config: %w", err)
	}
	return cfg, nil
}

// imageReference is what an image's reference looks like: no white space, and
// characters of names, tags and digests only
// (https://pkg.go.dev/github.com/distribution/reference).
var imageReference = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:/@-]*$`)

func (c *Config) setDefaults(version string) {
	g := &c.Gateway
	if g.Image == "" {
		g.Image = GatewayImage + ":" + version
	}
	if g.ImagePullPolicy == "" {
		g.ImagePullPolicy = corev1.PullIfNotPresent
	}
	if g.Resources == nil {
		g.Resources = &corev1.ResourceRequirements{Requests: corev1.ResourceList{
			corev1.ResourceCPU:    resource.MustParse("10m"),
			corev1.ResourceMemory: resource.MustParse("32Mi"),
		}}
	}
}

func (c *Config) validate() error {
	var errs []error
	if c.DefaultAttachment != "" {
		if _, err := parseAttachment(c.DefaultAttachment); err != nil {
			errs = append(errs, fmt.Errorf("defaultAttachment: %w", err))
		}
	}
	if !imageReference.MatchString(c.Gateway.Image) {
		errs = append(errs, fmt.Errorf("gateway.image %q is not the reference of an image; it must be set if this program was built without a version", c.Gateway.Image))
	}
	switch c.Gateway.ImagePullPolicy {
	case corev1.PullAlways, corev1.PullIfNotPresent, corev1.PullNever:
	default:
		errs = append(errs, fmt.Errorf("gateway.imagePullPolicy %q is none of Always, IfNotPresent, Never", c.Gateway.ImagePullPolicy))
	}
	return errors.Join(errs...)
}
