package churn

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
	"github.com/kubeovn/kube-ovn-ccm/test/e2e/lab"
)

// silence is how long nobody may answer for the address of a Service that stays.
const silence = 5 * time.Second

// lan judges who answers on the LAN.
type lan struct {
	observer *Observer

	mu sync.Mutex
	// rounds are those that are too young for a judgement.
	rounds []Round
	// answered is when the addresses that stay were last answered for.
	answered map[netip.Addr]time.Time
	// asked and heard are how many questions were judged and how many of them were answered, and deaf is for how many of
	// those about addresses that stay the LAN itself stood still.
	asked, heard, deaf int
	longest            time.Duration
	doubles            []Finding
	silent             []string
}

func newLAN(o *Observer, kept []keptAddr) *lan {
	l := &lan{observer: o, answered: map[netip.Addr]time.Time{}}
	for _, k := range kept {
		l.answered[k.addr] = time.Now()
	}
	return l
}

// run asks for all addresses that somebody has, until the context ends.
func (l *lan) run(ctx context.Context, where *lab.Lab) error {
	var router kubeovn.Addrs
	for _, n := range networks {
		router = router.With(n.at(routerNumber)...)
	}
	prober, err := NewProber(where.Host(lab.Client).Do, "eth0", router)
	if err != nil {
		return err
	}
	err = prober.Run(ctx, l.observer.Held, func(r Round) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.rounds = append(l.rounds, r)
	})
	return errors.Join(err, prober.Close())
}

// judge looks at the rounds that are old enough for the watches to have caught up.
func (l *lan) judge(now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	young := slices.IndexFunc(l.rounds, func(r Round) bool { return now.Sub(r.Ended) < 2*lag })
	if young < 0 {
		young = len(l.rounds)
	}
	for _, r := range l.rounds[:young] {
		l.asked++
		l.note(l.observer.Judge(r))
		l.listen(r)
	}
	l.rounds = slices.Clone(l.rounds[young:])
}

// note takes down what is wrong, which comes again with each question, once.
func (l *lan) note(f Finding) {
	i := slices.IndexFunc(l.doubles, func(g Finding) bool { return g.What == f.What })
	switch {
	case f.What == "":
	case i < 0:
		l.doubles = append(l.doubles, f)
	default:
		l.doubles[i].Times++
	}
}

// listen notes whether an address that stays is answered for. The time in which the LAN itself stood still, as on a machine
// that has too much to do, does not count.
func (l *lan) listen(r Round) {
	last, stays := l.answered[r.Addr]
	if stays && r.Deaf {
		l.deaf++
		last = last.Add(r.Ended.Sub(r.Asked))
		l.answered[r.Addr] = last
	}
	quiet := r.Asked.Sub(last)
	if len(r.Answers) == 0 {
		if stays && quiet > silence {
			l.silent = append(l.silent, fmt.Sprintf("nobody answers for %s from %s on for longer than %s", r.Addr, last.Format("15:04:05.000"), silence))
			l.answered[r.Addr] = r.Asked
		}
		return
	}
	l.heard++
	if stays {
		l.longest = max(l.longest, quiet)
		l.answered[r.Addr] = r.Asked
	}
}
