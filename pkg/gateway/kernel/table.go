package kernel

import (
	"errors"
	"fmt"

	"github.com/kubeovn/kube-ovn-ccm/pkg/gateway/desired"
	"github.com/kubeovn/kube-ovn-ccm/pkg/gateway/nft"
	"github.com/kubeovn/kube-ovn-ccm/pkg/gateway/nftlink"
)

// readTable reads the nftables table. A kernel without nftables is a
// FatalError if a table is wanted; else it has none, which is right.
func (k *Kernel) readTable(want *nft.Table) (*nft.Table, error) {
	have, err := k.table.Read(want)
	if errors.Is(err, nftlink.ErrUnsupported) {
		if want == nil {
			return nil, nil
		}
		return nil, &FatalError{err}
	}
	return have, err
}

func (k *Kernel) applyTable(op desired.Op, change nft.Change) error {
	err := k.table.Apply(change)
	switch {
	case errors.Is(err, nftlink.ErrUnsupported):
		return &FatalError{err}
	case err != nil:
		return fmt.Errorf("%s: %w", op, err)
	}
	return nil
}
