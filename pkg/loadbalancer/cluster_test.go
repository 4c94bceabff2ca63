package loadbalancer

import (
	"context"
	"encoding/json"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/kubernetes/fake"
	appslisters "k8s.io/client-go/listers/apps/v1"
	corelisters "k8s.io/client-go/listers/core/v1"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
	cloudprovider "k8s.io/cloud-provider"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/kubeovn/kube-ovn-ccm/pkg/gateway/spec"
	"github.com/kubeovn/kube-ovn-ccm/pkg/ipam"
	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
	"github.com/kubeovn/kube-ovn-ccm/pkg/routes"
)

// cluster is a pretended one: real fake API servers for Kubernetes and multus,
// and a Kube-OVN that does what the test says. Caches are filled when the test
// says so, which is how they can be old.
type cluster struct {
	t        *testing.T
	kube     *fake.Clientset
	dynamic  *dynamicfake.FakeDynamicClient
	kubeOVN  *pretendedKubeOVN
	events   *record.FakeRecorder
	clock    *clocktesting.FakePassiveClock
	wakes    []string
	balancer *Balancer
	routes   pretendedRoutes
	slices   []*discoveryv1.EndpointSlice
	lbSvc    pretendedLbSvc

	services, deployments, pods, configMaps, nodes cache.Indexer
	nads                                           map[string]*kubeovn.NAD
}

// pretendedKubeOVN is a Network and a Reserver.
type pretendedKubeOVN struct {
	subnetList
	pools   []*kubeovn.IPPool
	held    netip.Addr // by a Pod
	cluster *cluster
	result  ipam.Result
	err     error
	vip     *kubeovn.Vip
	keep    bool // the Vip does not go when it is released
	asked   []ipam.Request
}

// pretendedLbSvc is Kube-OVN's own lb-svc; true is on.
type pretendedLbSvc bool

func (on *pretendedLbSvc) Synced() bool  { return true }
func (on *pretendedLbSvc) Enabled() bool { return bool(*on) }

func (k *pretendedKubeOVN) Synced() bool      { return true }
func (k *pretendedKubeOVN) Missing() []string { return nil }
func (k *pretendedKubeOVN) Vip(name string) (*kubeovn.Vip, bool) {
	return k.vip, k.vip != nil && k.vip.Name == name
}

func (k *pretendedKubeOVN) Vips() []*kubeovn.Vip {
	if k.vip == nil {
		return nil
	}
	return []*kubeovn.Vip{k.vip}
}

func (k *pretendedKubeOVN) IPPool(name string) (*kubeovn.IPPool, string) {
	return poolList(k.pools).IPPool(name)
}

func (k *pretendedKubeOVN) VipsAt(string, netip.Addr) []*kubeovn.Vip { return nil }

func (k *pretendedKubeOVN) IPsAt(subnet string, addr netip.Addr) []*kubeovn.IP {
	if k.held == addr {
		return []*kubeovn.IP{{Subnet: subnet, V4: addr.String()}}
	}
	return nil
}

func (k *pretendedKubeOVN) NAD(namespace, name string) (*kubeovn.NAD, bool) {
	nad, ok := k.cluster.nads[namespace+"/"+name]
	return nad, ok
}

func (k *pretendedKubeOVN) ManagedNADs() (managed []*kubeovn.NAD) {
	for _, nad := range k.cluster.nads {
		if _, ours := kubeovn.OwnerOf(nad); ours {
			managed = append(managed, nad)
		}
	}
	return managed
}

func (k *pretendedKubeOVN) Reserve(_ context.Context, req ipam.Request) (ipam.Result, error) {
	k.asked = append(k.asked, req)
	if k.vip == nil && k.err == nil && k.result.State != ipam.Refused {
		k.vip = &kubeovn.Vip{ObjectMeta: metav1.ObjectMeta{Name: ipam.VipName(req.Owner.UID), Labels: req.Owner.Labels()}}
	}
	return k.result, k.err
}

func (k *pretendedKubeOVN) Release(context.Context, kubeovn.Owner) (bool, error) {
	if !k.keep {
		k.vip = nil
	}
	return k.vip == nil, nil
}

func (k *pretendedKubeOVN) SubnetOfPodIP(netip.Addr, string, string) (string, bool) {
	return "ovn-default", true
}

// pretendedRoutes is a Router at which everything is routed at once, unless it
// is to be held for another Service.
type pretendedRoutes struct {
	wanted routes.Request
	held   string
}

func (r *pretendedRoutes) Want(req routes.Request) routes.Answer {
	r.wanted = req
	a := routes.Answer{Routed: map[routes.Backend]bool{}, Held: map[routes.Backend]string{}}
	for _, b := range req.Backends {
		if r.held != "" {
			a.Held[b] = r.held
		} else {
			a.Routed[b] = true
		}
	}
	return a
}

func (r *pretendedRoutes) Release(context.Context, kubeovn.Owner) (bool, error) {
	r.wanted = routes.Request{}
	return true, nil
}

func (r *pretendedRoutes) Owners() []kubeovn.Owner {
	if len(r.wanted.Backends) == 0 {
		return nil
	}
	return []kubeovn.Owner{r.wanted.Owner}
}

