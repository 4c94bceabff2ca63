package provider

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/tools/cache"

	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
	"github.com/kubeovn/kube-ovn-ccm/pkg/loadbalancer"
)

func TestClaim(t *testing.T) {
	withDefault := loadbalancer.Config{DefaultAttachment: "lb.kube-system"}
	for name, c := range map[string]struct {
		svc  *v1.Service
		cfg  loadbalancer.Config
		want claim
	}{
		"a LoadBalancer Service with the annotation is ours":                        {svc: service("a", attached), want: claimed},
		"so is one whose annotation is empty, to be told what is wrong with it":     {svc: service("a", attached, func(s *v1.Service) { s.Annotations[kubeovn.AttachmentProvider] = "" }), want: claimed},
		"a Service of our class is ours without the annotation":                     {svc: service("a", ofClass("kube-ovn.io/lb-svc")), want: claimed},
		"a Service of another class is not, whatever its annotations":               {svc: service("a", attached, ofClass("metallb.io/x")), want: foreign},
		"a Service without class and annotation is not ours":                        {svc: service("a"), want: foreign},
		"it is with a default attachment":                                           {svc: service("a"), cfg: withDefault, want: claimed},
		"but not if it has another class":                                           {svc: service("a", ofClass("metallb.io/x")), cfg: withDefault, want: foreign},
		"a ClusterIP Service is not ours, whatever its annotations":                 {svc: service("a", attached, ofType(v1.ServiceTypeClusterIP)), want: foreign},
		"a ClusterIP Service that we put the finalizer on is to be cleaned up":      {svc: service("a", ofType(v1.ServiceTypeClusterIP), finalizedBy("kube-ovn-ccm")), want: released},
		"so is a LoadBalancer Service that does not ask for us any more":            {svc: service("a", finalizedBy("kube-ovn-ccm")), want: released},
		"and one that has gone over to another class":                               {svc: service("a", ofClass("metallb.io/x"), finalizedBy("kube-ovn-ccm")), want: released},
		"the finalizer of another cloud provider is not ours":                       {svc: service("a", finalizedBy("cloud-controller-manager")), want: foreign},
		"nor is one of which nobody knows who put it there":                         {svc: service("a", finalizedBy("kube-ovn-ccm"), func(s *v1.Service) { s.ManagedFields = nil }), want: foreign},
		"a deleted Service that still asks for us is ours":                          {svc: service("a", attached, finalizedBy("kube-ovn-ccm"), deleted), want: claimed},
		"what we own of a Service besides the finalizer does not make it ours":      {svc: service("a", ownsStatus), want: foreign},
		"managed fields that cannot be read are nobody's":                           {svc: service("a", finalizedBy("kube-ovn-ccm"), func(s *v1.Service) { s.ManagedFields[0].FieldsV1.Raw = []byte("{") }), want: foreign},
		"one that is handed over by Kube-OVN is ours":                               {svc: service("a", attached, phase(loadbalancer.TakingOver)), want: claimed},
		"one on its way back to Kube-OVN is not, whatever we have made for it":      {svc: service("a", attached, finalizedBy("kube-ovn-ccm"), phase(loadbalancer.GivingBack)), want: foreign},
		"one that was given back is cleaned up":                                     {svc: service("a", attached, finalizedBy("kube-ovn-ccm"), phase(loadbalancer.GivenBack)), want: released},
		"and left alone from then on":                                               {svc: service("a", attached, phase(loadbalancer.GivenBack)), want: foreign},
		"one that is deleted on its way is cleaned up":                              {svc: service("a", attached, finalizedBy("kube-ovn-ccm"), phase(loadbalancer.GivingBack), deleted), want: claimed},
		"a finalizer that was taken off leaves nothing to clean up by this Service": {svc: service("a", finalizedBy("kube-ovn-ccm"), func(s *v1.Service) { s.Finalizers = nil }), want: foreign},
	} {
		t.Run(name, func(t *testing.T) {
			if got := claimOf(c.svc, c.cfg); got != c.want {
				t.Errorf("claim %d, want %d", got, c.want)
			}
		})
	}
}

func deleted(svc *v1.Service) {
	now := metav1.Now()
	svc.DeletionTimestamp = &now
}

