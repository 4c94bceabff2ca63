// Package spec defines the document that tells a gateway what to do.
//
// The cloud-controller-manager writes it into the ConfigMap
// lb-svc-<service>; the kubelet mounts it into the gateway Pod; the agent
// (cmd/lb-gateway) makes the kernel agree with it. It is the whole interface
// between the two: a gateway needs neither the controller nor the API server
// to start again or to keep serving.
package spec

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"unicode"
)

// Version is the format that this package writes and the only one it reads.
// An agent that meets another one keeps what it has and says so.
const Version = 1

// ConfigMapKey is the key of the document in its ConfigMap, and so the name
// of the mounted file.
const ConfigMapKey = "gateway.json"

// Document is the desired state of one gateway, which serves one Service.
type Document struct {
	// Version is the format of the document: Version.
	Version int `json:"version"`
	// Service says whom the gateway serves; it is for logs and metrics.
	Service ServiceRef `json:"service"`
	// Interface is the name of the attachment's interface, "net1".
	Interface string `json:"interface"`
	// Families holds one entry for each IP family that is served, at least
	// one, each family at most once.
	Families []Family `json:"families"`
	// Ports are the Service's ports, each (protocol, port) at most once.
	Ports []Port `json:"ports"`
}

// ServiceRef names a Service.
type ServiceRef struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	UID       string `json:"uid"`
}

// Family is what a gateway serves in one IP family.
type Family struct {
	// Address is the load balancer's address with the prefix length of its
	// Subnet: 172.18.0.18/16.
	Address netip.Prefix `json:"address"`
	// Gateway is the router of the attachment's Subnet: 172.18.0.1.
	Gateway netip.Addr `json:"gateway"`
	// ClusterIP is the Service's address inside the cluster, where the
	// gateway sends what it receives.
	ClusterIP netip.Addr `json:"clusterIP"`
}

// Protocol is a transport protocol as Kubernetes spells it.
type Protocol string

// The protocols that a Service can have.
const (
	TCP  Protocol = "TCP"
	UDP  Protocol = "UDP"
	SCTP Protocol = "SCTP"
)

// Port is one port of a Service. The gateway forwards to the same port of the
// ClusterIP; the way from there to the Pods' targetPort is the cluster's.
type Port struct {
	Protocol Protocol `json:"protocol"`
	// Port is the port of the load balancer's address, 1 to 65535.
	Port uint16 `json:"port"`
}

// Marshal renders the document in its canonical form: the same document is
// the same bytes, so bytes can be compared.
func (d *Document) Marshal() ([]byte, error) {
	b, err := json.MarshalIndent(d, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("gateway document: %w", err)
	}
	return append(b, '\n'), nil
}

// Hash names a rendered document: 16 hexadecimal digits of its SHA-256.
func Hash(document []byte) string {
	sum := sha256.Sum256(document)
	return hex.EncodeToString(sum[:8])
}

// Parse reads a document and checks it; the error names the field at fault.
func Parse(b []byte) (*Document, error) {
	var d Document
	if err := json.Unmarshal(b, &d); err != nil {
		return nil, fmt.Errorf("gateway document: %w", err)
	}
	if err := d.Validate(); err != nil {
		return nil, fmt.Errorf("gateway document: %w", err)
	}
	return &d, nil
}

// Validate reports every field that an agent could not act upon.
func (d *Document) Validate() error {
	var errs []error
	if d.Version != Version {
		errs = append(errs, fmt.Errorf("version is %d, this agent reads %d", d.Version, Version))
	}
	if err := validateInterface(d.Interface); err != nil {
		errs = append(errs, err)
	}
	if len(d.Families) == 0 {
		errs = append(errs, errors.New("families is empty"))
	}
	seenFamily := map[bool]bool{}
	for i, f := range d.Families {
		errs = append(errs, f.validate(i)...)
		is4 := f.Address.Addr().Is4()
		if seenFamily[is4] {
			errs = append(errs, fmt.Errorf("families[%d]: a second entry of one IP family", i))
		}
		seenFamily[is4] = true
	}
	seenPort := map[Port]bool{}
	for i, p := range d.Ports {
		if p.Port == 0 {
			errs = append(errs, fmt.Errorf("ports[%d].port is 0", i))
		}
		switch p.Protocol {
		case TCP, UDP, SCTP:
		default:
			errs = append(errs, fmt.Errorf("ports[%d].protocol %q is none of TCP, UDP, SCTP", i, p.Protocol))
		}
		if seenPort[p] {
			errs = append(errs, fmt.Errorf("ports[%d]: %s %d a second time", i, p.Protocol, p.Port))
		}
		seenPort[p] = true
	}
	return errors.Join(errs...)
}

// maxInterface is the length of the longest interface name, IFNAMSIZ-1.
const maxInterface = 15

// validateInterface reports a name that the kernel would not give to an
// interface. The name becomes part of a path below /proc/sys.
func validateInterface(name string) error {
	switch {
	case name == "":
		return errors.New("interface is empty")
	case len(name) > maxInterface, name == ".", name == "..", strings.ContainsFunc(name, func(r rune) bool {
		return r == '/' || r == ':' || r > unicode.MaxASCII || !unicode.IsGraphic(r) || unicode.IsSpace(r)
	}):
		return fmt.Errorf("interface %q is not the name of an interface", name)
	}
	return nil
}

func (f Family) validate(i int) []error {
	var errs []error
	if !f.Address.IsValid() {
		return []error{fmt.Errorf("families[%d].address is missing", i)}
	}
	for _, a := range []struct {
		name string
		addr netip.Addr
	}{{"gateway", f.Gateway}, {"clusterIP", f.ClusterIP}} {
		switch {
		case !a.addr.IsValid():
			errs = append(errs, fmt.Errorf("families[%d].%s is missing", i, a.name))
		case a.addr.Is4() != f.Address.Addr().Is4():
			errs = append(errs, fmt.Errorf("families[%d].%s %s is of another IP family than %s", i, a.name, a.addr, f.Address))
		case a.addr == f.Address.Addr():
			errs = append(errs, fmt.Errorf("families[%d].%s %s is the load balancer's own address", i, a.name, a.addr))
		case a.addr.Zone() != "":
			errs = append(errs, fmt.Errorf("families[%d].%s %s has a zone", i, a.name, a.addr))
		}
	}
	if a := f.Address.Addr(); a.Is4In6() || a.IsUnspecified() || a.IsMulticast() || a.IsLoopback() {
		errs = append(errs, fmt.Errorf("families[%d].address %s is not an address of a host", i, f.Address))
	}
	// A router may be known by its link-local address, which no Subnet holds.
	onLink := f.Gateway.Is6() && f.Gateway.IsLinkLocalUnicast()
	if f.Gateway.IsValid() && !onLink && !f.Address.Contains(f.Gateway) {
		errs = append(errs, fmt.Errorf("families[%d].gateway %s is outside the Subnet of %s", i, f.Gateway, f.Address))
	}
	return errs
}
