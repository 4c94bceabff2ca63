package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kubeovn/kube-ovn-ccm/pkg/gateway/spec"
	"github.com/kubeovn/kube-ovn-ccm/pkg/ipam"
	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn/recorded"
	"github.com/kubeovn/kube-ovn-ccm/pkg/routes"
)

// fixtures are the Subnets, attachments and other objects of an administrator.
var fixtures = []string{
	// The guide's attachment has no ipam; the others say that Kube-OVN gives the addresses.
	nad("kube-system", "lan4", `{"cniVersion":"0.3.0","type":"macvlan","master":"eth0","mode":"bridge"}`),
	nad("kube-system", "booked", `{"cniVersion":"0.3.0","type":"macvlan","master":"eth0","mode":"bridge","ipam":{"type":"kube-ovn","server_socket":"/run/openvswitch/kube-ovn-daemon.sock","provider":"booked.kube-system"}}`),
	nad("kube-system", "unbound", `{"cniVersion":"0.3.0","type":"macvlan","master":"eth0","mode":"bridge","ipam":{"type":"kube-ovn","server_socket":"/run/openvswitch/kube-ovn-daemon.sock","provider":"unbound.kube-system"}}`),
	// What kube-ovn-ccm makes of the guide's for its gateway.
	nad("default", "lb-svc-ours", `{"cniVersion":"0.3.0","name":"lb-svc-ours","type":"macvlan","master":"eth0","mode":"bridge"}`),
	subnet("lan4", "IPv4", "lan4.kube-system", "172.18.0.0/16", "172.18.0.1", `"172.18.0.0..172.18.0.10"`),
	subnet("lan46", "Dual", "lan46.kube-system", "172.19.0.0/16,fd00:172:19::/64", "172.19.0.1,fd00:172:19::1", ``),
	subnet("lan6", "IPv6", "lan6.kube-system", "fd00:172:20::/64", "fd00:172:20::1", ``),
	subnet("booked", "IPv4", "booked.kube-system", "172.21.0.0/24", "172.21.0.1", ``),
	subnet("full", "IPv4", "full.kube-system", "172.22.0.0/30", "172.22.0.1", ``),
	`{"apiVersion":"kubeovn.io/v1","kind":"IPPool","metadata":{"name":"pool"},"spec":{"subnet":"lan4","ips":["172.18.9.1..172.18.9.9"]}}`,
	`{"apiVersion":"kubeovn.io/v1","kind":"Vip","metadata":{"name":"by-hand"},"spec":{"subnet":"lan4","v4ip":"172.18.0.77"}}`,
	// Kube-OVN removes what it takes for an orphan of its own lb-svc; ours must not look like one.
	deployment("lb-svc-ours", `{"app.kubernetes.io/managed-by":"kube-ovn-ccm","kube-ovn.io/service-name":"ours"}`),
	deployment("lb-svc-theirs", `{"app":"theirs","namespace":"default","service":"theirs"}`),
}

func nad(namespace, name, config string) string {
	return fmt.Sprintf(`{"apiVersion":"k8s.cni.cncf.io/v1","kind":"NetworkAttachmentDefinition","metadata":{"namespace":%q,"name":%q},"spec":{"config":%q}}`, namespace, name, config)
}

func subnet(name, protocol, provider, cidr, gateway, exclude string) string {
	return fmt.Sprintf(`{"apiVersion":"kubeovn.io/v1","kind":"Subnet","metadata":{"name":%q},"spec":{"protocol":%q,"provider":%q,"cidrBlock":%q,"gateway":%q,"excludeIps":[%s]}}`,
		name, protocol, provider, cidr, gateway, exclude)
}

func deployment(name, labels string) string {
	return fmt.Sprintf(`{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"namespace":"default","name":%q},"spec":{"selector":{"matchLabels":%s},
		"template":{"metadata":{"labels":%s},"spec":{"containers":[{"name":"c","image":"i"}]}}}}`, name, labels, labels)
}

// subnets makes the fixtures and waits until Kube-OVN has counted them.
func (s *scenario) subnets(ctx context.Context) error {
	for _, text := range fixtures {
		if err := s.apply(ctx, text); err != nil {
			return err
		}
	}
	return until(ctx, 60*time.Second, "the Subnets", func(context.Context) error {
		for name, v4 := range map[string]bool{"lan4": true, "lan46": true, "lan6": false, "booked": true, "full": true} {
			if n, ok := s.cache.Subnet(name); !ok || n.Available(v4) <= 0 {
				return fmt.Errorf("%s is not counted yet", name)
			}
		}
		if vip, ok := s.cache.Vip("by-hand"); !ok || !vip.Granted() {
			return fmt.Errorf("the Vip that was made by hand is not granted yet")
		}
		return nil
	})
}

