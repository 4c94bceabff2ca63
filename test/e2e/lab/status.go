package lab

import (
	"context"
	"net/netip"
	"time"

	"github.com/kubeovn/kube-ovn-ccm/test/e2e/lab/unit"
)

// HostStatus describes a host at one moment.
type HostStatus struct {
	// Name of the host.
	Name string
	// Addresses of its interfaces.
	Addresses []netip.Prefix
	// Machine is true for hosts that have programs: the control plane and the nodes.
	Machine bool
	// PID of its init on the real machine; 0 when it is off.
	PID int
	// Units are its programs; nil when it is off.
	Units []unit.Status
	// Err says why the programs cannot be listed although it is on.
	Err error
}

// Status looks at all hosts.
func (l *Lab) Status(ctx context.Context) []HostStatus {
	var out []HostStatus
	for _, h := range topology(l.state.Nodes) {
		s := HostStatus{Name: h.name, Machine: h.machine}
		for _, n := range h.nics {
			s.Addresses = append(s.Addresses, n.addresses...)
		}
		if h.machine {
			if pid, on := l.initPID(h.name); on {
				s.PID = pid
				ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
				s.Units, s.Err = unit.Ask(ctx, l.control(h.name), unit.Request{Op: "status"})
				cancel()
			}
		}
		out = append(out, s)
	}
	return out
}
