package kernel

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/coreos/go-iptables/iptables"

	"github.com/kubeovn/kube-ovn-ccm/pkg/gateway/desired"
)

// filters reads the chains. Where a chain holds a line that is none of ours,
// iptables itself is asked for what seems to be missing there, so that a
// version which prints a rule in another way than ours can never make the rule
// pile up.
func (k *Kernel) filters(want []desired.Filter) ([]desired.Filter, error) {
	var out []desired.Filter
	for _, c := range desired.Chains {
		lines, err := k.ipt.List(c.Table, c.Chain)
		if err != nil {
			return nil, fmt.Errorf("read iptables %s %s: %w", c.Table, c.Chain, err)
		}
		foreign := false
		for _, line := range lines {
			f, ok := desired.ParseFilter(c.Table, line)
			if ok {
				out = append(out, f)
			}
			foreign = foreign || !ok && !strings.HasPrefix(line, "-P ")
		}
		if !foreign {
			continue
		}
		for _, f := range want {
			if f.Table != c.Table || f.Chain != c.Chain || slices.Contains(out, f) {
				continue
			}
			there, err := k.ipt.Exists(f.Table, f.Chain, strings.Fields(f.Spec)...)
			if err != nil {
				return nil, fmt.Errorf("look for %s: %w", f, err)
			}
			if there {
				out = append(out, f)
			}
		}
	}
	return out, nil
}

func (k *Kernel) applyFilter(verb desired.Verb, f desired.Filter) error {
	ruleSpec := strings.Fields(f.Spec)
	if verb == desired.Delete {
		err := k.ipt.Delete(f.Table, f.Chain, ruleSpec...)
		if e, ok := errors.AsType[*iptables.Error](err); ok && e.IsNotExist() {
			return nil // somebody was quicker
		}
		return err
	}
	return k.ipt.Append(f.Table, f.Chain, ruleSpec...)
}
