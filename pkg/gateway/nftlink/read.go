// Package nftlink reads and writes the table of a gateway (package nft) by
// netlink, in the network namespace of the process.
package nftlink

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/kubeovn/kube-ovn-ccm/pkg/gateway/nft"
)

// Conn is access to the table. It is not safe for concurrent use.
type Conn struct {
	// What was read last, at which generation of the kernel's rules, and
	// for which wanted table. While the generation is the same, nobody has
	// changed anything.
	generation uint32
	want, have *nft.Table
}

// ErrUnsupported says that the kernel cannot do what a table needs.
var ErrUnsupported = errors.New("this node's kernel lacks nf_tables or a part of it")

// message types are NFT_MSG_* of the subsystem.
const subsystem = unix.NFNL_SUBSYS_NFTABLES << 8

// ask sends a request for what is in the table and returns the answers, each
// without its header.
func ask(message, flags int, attributes ...*nl.RtAttr) ([][]byte, error) {
	req := nl.NewNetlinkRequest(subsystem|message, flags)
	req.AddData(&nl.Nfgenmsg{NfgenFamily: unix.NFPROTO_INET, Version: nl.NFNETLINK_V0})
	for _, a := range attributes {
		req.AddData(a)
	}
	answers, err := req.Execute(unix.NETLINK_NETFILTER, 0)
	for i := range answers {
		answers[i] = answers[i][nl.SizeofNfgenmsg:]
	}
	return answers, err
}

func text(attribute int, s string) *nl.RtAttr { return nl.NewRtAttr(attribute, nl.ZeroTerminated(s)) }

// generation is a number that changes with every change of the rules of the
// network namespace; never 0.
func generation() (uint32, error) {
	answers, err := ask(unix.NFT_MSG_GETGEN, 0)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EPROTONOSUPPORT) {
		return 0, fmt.Errorf("%w: ask for nftables' generation: %w", ErrUnsupported, err)
	}
	if err != nil {
		return 0, fmt.Errorf("ask for nftables' generation: %w", err)
	}
	for _, answer := range answers {
		if id := parse(answer).find(unix.NFTA_GEN_ID); len(id.value) == 4 {
			return binary.BigEndian.Uint32(id.value), nil
		}
	}
	return 0, errors.New("ask for nftables' generation: no answer")
}

// Read returns the table that the kernel has, nil if there is none. Chains of
// the wanted table are shown with their wanted rules if the kernel has exactly
// these; other rules are shown as nft.Other.
func (c *Conn) Read(want *nft.Table) (*nft.Table, error) {
	const attempts = 5
	for range attempts {
		now, err := generation()
		if err != nil {
			return nil, err
		}
		if c.generation == now && c.want.Equal(want) {
			return c.have, nil
		}
		have, err := read(want)
		if errors.Is(err, netlink.ErrDumpInterrupted) || errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read nftables: %w", err)
		}
		if after, err := generation(); err != nil || after != now {
			continue // somebody writes
		}
		c.generation, c.want, c.have = now, want, have
		return have, nil
	}
	return nil, errors.New("read nftables: somebody keeps changing them")
}

func read(want *nft.Table) (*nft.Table, error) {
	answers, err := ask(unix.NFT_MSG_GETTABLE, 0, text(unix.NFTA_TABLE_NAME, nft.TableName))
	if errors.Is(err, unix.ENOENT) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if want == nil {
		want = &nft.Table{}
	}
	have := &nft.Table{}
	for _, answer := range answers {
		flags, _ := parse(answer).number(unix.NFTA_TABLE_FLAGS)
		have.Dormant = have.Dormant || flags != 0
	}
	if have.Sets, err = readSets(); err != nil {
		return nil, err
	}
	have.Chains, err = readChains(want)
	return have, err
}

func readChains(want *nft.Table) ([]nft.Chain, error) {
	answers, err := ask(unix.NFT_MSG_GETCHAIN, unix.NLM_F_DUMP)
	if err != nil {
		return nil, err
	}
	rules, err := readRules()
	if err != nil {
		return nil, err
	}
	wanted := map[string]nft.Chain{}
	for _, x := range want.Chains {
		wanted[x.Name] = x
	}
	var out []nft.Chain
	for _, answer := range answers {
		a := parse(answer)
		if a.text(unix.NFTA_CHAIN_TABLE) != nft.TableName {
			continue
		}
		x := nft.Chain{Name: a.text(unix.NFTA_CHAIN_NAME), Hook: readHook(a)}
		if x.Rules, err = show(rules[x.Name], wanted[x.Name].Rules); err != nil {
			return nil, err
		}
		out = append(out, x)
	}
	return out, nil
}