func newCluster(t *testing.T, svc *corev1.Service) *cluster {
	t.Helper()
	indexer := func() cache.Indexer {
		return cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc})
	}
	c := &cluster{
		t: t, kube: fake.NewClientset(svc, node("n1", corev1.ConditionTrue)),
		events: record.NewFakeRecorder(100), clock: clocktesting.NewFakePassiveClock(time.Unix(1000, 0)),
		services: indexer(), deployments: indexer(), pods: indexer(), configMaps: indexer(), nodes: indexer(),
	}
	c.kubeOVN = &pretendedKubeOVN{subnetList: subnetList{guideSubnet(), ovnSubnet("ovn-default", "ovn-cluster")}, cluster: c}
	c.slices = []*discoveryv1.EndpointSlice{sliceOf([]string{"test/TCP/8080"}, podAt("10.16.0.5"))}
	c.dynamic = dynamicfake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), map[schema.GroupVersionResource]string{
		kubeovn.NADResource: "NetworkAttachmentDefinitionList", kubeovn.VipResource: "VipList",
	})
	source := nadObject("kube-system", "lb-svc-attachment", guideNetwork)
	if err := c.dynamic.Tracker().Create(kubeovn.NADResource, source, source.GetNamespace()); err != nil {
		t.Fatal(err)
	}
	c.dynamic.PrependReactor("patch", kubeovn.NADResource.Resource, c.applyNAD)
	config, err := ParseConfig(nil, "v0.1.0")
	if err != nil {
		t.Fatal(err)
	}
	c.balancer = New(Deps{
		Config: config, Kube: c.kube, Dynamic: c.dynamic, KubeOVN: c.kubeOVN, LbSvc: &c.lbSvc, Reserver: c.kubeOVN, Routes: &c.routes, Recorder: c.events,
		EndpointSlices: func(string, string) []*discoveryv1.EndpointSlice { return c.slices },
		Services:       corelisters.NewServiceLister(c.services), Deployments: appslisters.NewDeploymentLister(c.deployments),
		Pods: corelisters.NewPodLister(c.pods), ConfigMaps: corelisters.NewConfigMapLister(c.configMaps), Nodes: corelisters.NewNodeLister(c.nodes),
		SandboxFailure: func(*corev1.Pod) (string, bool) { return "", false },
		Clock:          c.clock,
	})
	c.balancer.deletionWait = 0
	c.balancer.SetWaker(func(key string, after time.Duration) { c.wakes = append(c.wakes, key+" "+after.String()) })
	c.sync()
	return c
}

func nadObject(namespace, name, config string) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "k8s.cni.cncf.io/v1", "kind": "NetworkAttachmentDefinition",
		"metadata": map[string]any{"namespace": namespace, "name": name},
		"spec":     map[string]any{"config": config},
	}}
}

// applyNAD is server-side apply for one writer, which the fake cannot do.
func (c *cluster) applyNAD(action clienttesting.Action) (bool, runtime.Object, error) {
	patch, ok := action.(clienttesting.PatchAction)
	if !ok || patch.GetPatchType() != types.ApplyPatchType {
		return false, nil, nil
	}
	nad := &unstructured.Unstructured{}
	if err := json.Unmarshal(patch.GetPatch(), &nad.Object); err != nil {
		return true, nil, err
	}
	err := c.dynamic.Tracker().Create(kubeovn.NADResource, nad, patch.GetNamespace())
	if apierrors.IsAlreadyExists(err) {
		err = c.dynamic.Tracker().Update(kubeovn.NADResource, nad, patch.GetNamespace())
	}
	return true, nad, err
}

// sync fills the caches, those of our objects with nothing but ours.
func (c *cluster) sync() {
	ctx, all := c.t.Context(), metav1.ListOptions{}
	ours := metav1.ListOptions{LabelSelector: kubeovn.ManagedSelector().String()}
	services, err1 := c.kube.CoreV1().Services("").List(ctx, all)
	nodes, err2 := c.kube.CoreV1().Nodes().List(ctx, all)
	deployments, err3 := c.kube.AppsV1().Deployments("").List(ctx, ours)
	pods, err4 := c.kube.CoreV1().Pods("").List(ctx, ours)
	configMaps, err5 := c.kube.CoreV1().ConfigMaps("").List(ctx, ours)
	nads, err6 := c.dynamic.Resource(kubeovn.NADResource).List(ctx, all)
	c.must(errors.Join(err1, err2, err3, err4, err5, err6))
	replace(c, c.services, services.Items)
	replace(c, c.nodes, nodes.Items)
	replace(c, c.deployments, deployments.Items)
	replace(c, c.pods, pods.Items)
	replace(c, c.configMaps, configMaps.Items)
	c.nads = map[string]*kubeovn.NAD{}
	for _, u := range nads.Items {
		nad := &kubeovn.NAD{ObjectMeta: metav1.ObjectMeta{Namespace: u.GetNamespace(), Name: u.GetName(), Labels: u.GetLabels(), ResourceVersion: u.GetResourceVersion()}}
		nad.Config, _, _ = unstructured.NestedString(u.Object, "spec", "config")
		c.nads[u.GetNamespace()+"/"+u.GetName()] = nad
	}
}

