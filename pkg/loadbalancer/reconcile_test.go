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
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"
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

	services, deployments, pods, configMaps, nodes cache.Indexer
	nads                                           map[string]*kubeovn.NAD
}

// pretendedKubeOVN is a Network and a Reserver.
type pretendedKubeOVN struct {
	subnetList
	cluster *cluster
	result  ipam.Result
	err     error
	vip     *kubeovn.Vip
	keep    bool // the Vip does not go when it is released
	asked   []ipam.Request
}

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
	c.kubeOVN = &pretendedKubeOVN{subnetList: subnetList{guideSubnet()}, cluster: c}
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
		Config: config, Kube: c.kube, Dynamic: c.dynamic, KubeOVN: c.kubeOVN, Reserver: c.kubeOVN, Recorder: c.events,
		Services: corelisters.NewServiceLister(c.services), Deployments: appslisters.NewDeploymentLister(c.deployments),
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

func TestFromNothingToServing(t *testing.T) {
	c := newCluster(t, guideService())
	c.kubeOVN.result = ipam.Result{State: ipam.Pending, RetryAfter: 2 * time.Second}
	c.wantShown("", "Kube-OVN has granted nothing")
	c.wantObjects("Vip", "nothing is made before there is an address")
	if !slices.Equal(c.wakes, []string{"default/test-service 2s"}) {
		t.Errorf("wakes: %q", c.wakes)
	}
	c.grant("172.18.0.18")
	c.wantShown("", "there is no Pod")
	c.wantObjects("ConfigMap Deployment NAD Vip", "the address is granted")
	if got := c.balancer.Pending(); !slices.Equal(got, []string{"default/test-service"}) {
		t.Errorf("pending: %v", got)
	}
	c.runPod()
	c.wantShown("172.18.0.18", "the Pod is ready")
	if got := c.balancer.Pending(); len(got) != 0 {
		t.Errorf("pending: %v", got)
	}
	if pod, _ := c.kube.CoreV1().Pods("default").Get(t.Context(), "lb-svc-test-service-1", metav1.GetOptions{}); pod.Annotations[AnnotationDocumentHash] == "" {
		t.Error("the running Pod is not told which document is the newest")
	}
	c.kube.ClearActions()
	c.dynamic.ClearActions()
	c.wantShown("172.18.0.18", "another look")
	for _, action := range slices.Concat(c.kube.Actions(), c.dynamic.Actions()) {
		if action.GetVerb() == "patch" && !strings.HasPrefix(action.GetResource().Resource, "services") {
			t.Errorf("another look writes: %v", action)
		}
	}
	c.wantEvents()
}

func TestPortsChangeWithoutANewPod(t *testing.T) {
	c := serving(t)
	template := c.deployment().Spec.Template
	pod, _ := c.kube.CoreV1().Pods("default").Get(t.Context(), "lb-svc-test-service-1", metav1.GetOptions{})
	c.updateService(func(s *corev1.Service) {
		s.Spec.Ports = append(s.Spec.Ports, corev1.ServicePort{Protocol: "UDP", Port: 80})
	})
	c.wantShown("172.18.0.18", "a port is added")
	if got := c.document().Ports; len(got) != 2 {
		t.Errorf("the document has ports %v", got)
	}
	if !apiEqual(template, c.deployment().Spec.Template) {
		t.Error("the Pod template has changed")
	}
	after, _ := c.kube.CoreV1().Pods("default").Get(t.Context(), "lb-svc-test-service-1", metav1.GetOptions{})
	if before, now := pod.Annotations[AnnotationDocumentHash], after.Annotations[AnnotationDocumentHash]; before == now {
		t.Errorf("the Pod is not told of the new document: %s", now)
	}
}

func apiEqual(a, b any) bool {
	x, _ := json.Marshal(a)
	y, _ := json.Marshal(b)
	return string(x) == string(y)
}