func phase(p loadbalancer.Phase) func(*v1.Service) {
	return func(svc *v1.Service) {
		svc.Annotations[loadbalancer.AnnotationMigration] = loadbalancer.Migration{Phase: p}.String()
	}
}

func TestTheStatusOfAServiceThatWasGivenBackIsNotTheControllersToClear(t *testing.T) {
	published := func(svc *v1.Service) { svc.Status.LoadBalancer.Ingress = []v1.LoadBalancerIngress{{IP: "172.18.0.18"}} }
	svc := service("a", attached, finalizedBy("kube-ovn-ccm"), phase(loadbalancer.GivenBack), published)
	shown := show(svc, loadbalancer.Config{})
	if len(shown.Status.LoadBalancer.Ingress) != 0 || shown.Spec.Type != v1.ServiceTypeClusterIP {
		t.Errorf("shown with status %+v and type %s", shown.Status.LoadBalancer, shown.Spec.Type)
	}
	if len(svc.Status.LoadBalancer.Ingress) != 1 {
		t.Error("the object in the shared cache was changed")
	}
}

func ownsStatus(svc *v1.Service) {
	svc.ManagedFields = []metav1.ManagedFieldsEntry{{
		Manager: kubeovn.ManagedBy, FieldsV1: &metav1.FieldsV1{Raw: []byte(`{"f:status":{"f:loadBalancer":{"f:ingress":{}}}}`)},
	}}
}

// The controller would take it for a change of the Service.
func TestWhatWeWriteOnAServiceIsNotShown(t *testing.T) {
	svc := service("a", ofClass(loadbalancer.Class))
	svc.Annotations = map[string]string{loadbalancer.AnnotationGatewayPod: "p", loadbalancer.AnnotationSubnet: "s", "users": "own"}
	shown := show(svc, loadbalancer.Config{})
	if len(shown.Annotations) != 1 || shown.Annotations["users"] != "own" || len(svc.Annotations) != 3 {
		t.Errorf("shown with %v, and has %v", shown.Annotations, svc.Annotations)
	}
}

func TestShownServicesAreCopies(t *testing.T) {
	svc := service("a", ofClass(loadbalancer.Class))
	shown := show(svc, loadbalancer.Config{})
	if shown.Spec.LoadBalancerClass != nil {
		t.Error("the class is shown, the controller will ignore the Service")
	}
	if svc.Spec.LoadBalancerClass == nil {
		t.Error("the object in the shared cache was changed")
	}
	shown = show(service("a", ofClass("metallb.io/x"), finalizedBy("kube-ovn-ccm")), loadbalancer.Config{})
	if shown.Spec.Type != v1.ServiceTypeClusterIP {
		t.Errorf("a released Service is shown with type %s, the controller will not clean up", shown.Spec.Type)
	}
}

// calls writes down what a handler is told.
type calls []string

func (c *calls) OnAdd(obj any, _ bool) { *c = append(*c, "add "+look(obj)) }
func (c *calls) OnUpdate(before, after any) {
	*c = append(*c, "update "+look(before)+" → "+look(after))
}
func (c *calls) OnDelete(obj any) { *c = append(*c, "delete "+look(obj)) }

func look(obj any) string { return string(obj.(*v1.Service).Spec.Type) }