func replace[T any](c *cluster, indexer cache.Indexer, items []T) {
	list := make([]any, len(items))
	for i := range items {
		list[i] = &items[i]
	}
	c.must(indexer.Replace(list, ""))
}

func (c *cluster) must(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}

func (c *cluster) service() *corev1.Service {
	c.t.Helper()
	svc, err := c.kube.CoreV1().Services("default").Get(c.t.Context(), "test-service", metav1.GetOptions{})
	c.must(err)
	return svc
}

func (c *cluster) updateService(change func(*corev1.Service)) {
	c.t.Helper()
	svc := c.service()
	change(svc)
	_, err := c.kube.CoreV1().Services("default").Update(c.t.Context(), svc, metav1.UpdateOptions{})
	c.must(err)
	c.sync()
}

// ensure calls EnsureLoadBalancer as the service controller does, writes what
// it is told to, and returns the address that is shown then.
func (c *cluster) ensure() string {
	c.t.Helper()
	svc := c.service()
	status, err := c.balancer.EnsureLoadBalancer(c.t.Context(), "", svc, nil)
	if err == cloudprovider.ImplementedElsewhere { //nolint:errorlint // compared as the service controller does
		status = nil
	} else {
		c.must(err)
	}
	if status != nil {
		svc = c.service()
		svc.Status.LoadBalancer = *status
		_, err := c.kube.CoreV1().Services("default").UpdateStatus(c.t.Context(), svc, metav1.UpdateOptions{})
		c.must(err)
	}
	c.sync()
	if ingress := c.service().Status.LoadBalancer.Ingress; len(ingress) > 0 {
		return ingress[0].IP
	}
	return ""
}

// runPod does what the Deployment controller and a node do.
func (c *cluster) runPod() {
	c.t.Helper()
	d := c.deployment()
	pod := &corev1.Pod{ObjectMeta: *d.Spec.Template.ObjectMeta.DeepCopy()}
	pod.Namespace, pod.Name, pod.UID = d.Namespace, d.Name+"-1", "p0d"
	pod.Spec.NodeName = "n1"
	pod.Status.PodIPs = []corev1.PodIP{{IP: "10.16.0.77"}}
	ready(pod)
	_, err := c.kube.CoreV1().Pods(pod.Namespace).Create(c.t.Context(), pod, metav1.CreateOptions{})
	c.must(err)
	c.sync()
}

func (c *cluster) stopPod() {
	c.t.Helper()
	c.must(c.kube.CoreV1().Pods("default").Delete(c.t.Context(), "lb-svc-test-service-1", metav1.DeleteOptions{}))
	c.sync()
}

func (c *cluster) deployment() *appsv1.Deployment {
	c.t.Helper()
	d, err := c.kube.AppsV1().Deployments("default").Get(c.t.Context(), "lb-svc-test-service", metav1.GetOptions{})
	c.must(err)
	return d
}

func (c *cluster) document() *spec.Document {
	c.t.Helper()
	m, err := c.kube.CoreV1().ConfigMaps("default").Get(c.t.Context(), "lb-svc-test-service", metav1.GetOptions{})
	c.must(err)
	d, err := spec.Parse([]byte(m.Data[spec.ConfigMapKey]))
	c.must(err)
	return d
}

// objects lists what there is of ours, sorted.
func (c *cluster) objects() string {
	c.sync()
	var found []string
	for kind, indexer := range map[string]cache.Indexer{"Deployment": c.deployments, "ConfigMap": c.configMaps} {
		if len(indexer.List()) > 0 {
			found = append(found, kind)
		}
	}
	if len(c.kubeOVN.ManagedNADs()) > 0 {
		found = append(found, "NAD")
	}
	if c.kubeOVN.vip != nil {
		found = append(found, "Vip")
	}
	slices.Sort(found)
	return strings.Join(found, " ")
}

func (c *cluster) grant(ip string) { c.kubeOVN.result = granted(ip) }

func (c *cluster) wantShown(want, why string) {
	c.t.Helper()
	if got := c.ensure(); got != want {
		c.t.Fatalf("%s: the Service shows %q, want %q", why, got, want)
	}
}

func (c *cluster) wantObjects(want, why string) {
	c.t.Helper()
	if got := c.objects(); got != want {
		c.t.Fatalf("%s: there is %q, want %q", why, got, want)
	}
}

// wantEvents checks the Events since the last call.
func (c *cluster) wantEvents(want ...string) {
	c.t.Helper()
	var got []string
	for len(c.events.Events) > 0 {
		got = append(got, <-c.events.Events)
	}
	if !slices.Equal(got, want) {
		c.t.Fatalf("Events %q, want %q", got, want)
	}
}

// serving returns a cluster with the guide's Service being served.
func serving(t *testing.T) *cluster {
	t.Helper()
	c := newCluster(t, guideService())
	c.grant("172.18.0.18")
	c.ensure()
	c.runPod()
	c.wantShown("172.18.0.18", "serving")
	return c
}
