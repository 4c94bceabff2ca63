package migrate

import (
	"net/netip"
	"slices"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
	"github.com/kubeovn/kube-ovn-ccm/pkg/lbsvc"
	"github.com/kubeovn/kube-ovn-ccm/pkg/loadbalancer"
)

const provider = "lan.kube-system"

func theirTemplate() corev1.PodTemplateSpec {
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{
			Labels:      map[string]string{"app": "lb-svc-web", "namespace": "shop", "service": "web"},
			Annotations: map[string]string{"k8s.v1.cni.cncf.io/networks": "kube-system/lan", provider + ".kubernetes.io/logical_switch": ""},
		},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: lbsvc.ContainerName}}},
	}
}

func theirDeployment() *appsv1.Deployment {
	t := theirTemplate()
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "lb-svc-web", UID: "d1"},
		Spec:       appsv1.DeploymentSpec{Selector: &metav1.LabelSelector{MatchLabels: t.Labels}, Template: t},
	}
}

func theirRunningPod() *corev1.Pod {
	t := theirTemplate()
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "lb-svc-web-1", UID: "p1", Labels: t.Labels, Annotations: map[string]string{}}, Spec: t.Spec}
	pod.Annotations[provider+".kubernetes.io/ip_address"] = "172.18.0.18"
	pod.Status.Phase = corev1.PodRunning
	pod.Spec.NodeName = "n1"
	return pod
}

func record(pod string) *kubeovn.IP {
	return &kubeovn.IP{ObjectMeta: metav1.ObjectMeta{Name: pod + ".shop." + provider}, PodName: pod, PodNamespace: "shop", Subnet: "lan", V4: "172.18.0.18"}
}

// onTheirs is a Service that Kube-OVN serves.
func onTheirs() *observation {
	svc := &corev1.Service{ObjectMeta: metav1.ObjectMeta{
		Namespace: "shop", Name: "web", UID: "u1", Annotations: map[string]string{kubeovn.AttachmentProvider: provider},
	}}
	svc.Spec.Type = corev1.ServiceTypeLoadBalancer
	svc.Spec.ClusterIP = "10.96.0.7"
	svc.Spec.Ports = []corev1.ServicePort{{Port: 80, Protocol: corev1.ProtocolTCP}}
	svc.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "172.18.0.18"}}
	o := &observation{
		service:    svc,
		deployment: theirDeployment(),
		theirs:     gateway{sets: []*appsv1.ReplicaSet{{ObjectMeta: metav1.ObjectMeta{UID: "s1"}}}, pods: []*corev1.Pod{theirRunningPod()}},
		record:     record("lb-svc-web-1"),
		subnet: &kubeovn.Subnet{
			ObjectMeta: metav1.ObjectMeta{Name: "lan"}, Provider: provider, ExcludeIPs: []string{"172.18.0.1..172.18.0.9"},
			CIDRs:    []netip.Prefix{netip.MustParsePrefix("172.18.0.0/16")},
			Gateways: []netip.Addr{netip.MustParseAddr("172.18.0.1")},
		},
	}
	adopt(o)
	return o
}

func ownedByUs() metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: "shop", Name: "lb-svc-web", Labels: kubeovn.Owner{Namespace: "shop", Name: "web", UID: "u1"}.Labels()}
}

// adopt is what Kubernetes' controllers do: who selects what has no owner becomes
// its owner.
func adopt(o *observation) {
	isTrue := true
	for _, set := range o.theirs.sets {
		o.theirPod().OwnerReferences = []metav1.OwnerReference{{UID: set.UID, Controller: &isTrue}}
		set.Status.Replicas = 1
		if o.deployment != nil {
			set.OwnerReferences = []metav1.OwnerReference{{UID: o.deployment.UID, Controller: &isTrue}}
			o.deployment.Status.UpdatedReplicas = 1
		}
	}
}