func readHook(a attributes) nft.Hook {
	hook := parse(a.find(unix.NFTA_CHAIN_HOOK).value)
	number, ok := hook.number(unix.NFTA_HOOK_HOOKNUM)
	if !ok {
		return nft.Hook{}
	}
	priority, _ := hook.number(unix.NFTA_HOOK_PRIORITY)
	h := nft.Hook{Type: a.text(unix.NFTA_CHAIN_TYPE), Priority: int32(priority)}
	for name, n := range hooks {
		if uint32(n) == number {
			h.Name = name
		}
	}
	const accept = 1
	if policy, _ := a.number(unix.NFTA_CHAIN_POLICY); policy != accept {
		h.Type += " with another policy"
	}
	return h
}

// readRules returns the expressions of each chain's rules.
func readRules() (map[string][]attributes, error) {
	answers, err := ask(unix.NFT_MSG_GETRULE, unix.NLM_F_DUMP, text(unix.NFTA_RULE_TABLE, nft.TableName))
	if err != nil {
		return nil, err
	}
	out := map[string][]attributes{}
	for _, answer := range answers {
		a := parse(answer)
		if a.text(unix.NFTA_RULE_TABLE) == nft.TableName {
			chain := a.text(unix.NFTA_RULE_CHAIN)
			out[chain] = append(out[chain], parse(a.find(unix.NFTA_RULE_EXPRESSIONS).value))
		}
	}
	return out, nil
}

// show returns the wanted rules where the kernel has them.
func show(have []attributes, want []nft.Rule) ([]nft.Rule, error) {
	var out []nft.Rule
	for i, h := range have {
		rule := nft.Rule{Do: nft.Other{}}
		if i < len(want) {
			same, err := isRule(h, want[i])
			if err != nil {
				return nil, err
			}
			if same {
				rule = want[i]
			}
		}
		out = append(out, rule)
	}
	return out, nil
}

func readSets() ([]nft.Set, error) {
	answers, err := ask(unix.NFT_MSG_GETSET, unix.NLM_F_DUMP, text(unix.NFTA_SET_TABLE, nft.TableName))
	if err != nil {
		return nil, err
	}
	var out []nft.Set
	for _, answer := range answers {
		a := parse(answer)
		flags, _ := a.number(unix.NFTA_SET_FLAGS)
		if a.text(unix.NFTA_SET_TABLE) != nft.TableName || flags&unix.NFT_SET_ANONYMOUS != 0 {
			continue
		}
		s := nft.Set{Name: a.text(unix.NFTA_SET_NAME)}
		s.Kind, s.Family = kindOf(a, flags)
		if s.Kind != "" && s.Kind != nft.Clients {
			if s.Elements, err = readElements(s); err != nil {
				return nil, err
			}
		}
		out = append(out, s)
	}
	return out, nil
}

// kindOf recognizes the sets that declare makes; another has no kind.
func kindOf(a attributes, flags uint32) (nft.SetKind, nft.Family) {
	length, _ := a.number(unix.NFTA_SET_KEY_LEN)
	for _, family := range []nft.Family{nft.IPv4, nft.IPv6} {
		switch {
		case length == keyTypes[family].Bytes && flags == unix.NFT_SET_MAP:
			if data, _ := a.number(unix.NFTA_SET_DATA_TYPE); data == unix.NFT_DATA_VERDICT&0xffffffff {
				return nft.Verdicts, family
			}
		case length == keyTypes[family].Bytes && flags == 0:
			return nft.Services, family
		case length == addressTypes[family].Bytes && flags == unix.NFT_SET_INTERVAL:
			return nft.Ranges, family
		case length == addressTypes[family].Bytes && flags == unix.NFT_SET_EVAL|unix.NFT_SET_TIMEOUT:
			return nft.Clients, family
		}
	}
	return "", ""
}

func readElements(s nft.Set) ([]nft.Element, error) {
	answers, err := ask(unix.NFT_MSG_GETSETELEM, unix.NLM_F_DUMP,
		text(unix.NFTA_SET_ELEM_LIST_TABLE, nft.TableName), text(unix.NFTA_SET_ELEM_LIST_SET, s.Name))
	if err != nil {
		return nil, err
	}
	var raw []attributes
	for _, answer := range answers {
		for _, e := range parse(parse(answer).find(unix.NFTA_SET_ELEM_LIST_ELEMENTS).value) {
			raw = append(raw, parse(e.value))
		}
	}
	var out []nft.Element
	if s.Kind == nft.Ranges {
		out = parseRanges(raw)
	} else {
		for _, e := range raw {
			out = append(out, parseElement(e))
		}
	}
	slices.SortFunc(out, nft.Element.Compare)
	return out, nil
}
