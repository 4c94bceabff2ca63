package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kubeovn/kube-ovn-ccm/pkg/gateway/spec"
	"github.com/kubeovn/kube-ovn-ccm/pkg/ipam"
	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn/recorded"
	"github.com/kubeovn/kube-ovn-ccm/pkg/routes"
)

// subnets makes the fixtures and waits until Kube-OVN has counted them.
func (s *scenario) subnets(ctx context.Context) error {
	ours, err := derived()
	if err != nil {
		return err
	}
	for _, text := range slices.Concat(fixtures, ours) {
		if err := s.apply(ctx, text); err != nil {
			return err
		}
	}
	err = until(ctx, 60*time.Second, "the Subnets", func(context.Context) error {
		for name, v4 := range map[string]bool{"lan4": true, "lan46": true, "lan6": false, "booked": true, "full": true, "narrow": true} {
			if n, ok := s.cache.Subnet(name); !ok || n.Available(v4) <= 0 {
				return fmt.Errorf("%s is not counted yet", name)
			}
		}
		return s.granted("by-hand", "by-hand-booked", "leaving", "passing", "passing-6")
	})
	if err != nil {
		return err
	}
	for _, text := range unguarded {
		if err := s.apply(ctx, text); err != nil {
			return err
		}
	}
	return until(ctx, 30*time.Second, "the Vips", func(context.Context) error { return s.granted("by-hand-46", "by-hand-6") })
}

// granted complains unless Vips that were made by hand have addresses.
func (s *scenario) granted(names ...string) error {
	for _, name := range names {
		if vip, ok := s.cache.Vip(name); !ok || !vip.Granted() {
			return fmt.Errorf("the Vip %s is not granted yet", name)
		}
	}
	return nil
}

// pods makes the Pods, and lets Kube-OVN do what it does.
func (s *scenario) pods(ctx context.Context) error {
	for _, p := range pods {
		if err := s.apply(ctx, pod(p.name, "", p.annotations)); err != nil {
			return err
		}
	}
	err := until(ctx, 60*time.Second, "the Pods' addresses", func(ctx context.Context) error {
		for _, p := range pods {
			pod, err := s.kube.CoreV1().Pods("default").Get(ctx, p.name, metav1.GetOptions{})
			if err != nil {
				return err
			}
			if p.everywhere && pod.Annotations["ovn.kubernetes.io/allocated"] != "true" {
				return fmt.Errorf("none for Pod %s", p.name)
			}
		}
		events, err := s.kube.CoreV1().Events("default").List(ctx, metav1.ListOptions{FieldSelector: "type=Warning,involvedObject.name=wants-vip"})
		if err == nil && len(events.Items) == 0 {
			err = errors.New("no Warning about the Pod wants-vip")
		}
		return err
	})
	if err != nil {
		return err
	}
	for _, text := range rivals {
		if err := s.apply(ctx, text); err != nil {
			return err
		}
	}
	pause(ctx, 3*time.Second) // for what comes later or never: Events, addresses that should not be
	return nil
}

// leave deletes Vips, one of which somebody's finalizer keeps.
func (s *scenario) leave(ctx context.Context) error {
	for _, name := range []string{"leaving", "passing", "passing-6"} {
		if err := s.dyn.Resource(kubeovn.VipResource).Delete(ctx, name, metav1.DeleteOptions{}); err != nil {
			return err
		}
	}
	err := until(ctx, 30*time.Second, "the end of Kube-OVN's own finalizer", func(ctx context.Context) error {
		vip, err := s.dyn.Resource(kubeovn.VipResource).Get(ctx, "leaving", metav1.GetOptions{})
		if err == nil && !slices.Equal(vip.GetFinalizers(), []string{"example.com/stays"}) {
			err = fmt.Errorf("it has %q", vip.GetFinalizers())
		}
		return err
	})
	pause(ctx, 3*time.Second) // for the Subnet's status
	return err
}

// wish is a Service that asks for addresses, and what came of it.
type wish struct {
	name, subnet, addresses string
	needs                   kubeovn.Families
	pool                    string // the IPPool that it names
}

var (
	four = kubeovn.Families{V4: true}
	six  = kubeovn.Families{V6: true}
	both = kubeovn.Families{V4: true, V6: true}
)

// wishes are asked for in this order.
var wishes = []wish{
	{"any4", "lan4", "", four, ""},
	{"static4", "lan4", "172.18.0.18", four, ""},
	{"excluded4", "lan4", "172.18.0.9", four, ""},
	{"taken4", "lan4", "172.18.0.18", four, ""},
	{"vip4", "lan4", "172.18.0.77", four, ""},
	{"pod4", "booked", "172.21.0.50", four, ""},
	{"outside4", "lan4", "172.31.0.1", four, ""},
	{"leaving4", "booked", "172.21.0.70", four, ""}, // by then Kube-OVN may have it free, but the Vip is there
	{"static-booked", "booked", "172.21.0.18", four, ""},
	{"pool4", "lan4", "", four, "pool"},
	{"pool46", "lan46", "", both, "pool46"},
	{"any46", "lan46", "", both, ""},
	{"static46", "lan46", "172.19.0.46,fd00:172:19::46", both, ""},
	{"static4-of-46", "lan46", "172.19.0.44", both, ""},
	{"static6-of-46", "lan46", "fd00:172:19::66", both, ""},
	{"any6", "lan6", "", six, ""},
	{"static6", "lan6", "fd00:172:20::66", six, ""},
	{"only", "full", "", four, ""},
	{"none-left", "full", "", four, ""},
}

func ownerOf(name string) kubeovn.Owner {
	return kubeovn.Owner{Namespace: "default", Name: name, UID: types.UID(name)}
}

func (s *scenario) request(svc wish) (ipam.Request, error) {
	addresses, err := kubeovn.ParseAddrs(svc.addresses)
	if err != nil {
		return ipam.Request{}, err
	}
	subnet, ok := s.cache.Subnet(svc.subnet)
	if !ok {
		return ipam.Request{}, fmt.Errorf("no Subnet %s", svc.subnet)
	}
	req := ipam.Request{Owner: ownerOf(svc.name), Subnet: subnet, Needs: svc.needs, Wish: addresses, Field: "spec.loadBalancerIP"}
	if svc.pool == "" {
		return req, nil
	}
	pool, missing := s.cache.IPPool(svc.pool)
	if pool == nil {
		return req, fmt.Errorf("no IPPool %s: %s", svc.pool, missing)
	}
	req.Pool, req.PoolField = pool, "annotation ip_pool"
	return req, nil
}

// settle is how long a decision may change its mind.
const settle = 1500 * time.Millisecond

// addresses asks for each Service as the load balancer does, until the answer
// stands still, and records it.
func (s *scenario) addresses(ctx context.Context) error {
	for _, svc := range wishes {
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
			Service: svc.name, Subnet: svc.subnet, Wish: svc.addresses, Pool: svc.pool, Needs: svc.needs.String(),
			State: last.State.String(), Addresses: last.Addrs.String(), Reason: last.Reason, Message: last.Message,
		})
	}
	return nil
}

// grant complains unless a Service has an address.
func (s *scenario) grant(ctx context.Context, svc wish) error {
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
