package command_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kubeovn/kube-ovn-ccm/pkg/gateway/spec"
)

// The addresses of the lab's other family.
const (
	lbAddress6     = "fd00:18::18"
	routerAddress6 = "fd00:18::1"
	clientAddress6 = "fd00:18::5"
	remoteAddress6 = "fd00:203::7"
	podAddress6    = "fd00:10:16::2"
	clusterIP6     = "fd00:10:96::c1"
)

// newDualLab is a lab with both families everywhere. The router is also known
// as fe80::1. No sysctl of the gateway is set.
func newDualLab(t *testing.T) *lab {
	t.Helper()
	l := newLab(t)
	for _, command := range []struct{ role, args string }{
		{"lan", "-6 addr add fd00:18::1/64 dev br0 nodad"},
		{"lan", "-6 addr add fe80::1/64 dev br0 nodad"},
		{"lan", "-6 addr add fd00:203::1/64 dev p-remote nodad"},
		{"client", "-6 addr add fd00:18::5/64 dev eth0 nodad"},
		{"client", "-6 route add default via fd00:18::1"},
		{"remote", "-6 addr add fd00:203::7/64 dev eth0 nodad"},
		{"remote", "-6 route add default via fd00:203::1"},
		{"gw", "-6 addr add fd00:10:16::2/64 dev eth0 nodad"},
		{"gw", "-6 route add default via fd00:10:16::1"},
		{"cluster", "-6 addr add fd00:10:16::1/64 dev pod0 nodad"},
		{"cluster", "-6 addr add fd00:10:96::c1/128 dev lo nodad"},
	} {
		l.ip(command.role, command.args)
	}
	l.sysctl("lan", "net/ipv6/conf/all/forwarding", "1")
	return l
}

// sysctl sets a setting as somebody does who may: from outside the container.
func (l *lab) sysctl(role, path, value string) {
	l.t.Helper()
	l.inside(role, func() error { return os.WriteFile("/proc/sys/"+path, []byte(value), 0) })
}

func family6() spec.Family {
	return spec.Family{
		Address:   netip.MustParsePrefix(lbAddress6 + "/64"),
		Gateway:   netip.MustParseAddr(routerAddress6),
		ClusterIP: netip.MustParseAddr(clusterIP6),
	}
}

// dualDocument asks for both families.
func dualDocument(ports ...spec.Port) *spec.Document {
	d := document(ports...)
	d.Target = spec.TargetEndpoints
	d.Families = append(d.Families, family6())
	return d
}

// document6 asks for IPv6 alone.
func document6(ports ...spec.Port) *spec.Document {
	d := dualDocument(ports...)
	d.Families = d.Families[1:]
	return d
}

// addresses6 are the IPv6 addresses of an interface, sorted, with what is
// special about them.
func (l *lab) addresses6(role, link string) []string {
	l.t.Helper()
	var links []struct {
		AddrInfo []struct {
			Local      string `json:"local"`
			PrefixLen  int    `json:"prefixlen"`
			Scope      string `json:"scope"`
			Tentative  bool   `json:"tentative"`
			DADFailed  bool   `json:"dadfailed"`
			Dynamic    bool   `json:"dynamic"`
			Deprecated bool   `json:"deprecated"`
		} `json:"addr_info"`
	}
	if err := json.Unmarshal([]byte(l.run("", "ip", "-n", l.names[role], "-6", "-j", "addr", "show", "dev", link)), &links); err != nil {
		l.t.Fatal(err)
	}
	var out []string
	for _, link := range links {
		for _, a := range link.AddrInfo {
			s := fmt.Sprintf("%s/%d %s", a.Local, a.PrefixLen, a.Scope)
			for word, set := range map[string]bool{"tentative": a.Tentative, "dadfailed": a.DADFailed, "dynamic": a.Dynamic, "deprecated": a.Deprecated} {
				if set {
					s += " " + word
				}
			}
			if a.Local != "" {
				out = append(out, s)
			}
		}
	}
	slices.Sort(out)
	return out
}

// global6 are those of addresses6 that are not link-local.
func (l *lab) global6(role, link string) string {
	l.t.Helper()
	all := l.addresses6(role, link)
	return strings.Join(slices.DeleteFunc(all, func(s string) bool { return strings.HasPrefix(s, "fe80:") }), "\n")
}

// echo6 sends an echo request with a number of bytes of data, at least 8, and
// waits for the answer.
func (l *lab) echo6(role, address string, size int, wait time.Duration) error {
	var conn net.PacketConn
	err := within(l.names[role], func() (err error) {
		conn, err = net.ListenPacket("ip6:ipv6-icmp", "::")
		return err
	})
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(wait)); err != nil {
		return err
	}
	const request, reply = 128, 129
	question := make([]byte, 8+size)
	question[0] = request
	binary.BigEndian.PutUint64(question[8:], rand.Uint64())
	// The kernel fills the checksum in.
	if _, err := conn.WriteTo(question, &net.IPAddr{IP: net.ParseIP(address)}); err != nil {
		return err
	}
	answer := make([]byte, 2048)
	for {
		n, from, err := conn.ReadFrom(answer)
		if err != nil {
			return err
		}
		if from.String() == address && answer[0] == reply && bytes.Equal(answer[8:n], question[8:]) {
			return nil
		}
	}
}

// mustEcho6 fails the test unless the load balancer's address answers.
func (l *lab) mustEcho6(roles ...string) {
	l.t.Helper()
	for _, role := range roles {
		if err := l.echo6(role, lbAddress6, 8, 2*time.Second); err != nil {
			l.t.Errorf("%s hears nothing from %s: %v", role, lbAddress6, err)
		}
	}
}