func TestTheAddressMoves(t *testing.T) {
	c := serving(t)
	c.updateService(func(s *corev1.Service) { s.Spec.LoadBalancerIP = "172.18.0.30" })
	c.kubeOVN.result = ipam.Result{MustMove: true}
	c.wantShown("", "the old address is withdrawn first")
	c.wantObjects("ConfigMap NAD Vip", "the gateway goes next, and the Vip stays while its Pod does")
	c.wantShown("", "the Pod is still there")
	c.wantObjects("ConfigMap NAD Vip", "still")
	c.stopPod()
	c.wantShown("", "the Pod is gone")
	c.wantObjects("ConfigMap NAD", "the Vip goes last")
	c.grant("172.18.0.30")
	c.wantShown("", "the new gateway has no Pod yet")
	c.runPod()
	c.wantShown("172.18.0.30", "the new gateway serves")
	if wish := c.kubeOVN.asked[len(c.kubeOVN.asked)-1].Wish; wish != netip.MustParseAddr("172.18.0.30") {
		t.Errorf("asked for %v", wish)
	}
	c.wantEvents()
}

func TestAnImpossibleChangeLeavesEverythingAsItIs(t *testing.T) {
	c := serving(t)
	c.updateService(func(s *corev1.Service) { s.Spec.LoadBalancerIP = "10.0.0.1" })
	c.kubeOVN.result = ipam.Result{State: ipam.Refused, Reason: ipam.ReasonAddressOutOfRange, Message: "not in the range", V4: netip.MustParseAddr("172.18.0.18")}
	c.wantShown("172.18.0.18", "the change is refused")
	c.wantShown("172.18.0.18", "and still")
	c.wantObjects("ConfigMap Deployment NAD Vip", "everything stays")
	c.wantEvents("Warning AddressOutOfRange not in the range")
	c.updateService(func(s *corev1.Service) { s.Spec.LoadBalancerIP = "" })
	c.grant("172.18.0.18")
	c.wantShown("172.18.0.18", "the change is taken back")
	c.wantEvents("Normal ProblemSolved AddressOutOfRange is solved")
}

func TestAProblemHealsByItself(t *testing.T) {
	c := newCluster(t, guideService())
	c.kubeOVN.subnetList = nil
	c.wantShown("", "no Subnet")
	c.wantEvents("Warning SubnetNotFound no Subnet has spec.provider lb-svc-attachment.kube-system: create one with the addresses for load balancers")
	c.wantShown("", "still no Subnet")
	c.wantEvents()
	if got := c.balancer.Pending(); !slices.Equal(got, []string{"default/test-service"}) {
		t.Errorf("pending: %v", got)
	}
	c.wantObjects("", "a Service that cannot be served gets nothing")
	c.kubeOVN.subnetList = subnetList{guideSubnet()}
	c.grant("172.18.0.18")
	c.ensure()
	c.wantEvents("Normal ProblemSolved SubnetNotFound is solved")
	c.runPod()
	c.wantShown("172.18.0.18", "healed")
}

func TestTheForeignGatewayIsLeftAlone(t *testing.T) {
	c := newCluster(t, guideService())
	_, err := c.kube.AppsV1().Deployments("default").Create(t.Context(), &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "lb-svc-test-service", Labels: map[string]string{"app": "lb-svc-test-service"}},
	}, metav1.CreateOptions{})
	c.must(err)
	c.grant("172.18.0.18")
	c.wantShown("", "a Deployment of Kube-OVN's is there")
	c.wantObjects("", "nothing is made beside it, no reservation either")
	if event := <-c.events.Events; !strings.HasPrefix(event, "Warning ForeignGateway") {
		t.Errorf("Event %s", event)
	}
	c.must(c.balancer.EnsureLoadBalancerDeleted(t.Context(), "", c.service()))
	if len(c.deployment().Labels) != 1 {
		t.Error("it was touched")
	}
}