// pods makes one Pod on each attachment, and lets Kube-OVN do what it does.
func (s *scenario) pods(ctx context.Context) error {
	for name, annotations := range map[string]string{
		"on-lan4":    `"k8s.v1.cni.cncf.io/networks":"kube-system/lan4"`,
		"on-booked":  `"k8s.v1.cni.cncf.io/networks":"kube-system/booked","booked.kube-system.kubernetes.io/ip_address":"172.21.0.50","booked.kube-system.kubernetes.io/logical_switch":"booked"`,
		"on-unbound": `"k8s.v1.cni.cncf.io/networks":"kube-system/unbound"`,
		// As kube-ovn-ccm makes a gateway.
		"gateway": `"k8s.v1.cni.cncf.io/networks":"default/lb-svc-ours","lan4.kube-system.kubernetes.io/allocated":"true","lan4.kube-system.kubernetes.io/ip_address":"172.18.0.18",
			"lan4.kube-system.kubernetes.io/cidr":"172.18.0.0/16","lan4.kube-system.kubernetes.io/gateway":"172.18.0.1","lan4.kube-system.kubernetes.io/logical_switch":"lan4"`,
	} {
		pod := fmt.Sprintf(`{"apiVersion":"v1","kind":"Pod","metadata":{"namespace":"default","name":%q,"annotations":{%s}},"spec":{"nodeName":"n1","containers":[{"name":"c","image":"i"}]}}`, name, annotations)
		if err := s.apply(ctx, pod); err != nil {
			return err
		}
	}
	err := until(ctx, 30*time.Second, "the Pods' addresses", func(ctx context.Context) error {
		for _, name := range []string{"on-lan4", "on-booked", "gateway"} {
			pod, err := s.kube.CoreV1().Pods("default").Get(ctx, name, metav1.GetOptions{})
			if err != nil {
				return err
			}
			if pod.Annotations["ovn.kubernetes.io/allocated"] != "true" {
				return fmt.Errorf("none for Pod %s", name)
			}
		}
		return nil
	})
	if err == nil {
		pause(ctx, 3*time.Second) // for what comes later or never: Events, addresses that should not be
	}
	return err
}

// service is a Service that asks for addresses, and what came of it.
type service struct {
	name, subnet, wish string
	needs              kubeovn.Families
}

var (
	four = kubeovn.Families{V4: true}
	six  = kubeovn.Families{V6: true}
	both = kubeovn.Families{V4: true, V6: true}
)

// services are asked for in this order.
var services = []service{
	{"any4", "lan4", "", four},
	{"static4", "lan4", "172.18.0.18", four},
	{"excluded4", "lan4", "172.18.0.9", four},
	{"taken4", "lan4", "172.18.0.18", four},
	{"vip4", "lan4", "172.18.0.77", four},
	{"pod4", "booked", "172.21.0.50", four},
	{"outside4", "lan4", "172.31.0.1", four},
	{"any46", "lan46", "", both},
	{"static46", "lan46", "172.19.0.46,fd00:172:19::46", both},
	{"static4-of-46", "lan46", "172.19.0.44", both},
	{"static6-of-46", "lan46", "fd00:172:19::66", both},
	{"any6", "lan6", "", six},
	{"static6", "lan6", "fd00:172:20::66", six},
	{"only", "full", "", four},
	{"none-left", "full", "", four},
}

func ownerOf(name string) kubeovn.Owner {
	return kubeovn.Owner{Namespace: "default", Name: name, UID: types.UID(name)}
}

func (s *scenario) request(svc service) (ipam.Request, error) {
	wish, err := kubeovn.ParseAddrs(svc.wish)
	if err != nil {
		return ipam.Request{}, err
	}
	subnet, ok := s.cache.Subnet(svc.subnet)
	if !ok {
		return ipam.Request{}, fmt.Errorf("no Subnet %s", svc.subnet)
	}
	return ipam.Request{Owner: ownerOf(svc.name), Subnet: subnet, Needs: svc.needs, Wish: wish, Field: "spec.loadBalancerIP"}, nil
}

// settle is how long a decision may change its mind.
const settle = 1500 * time.Millisecond

// addresses asks for each Service as the load balancer does, until the answer
// stands still, and records it.
func (s *scenario) addresses(ctx context.Context) error {
	for _, svc := range services {
		var last ipam.Result
		var since time.Time
		err := until(ctx, 60*time.Second, "a decision about "+svc.name, func(ctx context.Context) error {
			req, err := s.request(svc)
			if err != nil {
				return err
			}
			got, err := s.reserver.Reserve(ctx, req)
			if err != nil {
				return err
			}
			if got.MustMove { // as the load balancer does when the gateway is down
				_, err := s.reserver.Release(ctx, req.Owner)
				return errors.Join(errors.New("it moves"), err)
			}
			got.RetryAfter = 0
			if got != last {
				last, since = got, time.Now()
			}
			if got.State == ipam.Pending || got.Reason == ipam.ReasonKubeOVNNotResponding || time.Since(since) < settle {
				return fmt.Errorf("%+v", got)
			}
			return nil
		})
		if err != nil {
			return err
		}
		s.record.Decisions = append(s.record.Decisions, recorded.Decision{
			Service: svc.name, Subnet: svc.subnet, Wish: svc.wish, Needs: svc.needs.String(),
			State: last.State.String(), Addresses: last.Addrs.String(), Reason: last.Reason, Message: last.Message,
		})
	}
	return nil
}

// grant complains unless a Service has an address.
func (s *scenario) grant(ctx context.Context, svc service) error {
	req, err := s.request(svc)
	if err != nil {
		return err
	}
	got, err := s.reserver.Reserve(ctx, req)
	if err == nil && got.State != ipam.Granted {
		err = fmt.Errorf("%+v", got)
	}
	return err
}

// aRoute is for the answers of one Pod.
func aRoute() routes.Request {
	return routes.Request{
		Owner: ownerOf("keeps-clients"), VPC: kubeovn.DefaultVPC, NextHops: kubeovn.Addrs{V4: netip.MustParseAddr("10.16.0.99")},
		Backends: []routes.Backend{{Address: netip.MustParseAddrPort("10.16.0.5:8080"), Protocol: spec.TCP}},
	}
}