// happen does to an observation what an act does to a cluster in which
// everything works.
func happen(o *observation, a act) {
	mark := func(m loadbalancer.Migration) { o.service.Annotations[loadbalancer.AnnotationMigration] = m.String() }
	switch a {
	case actDone, actWait: // nothing happens
	case actBackUp:
		o.backup = newBackup(o)
	case actMarkTakingOver:
		mark(takingOver(o.theirPod().Name, o.addresses()))
	case actOrphanDeployment:
		o.deployment = nil
		for _, set := range o.theirs.sets {
			set.OwnerReferences = nil
		}
	case actOrphanSet:
		o.theirs.sets = nil
		o.theirPod().OwnerReferences = nil
	case actOrphanOurSet:
		o.ours.sets = nil
	case actFence:
		o.subnet.ExcludeIPs, o.fences = fence(o.subnet, o.fences, o.addresses().All())
	case actUnfence:
		o.subnet.ExcludeIPs, o.fences = unfence(o.subnet, o.fences, o.addresses().All())
	case actHandOver:
		o.theirs.pods, o.record = nil, nil
		o.agent = &agentStatus{Serving: true}
		o.vip = &kubeovn.Vip{ObjectMeta: metav1.ObjectMeta{Name: "lb-u1"}, Subnet: "lan", V4: "172.18.0.18"}
		o.ourPod().Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	case actUnmark:
		delete(o.service.Annotations, loadbalancer.AnnotationMigration)
	case actMarkGivingBack:
		mark(loadbalancer.Migration{Phase: loadbalancer.GivingBack, Addresses: o.addresses().String()})
		o.service.Status.Conditions = nil
	case actDeleteVip:
		o.vip = nil
	case actCreatePod:
		pod := restoredPod(o)
		pod.Name, pod.Status.Phase = "lb-svc-web-2", corev1.PodRunning
		o.theirs.pods, o.record = []*corev1.Pod{pod}, record(pod.Name)
	case actCreateSet:
		o.theirs.sets = []*appsv1.ReplicaSet{restoredSet(o)}
		o.theirs.sets[0].UID = "s2"
		adopt(o)
	case actCreateDeployment:
		o.deployment = restoredDeployment(o)
		o.deployment.UID = "d2"
		adopt(o)
	case actRemoveTheirs:
		o.deployment, o.theirs, o.record = nil, gateway{}, nil
	case actHandBack:
		o.theirPod().Annotations[AnnotationRestored] = restoredServing
		o.ours.pods, o.agent = nil, nil
	case actEndPods:
		o.ours.pods, o.agent = nil, nil
	case actMarkGivenBack:
		mark(loadbalancer.Migration{Phase: loadbalancer.GivenBack})
		o.leftovers, o.service.ManagedFields = nil, nil
	case actForget:
		o.backup = nil
	}
	// kube-ovn-ccm: once the name is free it makes a gateway, which waits.
	handing := loadbalancer.MigrationOf(o.service).Phase == loadbalancer.TakingOver
	if handing && o.deployment == nil && len(o.ours.pods) == 0 {
		o.deployment = &appsv1.Deployment{ObjectMeta: ownedByUs()}
		pod := &corev1.Pod{ObjectMeta: ownedByUs()}
		pod.Status.Phase = corev1.PodRunning
		o.ours = gateway{sets: []*appsv1.ReplicaSet{{ObjectMeta: ownedByUs()}}, pods: []*corev1.Pod{pod}}
		o.agent = &agentStatus{Awaited: []netip.Prefix{netip.MustParsePrefix("172.18.0.18/16")}}
		o.leftovers = []string{"ConfigMap lb-svc-web"}
	}
}

// goes lists the acts until the end, or until what is awaited does not come.
func goes(o *observation, next func(*observation) step, most int) (acts []act) {
	for range most {
		s := next(o)
		if s.act == actDone {
			return acts
		}
		acts = append(acts, s.act)
		if s.act == actWait {
			return append(acts, act(s.waitsFor))
		}
		happen(o, s.act)
	}
	return acts
}

var (
	there = []act{
		actBackUp, actMarkTakingOver, actOrphanDeployment, actOrphanSet, actFence, actHandOver, actUnfence, actUnmark,
	}
	andBack = []act{
		actMarkGivingBack, actOrphanDeployment, actOrphanOurSet, actFence, actDeleteVip, actCreatePod, actCreateSet, actCreateDeployment,
		actUnfence, actHandBack, actMarkGivenBack, actForget,
	}
)

func TestTheWayThereAndBack(t *testing.T) {
	o := onTheirs()
	if got := goes(o, forward, 20); !slices.Equal(got, there) {
		t.Fatalf("there: %q", got)
	}
	if o.theirPod() != nil || o.ourDeployment() == nil || !slices.Equal(o.subnet.ExcludeIPs, onTheirs().subnet.ExcludeIPs) {
		t.Errorf("at the end there is %+v", o)
	}
	if got := goes(o, back, 20); !slices.Equal(got, andBack) {
		t.Fatalf("back: %q", got)
	}
	if o.theirDeployment() == nil || len(o.ours.pods) != 0 || o.vip != nil || !slices.Equal(o.subnet.ExcludeIPs, onTheirs().subnet.ExcludeIPs) {
		t.Errorf("at the end there is %+v", o)
	}
	again := []act{actBackUp, actMarkTakingOver}
	if got := goes(o, forward, 2); !slices.Equal(got, again) {
		t.Errorf("there again: %q", got)
	}
}

func TestBackFromAnyPointOfTheWayThere(t *testing.T) {
	for n := 1; n <= len(there); n++ {
		o := onTheirs()
		if got := goes(o, forward, n); len(got) != n {
			t.Fatalf("after %d: %q", n, got)
		}
		acts := goes(o, back, 20)
		if o.theirDeployment() == nil || o.theirPod() == nil || len(o.ours.pods) != 0 || len(o.theirs.sets) != 1 || o.backup != nil {
			t.Errorf("back from after %q: %q, there is %+v", there[n-1], acts, o)
		}
		if !slices.Equal(o.subnet.ExcludeIPs, onTheirs().subnet.ExcludeIPs) || len(o.fences) > 0 {
			t.Errorf("back from after %q: the Subnet excludes %v, fences %v", there[n-1], o.subnet.ExcludeIPs, o.fences)
		}
		served := slices.Index(there, actHandOver) < n
		if slices.Contains(acts, actHandBack) != served {
			t.Errorf("back from after %q: %q", there[n-1], acts)
		}
	}
}

