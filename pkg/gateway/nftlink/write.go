package nftlink

import (
	"errors"
	"fmt"
	"slices"

	"github.com/google/nftables"
	mdnetlink "github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/kubeovn/kube-ovn-ccm/pkg/gateway/nft"
)

// buffer is the size of the socket's buffers. A transaction is sent in one
// piece, and the kernel answers each of its messages before anything is read.
const buffer = 64 << 20

// chunk is how many elements go into one message, whose attributes have 64 KiB.
const chunk = 500

// Apply makes a change in one transaction: the packets see all of it or
// nothing.
func (c *Conn) Apply(change nft.Change) error {
	conn, err := nftables.New(nftables.WithSockOptions(func(s *mdnetlink.Conn) error {
		return errors.Join(s.SetReadBuffer(buffer), s.SetWriteBuffer(buffer))
	}))
	if err != nil {
		return fmt.Errorf("open nftables: %w", err)
	}
	w := &writer{Conn: conn, table: &nftables.Table{Name: nft.TableName, Family: nftables.TableFamilyINet}}
	if err := w.write(change); err != nil {
		return err
	}
	err = conn.Flush()
	// The answers were too many; whether the change was made is read next.
	if errors.Is(err, unix.ENOBUFS) {
		return nil
	}
	// A new table refers to nothing but itself: what is not there is missing in
	// the kernel.
	if pure := change.Create && !change.Remove; pure && (errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EOPNOTSUPP)) {
		return fmt.Errorf("%w: %w", ErrUnsupported, err)
	}
	return err
}

// writer collects the messages of a transaction.
type writer struct {
	*nftables.Conn
	table *nftables.Table
}

// write says everything in an order in which what is referred to is there.
func (w *writer) write(change nft.Change) error {
	if change.Remove {
		w.DelTable(w.table)
	}
	if change.Create {
		w.AddTable(w.table)
	}
	for _, s := range change.AddSets {
		if err := w.AddSet(declare(w.table, s), nil); err != nil {
			return err
		}
	}
	for _, x := range change.AddChains {
		w.addChain(x)
	}
	for _, x := range slices.Concat(change.RefillChains, change.DeleteChains) {
		w.FlushChain(w.chain(x))
	}
	for _, x := range slices.Concat(change.AddChains, change.RefillChains) {
		if err := w.addRules(x); err != nil {
			return err
		}
	}
	if err := w.elements(w.SetDeleteElements, change.DeleteElements); err != nil {
		return err
	}
	if err := w.elements(w.SetAddElements, slices.Concat(change.AddSets, change.AddElements)); err != nil {
		return err
	}
	for _, s := range change.DeleteSets {
		w.DelSet(declare(w.table, s))
	}
	for _, x := range change.DeleteChains {
		w.DelChain(w.chain(x))
	}
	return nil
}

func (w *writer) chain(x nft.Chain) *nftables.Chain {
	return &nftables.Chain{Name: x.Name, Table: w.table}
}

func (w *writer) addChain(x nft.Chain) {
	out := w.chain(x)
	if x.Hook != (nft.Hook{}) {
		hook, policy := hooks[x.Hook.Name], nftables.ChainPolicyAccept
		out.Hooknum, out.Priority = &hook, nftables.ChainPriorityRef(nftables.ChainPriority(x.Hook.Priority))
		out.Type, out.Policy = nftables.ChainType(x.Hook.Type), &policy
	}
	w.AddChain(out)
}

func (w *writer) addRules(x nft.Chain) error {
	for _, r := range x.Rules {
		exprs, err := encode(r)
		if err != nil {
			return err
		}
		w.AddRule(&nftables.Rule{Table: w.table, Chain: w.chain(x), Exprs: exprs})
	}
	return nil
}

func (w *writer) elements(do func(*nftables.Set, []nftables.SetElement) error, sets []nft.Set) error {
	for _, s := range sets {
		for part := range slices.Chunk(elements(s), chunk) {
			if err := do(declare(w.table, s), part); err != nil {
				return err
			}
		}
	}
	return nil
}

var hooks = map[string]nftables.ChainHook{
	"prerouting":  *nftables.ChainHookPrerouting,
	"input":       *nftables.ChainHookInput,
	"forward":     *nftables.ChainHookForward,
	"postrouting": *nftables.ChainHookPostrouting,
}
