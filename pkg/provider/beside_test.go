package provider

import (
	"context"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/tools/cache"

	"github.com/kubeovn/kube-ovn-ccm/pkg/ipam"
	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
	"github.com/kubeovn/kube-ovn-ccm/pkg/loadbalancer"
)

// controllerWith is the Deployment of kube-ovn-controller.
func controllerWith(args ...string) *appsv1.Deployment {
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "kube-ovn-controller"}}
	d.Spec.Template.Spec.Containers = []v1.Container{{Name: "kube-ovn-controller", Args: args}}
	return d
}

// theirGateway is the ReplicaSet of a gateway that Kube-OVN made.
func theirGateway(service string) *appsv1.ReplicaSet {
	labels := map[string]string{"app": "lb-svc-" + service, "namespace": "default", "service": service}
	rs := &appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "lb-svc-" + service + "-12ab", Labels: labels}}
	rs.Spec.Template.Labels = labels
	rs.Spec.Template.Spec.Containers = []v1.Container{{Name: "lb-svc"}}
	return rs
}

func ourGateway(service, uid string) *appsv1.Deployment {
	d := &appsv1.Deployment{ObjectMeta: ownedBy(service)}
	d.Labels[kubeovn.LabelServiceUID] = uid
	return d
}

func TestWhatIsLeftToKubeOVN(t *testing.T) {
	for sentence, c := range map[string]struct {
		svc     *v1.Service
		enabled bool
		theirs  *appsv1.ReplicaSet
		ours    *appsv1.Deployment
		want    string
	}{
		"nothing while its lb-svc is off":                       {svc: service("a", attached)},
		"what it serves while it is on":                         {svc: service("a", attached), enabled: true, want: "KubeOVNLbSvcEnabled"},
		"not what we have taken on":                             {svc: service("a", attached, finalizedBy(kubeovn.ManagedBy)), enabled: true},
		"but what another implementation has":                   {svc: service("a", attached, finalizedBy("cloud-controller-manager")), enabled: true, want: "KubeOVNLbSvcEnabled"},
		"nor what lost our finalizer, if our gateway is there":  {svc: service("a", attached), enabled: true, ours: ourGateway("a", "uid-of-a")},
		"the gateway of an earlier Service does not make it so": {svc: service("a", attached), enabled: true, ours: ourGateway("a", "earlier"), want: "KubeOVNLbSvcEnabled"},
		"what has its gateway still":                            {svc: service("a", attached), theirs: theirGateway("a"), want: "ForeignGateway"},
		"but not if we have taken it on":                        {svc: service("a", attached, finalizedBy(kubeovn.ManagedBy)), theirs: theirGateway("a")},
		"another Service's gateway is another Service's":        {svc: service("a", attached), theirs: theirGateway("b")},
	} {
		t.Run(sentence, func(t *testing.T) {
			client := fake.NewClientset()
			b := beside{lbSvc: newLbSvc(client), deployments: newManaged(client).deployments.Lister()}
			b.lbSvc.enabled.Store(c.enabled)
			if c.theirs != nil {
				if err := b.lbSvc.gateways.GetStore().Add(c.theirs); err != nil {
					t.Fatal(err)
				}
			}
			if c.ours != nil {
				m := newManaged(client)
				if err := m.deployments.Informer().GetStore().Add(c.ours); err != nil {
					t.Fatal(err)
				}
				b.deployments = m.deployments.Lister()
			}
			got := ""
			if p := b.left(c.svc); p != nil {
				got = p.Reason
			}
			if got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestWhatIsToldOfServicesThatAreNotShown(t *testing.T) {
	for sentence, c := range map[string]struct {
		svc  *v1.Service
		want string
	}{
		"why it is left to Kube-OVN":       {service("a", attached), "KubeOVNLbSvcEnabled"},
		"nothing, if it does not ask":      {service("a", attached, ofClass("metallb.io/x")), ""},
		"nothing, if it is on its way out": {service("a", attached, deleted), ""},
	} {
		t.Run(sentence, func(t *testing.T) {
			client := fake.NewClientset()
			told := "nothing was said"
			b := beside{lbSvc: newLbSvc(client), deployments: newManaged(client).deployments.Lister(), tell: func(_ *v1.Service, why *loadbalancer.Problem) {
				told = ""
				if why != nil {
					told = why.Reason
				}
			}}
			b.lbSvc.enabled.Store(true)
			b.pass(c.svc, loadbalancer.Config{})
			if told != c.want {
				t.Errorf("told %q, want %q", told, c.want)
			}
		})
	}
}

func TestOnlyTheRightObjectsTellOfLbSvc(t *testing.T) {
	l := newLbSvc(fake.NewClientset())
	elsewhere := controllerWith("--enable-lb-svc")
	elsewhere.Namespace = "default"
	for object, want := range map[any]bool{
		controllerWith(): true, elsewhere: false, ourGateway("a", "b"): false, theirGateway("a"): false,
	} {
		if got := isController(object); got != want {
			t.Errorf("%T %v: %t", object, object, got)
		}
	}
	if !isController(cache.DeletedFinalStateUnknown{Obj: controllerWith()}) {
		t.Error("a deletion that was missed is not recognized")
	}
	if l.Enabled() {
		t.Error("it is on before anything is known")
	}
}

// TestServicesAreLeftToKubeOVNAndTakenOnFromIt switches Kube-OVN's own lb-svc
// under the whole provider.
func TestServicesAreLeftToKubeOVNAndTakenOnFromIt(t *testing.T) {
	node := &v1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}, Status: v1.NodeStatus{Conditions: []v1.NodeCondition{{Type: v1.NodeReady, Status: v1.ConditionTrue}}}}
	l := lead(t, node, controllerWith("--enable-lb-svc=true"), theirGateway("theirs"))
	l.create(kubeovn.NADResource, nadManifest)
	l.create(kubeovn.SubnetResource, subnetManifest)
	for _, name := range []string{"plain", "theirs"} {
		svc := service(name, attached, func(s *v1.Service) {
			s.Spec.ClusterIP, s.Spec.ClusterIPs, s.Spec.IPFamilies = "10.96.0.9", []string{"10.96.0.9"}, []v1.IPFamily{v1.IPv4Protocol}
			s.Spec.Ports[0].Protocol = v1.ProtocolTCP
		})
		_, err := l.CoreV1().Services("default").Create(t.Context(), svc, metav1.CreateOptions{FieldManager: "kubectl"})
		l.must(err)
	}
	l.within("each is told once", func() bool { return len(l.warnings()) == 2 })
	time.Sleep(quiet)
	for _, w := range l.warnings() {
		if !strings.HasPrefix(w, "KubeOVNLbSvcEnabled: ") {
			t.Errorf("warning %s", w)
		}
	}
	l.edit("plain", func(s *v1.Service) { metav1.SetMetaDataAnnotation(&s.ObjectMeta, "some", "thing") })
	time.Sleep(quiet)
	if n := len(l.warnings()); n != 2 {
		t.Errorf("then there are %d warnings", n)
	}
	for _, action := range l.Actions() {
		if action.GetVerb() == "patch" && action.GetResource().Resource != "events" {
			t.Errorf("it wrote: %v", action)
		}
	}

	_, err := l.AppsV1().Deployments("kube-system").Update(t.Context(), controllerWith("--enable-lb-svc=false"), metav1.UpdateOptions{})
	l.must(err)
	l.within("what has no gateway of Kube-OVN is taken on", func() bool { return l.finalized("plain") })
	l.within("an address is reserved", func() bool {
		_, err := l.dynamic.Resource(kubeovn.VipResource).Get(t.Context(), ipam.VipName("uid-of-plain"), metav1.GetOptions{})
		return err == nil
	})
	l.within("what has one is told so", func() bool {
		return strings.Contains(strings.Join(l.warnings(), "\n"), "ForeignGateway: ")
	})
	if l.finalized("theirs") {
		t.Error("it has our finalizer though Kube-OVN's gateway is there")
	}
	l.must(l.AppsV1().ReplicaSets("default").Delete(t.Context(), "lb-svc-theirs-12ab", metav1.DeleteOptions{}))
	l.within("it is taken on when that is gone", func() bool { return l.finalized("theirs") })

	_, err = l.AppsV1().Deployments("kube-system").Update(t.Context(), controllerWith("--enable-lb-svc"), metav1.UpdateOptions{})
	l.must(err)
	time.Sleep(quiet)
	if !l.finalized("plain") || !l.finalized("theirs") {
		t.Error("what we have taken on was let go")
	}
	l.checkPermissions()
}

func TestADeletedServiceThatWasLeftIsForgotten(t *testing.T) {
	l := lead(t, controllerWith("--enable-lb-svc"))
	create := func() {
		t.Helper()
		_, err := l.CoreV1().Services("default").Create(t.Context(), service("web", attached), metav1.CreateOptions{FieldManager: "kubectl"})
		l.must(err)
	}
	create()
	l.eventually("it is told", func() bool { return len(l.warnings()) == 1 })
	l.must(l.CoreV1().Services("default").Delete(context.Background(), "web", metav1.DeleteOptions{}))
	time.Sleep(quiet)
	create()
	l.eventually("the next one of its name is told, too", func() bool {
		list, err := l.CoreV1().Events("").List(t.Context(), metav1.ListOptions{})
		l.must(err)
		n := int32(0)
		for _, e := range list.Items {
			n += e.Count
		}
		return n == 2
	})
}