func TestTheOldPodIsEndedOnlyWhenItsSuccessorIsReady(t *testing.T) {
	for sentence, unready := range map[string]func(*observation){
		"the successor does not run":              func(o *observation) { o.ours.pods = nil },
		"its agent does not answer":               func(o *observation) { o.agent = nil },
		"its agent has something else in its way": func(o *observation) { o.agent = &agentStatus{Reason: "no carrier"} },
	} {
		t.Run(sentence, func(t *testing.T) {
			o := onTheirs()
			goes(o, forward, 4)
			o.service.Annotations[loadbalancer.AnnotationMigration] = takingOver("lb-svc-web-1", o.addresses()).String()
			unready(o)
			if s := forward(o); s.act != actWait {
				t.Errorf("goes on to %q", s.act)
			}
		})
	}
}

// A node is lost, or somebody deletes the Pod, when its owners are there already:
// they make another one, which asks for any address.
func TestTheWayBackKeepsTheAddressOfAPodThatIsMadeAnew(t *testing.T) {
	for n := slices.Index(andBack, actCreateSet) + 1; n <= slices.Index(andBack, actHandBack)+1; n++ {
		o := onTheirs()
		goes(o, forward, 20)
		goes(o, back, n)
		another := theirRunningPod()
		another.Name, another.Annotations[provider+".kubernetes.io/ip_address"] = "lb-svc-web-3", "172.18.0.19"
		o.theirs.pods, o.record = []*corev1.Pod{another}, record(another.Name)
		o.record.V4 = "172.18.0.19"
		adopt(o)
		acts := goes(o, back, 20)
		if o.theirDeployment() == nil || o.annotated() != o.recorded() || o.recorded().String() != "172.18.0.18" || o.backup != nil {
			t.Errorf("after %q: %q, there is %+v", andBack[n-1], acts, o)
		}
		if !slices.Equal(o.subnet.ExcludeIPs, onTheirs().subnet.ExcludeIPs) {
			t.Errorf("after %q: the Subnet excludes %v", andBack[n-1], o.subnet.ExcludeIPs)
		}
	}
}

// The node of our gateway is lost while it waits: Kubernetes makes another Pod,
// and the lost one ends when its node is back.
func TestTheWayThereGoesOnWithThePodThatStays(t *testing.T) {
	o := onTheirs()
	goes(o, forward, 4)
	now := metav1.Now()
	lost := &corev1.Pod{ObjectMeta: ownedByUs()}
	lost.DeletionTimestamp = &now
	stays := o.ours.pods[0]
	o.ours.pods = []*corev1.Pod{lost, stays}
	if o.ourPod() != stays {
		t.Errorf("asks %+v", o.ourPod())
	}
	if s := forward(o); s.act != actFence {
		t.Errorf("%+v comes next", s)
	}
}

func TestWhatIsMadeAgainIsAdoptedAndKeptByKubeOVN(t *testing.T) {
	o := onTheirs()
	goes(o, forward, 20)
	goes(o, back, 8)
	pod, set, deployment := restoredPod(o), restoredSet(o), restoredDeployment(o)
	if got := pod.Annotations[provider+".kubernetes.io/ip_address"]; got != "172.18.0.18" {
		t.Errorf("the Pod asks for %q", got)
	}
	selector, err := metav1.LabelSelectorAsSelector(set.Spec.Selector)
	if err != nil || !selector.Matches(labels.Set(pod.Labels)) {
		t.Errorf("the ReplicaSet selects %s, the Pod has %v", selector, pod.Labels)
	}
	if selector, err = metav1.LabelSelectorAsSelector(deployment.Spec.Selector); err != nil || !selector.Matches(labels.Set(set.Labels)) {
		t.Errorf("the Deployment selects %s, the ReplicaSet has %v", selector, set.Labels)
	}
	template := set.Spec.Template.DeepCopy()
	delete(template.Labels, appsv1.DefaultDeploymentUniqueLabelKey)
	if !apiequality.Semantic.DeepEqual(*template, deployment.Spec.Template) {
		t.Errorf("the ReplicaSet's template is %+v, the Deployment's %+v", template, deployment.Spec.Template)
	}
	if !apiequality.Semantic.DeepEqual(deployment.Spec.Template, theirTemplate()) {
		t.Errorf("the template is %+v, before %+v", deployment.Spec.Template, theirTemplate())
	}
	o.service.Spec.LoadBalancerIP = "172.18.0.18"
	if got := restoredDeployment(o).Spec.Template.Annotations[provider+".kubernetes.io/ip_address"]; got != "172.18.0.18" {
		t.Errorf("the template of a static address names %q", got)
	}
}
