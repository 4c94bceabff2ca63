package loadbalancer

import "fmt"

// Problem says why a Service has no load balancer (or not the one it asks
// for), and what to do. It becomes one Warning Event on the Service.
type Problem struct {
	// Reason is a word in CamelCase for machines, the reason of the Event.
	Reason string
	// Message names the field at fault and the remedy. Together with Reason it
	// identifies the problem: an Event is written when one of them changes.
	Message string
	// Detail is what another component said, shown behind the message. It may
	// differ from look to look (a Pod's random name), so it identifies nothing.
	Detail string
	// untilServed is set where the cause cannot be seen all the time: a
	// container that fails again and again runs in between. Such a problem is
	// solved when the gateway carries traffic, not before.
	untilServed bool
}

func problemf(reason, format string, args ...any) *Problem {
	return &Problem{Reason: reason, Message: fmt.Sprintf(format, args...)}
}

// lasting returns the problem as one that only a serving gateway solves.
func (p *Problem) lasting() *Problem {
	p.untilServed = true
	return p
}

// withDetail returns the problem with what another component said about it.
func (p *Problem) withDetail(detail string) *Problem {
	p.Detail = detail
	return p
}

// same reports whether two problems are the same one to a reader.
func (p *Problem) same(q *Problem) bool {
	if p == nil || q == nil {
		return p == q
	}
	return p.Reason == q.Reason && p.Message == q.Message
}

// String is the text of the Event.
func (p *Problem) String() string {
	if p.Detail == "" {
		return p.Message
	}
	return p.Message + " (" + p.Detail + ")"
}
