// Package dns is the cluster's DNS server: A and AAAA records of Services, and of the Pods behind headless ones.
package dns

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
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
	idle       = 10 * time.Second // for a connection
)

// Lookup finds the addresses of a Service; ok is false when there is no such Service.
type Lookup func(namespace, service string) (addrs []netip.Addr, ok bool)

// Serve answers queries on address (UDP and TCP) from what the API server says, until the context ends.
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
	streams, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("cluster DNS: %w", err)
	}
	defer context.AfterFunc(ctx, func() { streams.Close() })()
	lookup := func(ns, name string) ([]netip.Addr, bool) {
		svc, err := services.Services(ns).Get(name)
		if err != nil {
			return nil, false
		}
		es, _ := slices.EndpointSlices(ns).List(labels.SelectorFromSet(labels.Set{discoveryv1.LabelServiceName: name}))
		return addresses(svc, es), true
	}
	go serveStreams(streams, lookup)
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

// serveStreams answers queries over TCP until the listener is closed.
func serveStreams(l net.Listener, lookup Lookup) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			answerStream(c, lookup)
		}()
	}
}

// answerStream answers the queries of one connection, each of which its length precedes, until the client ends it, says
// nothing for a while, or sends what cannot be answered.
func answerStream(c net.Conn, lookup Lookup) {
	for {
		var length [2]byte
		_ = c.SetDeadline(time.Now().Add(idle))
		if _, err := io.ReadFull(c, length[:]); err != nil {
			return
		}
		query := make([]byte, binary.BigEndian.Uint16(length[:]))
		if _, err := io.ReadFull(c, query); err != nil {
			return
		}
		answer, ok := Answer(query, lookup)
		if !ok {
			return
		}
		if _, err := c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(answer))), answer...)); err != nil {
			return
		}
	}
}

// addresses returns the addresses a Service's name stands for.
func addresses(svc *corev1.Service, slices []*discoveryv1.EndpointSlice) []netip.Addr {
	var out []netip.Addr
	add := func(ips []string) {
		for _, s := range ips {
			if a, err := netip.ParseAddr(s); err == nil {
				out = append(out, a)
			}
		}
	}
	if svc.Spec.ClusterIP != corev1.ClusterIPNone {
		add(svc.Spec.ClusterIPs)
		return out
	}
	for _, s := range slices {
		for _, e := range s.Endpoints {
			if e.Conditions.Ready == nil || *e.Conditions.Ready {
				add(e.Addresses)
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
				if typ, body := record(a); q.Type == typ || q.Type == dnsmessage.TypeALL {
					m.Answers = append(m.Answers, dnsmessage.Resource{
						Header: dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, TTL: ttl}, Body: body,
					})
				}
			}
		}
	}
	b, err := m.Pack()
	return b, err == nil
}

// record is an address as an answer.
func record(a netip.Addr) (dnsmessage.Type, dnsmessage.ResourceBody) {
	if a.Is4() {
		return dnsmessage.TypeA, &dnsmessage.AResource{A: a.As4()}
	}
	return dnsmessage.TypeAAAA, &dnsmessage.AAAAResource{AAAA: a.As16()}
}
