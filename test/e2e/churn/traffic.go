package churn

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/kubeovn/kube-ovn-ccm/test/e2e/lab"
)

// How often a client connects to each address, and how long it waits.
const (
	connectEvery = 200 * time.Millisecond
	connectLimit = time.Second
)

// Traffic is how a client fared that connected to one address all the time.
type Traffic struct {
	Made, Failed int
	// Longest is the longest time without a connection that was made.
	Longest time.Duration
	// First is the first failure.
	First error
}

// connect opens connections to an address, one after the other and a new one each time, until the context ends.
func connect(ctx context.Context, host *lab.Host, addr netip.AddrPort) Traffic {
	var t Traffic
	var mu sync.Mutex
	var wg sync.WaitGroup
	good := time.Now()
	tick := time.NewTicker(connectEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			wg.Wait()
			return t
		case <-tick.C:
		}
		wg.Go(func() {
			began := time.Now()
			dialCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), connectLimit)
			defer cancel()
			conn, err := host.Dial(dialCtx, "tcp", addr.String())
			mu.Lock()
			defer mu.Unlock()
			t.Made++
			if err != nil {
				t.Failed++
				if t.First == nil {
					t.First = err
				}
				return
			}
			t.Longest = max(t.Longest, began.Sub(good))
			if began.After(good) {
				good = began
			}
			if tcp, ok := conn.(*net.TCPConn); ok {
				_ = tcp.SetLinger(0) // no TIME_WAIT
			}
			_ = conn.Close()
		})
	}
}
