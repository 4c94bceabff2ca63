package kubeovn

import (
	"cmp"
	"context"
	"net/netip"
	"slices"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
)

// Names of the indexes.
const (
	byProvider = "provider" // Subnets: spec.provider
	bySubnet   = "subnet"   // Vips, IPs: spec.subnet
	byAddress  = "address"  // Vips, IPs: addressKey
	byPodIP    = "podIP"    // IPs: the address alone
	byManager  = "manager"  // NADs: the label LabelManagedBy
)

// Cache answers from watches of Subnets, Vips, IPs, NADs, Vpcs and IPPools. It decodes while
// it receives and keeps nothing but the typed objects, which are shared: do
// not change them. All methods are safe for concurrent use.
type Cache struct {
	subnets, vips, ips, nads, vpcs *source
	// ippools are a kind that Kube-OVN has since 1.12, and that matters only to
	// those who name one.
	ippools     *source
	definitions *definitions

	mu        sync.Mutex
	lastGrant time.Time
	grants    map[types.UID]time.Time // of Vips
	now       func() time.Time
	handlers  []func(Change)
}

// NewCache prepares the watches; Start begins them. The client should not be
// throttled tightly: an informer lists once and then watches.
func NewCache(client dynamic.Interface) *Cache {
	c := &Cache{now: time.Now, grants: map[types.UID]time.Time{}}
	c.subnets = newSource(client, KindSubnet, SubnetResource, erase(decodeSubnet), cache.Indexers{
		byProvider: indexBy(func(s *Subnet) []string { return []string{s.Provider} }),
	})
	c.vips = newSource(client, KindVip, VipResource, erase(decodeVip), cache.Indexers{
		bySubnet:  indexBy(func(v *Vip) []string { return []string{v.Subnet} }),
		byAddress: indexBy(func(v *Vip) []string { return addressKeys(v.Subnet, v.V4, v.V6) }),
	})
	c.ips = newSource(client, KindIP, IPResource, erase(decodeIP), cache.Indexers{
		bySubnet:  indexBy(func(ip *IP) []string { return []string{ip.Subnet} }),
		byAddress: indexBy(func(ip *IP) []string { return addressKeys(ip.Subnet, ip.V4, ip.V6) }),
		byPodIP:   indexBy(func(ip *IP) []string { return addressKeys("", ip.V4, ip.V6) }),
	})
	c.nads = newSource(client, KindNAD, NADResource, erase(decodeNAD), cache.Indexers{
		byManager: indexBy(func(n *NAD) []string { return []string{n.Labels[LabelManagedBy]} }),
	})
	c.ippools = newSource(client, KindIPPool, IPPoolResource, erase(decodeIPPool), cache.Indexers{
		bySubnet: indexBy(func(p *IPPool) []string { return []string{p.Subnet} }),
	})
	c.vpcs = newSource(client, KindVpc, VpcResource, erase(DecodeVpc), cache.Indexers{})
	return c
}

// required are the kinds without which nobody can be served.
func (c *Cache) required() []*source {
	return []*source{c.subnets, c.vips, c.ips, c.nads, c.vpcs}
}

func (c *Cache) sources() []*source { return append(c.required(), c.ippools) }

// Start begins to watch and returns at once; the watches end with ctx. It
// must be called once, after every OnChange.
func (c *Cache) Start(ctx context.Context) {
	for _, s := range c.sources() {
		if _, err := s.informer.AddEventHandler(c.eventHandler(s.kind)); err != nil {
			// Only an informer that was stopped refuses a handler.
			klog.FromContext(ctx).Error(err, "Cannot listen to changes", "kind", s.kind)
		}
		go s.informer.RunWithContext(ctx)
	}
	if c.definitions != nil {
		go c.definitions.run(ctx)
	}
}

// Synced reports whether all kinds have been read once. IPPools may be missing.
func (c *Cache) Synced() bool {
	return !slices.ContainsFunc(c.required(), func(s *source) bool { return !s.informer.HasSynced() }) &&
		(c.ippools.informer.HasSynced() || c.ippools.trouble() != "")
}

// Missing says in words for people which kinds cannot be read or used and why:
// the CRD is not installed or too old, or RBAC forbids it. It is empty when all
// is well, and becomes so again within seconds of the cause being gone. IPPools
// are not among them.
func (c *Cache) Missing() []string {
	var out []string
	for _, s := range c.required() {
		if m := s.trouble(); m != "" {
			out = append(out, m)
		}
	}
	return append(out, c.definitions.troubles()...)
}

// Subnet returns a Subnet by name.
func (c *Cache) Subnet(name string) (*Subnet, bool) { return get[*Subnet](c.subnets, name) }