func TestWhatWasEditedIsPutRight(t *testing.T) {
	c := serving(t)
	m, err := c.kube.CoreV1().ConfigMaps("default").Get(t.Context(), "lb-svc-test-service", metav1.GetOptions{})
	c.must(err)
	m.Data[spec.ConfigMapKey], m.ResourceVersion = "{}", "edited"
	_, err = c.kube.CoreV1().ConfigMaps("default").Update(t.Context(), m, metav1.UpdateOptions{})
	c.must(err)
	c.must(c.kube.AppsV1().Deployments("default").Delete(t.Context(), "lb-svc-test-service", metav1.DeleteOptions{}))
	c.sync()
	c.wantShown("172.18.0.18", "the address stays meanwhile")
	c.wantObjects("ConfigMap Deployment NAD Vip", "the Deployment is back")
	c.document()
}

func TestALateCallBringsNothingBack(t *testing.T) {
	for name, tc := range map[string]func(c *cluster){
		"the Service is gone": func(c *cluster) {
			c.must(c.kube.CoreV1().Services("default").Delete(c.t.Context(), "test-service", metav1.DeleteOptions{}))
		},
		"it is being deleted": func(c *cluster) {
			svc := c.service()
			svc.DeletionTimestamp = &metav1.Time{Time: time.Unix(1, 0)}
			c.must(c.kube.Tracker().Update(corev1.SchemeGroupVersion.WithResource("services"), svc, "default"))
		},
		"another one has its name": func(c *cluster) {
			svc := c.service()
			svc.UID = "another"
			c.must(c.kube.Tracker().Update(corev1.SchemeGroupVersion.WithResource("services"), svc, "default"))
		},
		"it is not ours any more": func(c *cluster) {
			svc := c.service()
			svc.Spec.Type = corev1.ServiceTypeClusterIP
			c.must(c.kube.Tracker().Update(corev1.SchemeGroupVersion.WithResource("services"), svc, "default"))
		},
	} {
		for _, cached := range []string{"the cache knows", "the cache does not know"} {
			t.Run(name+", "+cached, func(t *testing.T) {
				c := newCluster(t, guideService())
				c.grant("172.18.0.18")
				late := c.service()
				tc(c)
				if cached == "the cache knows" {
					c.sync()
				}
				if err := c.balancer.UpdateLoadBalancer(t.Context(), "", late, nil); err != cloudprovider.ImplementedElsewhere { //nolint:errorlint // compared as the service controller does
					t.Fatal(err)
				}
				c.wantObjects("", "a late call")
				c.wantEvents()
			})
		}
	}
}

func TestUpdateDoesWhatTheServiceSaysNow(t *testing.T) {
	c := serving(t)
	old := c.service()
	c.updateService(func(s *corev1.Service) { s.Spec.Ports[0].Port = 8080 })
	c.ensure()
	c.wakes = nil
	if err := c.balancer.UpdateLoadBalancer(t.Context(), "", old, nil); err != cloudprovider.ImplementedElsewhere { //nolint:errorlint // compared as the service controller does
		t.Fatal(err)
	}
	if got := c.document().Ports[0].Port; got != 8080 {
		t.Errorf("the old Service in the controller's memory brought port %d back", got)
	}
	c.updateService(func(s *corev1.Service) { s.Status.LoadBalancer = corev1.LoadBalancerStatus{} })
	_ = c.balancer.UpdateLoadBalancer(t.Context(), "", c.service(), nil)
	if !slices.Equal(c.wakes, []string{"default/test-service 0s"}) {
		t.Errorf("a status that only EnsureLoadBalancer can announce wakes nobody: %q", c.wakes)
	}
}

func TestANamespaceThatEndsIsNoProblem(t *testing.T) {
	c := newCluster(t, guideService())
	c.grant("172.18.0.18")
	c.kube.PrependReactor("patch", "configmaps", func(clienttesting.Action) (bool, runtime.Object, error) {
		err := apierrors.NewForbidden(schema.GroupResource{Resource: "configmaps"}, "x", errors.New("the namespace is being terminated"))
		err.ErrStatus.Details.Causes = []metav1.StatusCause{{Type: corev1.NamespaceTerminatingCause}}
		return true, nil, err
	})
	c.wantShown("", "the namespace is being terminated")
	c.wantEvents()
}

