package provider

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	k8stesting "k8s.io/client-go/testing"
	cloudprovider "k8s.io/cloud-provider"
	servicecontroller "k8s.io/cloud-provider/controllers/service"
	servicehelper "k8s.io/cloud-provider/service/helpers"
	controllersmetrics "k8s.io/component-base/metrics/prometheus/controllers"

	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
	"github.com/kubeovn/kube-ovn-ccm/pkg/loadbalancer"
)

// patience is how long a test waits for what has to happen, quiet how long for
// what must not.
const (
	patience = 5 * time.Second
	quiet    = 300 * time.Millisecond
)

// recorder is a load balancer that writes down how it is called.
type recorder struct {
	mu     sync.Mutex
	calls  []string // "ensure default/web"
	ensure func(svc *v1.Service) (*v1.LoadBalancerStatus, error)
}

func (r *recorder) note(call string, svc *v1.Service) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls = append(r.calls, call+" "+svc.Namespace+"/"+svc.Name)
}

func (r *recorder) count(call string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for _, c := range r.calls {
		if c == call {
			n++
		}
	}
	return n
}

func (r *recorder) GetLoadBalancer(_ context.Context, _ string, svc *v1.Service) (*v1.LoadBalancerStatus, bool, error) {
	r.note("get", svc)
	return nil, true, nil
}

func (r *recorder) GetLoadBalancerName(context.Context, string, *v1.Service) string { return "" }

func (r *recorder) EnsureLoadBalancer(_ context.Context, _ string, svc *v1.Service, _ []*v1.Node) (*v1.LoadBalancerStatus, error) {
	r.note("ensure", svc)
	return r.ensure(svc)
}

func (r *recorder) UpdateLoadBalancer(_ context.Context, _ string, svc *v1.Service, _ []*v1.Node) error {
	r.note("update", svc)
	return nil
}

func (r *recorder) EnsureLoadBalancerDeleted(_ context.Context, _ string, svc *v1.Service) error {
	r.note("delete", svc)
	return nil
}

// cloud is a provider with a given load balancer.
type cloud struct {
	*Provider
	balancer cloudprovider.LoadBalancer
}

func (c cloud) LoadBalancer() (cloudprovider.LoadBalancer, bool) { return c.balancer, true }

// cluster is the real service controller behind our views, on a fake API
// server that keeps managed fields.
type cluster struct {
	*fake.Clientset
	t        *testing.T
	balancer *recorder
	view     *serviceView
	waker    *waker
}

func startCluster(t *testing.T, cfg loadbalancer.Config, services ...*v1.Service) *cluster {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	// The service controller would warn that this cluster has no node.
	client := fake.NewClientset(&v1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1", Labels: map[string]string{v1.LabelNodeExcludeBalancers: ""}}})
	actAs(client, kubeovn.ManagedBy)
	for _, svc := range services {
		if svc.ManagedFields != nil {
			if err := client.Tracker().Add(svc); err != nil {
				t.Fatal(err)
			}
			continue
		}
		// What is made by a request has its fields managed from then on.
		if _, err := client.CoreV1().Services(svc.Namespace).Create(ctx, svc, metav1.CreateOptions{FieldManager: "kubectl"}); err != nil {
			t.Fatal(err)
		}
	}

	balancer := &recorder{ensure: func(*v1.Service) (*v1.LoadBalancerStatus, error) {
		return nil, cloudprovider.ImplementedElsewhere
	}}
	factory := informers.NewSharedInformerFactory(client, 0)
	view := newServiceView(factory.Core().V1().Services(), cfg, func(*v1.Service) bool { return false })
	controller, err := servicecontroller.New(cloud{New(cfg), balancer}, client, view,
		nodeView{factory.Core().V1().Nodes()}, "kubernetes", utilfeature.DefaultFeatureGate)
	if err != nil {
		t.Fatal(err)
	}
	waker := newWaker()
	go waker.run(ctx, view.deliver)
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())
	go controller.Run(ctx, 4, controllersmetrics.NewControllerManagerMetrics("test"))
	return &cluster{Clientset: client, t: t, balancer: balancer, view: view, waker: waker}
}

