package churn

import (
	"net/netip"
	"testing"
	"time"
)

var (
	start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	one   = netip.MustParseAddr("172.20.4.6")
	other = netip.MustParseAddr("172.20.4.7")
	six   = netip.MustParseAddr("fd00::6")
)

// says is a state; the watch delivered it as many milliseconds after the start as its revision is.
func says(rev uint64, object, holder string, addrs ...netip.Addr) State {
	return State{Rev: rev, Seen: start.Add(time.Duration(rev) * time.Millisecond), Object: object, Holder: holder, Addrs: addrs}
}

// while makes a state count only while another object holds something.
func while(object string, s State) State {
	s.While = object
	return s
}

func bookOf(states ...State) *Book {
	b := &Book{}
	for _, s := range states {
		b.Add(s)
	}
	return b
}

const (
	mine   = "Service a/mine (1)"
	yours  = "Service a/yours (2)"
	byHand = "Vip by-hand"
	pod    = "Pod a/p"
)

func TestWhoHasAnAddressTwice(t *testing.T) {
	for sentence, tc := range map[string]struct {
		history []State
		// rev is the first revision of a double that is sure; 0: there is none.
		rev uint64
		// open says that one may yet turn out to be.
		open bool
	}{
		"nobody in an empty history": {},
		"two Vips with one address": {history: []State{
			says(10, "Vip lb-1", mine, one), says(20, byHand, byHand, one), says(30, "Vip lb-1", mine, one),
		}, rev: 20},
		"a Vip and a Pod with one IPv6 address": {history: []State{
			says(10, byHand, byHand, one, six), says(20, pod, pod, other, six), says(30, byHand, byHand, one, six),
		}, rev: 20},
		"two Services that show one address": {history: []State{
			says(10, "Service a/mine", mine, one), says(20, "Service a/yours", yours, one), says(30, "Service a/mine", mine),
		}, rev: 20},
		"a Service goes on showing what its Vip has given back": {history: []State{
			says(10, "Vip lb-1", mine, one), says(11, "Service a/mine", mine, one), says(20, "Vip lb-1", mine),
			says(30, byHand, byHand, one), says(40, "Service a/mine", mine),
		}, rev: 30},
		"a gateway Pod that outlives the Vip": {history: []State{
			says(10, "Pod a/lb-svc-mine", mine, one), says(20, "Vip lb-1", mine), says(30, pod, pod, one), says(40, "Pod a/lb-svc-mine", mine),
		}, rev: 30},
		"a double that lasted for one revision": {history: []State{
			says(10, "Vip lb-1", mine, one), says(20, byHand, byHand, one), says(21, "Vip lb-1", mine),
		}, rev: 20},
		"a Pod whose IP another Vip has": {history: []State{
			says(10, pod, pod, other), while(pod, says(11, "IP p.a", pod, one)), says(20, byHand, byHand, one),
			says(30, pod, pod, other), while(pod, says(31, "IP p.a", pod, one)),
		}, rev: 20},

		"a Service, its Vip and its gateway are one": {history: []State{
			says(10, "Vip lb-1", mine, one), says(20, "Pod a/lb-svc-mine", mine, one), says(30, "Service a/mine", mine, one),
			says(40, "Vip lb-1", mine, one), says(41, "Pod a/lb-svc-mine", mine, one),
		}},
		"two Vips with one address after the other": {history: []State{
			says(10, "Vip lb-1", mine, one), says(20, "Vip lb-1", mine), says(21, byHand, byHand, one),
		}},
		"an address changes hands in one revision": {history: []State{
			says(10, "Vip lb-1", mine, one), says(20, "Vip lb-1", mine), says(20, byHand, byHand, one),
		}},
		"the watch of the first is behind": {history: []State{
			says(10, "Vip lb-1", mine, one), says(21, pod, pod, one), says(20, "Vip lb-1", mine),
		}},
		"the watch of the first may be behind": {history: []State{
			says(10, "Vip lb-1", mine, one), says(21, pod, pod, one),
		}, open: true},
		"the second is delivered first and may be later": {history: []State{
			says(21, pod, pod, one), says(10, "Vip lb-1", mine, one),
		}, open: true},
		"the IP of a Pod that waits for its address": {history: []State{
			while(pod, says(11, "IP p.a", pod, one)), says(20, byHand, byHand, one), while(pod, says(31, "IP p.a", pod, one)),
		}},
		"the IP of a Pod that is gone": {history: []State{
			says(10, pod, pod, one), while(pod, says(11, "IP p.a", pod, one)), says(15, pod, pod),
			says(20, byHand, byHand, one), while(pod, says(31, "IP p.a", pod)),
		}},
	} {
		t.Run(sentence, func(t *testing.T) {
			sure, open := bookOf(tc.history...).Doubles()
			switch {
			case tc.rev == 0 && len(sure) > 0:
				t.Errorf("told: %s", sure[0])
			case tc.rev != 0 && (len(sure) != 1 || sure[0].Rev != tc.rev):
				t.Errorf("want one double at revision %d, got %v", tc.rev, sure)
			}
			if tc.open != (len(open) > 0) {
				t.Errorf("open: %v", open)
			}
		})
	}
}