func TestAnAPIErrorIsAnError(t *testing.T) {
	c := newCluster(t, guideService())
	c.kubeOVN.err = errors.New("etcd is away")
	_, err := c.balancer.EnsureLoadBalancer(t.Context(), "", c.service(), nil)
	if err == nil || err.Error() != "load balancer of Service default/test-service: reserving an address: etcd is away" {
		t.Errorf("got %v", err)
	}
	if err := c.balancer.UpdateLoadBalancer(t.Context(), "", c.service(), nil); err == nil || errors.Is(err, cloudprovider.ImplementedElsewhere) {
		t.Errorf("got %v", err)
	}
	c.wantEvents()
}

func TestDeletion(t *testing.T) {
	c := serving(t)
	svc := c.service()
	c.kubeOVN.keep = true
	err := c.balancer.EnsureLoadBalancerDeleted(t.Context(), "", svc)
	if err == nil || !strings.HasSuffix(err.Error(), `is not gone yet: Deployment lb-svc-test-service, Pod lb-svc-test-service-1 on node "n1"`) {
		t.Fatalf("got %v", err)
	}
	c.wantObjects("ConfigMap NAD Vip", "the Pod still needs the rest")
	if _, exists, err := c.balancer.GetLoadBalancer(t.Context(), "", svc); err != nil || !exists {
		t.Errorf("exists: %v, %v", exists, err)
	}
	c.stopPod()
	err = c.balancer.EnsureLoadBalancerDeleted(t.Context(), "", svc)
	if err == nil || !strings.Contains(err.Error(), "is not gone yet: Vip lb-5e7c, which Kube-OVN has to release") {
		t.Fatalf("got %v", err)
	}
	c.kubeOVN.keep = false
	c.must(c.balancer.EnsureLoadBalancerDeleted(t.Context(), "", svc))
	c.wantObjects("", "everything is gone")
	if _, exists, err := c.balancer.GetLoadBalancer(t.Context(), "", svc); err != nil || exists {
		t.Errorf("exists: %v, %v", exists, err)
	}
	svc.Finalizers = []string{CleanupFinalizer}
	if _, exists, err := c.balancer.GetLoadBalancer(t.Context(), "", svc); err != nil || !exists {
		t.Errorf("with the finalizer on, exists: %v, %v", exists, err)
	}
	c.must(c.balancer.EnsureLoadBalancerDeleted(t.Context(), "", svc))
	if got := c.balancer.Pending(); len(got) != 0 {
		t.Errorf("pending: %v", got)
	}
	c.wantEvents()
}

func TestDeletionOutlivesMultus(t *testing.T) {
	c := serving(t)
	c.stopPod()
	c.dynamic.PrependReactor("*", kubeovn.NADResource.Resource, func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewNotFound(kubeovn.NADResource.GroupResource(), "")
	})
	_ = c.balancer.EnsureLoadBalancerDeleted(t.Context(), "", c.service()) // deletes the Deployment
	c.must(c.balancer.EnsureLoadBalancerDeleted(t.Context(), "", c.service()))
}

func TestDeletionDoesNotWaitForADeadNode(t *testing.T) {
	c := serving(t)
	_, err := c.kube.CoreV1().Nodes().UpdateStatus(t.Context(), node("n1", corev1.ConditionUnknown), metav1.UpdateOptions{})
	c.must(err)
	c.sync()
	_ = c.balancer.EnsureLoadBalancerDeleted(t.Context(), "", c.service()) // deletes the Deployment
	c.must(c.balancer.EnsureLoadBalancerDeleted(t.Context(), "", c.service()))
	c.wantObjects("", "everything is gone but the Pod")
}

