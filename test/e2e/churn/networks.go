package churn

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"

	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
	"github.com/kubeovn/kube-ovn-ccm/test/e2e/lab"
)

// network is an attachment with a Subnet on the LAN. Its ranges are small, so that an address that is given back is soon
// somebody else's.
type network struct {
	name string
	// cidrs are one of each family that it has, IPv4 first.
	cidrs []netip.Prefix
}

// The last numbers of the addresses that are the hosts', and so excluded from the start.
const (
	routerNumber = 1 // the Subnets' gateway
	clientNumber = 5
	firstNumber  = 6
	lastNumber   = 62
)

var networks = []network{
	{"four", prefixes("172.20.4.0/26")},
	{"six", prefixes("fd00:172:20:6::/122")},
	{"dual", prefixes("172.20.10.0/26", "fd00:172:20:10::/122")},
}

func prefixes(texts ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, t := range texts {
		out = append(out, netip.MustParsePrefix(t))
	}
	return out
}

// numbered is an address of a network by its last number.
func numbered(p netip.Prefix, n int) netip.Addr {
	b := p.Addr().AsSlice()
	b[len(b)-1] += byte(n)
	a, _ := netip.AddrFromSlice(b)
	return a
}

// at are the network's addresses of a number, one of each family.
func (n network) at(number int) []netip.Addr {
	var out []netip.Addr
	for _, p := range n.cidrs {
		out = append(out, numbered(p, number))
	}
	return out
}

// excluded is the Subnet's excludeIps as they are at the beginning.
func (n network) excluded() []any {
	var out []any
	for _, p := range n.cidrs {
		out = append(out, numbered(p, routerNumber).String()+".."+numbered(p, clientNumber).String())
	}
	return out
}

func (n network) provider(namespace string) string { return n.name + "." + namespace }
func (n network) subnet(namespace string) string   { return namespace + "-" + n.name }

// objects are the attachment and the Subnet.
func (n network) objects(namespace string) []*unstructured.Unstructured {
	var cidrs, gateways []string
	for _, p := range n.cidrs {
		cidrs, gateways = append(cidrs, p.String()), append(gateways, numbered(p, routerNumber).String())
	}
	protocol := "Dual"
	if len(n.cidrs) == 1 {
		protocol = kubeovn.FamilyName(n.cidrs[0].Addr().Is4())
	}
	return []*unstructured.Unstructured{
		{Object: map[string]any{
			"apiVersion": kubeovn.NADResource.GroupVersion().String(), "kind": "NetworkAttachmentDefinition",
			"metadata": map[string]any{"namespace": namespace, "name": n.name},
			"spec":     map[string]any{"config": `{"cniVersion":"0.3.0","type":"macvlan","master":"eth0","mode":"bridge"}`},
		}},
		{Object: map[string]any{
			"apiVersion": kubeovn.SubnetResource.GroupVersion().String(), "kind": kindSubnet,
			"metadata": map[string]any{"name": n.subnet(namespace)},
			"spec": map[string]any{
				"protocol": protocol, "provider": n.provider(namespace),
				"cidrBlock": strings.Join(cidrs, ","), "gateway": strings.Join(gateways, ","), "excludeIps": n.excluded(),
			},
		}},
	}
}

// makeNetworks makes the attachments and Subnets, and returns what is to be looked at.
func makeNetworks(ctx context.Context, client dynamic.Interface, namespace string) (Scope, error) {
	var scope Scope
	for _, n := range networks {
		o := n.objects(namespace)
		if _, err := client.Resource(kubeovn.NADResource).Namespace(namespace).Create(ctx, o[0], metav1.CreateOptions{}); err != nil {
			return Scope{}, fmt.Errorf("making the attachment %s: %w", n.name, err)
		}
		if _, err := client.Resource(kubeovn.SubnetResource).Create(ctx, o[1], metav1.CreateOptions{}); err != nil {
			return Scope{}, fmt.Errorf("making the Subnet %s: %w", n.subnet(namespace), err)
		}
		scope.Providers = append(scope.Providers, n.provider(namespace))
		scope.Subnets = append(scope.Subnets, n.subnet(namespace))
	}
	return scope, nil
}

// connectHosts gives the router and the client their addresses in the networks, or takes them away.
func connectHosts(l *lab.Lab, there bool) error {
	var errs []error
	for host, number := range map[string]int{lab.Router: routerNumber, lab.Client: clientNumber} {
		errs = append(errs, l.Host(host).Do(func() error {
			link, err := netlink.LinkByName("eth0")
			if err != nil {
				return fmt.Errorf("eth0 of %s: %w", host, err)
			}
			for _, n := range networks {
				for i, a := range n.at(number) {
					addr, err := netlink.ParseAddr(netip.PrefixFrom(a, n.cidrs[i].Bits()).String())
					if err != nil {
						return err
					}
					if a.Is6() {
						addr.Flags = unix.IFA_F_NODAD
					}
					if there {
						err = netlink.AddrReplace(link, addr)
					} else if err = netlink.AddrDel(link, addr); errors.Is(err, unix.EADDRNOTAVAIL) {
						err = nil
					}
					if err != nil {
						return fmt.Errorf("address %s of %s: %w", a, host, err)
					}
				}
			}
			return nil
		}))
	}
	return errors.Join(errs...)
}
