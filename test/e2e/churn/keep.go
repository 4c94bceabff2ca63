package churn

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// keeping is a Service that must show the same addresses for ever.
type keeping struct {
	name  string
	addrs []netip.Addr
	// lost are the moments at which it did not, in words.
	lost []string
	// wrong is set while it does not.
	wrong bool
}

// saw notes what the Service shows.
func (k *keeping) saw(ingress []string, gone bool, rev string, seen time.Time) {
	got := addresses(ingress...)
	if !gone && slices.Equal(got, k.addrs) {
		k.wrong = false
		return
	}
	if k.wrong && !gone {
		return // it is told once each time
	}
	k.wrong = true
	what := fmt.Sprintf("shows %s", list(got))
	if gone {
		what = "is gone"
	}
	k.lost = append(k.lost, fmt.Sprintf("Service %s had %s and %s at revision %s, seen at %s", k.name, list(k.addrs), what, rev, seen.Format("15:04:05.000")))
}

func list(addrs []netip.Addr) string {
	if len(addrs) == 0 {
		return "no address"
	}
	var out []string
	for _, a := range addrs {
		out = append(out, a.String())
	}
	return strings.Join(out, ",")
}

// Keep says that a Service must keep the addresses from now on.
func (o *Observer) Keep(namespace, name string, addrs []netip.Addr) {
	o.mu.Lock()
	defer o.mu.Unlock()
	key := namespace + "/" + name
	o.kept[key] = &keeping{name: key, addrs: addrs}
}

// Lost says in words which Services did not keep their addresses, and which showed them for longer than 30 s without a Vip.
func (o *Observer) Lost() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	var out []string
	for _, k := range o.kept {
		out = append(out, k.lost...)
	}
	for _, g := range o.book.Gaps(time.Now()) {
		if g.Took > withoutVip {
			out = append(out, g.String())
		}
	}
	slices.Sort(out)
	return out
}