func TestEventsThatTheControllerSees(t *testing.T) {
	ours, foreign := service("a", attached, finalizedBy("kube-ovn-ccm")), service("a")
	released := service("a", finalizedBy("kube-ovn-ccm"))
	for name, c := range map[string]struct {
		before, after *v1.Service
		lost          bool
		want          calls
	}{
		"foreign Services are not seen":                             {before: nil, after: foreign, want: nil},
		"nor their changes":                                         {before: foreign, after: foreign, want: nil},
		"nor their end":                                             {before: foreign, after: nil, want: nil},
		"one of ours appears":                                       {before: nil, after: ours, want: calls{"add LoadBalancer"}},
		"one of ours changes":                                       {before: ours, after: ours, want: calls{"update LoadBalancer → LoadBalancer"}},
		"a Service that becomes ours appears":                       {before: foreign, after: ours, want: calls{"add LoadBalancer"}},
		"one that lets go wants no load balancer any more":          {before: ours, after: released, want: calls{"update LoadBalancer → ClusterIP"}},
		"one that comes back wants one again":                       {before: released, after: ours, want: calls{"update ClusterIP → LoadBalancer"}},
		"one that has lost its finalizer and lets go is cleaned up": {before: ours, after: foreign, want: calls{"delete LoadBalancer", "add LoadBalancer"}},
		"one that is gone is looked at for what it left":            {before: ours, after: nil, want: calls{"delete LoadBalancer", "add LoadBalancer"}},
		"one that only lost its finalizer gets it back":             {before: ours, after: service("a", attached), want: calls{"add LoadBalancer"}},
		"one whose status was wiped is looked at":                   {before: ours, after: ours, lost: true, want: calls{"add LoadBalancer"}},
		"one with another ClusterIP is looked at":                   {before: ours, after: service("a", attached, finalizedBy("kube-ovn-ccm"), func(s *v1.Service) { s.Spec.ClusterIPs = []string{"10.0.0.1"} }), want: calls{"add LoadBalancer"}},
	} {
		t.Run(name, func(t *testing.T) {
			var got calls
			view := &serviceView{statusLost: func(*v1.Service) bool { return c.lost }}
			h := &viewHandler{view: view, next: &got}
			switch {
			case c.before == nil:
				h.OnAdd(c.after, false)
			case c.after == nil:
				h.OnDelete(cache.DeletedFinalStateUnknown{Key: "default/a", Obj: c.before})
			default:
				h.OnUpdate(c.before, c.after)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestServicesOfOthersAreLeftAlone(t *testing.T) {
	theirs := service("theirs", finalizedBy("cloud-controller-manager"), deleted)
	c := startCluster(t, loadbalancer.Config{}, service("plain"), service("classed", attached, ofClass("metallb.io/x")), theirs, service("ours", attached))
	c.eventually("our Service is handled", func() bool { return c.balancer.count("ensure default/ours") > 0 })
	c.waker.Wake("default/plain", 0)
	c.waker.Wake("default/classed", 0)
	c.edit("plain", func(s *v1.Service) { s.Spec.Ports[0].Port = 81 })
	time.Sleep(quiet)
	for _, name := range []string{"plain", "classed"} {
		if c.finalized(name) {
			t.Errorf("Service %s got a finalizer", name)
		}
	}
	if !c.finalized("theirs") {
		t.Error("the finalizer of another cloud provider was taken off")
	}
	for _, call := range []string{"ensure default/plain", "ensure default/classed", "delete default/theirs", "get default/theirs"} {
		if c.balancer.count(call) > 0 {
			t.Errorf("call %q", call)
		}
	}
}

func TestOurClassIsServedAndStaysInTheAPI(t *testing.T) {
	c := startCluster(t, loadbalancer.Config{}, service("web", ofClass(loadbalancer.Class)))
	c.balancer.ensure = func(*v1.Service) (*v1.LoadBalancerStatus, error) {
		return &v1.LoadBalancerStatus{Ingress: []v1.LoadBalancerIngress{{IP: "172.18.0.18"}}}, nil
	}
	c.waker.Wake("default/web", 0)
	c.eventually("the status is written", func() bool { return len(c.get("web").Status.LoadBalancer.Ingress) == 1 })
	svc := c.get("web")
	if svc.Spec.LoadBalancerClass == nil || *svc.Spec.LoadBalancerClass != loadbalancer.Class {
		t.Error("the class was taken off the Service")
	}
	if !loadbalancer.FinalizedByUs(svc) {
		t.Errorf("the finalizer is not known as ours: %v", svc.ManagedFields)
	}
}

func TestServiceThatLetsGoIsCleanedUp(t *testing.T) {
	for name, letGo := range map[string]func(*v1.Service){
		"by taking the annotation off":   detached,
		"by becoming a ClusterIP":        ofType(v1.ServiceTypeClusterIP),
		"by going over to another class": ofClass("metallb.io/x"),
	} {
		t.Run(name, func(t *testing.T) {
			c := startCluster(t, loadbalancer.Config{}, service("web", attached))
			c.eventually("the finalizer is put", func() bool { return c.finalized("web") })
			c.edit("web", letGo)
			c.eventually("the load balancer is deleted", func() bool { return c.balancer.count("delete default/web") > 0 })
			c.eventually("the finalizer is taken off", func() bool { return !c.finalized("web") })
			ensured := c.balancer.count("ensure default/web")
			c.waker.Wake("default/web", 0)
			time.Sleep(quiet)
			if n := c.balancer.count("ensure default/web"); n > ensured {
				t.Error("it is still ensured")
			}
			c.edit("web", func(s *v1.Service) {
				attached(s)
				s.Spec.Type = v1.ServiceTypeLoadBalancer
				s.Spec.LoadBalancerClass = nil
			})
			c.eventually("it is served when it comes back", func() bool { return c.finalized("web") && c.balancer.count("ensure default/web") > ensured })
		})
	}
}

func TestServiceThatLetGoWhileWeWereAwayIsCleanedUp(t *testing.T) {
	c := startCluster(t, loadbalancer.Config{}, service("web", finalizedBy("kube-ovn-ccm")))
	c.eventually("the load balancer is deleted", func() bool { return c.balancer.count("delete default/web") > 0 })
	c.eventually("the finalizer is taken off", func() bool { return !c.finalized("web") })
}

func TestServiceThatVanishedIsCleanedUp(t *testing.T) {
	c := startCluster(t, loadbalancer.Config{}, service("web", attached))
	c.eventually("it is handled", func() bool { return c.finalized("web") })
	// The fake API server does not wait for finalizers.
	if err := c.CoreV1().Services("default").Delete(context.Background(), "web", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	c.eventually("the load balancer is deleted", func() bool { return c.balancer.count("delete default/web") > 0 })
}

func TestWakeLeadsToAnotherLook(t *testing.T) {
	c := startCluster(t, loadbalancer.Config{}, service("web", attached))
	c.eventually("it is handled", func() bool { return c.balancer.count("ensure default/web") > 0 && c.finalized("web") })
	time.Sleep(quiet)
	before, start := c.balancer.count("ensure default/web"), time.Now()
	for range 20 {
		c.waker.Wake("default/web", 0)
	}
	c.eventually("it is looked at again", func() bool { return c.balancer.count("ensure default/web") > before })
	if d := time.Since(start); d > time.Second {
		t.Errorf("it took %s", d)
	}
	time.Sleep(quiet)
	if n := c.balancer.count("ensure default/web") - before; n != 1 {
		t.Errorf("20 wakes at once led to %d looks, want 1", n)
	}
}

func TestPendingServiceAndExcludedNodeWriteNoWarning(t *testing.T) {
	c := startCluster(t, loadbalancer.Config{}, service("web", attached))
	for i := range 3 {
		c.eventually("it is looked at", func() bool { return c.balancer.count("ensure default/web") > i })
		c.waker.Wake("default/web", 0)
	}
	if _, err := c.CoreV1().Nodes().Create(context.Background(), &v1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n2"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	time.Sleep(quiet)
	if w := c.warnings(); len(w) > 0 {
		t.Errorf("Warnings: %q", w)
	}
	if n := c.balancer.count("update default/web"); n > 0 {
		t.Errorf("%d updates for a change of nodes", n)
	}
}

func TestNodesAreShownIncluded(t *testing.T) {
	excluded := &v1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: "n1", Labels: map[string]string{v1.LabelNodeExcludeBalancers: "", "zone": "a"}},
		Spec:       v1.NodeSpec{Taints: []v1.Taint{{Key: "ToBeDeletedByClusterAutoscaler"}, {Key: "other"}}},
	}
	factory := informers.NewSharedInformerFactory(fake.NewClientset(), 0)
	if err := factory.Core().V1().Nodes().Informer().GetStore().Add(excluded); err != nil {
		t.Fatal(err)
	}
	nodes, err := nodeView{factory.Core().V1().Nodes()}.Lister().List(labels.Everything())
	if err != nil || len(nodes) != 1 {
		t.Fatalf("%d nodes, %v", len(nodes), err)
	}
	want := excluded.DeepCopy()
	delete(want.Labels, v1.LabelNodeExcludeBalancers)
	want.Spec.Taints = want.Spec.Taints[1:]
	if diff := cmp.Diff(want, nodes[0]); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if len(excluded.Labels) != 2 {
		t.Error("the object in the shared cache was changed")
	}
}
