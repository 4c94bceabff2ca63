package churn

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/dynamic"

	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
)

// Observer watches a cluster and notes who holds which address. Its methods may be used by several goroutines.
type Observer struct {
	client dynamic.Interface
	scope  Scope
	stop   context.CancelFunc
	wg     sync.WaitGroup

	mu      sync.Mutex
	book    Book
	subnets map[string]subnet
	// kept are the Services that must keep their addresses, by "namespace/name".
	kept map[string]*keeping
	// gateways are the holders by the hardware addresses of their gateways.
	gateways map[string]string
	states   int
	err      error
}

// Observe begins to watch. It returns when all that is there has been noted; Stop ends it.
func Observe(ctx context.Context, client dynamic.Interface, scope Scope) (*Observer, error) {
	ctx, cancel := context.WithCancel(ctx)
	o := &Observer{
		client: client, scope: scope, stop: cancel,
		subnets: map[string]subnet{}, kept: map[string]*keeping{}, gateways: map[string]string{},
	}
	events := make(chan event, 1000)
	for kind := range resources {
		o.wg.Go(func() {
			if err := follow(ctx, client, kind, events); err != nil {
				o.mu.Lock()
				o.err = err
				o.mu.Unlock()
			}
		})
	}
	o.wg.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case e := <-events:
				o.note(e)
			}
		}
	})
	if err := o.Settle(ctx); err != nil {
		o.Stop()
		return nil, err
	}
	return o, nil
}

// Stop ends the watches. What was noted stays.
func (o *Observer) Stop() {
	o.stop()
	o.wg.Wait()
}

func (o *Observer) note(e event) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.states++
	switch e.object.GetKind() {
	case kindSubnet:
		o.subnets[e.object.GetName()] = subnetOf(e.object)
		return
	case kindPod:
		o.noteGateway(e.object)
	case kindService:
		if k := o.kept[e.object.GetNamespace()+"/"+e.object.GetName()]; k != nil {
			k.saw(ingress(e.object), e.gone || e.object.GetDeletionTimestamp() != nil, e.object.GetResourceVersion(), e.seen)
		}
	}
	if s, ok := o.scope.state(e.object, e.gone, e.seen); ok {
		o.book.Add(s)
	}
}

// noteGateway takes the hardware address of a gateway's interface on the LAN from multus's record.
func (o *Observer) noteGateway(pod *unstructured.Unstructured) {
	owner, ours := kubeovn.OwnerOf(pod)
	var interfaces []struct{ Interface, MAC string }
	status := pod.GetAnnotations()["k8s.v1.cni.cncf.io/network-status"]
	if !ours || json.Unmarshal([]byte(status), &interfaces) != nil {
		return
	}
	for _, i := range interfaces {
		if i.Interface == "net1" {
			o.gateways[strings.ToLower(i.MAC)] = serviceHolder(owner.Namespace, owner.Name, string(owner.UID))
		}
	}
}

// Doubles returns every address that two holders had at one revision, each pair once. What one watch alone has told is
// first looked at in the cluster itself.
func (o *Observer) Doubles(ctx context.Context) ([]Double, error) {
	o.mu.Lock()
	_, open := o.book.Doubles()
	o.mu.Unlock()
	for _, d := range open {
		for _, object := range d.Objects {
			if err := o.confirm(ctx, object, d.Addr); err != nil {
				return nil, err
			}
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	sure, _ := o.book.Doubles()
	return sure, o.err
}

// confirm reads an object, and that without which it does not count, and notes whether they still hold an address.
func (o *Observer) confirm(ctx context.Context, object string, addr netip.Addr) error {
	kind, key, _ := strings.Cut(object, " ")
	name, namespace := key, ""
	if ns, n, ok := strings.Cut(key, "/"); ok {
		name, namespace = n, ns
	}
	list, err := o.client.Resource(resources[kind]).Namespace(namespace).List(ctx, metav1.ListOptions{
		FieldSelector: fields.OneTermEqualSelector("metadata.name", name).String(),
	})
	if err != nil {
		return fmt.Errorf("reading %s, which seems to hold %s beside somebody else: %w", object, addr, err)
	}
	for i := range list.Items {
		u := &list.Items[i]
		u.SetKind(kind)
		s, known := o.scope.state(u, false, time.Now())
		if !known || !slices.Contains(s.Addrs, addr) {
			continue
		}
		o.mu.Lock()
		o.book.Confirm(object, addr, revision(list.GetResourceVersion()))
		o.mu.Unlock()
		if s.While != "" {
			return o.confirm(ctx, s.While, addr)
		}
	}
	return nil
}

// Settle waits until the watches have delivered what the cluster has now.
func (o *Observer) Settle(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	for {
		behind, err := o.behind(ctx)
		if err == nil && behind == "" {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the watches do not catch up with the cluster: %s %w", behind, err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// behind names an object of which the book does not say what the cluster says.
func (o *Observer) behind(ctx context.Context) (string, error) {
	for _, kind := range []string{kindVip, kindIP, kindPod, kindService} {
		list, err := o.client.Resource(resources[kind]).List(ctx, metav1.ListOptions{})
		if err != nil {
			return "", fmt.Errorf("listing every %s: %w", kind, err)
		}
		now := map[string]bool{}
		for i := range list.Items {
			list.Items[i].SetKind(kind)
			if s, ok := o.scope.state(&list.Items[i], false, time.Now()); ok {
				for _, a := range s.Addrs {
					now[s.Object+" "+a.String()] = true
				}
			}
		}
		o.mu.Lock()
		noted, failed := map[string]bool{}, o.err
		for _, c := range o.book.open(kind) {
			noted[c.Object+" "+c.addr.String()] = true
		}
		o.mu.Unlock()
		if failed != nil {
			return "", failed
		}
		if !maps.Equal(now, noted) {
			return kind, nil
		}
	}
	return "", nil
}

// Held returns the addresses that somebody has now.
func (o *Observer) Held() []netip.Addr {
	o.mu.Lock()
	defer o.mu.Unlock()
	var out []netip.Addr
	for addr, claims := range o.book.byAddr {
		if slices.ContainsFunc(claims, func(c *claim) bool { return c.to == 0 }) {
			out = append(out, addr)
		}
	}
	return out
}

// Judge says what is wrong with the answers to a question on the LAN.
func (o *Observer) Judge(r Round) Finding {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.book.Judge(r, func(mac string) string {
		if who := o.gateways[mac]; who != "" {
			return who
		}
		return "an unknown host"
	})
}
