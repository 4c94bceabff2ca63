// Package dns is the cluster's DNS server: A records of Services, and of the Pods behind headless ones.
package dns

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

const (
	suffix     = ".svc.cluster.local."
	ttl        = 5 // seconds
	maxMessage = 1232
)

// Lookup finds the addresses of a Service; ok is false when there is no such Service.
type Lookup func(namespace, service string) (addrs []netip.Addr, ok bool)

// Serve answers queries on address (UDP) from what the API server says, until the context ends.
func Serve(ctx context.Context, address string, config *rest.Config) error {
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("cluster DNS: %w", err)
	}
	f := informers.NewSharedInformerFactory(client, time.Hour)
	services := f.Core().V1().Services().Lister()
	slices := f.Discovery().V1().EndpointSlices().Lister()
	f.Start(ctx.Done())
	f.WaitForCacheSync(ctx.Done())
	pc, err := new(net.ListenConfig).ListenPacket(ctx, "udp", address)
	if err != nil {
		return fmt.Errorf("cluster DNS: %w", err)
	}
	defer context.AfterFunc(ctx, func() { pc.Close() })()
	lookup := func(ns, name string) ([]netip.Addr, bool) {
		svc, err := services.Services(ns).Get(name)
		if err != nil {
			return nil, false
		}
		es, _ := slices.EndpointSlices(ns).List(labels.SelectorFromSet(labels.Set{discoveryv1.LabelServiceName: name}))
		return addresses(svc, es), true
	}
	for b := make([]byte, maxMessage); ; {
		n, from, err := pc.ReadFrom(b)
		if err != nil {
			return fmt.Errorf("cluster DNS: %w", err)
		}
		if answer, ok := Answer(b[:n], lookup); ok {
			_, _ = pc.WriteTo(answer, from) // the client asks again
		}
	}
}

// addresses returns the IPv4 addresses a Service's name stands for.
func addresses(svc *corev1.Service, slices []*discoveryv1.EndpointSlice) []netip.Addr {
	var out []netip.Addr
	add := func(s string) {
		if a, err := netip.ParseAddr(s); err == nil && a.Is4() {
			out = append(out, a)
		}
	}
	if svc.Spec.ClusterIP != corev1.ClusterIPNone {
		add(svc.Spec.ClusterIP)
		return out
	}
	for _, s := range slices {
		for _, e := range s.Endpoints {
			if e.Conditions.Ready != nil && !*e.Conditions.Ready {
				continue
			}
			for _, a := range e.Addresses {
				add(a)
			}
		}
	}
	return out
}

// Answer makes the reply to a query; ok is false for what is no query that can be answered.
func Answer(query []byte, lookup Lookup) (reply []byte, ok bool) {
	var m dnsmessage.Message
	if m.Unpack(query) != nil || m.Response || len(m.Questions) != 1 {
		return nil, false
	}
	q := m.Questions[0]
	m.Response, m.Authoritative, m.RecursionAvailable = true, true, true
	m.Answers, m.Authorities, m.Additionals = nil, nil, nil
	m.RCode = dnsmessage.RCodeNameError
	name := strings.ToLower(q.Name.String())
	if rest, in := strings.CutSuffix(name, suffix); in {
		labels := strings.Split(rest, ".")
		if len(labels) >= 2 {
			addrs, found := lookup(labels[len(labels)-1], labels[len(labels)-2])
			if found {
				m.RCode = dnsmessage.RCodeSuccess
			}
			for _, a := range addrs {
				if q.Type == dnsmessage.TypeA || q.Type == dnsmessage.TypeALL {
					m.Answers = append(m.Answers, dnsmessage.Resource{
						Header: dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, TTL: ttl},
						Body:   &dnsmessage.AResource{A: a.As4()},
					})
				}
			}
		}
	}
	b, err := m.Pack()
	return b, err == nil
}
