package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/kubeovn/kube-ovn-ccm/pkg/gateway/desired"
)

// take adds addresses that are free and announces them. One that is not does
// not keep the others from being served.
func (a *Agent) take(ctx context.Context, steps []desired.Op) error {
	// Without a carrier the question would go nowhere and its silence would
	// be taken for a yes.
	if err := a.checkCarrier(); err != nil {
		return err
	}
	errs := a.claim(ctx, steps)
	// Told to stop while it asked, it takes nothing any more.
	if err := ctx.Err(); err != nil {
		return err
	}
	taken := false
	for i, op := range steps {
		if _, others := errors.AsType[*inUseError](errs[i]); others {
			a.awaited = append(a.awaited, op.Object.(desired.Address))
		}
		if errs[i] != nil {
			continue
		}
		if errs[i] = a.do(ctx, op); errs[i] == nil {
			taken = true
			a.held = append(a.held, op.Object.(desired.Address))
		}
	}
	if taken {
		a.announce.restart()
		a.announceHeld(ctx, time.Now())
	}
	return errors.Join(errs...)
}

// claim asks the link which addresses may be taken, all at once: a Service
// waits for the answers. It returns for each why it may not.
func (a *Agent) claim(ctx context.Context, steps []desired.Op) []error {
	errs := make([]error, len(steps))
	var wg sync.WaitGroup
	for i, op := range steps {
		wg.Go(func() { errs[i] = a.claimOne(ctx, op.Object.(desired.Address)) })
	}
	wg.Wait()
	return errs
}

func (a *Agent) claimOne(ctx context.Context, address desired.Address) error {
	link, err := a.dial(address.Link, address.Prefix.Addr())
	if err != nil {
		return err
	}
	defer link.Close()
	holder, err := link.Probe(ctx)
	if err != nil {
		return err
	}
	if holder != nil {
		return &inUseError{address.Prefix.Addr(), holder}
	}
	return nil
}

// inUseError says that another host answers for an address.
type inUseError struct {
	address netip.Addr
	holder  net.HardwareAddr
}

func (e *inUseError) Error() string {
	return fmt.Sprintf("address %s is in use on the network by MAC %s", e.address, e.holder)
}

// askAgain is the time between two questions for an address that another host
// has. A question costs a frame, a look at the kernel much more.
const askAgain = 100 * time.Millisecond

// vacated asks once for the addresses that other hosts have, and reports
// whether nobody answers for one of them any more: it may be taken then, after
// a proper look.
func (a *Agent) vacated(ctx context.Context) bool {
	for _, address := range a.awaited {
		link, err := a.dial(address.Link, address.Prefix.Addr())
		if err != nil {
			return true // the look will tell
		}
		holder, err := link.Ask(ctx)
		link.Close()
		if err != nil || holder == nil {
			return true
		}
	}
	return false
}

func prefixes(addresses []desired.Address) (all []netip.Prefix) {
	for _, address := range addresses {
		all = append(all, address.Prefix)
	}
	return all
}