// SubnetsOf returns the Subnets whose provider is "<nad>.<namespace>", by name.
func (c *Cache) SubnetsOf(provider string) []*Subnet {
	return indexed[*Subnet](c.subnets, byProvider, provider)
}

// IPPool returns an IPPool by name, nil if there is none. If IPPools cannot be
// read at all, missing says why.
func (c *Cache) IPPool(name string) (pool *IPPool, missing string) {
	pool, _ = get[*IPPool](c.ippools, name)
	return pool, c.ippools.trouble()
}

// IPPoolsOf returns the IPPools of a Subnet, by name.
func (c *Cache) IPPoolsOf(subnet string) []*IPPool {
	return indexed[*IPPool](c.ippools, bySubnet, subnet)
}

// Vip returns a Vip by name.
func (c *Cache) Vip(name string) (*Vip, bool) { return get[*Vip](c.vips, name) }

// Vips returns all Vips, ours and others', by name.
func (c *Cache) Vips() []*Vip {
	var out []*Vip
	for _, obj := range c.vips.informer.GetStore().List() {
		if v, ok := obj.(*Vip); ok {
			out = append(out, v)
		}
	}
	return byName(out)
}

// VipsOf returns the Vips of a Subnet, granted or not, by name.
func (c *Cache) VipsOf(subnet string) []*Vip { return indexed[*Vip](c.vips, bySubnet, subnet) }

// VipsAt returns the Vips that were granted an address of a Subnet, by name.
func (c *Cache) VipsAt(subnet string, addr netip.Addr) []*Vip {
	return indexed[*Vip](c.vips, byAddress, addressKey(subnet, addr))
}

// IPsOf returns the addresses in use in a Subnet, by name of the record.
func (c *Cache) IPsOf(subnet string) []*IP { return indexed[*IP](c.ips, bySubnet, subnet) }

// IPsAt returns the records of the use of one address of a Subnet, by name.
func (c *Cache) IPsAt(subnet string, addr netip.Addr) []*IP {
	return indexed[*IP](c.ips, byAddress, addressKey(subnet, addr))
}

// SubnetOfPodIP returns the Subnet in which a Pod has an address. Different
// VPCs may use the same addresses, so it takes the Pod to tell. A Pod in the
// network of its node has none.
func (c *Cache) SubnetOfPodIP(addr netip.Addr, podNamespace, podName string) (subnet string, ok bool) {
	for _, ip := range indexed[*IP](c.ips, byPodIP, addressKey("", addr)) {
		switch {
		case ip.PodNamespace != podNamespace:
		case ip.PodName == podName:
			return ip.Subnet, true
		case ip.VirtualMachine: // its Pod has another name; a Pod of its own goes before
			subnet, ok = ip.Subnet, true
		}
	}
	return subnet, ok
}

// NAD returns a NetworkAttachmentDefinition.
func (c *Cache) NAD(namespace, name string) (*NAD, bool) {
	return get[*NAD](c.nads, namespace+"/"+name)
}

// ManagedNADs returns the NetworkAttachmentDefinitions that carry our label.
func (c *Cache) ManagedNADs() []*NAD { return indexed[*NAD](c.nads, byManager, ManagedBy) }

func get[T any](s *source, key string) (T, bool) {
	obj, _, _ := s.informer.GetStore().GetByKey(key)
	t, ok := obj.(T)
	return t, ok
}

func indexed[T metav1.Object](s *source, index, value string) []T {
	objs, err := s.informer.GetIndexer().ByIndex(index, value)
	if err != nil {
		return nil // the index does not exist: not with our own names
	}
	out := make([]T, 0, len(objs))
	for _, obj := range objs {
		if t, ok := obj.(T); ok {
			out = append(out, t)
		}
	}
	return byName(out)
}

func byName[T metav1.Object](objs []T) []T {
	slices.SortFunc(objs, func(a, b T) int {
		return cmp.Or(cmp.Compare(a.GetNamespace(), b.GetNamespace()), cmp.Compare(a.GetName(), b.GetName()))
	})
	return objs
}

// indexBy makes an index function of a typed one; empty values are no entry.
func indexBy[T any](values func(T) []string) cache.IndexFunc {
	return func(obj any) ([]string, error) {
		t, ok := obj.(T)
		if !ok {
			return nil, nil
		}
		return slices.DeleteFunc(values(t), func(v string) bool { return v == "" }), nil
	}
}

func addressKey(subnet string, addr netip.Addr) string { return subnet + "/" + addr.Unmap().String() }

// addressKeys indexes by the parsed address: one address has many spellings
// in IPv6.
func addressKeys(subnet string, addrs ...string) []string {
	var out []string
	for _, s := range addrs {
		if a, err := netip.ParseAddr(s); err == nil {
			out = append(out, addressKey(subnet, a))
		}
	}
	return out
}
