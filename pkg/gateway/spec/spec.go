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
	"fmt"
	"net/netip"
)

// Version is the format that this package writes and the only one it reads.
// An agent that meets another one keeps what it has and says so.
const Version = 2

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
	// Target says where the gateway sends what it receives.
	Target Target `json:"target"`
	// Ports are the Service's ports, each (protocol, port) at most once.
	Ports []Port `json:"ports"`
	// SourceRanges are the clients that are let in, of any family; empty: all.
	// A family without a range lets nobody in if the other one has some. Only
	// with TargetEndpoints.
	SourceRanges []netip.Prefix `json:"sourceRanges,omitempty"`
	// AffinitySeconds is for how long after its last connection a client goes
	// to the same endpoint of a port, 1 to 86400; 0: no affinity. Only with
	// TargetEndpoints.
	AffinitySeconds int32 `json:"affinitySeconds,omitempty"`
}

// Target is where a gateway sends what it receives.
type Target string

const (
	// TargetClusterIP sends to the Service's cluster IP, as the guide shows,
	// by iptables rules; the cluster chooses the Pod. For one family, IPv4,
	// and TCP only.
	TargetClusterIP Target = "ClusterIP"
	// TargetEndpoints sends to the endpoints themselves, which the gateway
	// chooses, by an nftables table of its own.
	TargetEndpoints Target = "Endpoints"
)

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
	// ClusterIP is the Service's address inside the cluster.
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

// Port is one port of a Service. With TargetClusterIP the gateway forwards to
// the same port of the ClusterIP; the way from there to the Pods' targetPort is
// the cluster's.
type Port struct {
	Protocol Protocol `json:"protocol"`
	// Port is the port of the load balancer's address, 1 to 65535.
	Port uint16 `json:"port"`
	// Refuse says that there is nobody to forward to: a new connection is
	// refused at once. Only with TargetClusterIP; with TargetEndpoints a
	// family without an endpoint is refused.
	Refuse bool `json:"refuse,omitempty"`
	// Endpoints take new connections, of any family. Only with
	// TargetEndpoints.
	Endpoints []Endpoint `json:"endpoints,omitempty"`
	// Draining endpoints take no new connection and keep those that they have;
	// flows of UDP leave them at once. Only with TargetEndpoints.
	Draining []netip.AddrPort `json:"draining,omitempty"`
}

// Endpoint is an address that serves a port.
type Endpoint struct {
	Address netip.AddrPort `json:"address"`
	// KeepClient says that the endpoint sees the client's own address, because
	// its answers are routed through the gateway. Else the gateway puts its own
	// address into the packets, so that the answers return to it.
	KeepClient bool `json:"keepClient,omitempty"`
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
