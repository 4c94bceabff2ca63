package provider

import (
	"context"
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/openapi"
	k8stesting "k8s.io/client-go/testing"
	"k8s.io/cloud-provider/app"
	"k8s.io/cloud-provider/app/config"
	"k8s.io/cloud-provider/names"
	controllersmetrics "k8s.io/component-base/metrics/prometheus/controllers"
	genericcontrollermanager "k8s.io/controller-manager/app"
	"sigs.k8s.io/yaml"

	"github.com/kubeovn/kube-ovn-ccm/pkg/ipam"
	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
	"github.com/kubeovn/kube-ovn-ccm/pkg/loadbalancer"
)

// leader is a whole provider with its controller, on fake API servers.
type leader struct {
	*cluster
	dynamic *dynamicfake.FakeDynamicClient
}

// lead starts a provider in the order in which the application does.
func lead(t *testing.T, objects ...runtime.Object) *leader {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	kube := fake.NewClientset(objects...)
	actAs(kube, kubeovn.ManagedBy)
	l := &leader{
		cluster: &cluster{Clientset: kube, t: t, balancer: &recorder{}},
		dynamic: dynamicfake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), map[schema.GroupVersionResource]string{
			kubeovn.NADResource: "NetworkAttachmentDefinitionList", kubeovn.SubnetResource: "SubnetList",
			kubeovn.VipResource: "VipList", kubeovn.IPResource: "IPList", kubeovn.VpcResource: "VpcList", kubeovn.IPPoolResource: "IPPoolList",
		}),
	}
	l.dynamic.PrependReactor("patch", kubeovn.NADResource.Resource, l.applyNAD)

	cfg, err := loadbalancer.ParseConfig(nil, "v0.1.0")
	if err != nil {
		t.Fatal(err)
	}
	p := New(cfg)
	p.connect(ctx, clients{controller: kube, kube: kube, dynamic: l.dynamic, documents: noDocuments{}})
	shared := informers.NewSharedInformerFactory(kube, 0)
	p.SetInformers(shared)
	var c config.Config
	c.ComponentConfig.ServiceController.ConcurrentServiceSyncs = 4
	for name, init := range app.ConstructControllerInitializers(Controllers(), c.Complete(), p) {
		if name != names.ServiceLBController {
			t.Errorf("controller %s", name)
		}
		context := genericcontrollermanager.ControllerContext{ControllerManagerMetrics: controllersmetrics.NewControllerManagerMetrics("test")}
		if _, started, err := init(ctx, context); !started || err != nil {
			t.Fatalf("%s: started %v, %v", name, started, err)
		}
	}
	shared.Start(ctx.Done())
	return l
}

// noDocuments is an API server that describes none of its kinds.
type noDocuments struct{}

func (noDocuments) Paths() (map[string]openapi.GroupVersion, error) { return nil, nil }

// applyNAD is server-side apply for one writer, which the fake cannot do.
func (l *leader) applyNAD(action k8stesting.Action) (bool, runtime.Object, error) {
	patch, ok := action.(k8stesting.PatchAction)
	if !ok || patch.GetPatchType() != types.ApplyPatchType {
		return false, nil, nil
	}
	nad := &unstructured.Unstructured{}
	if err := json.Unmarshal(patch.GetPatch(), &nad.Object); err != nil {
		return true, nil, err
	}
	err := l.dynamic.Tracker().Create(kubeovn.NADResource, nad, patch.GetNamespace())
	if apierrors.IsAlreadyExists(err) {
		err = l.dynamic.Tracker().Update(kubeovn.NADResource, nad, patch.GetNamespace())
	}
	return true, nad, err
}

// create makes an object of Kube-OVN or multus out of YAML.
func (l *leader) create(resource schema.GroupVersionResource, manifest string) {
	l.t.Helper()
	obj := &unstructured.Unstructured{}
	l.must(yaml.Unmarshal([]byte(manifest), &obj.Object))
	l.must(l.dynamic.Tracker().Create(resource, obj, obj.GetNamespace()))
}

func (l *leader) must(err error) {
	l.t.Helper()
	if err != nil {
		l.t.Fatal(err)
	}
}

// within is eventually for what has to happen within a second.
func (l *leader) within(what string, is func() bool) {
	l.t.Helper()
	start := time.Now()
	l.eventually(what, is)
	if d := time.Since(start); d > time.Second {
		l.t.Errorf("%s: it took %s", what, d)
	}
}

const (
	nadManifest = `{apiVersion: k8s.cni.cncf.io/v1, kind: NetworkAttachmentDefinition, metadata: {name: lb, namespace: kube-system},
		spec: {config: '{"cniVersion": "0.3.0", "type": "macvlan", "master": "eth0", "mode": "bridge"}'}}`
	subnetManifest = `{apiVersion: kubeovn.io/v1, kind: Subnet, metadata: {name: lan, uid: s1},
		spec: {protocol: IPv4, provider: lb.kube-system, cidrBlock: 172.18.0.0/16, gateway: 172.18.0.1, excludeIps: [172.18.0.0..172.18.0.10]},
		status: {v4availableIPs: 65000}}`
)

