package provider

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	appsv1 "k8s.io/api/apps/v1"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/tools/cache"

	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
)

// subnets is Kube-OVN with two Subnets.
type subnets struct{}

func (subnets) Subnet(name string) (*kubeovn.Subnet, bool) {
	s, ok := map[string]*kubeovn.Subnet{"lan": subnet("lan", "lb.kube-system"), "pods": subnet("pods", "ovn")}[name]
	if name == "lan" {
		s.CIDRs = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24"), netip.MustParsePrefix("fd00::/64")}
	}
	return s, ok
}

func (subnets) VipsOf(name string) []*kubeovn.Vip {
	if name != "lan" {
		return nil
	}
	return []*kubeovn.Vip{
		{ObjectMeta: ownedBy("holder"), Subnet: "lan", V4: "10.0.0.9", V6: "fd00::9"},
		{ObjectMeta: ownedBy("far"), Subnet: "lan", V4: "10.0.0.10", V6: "fd00::8000:9"},
		{ObjectMeta: metav1.ObjectMeta{Name: "somebodys"}, Subnet: "lan"},
	}
}

func (n subnets) VipsAt(name string, addr netip.Addr) []*kubeovn.Vip {
	return slices.DeleteFunc(n.VipsOf(name), func(v *kubeovn.Vip) bool { return v.Addrs().V4 != addr })
}

func subnet(name, provider string) *kubeovn.Subnet {
	return &kubeovn.Subnet{ObjectMeta: metav1.ObjectMeta{Name: name}, Provider: provider}
}

func ownedBy(service string) metav1.ObjectMeta {
	owner := kubeovn.Owner{Namespace: "default", Name: service, UID: "uid"}
	return metav1.ObjectMeta{Namespace: "default", Name: "lb-svc-" + service, UID: "uid", Labels: owner.Labels()}
}