func TestAnEarlierServicesObjectsGoFirst(t *testing.T) {
	c := serving(t)
	c.stopPod()
	again := c.service()
	again.UID, again.Status = "new", corev1.ServiceStatus{}
	c.must(c.kube.Tracker().Update(corev1.SchemeGroupVersion.WithResource("services"), again, "default"))
	c.sync()
	c.kubeOVN.vip = nil
	c.wantShown("", "the earlier Service's objects are in the way")
	c.wantObjects("", "they are gone, and nothing is made yet")
	c.grant("172.18.0.19")
	c.ensure()
	if got := c.deployment().Labels[kubeovn.LabelServiceUID]; got != "new" {
		t.Errorf("the Deployment is for %s", got)
	}
	c.wantEvents()
}

func TestSweep(t *testing.T) {
	for name, tc := range map[string]struct {
		change    func(*corev1.Service) // nil: delete it
		finalized bool                  // by us
		kept      bool
	}{
		"the Service is served":                              {change: func(*corev1.Service) {}, kept: true},
		"the Service is gone, and nobody was asked":          {},
		"another Service has its name":                       {change: func(s *corev1.Service) { s.UID = "another" }},
		"the Service is of another type, finalizer taken":    {change: func(s *corev1.Service) { s.Spec.Type = corev1.ServiceTypeClusterIP }},
		"the Service is of another type, to be cleaned up":   {change: func(s *corev1.Service) { s.Spec.Type = corev1.ServiceTypeClusterIP }, finalized: true, kept: true},
		"the Service is deleted, the clean-up is on its way": {change: func(s *corev1.Service) { s.DeletionTimestamp = &metav1.Time{Time: time.Unix(1, 0)} }, finalized: true, kept: true},
	} {
		t.Run(name, func(t *testing.T) {
			c := serving(t)
			c.stopPod()
			if tc.change == nil {
				c.must(c.kube.CoreV1().Services("default").Delete(t.Context(), "test-service", metav1.DeleteOptions{}))
			} else {
				svc := c.service()
				tc.change(svc)
				c.must(c.kube.Tracker().Update(corev1.SchemeGroupVersion.WithResource("services"), svc, "default"))
			}
			c.sync()
			for range 2 { // the Deployment goes first
				if tc.finalized { // the fake API server does not say who owns a field
					svc := c.service()
					svc.Finalizers = []string{CleanupFinalizer}
					svc.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "kube-ovn-ccm", FieldsType: "FieldsV1", FieldsV1: &metav1.FieldsV1{Raw: []byte(ownsFinalizerFields)}}}
					c.must(c.services.Update(svc))
				}
				c.must(c.balancer.Sweep(t.Context()))
				c.sync()
			}
			want := ""
			if tc.kept {
				want = "ConfigMap Deployment NAD Vip"
			}
			c.wantObjects(want, name)
		})
	}
}

func TestWhatIsGoneNeedsNoDeletion(t *testing.T) {
	pods := schema.GroupResource{Resource: "pods"}
	kind := schema.GroupKind{Kind: "Pod"}
	for name, tc := range map[string]struct {
		err  error
		gone bool
	}{
		"no error":                       {gone: true},
		"it is not there":                {err: apierrors.NewNotFound(pods, "p"), gone: true},
		"another one was to be deleted":  {err: apierrors.NewConflict(pods, "p", errors.New("UID in precondition")), gone: true},
		"another one was to be patched":  {err: apierrors.NewInvalid(kind, "p", field.ErrorList{field.Invalid(field.NewPath("metadata", "uid"), "x", "field is immutable")}), gone: true},
		"the patch itself is wrong":      {err: apierrors.NewInvalid(kind, "p", field.ErrorList{field.Invalid(field.NewPath("status"), "x", "no")})},
		"the API server does not permit": {err: apierrors.NewForbidden(pods, "p", errors.New("no"))},
	} {
		t.Run(name, func(t *testing.T) {
			if got := ignoreGone(tc.err); (got == nil) != tc.gone {
				t.Errorf("got %v", got)
			}
		})
	}
}
