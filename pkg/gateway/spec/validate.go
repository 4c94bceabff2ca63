package spec

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"unicode"
)

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
	errs = append(errs, d.validateTarget()...)
	type key struct {
		Protocol
		port uint16
	}
	seenPort := map[key]bool{}
	for i, p := range d.Ports {
		errs = append(errs, p.validate(i, d.Target)...)
		k := key{p.Protocol, p.Port}
		if seenPort[k] {
			errs = append(errs, fmt.Errorf("ports[%d]: %s %d a second time", i, p.Protocol, p.Port))
		}
		seenPort[k] = true
	}
	return errors.Join(errs...)
}

// maxAffinitySeconds is the longest affinity that Kubernetes admits.
const maxAffinitySeconds = 86400

func (d *Document) validateTarget() []error {
	var errs []error
	switch d.Target {
	case TargetEndpoints:
	case TargetClusterIP:
		if len(d.SourceRanges) > 0 {
			errs = append(errs, errors.New("sourceRanges need target Endpoints"))
		}
		if d.AffinitySeconds != 0 {
			errs = append(errs, errors.New("affinitySeconds needs target Endpoints"))
		}
		for i, f := range d.Families {
			if f.Address.Addr().Is6() {
				errs = append(errs, fmt.Errorf("families[%d]: IPv6 needs target Endpoints", i))
			}
		}
	default:
		errs = append(errs, fmt.Errorf("target %q is none of ClusterIP, Endpoints", d.Target))
	}
	for i, r := range d.SourceRanges {
		if !r.IsValid() || r.Addr().Is4In6() || r != r.Masked() {
			errs = append(errs, fmt.Errorf("sourceRanges[%d] %s is not a network", i, r))
		}
	}
	if d.AffinitySeconds < 0 || d.AffinitySeconds > maxAffinitySeconds {
		errs = append(errs, fmt.Errorf("affinitySeconds is %d, want 0 to %d", d.AffinitySeconds, maxAffinitySeconds))
	}
	return errs
}

func (p Port) validate(i int, target Target) []error {
	var errs []error
	if p.Port == 0 {
		errs = append(errs, fmt.Errorf("ports[%d].port is 0", i))
	}
	switch p.Protocol {
	case TCP, UDP, SCTP:
	default:
		errs = append(errs, fmt.Errorf("ports[%d].protocol %q is none of TCP, UDP, SCTP", i, p.Protocol))
	}
	if target == TargetClusterIP && (len(p.Endpoints) > 0 || len(p.Draining) > 0) {
		errs = append(errs, fmt.Errorf("ports[%d]: endpoints need target Endpoints", i))
	}
	if target == TargetEndpoints && p.Refuse {
		errs = append(errs, fmt.Errorf("ports[%d].refuse needs target ClusterIP", i))
	}
	seen := map[netip.AddrPort]bool{}
	check := func(field string, j int, a netip.AddrPort) {
		if !a.IsValid() || a.Port() == 0 || a.Addr().Zone() != "" || a.Addr().Is4In6() || a.Addr().IsUnspecified() || a.Addr().IsMulticast() {
			errs = append(errs, fmt.Errorf("ports[%d].%s[%d] %s is not the address of an endpoint", i, field, j, a))
		}
		if seen[a] {
			errs = append(errs, fmt.Errorf("ports[%d].%s[%d]: %s a second time", i, field, j, a))
		}
		seen[a] = true
	}
	for j, e := range p.Endpoints {
		check("endpoints", j, e.Address)
	}
	for j, a := range p.Draining {
		check("draining", j, a)
	}
	return errs
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