func TestServicesConcernedByAChange(t *testing.T) {
	served := user{Key: "default/served", Attachment: "lb.kube-system"}
	waiting := user{Key: "default/waiting", Attachment: "lb.kube-system"}
	named := user{Key: "default/named", Attachment: "wrong.kube-system", Subnet: "lan"}
	other := user{Key: "default/other", Attachment: "other.kube-system"}
	pooled := user{Key: "default/pooled", Attachment: "other.kube-system", Pool: "lb"}
	known := users{
		All:     func() []user { return []user{served, waiting, named, other} },
		Pending: func() []user { return []user{waiting, named, other, pooled} },
	}
	vip := func(subnet string) *kubeovn.Vip {
		return &kubeovn.Vip{ObjectMeta: metav1.ObjectMeta{Name: "somebodys"}, Subnet: subnet}
	}
	for name, c := range map[string]struct {
		change kubeovn.Change
		freed  bool
		want   []string
	}{
		"a granted Vip of ours concerns its Service": {
			change: kubeovn.Change{Object: &kubeovn.Vip{ObjectMeta: ownedBy("web"), Subnet: "lan"}},
			want:   []string{"default/web"},
		},
		"a deleted Vip of ours concerns its Service and those that wait for an address": {
			change: kubeovn.Change{Object: &kubeovn.Vip{ObjectMeta: ownedBy("web"), Subnet: "lan"}, Deleted: true}, freed: true,
			want: []string{"default/web", "default/waiting", "default/named"},
		},
		"somebody's new Vip concerns nobody": {
			change: kubeovn.Change{Object: vip("lan"), SpecChanged: true},
		},
		"somebody's Vip of both families concerns who has a low IPv6 address": {
			change: kubeovn.Change{Object: &kubeovn.Vip{ObjectMeta: metav1.ObjectMeta{Name: "somebodys"}, Subnet: "lan", V4: "10.0.0.11", V6: "fd00::11"}},
			want:   []string{"default/holder"},
		},
		"somebody's deleted Vip concerns those that wait for an address there": {
			change: kubeovn.Change{Object: vip("lan"), Deleted: true}, freed: true,
			want: []string{"default/waiting", "default/named"},
		},
		"a Pod's freed address in another Subnet concerns nobody": {
			change: kubeovn.Change{Object: &kubeovn.IP{Subnet: "pods"}, Deleted: true}, freed: true,
		},
		"a Pod's freed address in the Subnet concerns those that wait": {
			change: kubeovn.Change{Object: &kubeovn.IP{Subnet: "lan"}, Deleted: true}, freed: true,
			want: []string{"default/waiting", "default/named"},
		},
		"an address freed in a Subnet that is not known may concern everybody who waits": {
			change: kubeovn.Change{Object: &kubeovn.IP{Subnet: "gone"}, Deleted: true}, freed: true,
			want: []string{"default/waiting", "default/named", "default/other", "default/pooled"},
		},
		"an edited Subnet concerns who uses it, names it or has an address of it": {
			change: kubeovn.Change{Object: subnet("lan", "lb.kube-system"), SpecChanged: true},
			want:   []string{"default/served", "default/waiting", "default/named", "default/holder", "default/far"},
		},
		"a Subnet that was given to another attachment concerns both its old and its new users": {
			change: kubeovn.Change{Object: subnet("lan", "other.kube-system"), SpecChanged: true},
			want:   []string{"default/named", "default/other", "default/holder", "default/far"},
		},
		"a Subnet with more free addresses concerns those that wait for one": {
			change: kubeovn.Change{Object: subnet("lan", "lb.kube-system")}, freed: true,
			want: []string{"default/waiting", "default/named"},
		},
		"a Subnet whose counters change otherwise concerns nobody": {
			change: kubeovn.Change{Object: subnet("lan", "lb.kube-system")},
		},
		"a Subnet that does not count the address of a Service concerns it": {
			change: kubeovn.Change{Object: &kubeovn.Subnet{ObjectMeta: metav1.ObjectMeta{Name: "lan"}, V6Using: kubeovn.ParseRanges([]string{"fd00::8000:9"})}},
			want:   []string{"default/holder"},
		},
		"a Pod with the address of a Service concerns it": {
			change: kubeovn.Change{Object: &kubeovn.IP{Subnet: "lan", V4: "10.0.0.9", V6: "fd00::9"}, SpecChanged: true},
			want:   []string{"default/holder"},
		},
		"a Pod with another address concerns nobody": {
			change: kubeovn.Change{Object: &kubeovn.IP{Subnet: "lan", V4: "10.0.0.8"}, SpecChanged: true},
		},
		"an edited IPPool concerns the Services of its Subnet and those that wait for it": {
			change: kubeovn.Change{Object: &kubeovn.IPPool{ObjectMeta: metav1.ObjectMeta{Name: "lb"}, Subnet: "lan"}, SpecChanged: true},
			want:   []string{"default/served", "default/waiting", "default/named", "default/pooled"},
		},
		"an edited NAD concerns the Services that name it": {
			change: kubeovn.Change{Object: &kubeovn.NAD{ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "lb"}}},
			want:   []string{"default/served", "default/waiting"},
		},
		"the NAD of a gateway concerns its Service alone": {
			change: kubeovn.Change{Object: &kubeovn.NAD{ObjectMeta: ownedBy("web")}, Deleted: true},
			want:   []string{"default/web"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := keys(concerned(c.change, c.freed, known, subnets{}))
			if diff := cmp.Diff(keys(c.want), got, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestUserIsReachedThroughItsAttachment(t *testing.T) {
	svc := service("web", attached)
	svc.Annotations["lb.kube-system.kubernetes.io/logical_switch"] = "lan"
	if got, want := userOf(svc, "default.ns"), (user{Key: "default/web", Attachment: "lb.kube-system", Subnet: "lan"}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if got := userOf(service("web"), "default.ns").Attachment; got != "default.ns" {
		t.Errorf("attachment %q of a Service that names none", got)
	}
}

func TestWhatFreesAddresses(t *testing.T) {
	w := &wakeups{}
	count := func(available float64, deleted bool) bool {
		s := subnet("lan", "lb.kube-system")
		s.V4Available = available
		return w.freed(kubeovn.Change{Object: s, Deleted: deleted})
	}
	for i, step := range []struct {
		available float64
		deleted   bool
		want      bool
	}{{0, false, false}, {3, false, true}, {3, false, false}, {2, false, false}, {3, false, true}, {3, true, false}, {3, false, true}} {
		if got := count(step.available, step.deleted); got != step.want {
			t.Errorf("step %d: %v", i, got)
		}
	}
	if w.freed(kubeovn.Change{Object: &kubeovn.IP{}}) || !w.freed(kubeovn.Change{Object: &kubeovn.IP{}, Deleted: true}) {
		t.Error("an IP frees an address when it is deleted and only then")
	}
}

func TestChangesOfOurObjectsThatMatter(t *testing.T) {
	deployment := func(change func(*appsv1.Deployment)) runtime.Object {
		d := &appsv1.Deployment{ObjectMeta: ownedBy("web")}
		change(d)
		return d
	}
	pod := func(change func(*v1.Pod)) runtime.Object {
		p := &v1.Pod{ObjectMeta: ownedBy("web")}
		change(p)
		return p
	}
	ready := func(status v1.ConditionStatus, at time.Time) func(*v1.Pod) {
		return func(p *v1.Pod) {
			p.Status.Conditions = []v1.PodCondition{{Type: v1.PodReady, Status: status, LastProbeTime: metav1.NewTime(at)}}
		}
	}
	waiting := func(reason string) func(*v1.Pod) {
		return func(p *v1.Pod) {
			p.Status.ContainerStatuses = []v1.ContainerStatus{{State: v1.ContainerState{Waiting: &v1.ContainerStateWaiting{Reason: reason}}}}
		}
	}
	same := func(*v1.Pod) {}
	for name, c := range map[string]struct {
		before, after runtime.Object
		want          bool
	}{
		"a Pod becomes ready":                   {pod(ready(v1.ConditionFalse, time.Time{})), pod(ready(v1.ConditionTrue, time.Time{})), true},
		"a Pod is probed":                       {pod(ready(v1.ConditionTrue, time.Time{})), pod(ready(v1.ConditionTrue, time.Now())), false},
		"a Pod gets another version":            {pod(same), pod(func(p *v1.Pod) { p.ResourceVersion = "2"; p.ManagedFields = []metav1.ManagedFieldsEntry{{}} }), false},
		"a Pod gets an annotation":              {pod(same), pod(func(p *v1.Pod) { metav1.SetMetaDataAnnotation(&p.ObjectMeta, "a", "b") }), true},
		"an image cannot be pulled":             {pod(waiting("ContainerCreating")), pod(waiting("ErrImagePull")), true},
		"a Pod is being deleted":                {pod(same), pod(func(p *v1.Pod) { now := metav1.Now(); p.DeletionTimestamp = &now }), true},
		"a Deployment is scaled":                {deployment(func(*appsv1.Deployment) {}), deployment(func(d *appsv1.Deployment) { d.Generation = 2 }), true},
		"a Deployment's Pod is ready":           {deployment(func(*appsv1.Deployment) {}), deployment(func(d *appsv1.Deployment) { d.Status.ReadyReplicas = 1 }), true},
		"a Deployment's condition is confirmed": {deployment(condition(time.Time{})), deployment(condition(time.Now())), false},
		"a ConfigMap is edited":                 {&v1.ConfigMap{ObjectMeta: ownedBy("web")}, &v1.ConfigMap{ObjectMeta: ownedBy("web"), Data: map[string]string{"a": "b"}}, true},
	} {
		t.Run(name, func(t *testing.T) {
			var woken []string
			wakeOwner(func(key string) { woken = append(woken, key) }).OnUpdate(c.before, c.after)
			want := []string(nil)
			if c.want {
				want = []string{"default/web"}
			}
			if diff := cmp.Diff(want, keys(woken), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func condition(at time.Time) func(*appsv1.Deployment) {
	return func(d *appsv1.Deployment) {
		d.Status.Conditions = []appsv1.DeploymentCondition{{Type: appsv1.DeploymentProgressing, Status: v1.ConditionTrue, LastUpdateTime: metav1.NewTime(at)}}
	}
}

func TestDeletedObjectWakesItsService(t *testing.T) {
	var woken []string
	h := wakeOwner(func(key string) { woken = append(woken, key) })
	h.OnDelete(cache.DeletedFinalStateUnknown{Key: "default/lb-svc-web", Obj: &v1.Pod{ObjectMeta: ownedBy("web")}})
	h.OnAdd(&v1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "somebodys"}}, false)
	if diff := cmp.Diff([]string{"default/web"}, woken); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestSandboxFailures(t *testing.T) {
	failures, _ := newSandboxFailures(fake.NewClientset())
	pod := &v1.Pod{ObjectMeta: ownedBy("web")}
	event := func(name, message string, at int64) *v1.Event {
		return &v1.Event{
			ObjectMeta:     metav1.ObjectMeta{Namespace: "default", Name: name},
			InvolvedObject: v1.ObjectReference{Kind: "Pod", Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID},
			Message:        message, LastTimestamp: metav1.Unix(at, 0),
		}
	}
	if m, ok := failures.message(pod); ok {
		t.Errorf("message %q of a Pod without failures", m)
	}
	for _, e := range []*v1.Event{event("a", "old", 1), event("b", "new", 3), event("c", "between", 2)} {
		if err := failures.informer.GetStore().Add(e); err != nil {
			t.Fatal(err)
		}
	}
	if m, _ := failures.message(pod); m != "new" {
		t.Errorf("message %q, want the newest", m)
	}
	started := pod.DeepCopy()
	started.Status.Conditions = []v1.PodCondition{{Type: v1.PodReadyToStartContainers, Status: v1.ConditionTrue}}
	if m, ok := failures.message(started); ok {
		t.Errorf("message %q of a Pod whose networks were set up", m)
	}

	pods := informers.NewSharedInformerFactory(fake.NewClientset(), 0).Core().V1().Pods()
	if err := pods.Informer().GetStore().Add(pod); err != nil {
		t.Fatal(err)
	}
	var woken []string
	h := failures.handler(pods.Lister(), func(key string) { woken = append(woken, key) })
	h.OnAdd(event("a", "x", 1), true)
	h.OnUpdate(event("a", "x", 1), event("a", "x", 2))
	foreign := event("a", "x", 1)
	foreign.InvolvedObject.UID = "another"
	h.OnAdd(foreign, false)
	if diff := cmp.Diff([]string{"default/web"}, woken); diff != "" {
		t.Errorf("woken (-want +got):\n%s", diff)
	}
}
