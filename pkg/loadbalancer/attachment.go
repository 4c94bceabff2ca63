package loadbalancer

import (
	"errors"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
)

// attachment names the NetworkAttachmentDefinition through which a load
// balancer is reached.
type attachment struct {
	Namespace, Name string
}

// Provider is how Kube-OVN names the attachment, in Subnets and in annotation
// keys: "<name>.<namespace>".
func (a attachment) Provider() string { return a.Name + "." + a.Namespace }

func (a attachment) String() string { return a.Namespace + "/" + a.Name }

// parseAttachment reads "<name>.<namespace>". A name may contain dots and a
// namespace may not, so the last dot divides them.
func parseAttachment(s string) (attachment, error) {
	const form = "it must be <name>.<namespace> of a NetworkAttachmentDefinition, for example lb-svc-attachment.kube-system"
	i := strings.LastIndexByte(s, '.')
	if i < 0 {
		return attachment{}, fmt.Errorf("%q has no dot: %s", s, form)
	}
	a := attachment{Name: s[:i], Namespace: s[i+1:]}
	if a.Namespace == "ovn" {
		return attachment{}, fmt.Errorf("%q is a provider that Kube-OVN manages itself (it ends with .ovn), and such a network cannot carry a load balancer: %s", s, form)
	}
	if msgs := validation.IsDNS1123Subdomain(a.Name); len(msgs) > 0 {
		return attachment{}, fmt.Errorf("%q: %q is not the name of an object: %s", s, a.Name, form)
	}
	if msgs := validation.IsDNS1123Label(a.Namespace); len(msgs) > 0 {
		return attachment{}, fmt.Errorf("%q: %q is not the name of a namespace: %s", s, a.Namespace, form)
	}
	return a, nil
}

// network is what the CNI configuration of an attachment says.
type network struct {
	// Type is the plugin that makes the interface.
	Type string
	// Master is the node's interface that the plugin builds on; empty if the
	// configuration names none.
	Master string
	// Bare is the configuration of the gateway's own copy, without ipam.
	Bare string
}

// ipv6Sysctls are what a gateway needs to forward IPv6 and cannot set itself.
// Routers that announce themselves on the attachment must not change its routes:
// the Subnet says who routes.
var ipv6Sysctls = map[string]string{
	"net.ipv6.conf.all.forwarding":                 "1",
	"net.ipv6.conf." + Interface + ".accept_ra":    "0",
	"net.ipv6.conf." + Interface + ".disable_ipv6": "0",
}

// networkOf reads the configuration of an attachment for a Service's gateway,
// which forwards IPv6 if v6 says so.
func networkOf(a attachment, nad *kubeovn.NAD, service string, v6 bool) (network, *Problem) {
	config, err := kubeovn.ParseNADConfig(nad.Config)
	bare := ""
	if err == nil {
		var sysctls map[string]string
		if v6 {
			sysctls = ipv6Sysctls
		}
		bare, err = config.WithoutIPAM(ObjectName(service), sysctls)
	}
	if err != nil {
		reason := kubeovn.ReasonInvalidConfig
		if invalid := (*kubeovn.ConfigError)(nil); errors.As(err, &invalid) {
			reason = invalid.Reason
		}
		return network{}, problemf(reason, "NetworkAttachmentDefinition %s: %v", a, err)
	}
	return network{Type: config.Type, Master: config.Master, Bare: bare}, nil
}

// attachmentOf says which attachment a Service uses: the one it names, else
// the default.
func attachmentOf(svc *corev1.Service, cfg Config) (attachment, *Problem) {
	value, named := svc.Annotations[kubeovn.AttachmentProvider]
	field := "annotation " + kubeovn.AttachmentProvider
	if !named {
		value, field = cfg.DefaultAttachment, "defaultAttachment of the cloud-config"
	}
	if !named && value == "" {
		return attachment{}, problemf("AttachmentMissing",
			"the Service names no attachment: set annotation %s to <name>.<namespace> of a NetworkAttachmentDefinition", kubeovn.AttachmentProvider)
	}
	a, err := parseAttachment(strings.TrimSpace(value))
	if err != nil {
		return attachment{}, problemf("AttachmentMalformed", "%s: %v", field, err)
	}
	return a, nil
}
