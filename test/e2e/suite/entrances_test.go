package suite

import (
	"context"
	"fmt"
	"net/netip"
	"path/filepath"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
	"github.com/kubeovn/kube-ovn-ccm/test/e2e/lab"
)

// The attachments and Subnets of testdata/networks.yaml.
const (
	sixAttachment  = "six.kube-system"
	dualAttachment = "dual.kube-system"
	dualSubnet     = "dual"
)

// entrance is a way into the cluster: an attachment with a Subnet, in one IP
// family, and the clients there.
type entrance struct {
	family     corev1.IPFamily
	attachment string
	// near and far are the hosts on the LAN and behind the router.
	near, far caller
	// nearest and farthest are the first of the addresses that such hosts can
	// have beside their own.
	nearest, farthest netip.Addr
}

func (c *cluster) ipv4(t *testing.T) entrance {
	t.Helper()
	return entrance{
		family: corev1.IPv4Protocol, attachment: guideAttachment,
		near: c.own(t, onLink, true), far: c.own(t, behindRouter, true),
		nearest: netip.MustParseAddr("172.18.9.1"), farthest: netip.MustParseAddr("203.0.113.101"),
	}
}

func (c *cluster) ipv6(t *testing.T) entrance {
	t.Helper()
	e := entrance{family: corev1.IPv6Protocol, attachment: sixAttachment, near: c.own(t, onLink, false), far: c.own(t, behindRouter, false)}
	beside := func(own netip.Addr) netip.Addr {
		a := own.As16()
		copy(a[8:], []byte{0, 0, 0, 0, 0, 9, 0, 1})
		return netip.AddrFrom16(a)
	}
	e.nearest, e.farthest = beside(e.near.addr), beside(e.far.addr)
	return e
}

// inEachFamily runs a test in IPv4 and in IPv6 at the same time: most of it is
// waiting for Pods to start.
func (c *cluster) inEachFamily(t *testing.T, test func(t *testing.T, e entrance)) {
	t.Run("IPv4", func(t *testing.T) { t.Parallel(); test(t, c.ipv4(t)) })
	t.Run("IPv6", func(t *testing.T) { t.Parallel(); test(t, c.ipv6(t)) })
}

// hosts are the clients on the LAN and behind the router.
func (e entrance) hosts() []caller { return []caller{e.near, e.far} }

// service is a Service for the Pods app=web, with the same port number for HTTP
// and for UDP unless other ports are given.
func (e entrance) service(ns, name string, ports ...corev1.ServicePort) *corev1.Service {
	if len(ports) == 0 {
		ports = []corev1.ServicePort{
			port("http", corev1.ProtocolTCP, 80, "http"),
			port("udp", corev1.ProtocolUDP, 80, "udp"),
		}
	}
	svc := lbService(ns, name, ports...)
	svc.Annotations[kubeovn.AttachmentProvider] = e.attachment
	svc.Spec.IPFamilies = []corev1.IPFamily{e.family}
	svc.Spec.IPFamilyPolicy = ptr.To(corev1.IPFamilyPolicySingleStack)
	return svc
}

// prefix is the network of an address's length that holds it.
func prefix(addr netip.Addr, shorter int) string {
	return netip.PrefixFrom(addr, addr.BitLen()-shorter).Masked().String()
}

// connectNetworks makes the attachments of testdata/networks.yaml, and gives the
// router addresses in the Subnet that the lab does not know.
func (c *cluster) connectNetworks(ctx context.Context) error {
	if out, err := c.Kubectl(ctx, "apply", "-f", filepath.Join(c.root, "test/e2e/suite/testdata/networks.yaml")); err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	return c.Host(lab.Router).Do(func() error {
		link, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		for _, a := range []string{"172.19.50.1/24", "fd00:172:19::1/64"} {
			addr, err := netlink.ParseAddr(a)
			if err != nil {
				return err
			}
			if addr.IP.To4() == nil {
				addr.Flags = unix.IFA_F_NODAD
			}
			if err := netlink.AddrReplace(link, addr); err != nil {
				return fmt.Errorf("address %s on the router: %w", a, err)
			}
		}
		return nil
	})
}
