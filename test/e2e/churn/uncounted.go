package churn

import (
	"fmt"
	"slices"
	"time"
)

// uncounted is for how long Kube-OVN's IPAM may not count, as far as the Subnet's status tells, an address that a Service
// shows. Kube-OVN writes the status a moment after it gives an address, but it is killed again and again, and is back
// within 8 s; kube-ovn-ccm asks anew after 5 s for what is lost, and that takes a Kube-OVN that lives. So at no single
// moment the status must tell of all addresses, but for none of them may it be silent for long.
const uncounted = 30 * time.Second

// silences are the times in which Kube-OVN does not count what Services show.
type silences struct {
	// since is when each address, in words, was first seen not to be counted.
	since map[string]time.Time
	// told are those that lasted too long, in words, and longest is the longest one of all.
	told    []string
	longest time.Duration
}

// look takes down what is not counted now.
func (s *silences) look(now time.Time, addrs []string) {
	for addr, since := range s.since {
		took := now.Sub(since)
		s.longest = max(s.longest, took)
		if !slices.Contains(addrs, addr) {
			delete(s.since, addr)
		}
	}
	for _, addr := range addrs {
		since, known := s.since[addr]
		if !known {
			if s.since == nil {
				s.since = map[string]time.Time{}
			}
			since, s.since[addr] = now, now
		}
		if what := fmt.Sprintf("%s is not known to Kube-OVN's IPAM for longer than %s, from %s on", addr, uncounted, since.Format("15:04:05.000")); now.Sub(since) > uncounted && !slices.Contains(s.told, what) {
			s.told = append(s.told, what)
		}
	}
}