// TestServiceIsServedStepByStep plays Kube-OVN and a node: each thing that
// appears must lead to the next step within a second.
func TestServiceIsServedStepByStep(t *testing.T) {
	svc := service("web", attached, func(s *v1.Service) {
		s.Spec.ClusterIP, s.Spec.ClusterIPs, s.Spec.IPFamilies = "10.96.0.9", []string{"10.96.0.9"}, []v1.IPFamily{v1.IPv4Protocol}
		s.Spec.Ports[0].Protocol = v1.ProtocolTCP
		s.UID = "11111111-2222-3333-4444-555555555555"
	})
	node := &v1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}, Status: v1.NodeStatus{Conditions: []v1.NodeCondition{{Type: v1.NodeReady, Status: v1.ConditionTrue}}}}
	l := lead(t, node)
	_, err := l.CoreV1().Services("default").Create(t.Context(), svc, metav1.CreateOptions{FieldManager: "kubectl"})
	l.must(err)

	l.eventually("the missing NAD is told", func() bool { return len(l.warnings()) == 1 })
	l.create(kubeovn.NADResource, nadManifest)
	l.within("the missing Subnet is told", func() bool { return len(l.warnings()) == 2 })
	l.create(kubeovn.SubnetResource, subnetManifest)
	var vip *unstructured.Unstructured
	l.within("an address is reserved", func() bool {
		vip, err = l.dynamic.Resource(kubeovn.VipResource).Get(t.Context(), ipam.VipName(svc.UID), metav1.GetOptions{})
		return err == nil
	})
	vip.Object["status"] = map[string]any{"v4ip": "172.18.0.18", "mac": "00:00:00:00:00:18"}
	vip.SetFinalizers([]string{kubeovn.Finalizer})
	l.must(l.dynamic.Tracker().Update(kubeovn.VipResource, vip, ""))
	pod := &v1.Pod{}
	l.within("the gateway is built", func() bool {
		d, err := l.AppsV1().Deployments("default").Get(t.Context(), "lb-svc-web", metav1.GetOptions{})
		if err == nil {
			pod.ObjectMeta = d.Spec.Template.ObjectMeta
		}
		return err == nil
	})
	pod.Namespace, pod.Name, pod.UID, pod.Spec.NodeName = "default", "lb-svc-web-1", "p1", "n1"
	pod.Status = v1.PodStatus{Phase: v1.PodRunning, Conditions: []v1.PodCondition{{Type: v1.PodReady, Status: v1.ConditionTrue}}}
	l.must(l.Tracker().Add(pod))
	l.within("the address is published", func() bool {
		ingress := l.get("web").Status.LoadBalancer.Ingress
		return len(ingress) == 1 && ingress[0].IP == "172.18.0.18"
	})

	l.edit("web", ofType(v1.ServiceTypeClusterIP))
	l.eventually("the gateway is deleted", func() bool {
		_, err := l.AppsV1().Deployments("default").Get(t.Context(), "lb-svc-web", metav1.GetOptions{})
		return apierrors.IsNotFound(err)
	})
	if !l.finalized("web") {
		t.Error("the finalizer is off while the gateway Pod runs")
	}
	l.must(l.CoreV1().Pods("default").Delete(t.Context(), pod.Name, metav1.DeleteOptions{}))
	l.eventually("the finalizer is taken off", func() bool { return !l.finalized("web") })
	if _, err := l.dynamic.Resource(kubeovn.VipResource).Get(t.Context(), ipam.VipName(svc.UID), metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("the Vip outlived the finalizer: %v", err)
	}
	l.checkPermissions()
}

// checkPermissions looks for calls that manifests/base/rbac.yaml forbids. The
// calls of the test itself are among those that were made, and are allowed
// ones, save for those it may make to any object.
func (l *leader) checkPermissions() {
	l.t.Helper()
	raw, err := os.ReadFile("../../manifests/base/rbac.yaml")
	l.must(err)
	var rules []rbacv1.PolicyRule
	for _, doc := range strings.Split(string(raw), "\n---\n") {
		var role rbacv1.ClusterRole // a Role has the same rules
		l.must(yaml.Unmarshal([]byte(doc), &role))
		rules = append(rules, role.Rules...)
	}
	byTest := []string{"create services", "update services", "update deployments", "delete pods", "delete replicasets", "list events"}
	for _, action := range slices.Concat(l.Actions(), l.dynamic.Actions()) {
		resource := action.GetResource().Resource
		if action.GetSubresource() != "" {
			resource += "/" + action.GetSubresource()
		}
		permitted := slices.ContainsFunc(rules, func(r rbacv1.PolicyRule) bool {
			return slices.Contains(r.APIGroups, action.GetResource().Group) && slices.Contains(r.Resources, resource) && slices.Contains(r.Verbs, action.GetVerb())
		})
		if call := action.GetVerb() + " " + resource; !permitted && !slices.Contains(byTest, call) {
			l.t.Errorf("rbac.yaml forbids %s", call)
		}
	}
}