func TestALaterReadDecides(t *testing.T) {
	b := bookOf(says(10, "Vip lb-1", mine, one), says(21, pod, pod, one))
	b.Confirm("Vip lb-1", one, 20)
	if sure, open := b.Doubles(); len(sure) != 0 || len(open) != 1 {
		t.Errorf("after a read of before the second: sure %v, open %v", sure, open)
	}
	b.Confirm("Vip lb-1", one, 25)
	if sure, open := b.Doubles(); len(sure) != 1 || len(open) != 0 {
		t.Errorf("after a read of later: sure %v, open %v", sure, open)
	}
	b.Add(says(30, "Vip lb-1", mine))
	if sure, _ := b.Doubles(); len(sure) != 1 {
		t.Errorf("what was double once is told for ever, not %v", sure)
	}
}

func TestAServiceWithoutAVip(t *testing.T) {
	now := start.Add(time.Minute)
	shown := says(20, "Service a/mine", mine, one)
	granted := says(10, "Vip lb-1", mine, one)
	for sentence, tc := range map[string]struct {
		history []State
		want    time.Duration // the gap; 0: none
		ended   bool
	}{
		"a Vip that holds it all the time": {history: []State{granted, shown}},
		"a Vip that goes after the status": {history: []State{granted, shown, says(30, "Service a/mine", mine), says(40, "Vip lb-1", mine)}},
		"a Vip that is gone":               {history: []State{granted, shown, says(50, "Vip lb-1", mine)}, want: now.Sub(start.Add(50 * time.Millisecond))},
		"a Vip that is made anew": {
			history: []State{granted, shown, says(50, "Vip lb-1", mine), says(90, "Vip lb-1", mine, one)}, want: 40 * time.Millisecond, ended: true,
		},
		"a Vip that comes late":                {history: []State{shown, says(35, "Vip lb-1", mine, one)}, want: 15 * time.Millisecond, ended: true},
		"a Vip that goes before the status":    {history: []State{granted, shown, says(30, "Vip lb-1", mine), says(45, "Service a/mine", mine)}, want: 15 * time.Millisecond, ended: true},
		"somebody else's Vip does not count":   {history: []State{says(10, byHand, byHand, one), shown}, want: now.Sub(start.Add(20 * time.Millisecond))},
		"a Vip of another address, neither":    {history: []State{says(10, "Vip lb-1", mine, other), shown}, want: now.Sub(start.Add(20 * time.Millisecond))},
		"two Vips that follow without a break": {history: []State{granted, shown, says(50, "Vip lb-1", mine), says(50, "Vip lb-1b", mine, one)}},
	} {
		t.Run(sentence, func(t *testing.T) {
			gaps := bookOf(tc.history...).Gaps(now)
			if tc.want == 0 {
				if len(gaps) > 0 {
					t.Errorf("told: %s", gaps[0])
				}
				return
			}
			if len(gaps) != 1 || gaps[0].Took != tc.want || gaps[0].Ended != tc.ended {
				t.Errorf("want one gap of %s, ended %t; got %v", tc.want, tc.ended, gaps)
			}
		})
	}
}
