package kernel

import (
	"context"
	"errors"
	"fmt"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// subscriptions are the kernel's notifications that concern a gateway. Rules
// of the older iptables ("legacy") change without any.
var subscriptions = []struct {
	protocol int
	groups   []uint
}{
	{unix.NETLINK_ROUTE, []uint{
		unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV4_ROUTE,
		unix.RTNLGRP_IPV4_RULE, unix.RTNLGRP_IPV4_NETCONF,
		unix.RTNLGRP_IPV6_IFADDR, unix.RTNLGRP_IPV6_ROUTE,
		unix.RTNLGRP_IPV6_RULE, unix.RTNLGRP_IPV6_NETCONF,
	}},
	{unix.NETLINK_NETFILTER, []uint{unix.NFNLGRP_NFTABLES}},
}

// Watch returns a channel that has a value soon after something of the kinds
// that a gateway owns changed, until ctx ends. Changes by this process count
// too. The channel is only a hint: a change may go unnoticed.
func (k *Kernel) Watch(ctx context.Context) (<-chan struct{}, error) {
	changed := make(chan struct{}, 1)
	for _, s := range subscriptions {
		socket, err := nl.Subscribe(s.protocol, s.groups...)
		if err != nil {
			return changed, fmt.Errorf("watch the kernel's state: %w", err)
		}
		context.AfterFunc(ctx, socket.Close)
		go notify(socket, changed)
	}
	return changed, nil
}

func notify(socket *nl.NetlinkSocket, changed chan<- struct{}) {
	for {
		_, _, err := socket.Receive()
		// After an overflow there were changes, only too many to be told.
		if err != nil && !errors.Is(err, unix.ENOBUFS) && !errors.Is(err, unix.EINTR) {
			return
		}
		select {
		case changed <- struct{}{}:
		default: // one hint is as good as many
		}
	}
}
