package nft

import (
	"fmt"
	"slices"
	"strings"
)

// Change is what one transaction does to the table.
type Change struct {
	// Remove removes the table with all that is in it, first.
	Remove bool
	// Create makes the table.
	Create bool
	// AddSets are new, with their elements.
	AddSets []Set
	// AddChains are new, with their rules.
	AddChains []Chain
	// RefillChains lose their rules and get the ones here.
	RefillChains []Chain
	// DeleteElements and AddElements change sets that stay.
	DeleteElements, AddElements []Set
	// DeleteChains and DeleteSets go, last, when nothing refers to them.
	DeleteChains []Chain
	DeleteSets   []Set
}

// Empty tells whether nothing is to be done.
func (c Change) Empty() bool {
	return !c.Remove && !c.Create && len(c.AddSets)+len(c.AddChains)+len(c.RefillChains)+len(c.DeleteElements)+
		len(c.AddElements)+len(c.DeleteChains)+len(c.DeleteSets) == 0
}

// Diff returns the change from the table that is there to the one that should
// be; nil is no table. It touches only what differs, so that the clients that
// an endpoint remembers are kept, and so that a change of one port costs the
// same however many ports there are.
func Diff(want, have *Table) Change {
	switch {
	case want == have:
		return Change{}
	case want == nil:
		return Change{Remove: true}
	case have == nil:
		return Change{Create: true, AddSets: want.Sets, AddChains: want.Chains}
	}
	anew := Change{Remove: true, Create: true, AddSets: want.Sets, AddChains: want.Chains}
	if have.Dormant {
		return anew
	}
	var c Change
	haveChains := map[string]Chain{}
	for _, x := range have.Chains {
		haveChains[x.Name] = x
	}
	haveSets := map[string]Set{}
	for _, x := range have.Sets {
		haveSets[x.Name] = x
	}
	for _, w := range want.Sets {
		h, ok := haveSets[w.Name]
		delete(haveSets, w.Name)
		switch {
		case !ok:
			c.AddSets = append(c.AddSets, w)
		case h.Kind != w.Kind || h.Family != w.Family:
			return anew
		default:
			c.elements(w, h)
		}
	}
	for _, w := range want.Chains {
		h, ok := haveChains[w.Name]
		delete(haveChains, w.Name)
		switch {
		case !ok:
			c.AddChains = append(c.AddChains, w)
		case h.Hook != w.Hook:
			return anew
		case !slices.EqualFunc(w.Rules, h.Rules, func(a, b Rule) bool { return a == b }):
			c.RefillChains = append(c.RefillChains, w)
		}
	}
	for _, x := range have.Chains {
		if _, ok := haveChains[x.Name]; ok {
			c.DeleteChains = append(c.DeleteChains, x)
		}
	}
	for _, x := range have.Sets {
		if _, ok := haveSets[x.Name]; ok {
			c.DeleteSets = append(c.DeleteSets, x)
		}
	}
	return c
}

// elements compares the elements of a set that stays.
func (c *Change) elements(want, have Set) {
	if want.Kind == Clients {
		return
	}
	without := func(a, b []Element) []Element {
		seen := map[Element]bool{}
		for _, e := range b {
			seen[e] = true
		}
		var out []Element
		for _, e := range a {
			if !seen[e] {
				out = append(out, e)
			}
		}
		return out
	}
	gone, added := without(have.Elements, want.Elements), without(want.Elements, have.Elements)
	if have.Elements = gone; len(gone) > 0 {
		c.DeleteElements = append(c.DeleteElements, have)
	}
	if want.Elements = added; len(added) > 0 {
		c.AddElements = append(c.AddElements, want)
	}
}

// String says what the change does.
func (c Change) String() string {
	table := "table inet " + TableName
	switch {
	case c.Create:
		return fmt.Sprintf("%s (%d sets, %d chains)", table, len(c.AddSets), len(c.AddChains))
	case c.Remove:
		return table
	}
	var s []string
	add := func(what string, names []string) {
		if len(names) > 5 {
			names = append(names[:5:5], fmt.Sprintf("... (%d)", len(names)))
		}
		if len(names) > 0 {
			s = append(s, what+" "+strings.Join(names, ", "))
		}
	}
	chains := func(cs []Chain) (names []string) {
		for _, x := range cs {
			names = append(names, x.Name)
		}
		return names
	}
	sets := func(ss []Set) (names []string) {
		for _, x := range ss {
			names = append(names, x.Name)
		}
		return names
	}
	elements := func(ss []Set) (names []string) {
		for _, x := range ss {
			for _, e := range x.Elements {
				names = append(names, fmt.Sprintf("%s { %s }", x.Name, e.format(x.Kind)))
			}
		}
		return names
	}
	add("add set", sets(c.AddSets))
	add("add chain", chains(c.AddChains))
	add("refill chain", chains(c.RefillChains))
	add("delete element", elements(c.DeleteElements))
	add("add element", elements(c.AddElements))
	add("delete chain", chains(c.DeleteChains))
	add("delete set", sets(c.DeleteSets))
	return table + ": " + strings.Join(s, "; ")
}