// actAs gives patches the field manager that the API server takes from the
// user agent.
func actAs(client *fake.Clientset, manager string) {
	client.PrependReactor("patch", "services", func(action k8stesting.Action) (bool, runtime.Object, error) {
		patch, ok := action.(k8stesting.PatchActionImpl)
		if !ok {
			return false, nil, nil
		}
		patch.PatchOptions.FieldManager = manager
		return k8stesting.ObjectReaction(client.Tracker())(patch)
	})
}

func (c *cluster) get(name string) *v1.Service {
	c.t.Helper()
	svc, err := c.CoreV1().Services("default").Get(context.Background(), name, metav1.GetOptions{})
	if err != nil {
		c.t.Fatal(err)
	}
	return svc
}

// edit changes a Service as a user would.
func (c *cluster) edit(name string, change func(*v1.Service)) {
	c.t.Helper()
	svc := c.get(name)
	change(svc)
	if _, err := c.CoreV1().Services("default").Update(context.Background(), svc, metav1.UpdateOptions{FieldManager: "kubectl"}); err != nil {
		c.t.Fatal(err)
	}
}

func (c *cluster) eventually(what string, is func() bool) {
	c.t.Helper()
	for deadline := time.Now().Add(patience); !is(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			c.balancer.mu.Lock()
			defer c.balancer.mu.Unlock()
			c.t.Fatalf("not within %s: %s; calls: %s", patience, what, strings.Join(c.balancer.calls, ", "))
		}
	}
}

func (c *cluster) finalized(name string) bool { return servicehelper.HasLBFinalizer(c.get(name)) }

// warnings returns the Warning Events in the cluster.
func (c *cluster) warnings() []string {
	c.t.Helper()
	list, err := c.CoreV1().Events("").List(context.Background(), metav1.ListOptions{})
	if err != nil {
		c.t.Fatal(err)
	}
	var all []string
	for _, e := range list.Items {
		if e.Type == v1.EventTypeWarning {
			all = append(all, e.Reason+": "+e.Message)
		}
	}
	return all
}

// service makes a Service default/<name> of type LoadBalancer.
func service(name string, changes ...func(*v1.Service)) *v1.Service {
	svc := &v1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID("uid-of-" + name)},
		Spec:       v1.ServiceSpec{Type: v1.ServiceTypeLoadBalancer, Ports: []v1.ServicePort{{Port: 80}}},
	}
	for _, change := range changes {
		change(svc)
	}
	return svc
}

func attached(svc *v1.Service) {
	metav1.SetMetaDataAnnotation(&svc.ObjectMeta, kubeovn.AttachmentProvider, "lb.kube-system")
}

func detached(svc *v1.Service) { delete(svc.Annotations, kubeovn.AttachmentProvider) }

func ofClass(class string) func(*v1.Service) {
	return func(svc *v1.Service) { svc.Spec.LoadBalancerClass = &class }
}

func ofType(t v1.ServiceType) func(*v1.Service) {
	return func(svc *v1.Service) { svc.Spec.Type = t }
}

// finalizedBy puts the load balancer finalizer on a Service in the name of a
// field manager.
func finalizedBy(manager string) func(*v1.Service) {
	return func(svc *v1.Service) {
		svc.Finalizers = append(svc.Finalizers, servicehelper.LoadBalancerCleanupFinalizer)
		svc.ManagedFields = append(svc.ManagedFields, metav1.ManagedFieldsEntry{
			Manager: manager, Operation: metav1.ManagedFieldsOperationUpdate, APIVersion: "v1", FieldsType: "FieldsV1", Subresource: "status",
			FieldsV1: &metav1.FieldsV1{Raw: []byte(`{"f:metadata":{"f:finalizers":{".":{},"v:\"service.kubernetes.io/load-balancer-cleanup\"":{}}}}`)},
		})
	}
}

func keys(all []string) []string {
	slices.Sort(all)
	return slices.Compact(all)
}
