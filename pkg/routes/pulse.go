package routes

import "time"

const (
	// pollSoon is how often kube-ovn-controller's Lease is read while something
	// waits for it, pollLate while nothing does. It is renewed every 6 s.
	pollSoon = 2 * time.Second
	pollLate = 5 * time.Second
	// readGap is after which time without a reading nothing is known any more.
	readGap = 15 * time.Second
	// deadAfter is how long the Lease may stay the same: three renewals.
	deadAfter = 20 * time.Second
	// startup is how long kube-ovn-controller may take from its first renewal
	// until it has read all objects. Before that an edit may make it overlook
	// what was edited while it was dead.
	startup = 10 * time.Second
)

// pulse is what is known of the life of kube-ovn-controller. All times are of
// our own clock: that a Lease changes between two readings says more than the
// time that another machine wrote into it.
type pulse struct {
	since   time.Time // of the first reading
	read    time.Time // of the last one
	renewed time.Time // what the last one said
	lived   time.Time // it lived at this time or later,
	seen    time.Time // and not later than this
	back    time.Time // when it was seen to live again after it had been dead
}

// beat adds a reading: when the Lease was renewed, zero if nobody holds it.
func (p pulse) beat(renewed, now time.Time) pulse {
	if p.read.IsZero() || now.Sub(p.read) > readGap {
		return pulse{since: now, read: now, renewed: renewed}
	}
	if !renewed.IsZero() && !renewed.Equal(p.renewed) {
		if p.dead(now) {
			p.back = now
		}
		p.lived, p.seen, p.renewed = p.read, now, renewed
	}
	p.read = now
	return p
}

// dead reports whether kube-ovn-controller has shown no life for too long. It
// is taken to live as long as nothing is known.
func (p pulse) dead(now time.Time) bool {
	last := p.since
	if p.seen.After(last) {
		last = p.seen
	}
	return !p.read.IsZero() && now.Sub(p.read) <= readGap && now.Sub(last) > deadAfter
}

// ready is from when on an edit is safe, as far as kube-ovn-controller is
// concerned.
func (p pulse) ready() time.Time {
	if p.back.IsZero() {
		return time.Time{}
	}
	return p.back.Add(startup)
}

// took reports whether what was written has taken effect.
func (p pulse) took(written, now time.Time) bool {
	if p.back.After(written) && now.Before(p.ready()) {
		return false
	}
	return !p.dead(now) && now.Sub(written) >= settling
}

// outlived reports whether kube-ovn-controller has been seen to live after a
// step. If it was not until late, it may have missed the step.
func (p pulse) outlived(step time.Time) (lived, late bool) {
	lived = !p.lived.IsZero() && !p.lived.Before(step)
	return lived, lived && p.seen.Sub(step) > deadAfter
}
