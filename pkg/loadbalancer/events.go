package loadbalancer

import (
	corev1 "k8s.io/api/core/v1"
)

// reasonSolved is the reason of the Event that follows a solved problem.
const reasonSolved = "ProblemSolved"

// report tells of a Service's problem by one Warning Event: when it appears,
// when it becomes another one, and when it comes back. Its end is told too.
func (b *Balancer) report(svc *corev1.Service, before, now *Problem) {
	switch {
	case now.same(before):
	case now != nil:
		b.Recorder.Event(svc, corev1.EventTypeWarning, now.Reason, now.String())
	default:
		b.Recorder.Eventf(svc, corev1.EventTypeNormal, reasonSolved, "%s is solved", before.Reason)
	}
}
