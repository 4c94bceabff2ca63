package loadbalancer

import (
	"maps"
	"net/netip"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubeovn/kube-ovn-ccm/pkg/ipam"
	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
)

func deploymentWith(podAnnotations map[string]string) *appsv1.Deployment {
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "lb-svc-test-service", Labels: ownerOf(guideService()).Labels()}}
	d.Spec.Template.Annotations = map[string]string{AnnotationNetworkHash: "12ab"} // on all of ours
	maps.Copy(d.Spec.Template.Annotations, podAnnotations)
	return d
}

func madeAt(ip, subnet string) map[string]string {
	return map[string]string{
		AnnotationNetworkHash:                           "12ab",
		guideProvider + ".kubernetes.io/ip_address":     ip,
		guideProvider + ".kubernetes.io/logical_switch": subnet,
		guideProvider + ".kubernetes.io/mac_address":    "00:00:00:00:00:01",
	}
}

func granted(ip string) ipam.Result {
	return ipam.Result{State: ipam.Granted, Addrs: kubeovn.Addrs{V4: netip.MustParseAddr(ip)}, MAC: "00:00:00:00:00:02"}
}

func gatewayPodWith(change func(*corev1.Pod)) gatewayPod {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Namespace: "default", Name: "lb-svc-test-service-1", Annotations: madeAt("172.18.0.18", "attach-subnet"),
		CreationTimestamp: metav1.NewTime(time.Unix(990, 0)),
	}}
	pod.Spec.NodeName = "n1"
	pod.Spec.Containers = []corev1.Container{{Name: AppName, Image: "example.com/gw:1"}}
	change(pod)
	return gatewayPod{Pod: pod}
}

func ready(pod *corev1.Pod) {
	pod.Status.Phase = corev1.PodRunning
	pod.Status.Conditions = append(pod.Status.Conditions, corev1.PodCondition{Type: corev1.PodReady, Status: corev1.ConditionTrue})
}

func node(name string, ready corev1.ConditionStatus) *corev1.Node {
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Status:     corev1.NodeStatus{Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: ready}}},
	}
}

func TestDecide(t *testing.T) {
	inUse := ipam.Result{State: ipam.Refused, Reason: ipam.ReasonAddressInUse, Message: "spec.loadBalancerIP 172.18.0.18 is held by Pod a/b"}
	for name, tc := range map[string]struct {
		world    func(*world)
		reserved ipam.Result
		want     string // problem, wait, move, move+release, build
	}{
		"a granted address is built upon":  {reserved: granted("172.18.0.18"), want: "build"},
		"Kube-OVN is at it":                {reserved: ipam.Result{State: ipam.Pending}, want: "wait"},
		"a refusal is told":                {reserved: inUse, want: "problem"},
		"a Vip that has to move, moves":    {reserved: ipam.Result{State: ipam.Pending, MustMove: true}, want: "move+release"},
		"what runs already is built again": {world: func(w *world) { w.deployment = deploymentWith(madeAt("172.18.0.18", "attach-subnet")) }, reserved: granted("172.18.0.18"), want: "build"},
		"a Deployment with another address moves, and that is told": {
			world:    func(w *world) { w.deployment = deploymentWith(madeAt("172.18.0.19", "attach-subnet")) },
			reserved: granted("172.18.0.18"), want: "problem+move",
		},
		"but not if the Service asks for it": {
			world: func(w *world) {
				w.deployment = deploymentWith(madeAt("172.18.0.19", "attach-subnet"))
				w.service.Spec.LoadBalancerIP = "172.18.0.18"
			},
			reserved: granted("172.18.0.18"), want: "move",
		},
		"a Deployment with another Subnet moves": {
			world:    func(w *world) { w.deployment = deploymentWith(madeAt("172.18.0.18", "other")) },
			reserved: granted("172.18.0.18"), want: "move",
		},
		"a Deployment with another attachment moves": {
			world: func(w *world) {
				w.deployment = deploymentWith(map[string]string{"x.y.kubernetes.io/ip_address": "172.18.0.18"})
			},
			reserved: granted("172.18.0.18"), want: "move",
		},
		"Pods left over with another address are awaited": {
			world: func(w *world) {
				w.pods = []gatewayPod{gatewayPodWith(func(p *corev1.Pod) { p.Annotations = madeAt("172.18.0.19", "attach-subnet") })}
				w.nodes["n1"] = node("n1", corev1.ConditionTrue)
			},
			reserved: granted("172.18.0.18"), want: "move",
		},
		"but not on a node that is gone": {
			world: func(w *world) {
				w.pods = []gatewayPod{gatewayPodWith(func(p *corev1.Pod) { p.Annotations = madeAt("172.18.0.19", "attach-subnet") })}
			},
			reserved: granted("172.18.0.18"), want: "build",
		},
		"another address that is shown is withdrawn first": {
			world: func(w *world) {
				w.service.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "172.18.0.19"}}
			},
			reserved: granted("172.18.0.18"), want: "problem+move",
		},
		"but not if the right gateway stands: then the status is just wrong": {
			world: func(w *world) {
				w.deployment = deploymentWith(madeAt("172.18.0.18", "attach-subnet"))
				w.service.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "1.2.3.4"}}
			},
			reserved: granted("172.18.0.18"), want: "build",
		},
		"a refused change leaves what runs alone": {
			world: func(w *world) {
				w.deployment = deploymentWith(madeAt("172.18.0.17", "attach-subnet"))
				w.service.Spec.LoadBalancerIP = "172.18.0.18"
			},
			reserved: inUse, want: "problem",
		},
		"an address whose reservation was lost to somebody else is not used on": {
			world: func(w *world) {
				w.deployment = deploymentWith(madeAt("172.18.0.18", "attach-subnet"))
				w.service.Spec.LoadBalancerIP = "172.18.0.18"
			},
			reserved: inUse, want: "problem+move",
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := guideWorld()
			if tc.world != nil {
				tc.world(w)
			}
			c, _, problem := choose(w)
			if problem != nil {
				t.Fatal(problem)
			}
			p := decide(w, c, tc.reserved)
			got := ""
			for word, is := range map[string]bool{"wait": p.wait != "", "build": p.build != nil, "problem": p.problem != nil && !p.move,
				"problem+move": p.problem != nil && p.move, "move": p.move && !p.release && p.problem == nil, "move+release": p.move && p.release} {
				if is {
					got += word
				}
			}
			if got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

func TestAnnounce(t *testing.T) {
	published := func(w *world) {
		w.service.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "172.18.0.18"}}
	}
	pods := func(change ...func(*corev1.Pod)) func(*world) {
		return func(w *world) {
			w.pods = append(w.pods, gatewayPodWith(func(p *corev1.Pod) {
				for _, c := range change {
					c(p)
				}
			}))
		}
	}
	for name, tc := range map[string]struct {
		world []func(*world)
		held  int
		shown bool
		waits bool
	}{
		"a ready Pod whose endpoints wait for their way back": {world: []func(*world){pods(ready)}, held: 1, waits: true},
		"they take nothing back that is shown":                {world: []func(*world){pods(ready), published}, held: 1, shown: true},
		"no Pod yet":                                          {waits: true},
		"a Pod that is not ready":                             {world: []func(*world){pods()}, waits: true},
		"a ready Pod":                                         {world: []func(*world){pods(ready)}, shown: true},
		"a ready Pod that is being deleted":                   {world: []func(*world){pods(ready, func(p *corev1.Pod) { p.DeletionTimestamp = &metav1.Time{} })}, waits: true},
		"a ready Pod with another address":                    {world: []func(*world){pods(ready, func(p *corev1.Pod) { p.Annotations = nil })}, waits: true},
		"once shown, the address stays without a Pod":         {world: []func(*world){published}, shown: true, waits: true},
		"once shown, the address stays during a restart":      {world: []func(*world){published, pods()}, shown: true, waits: true},
		"another address shown does not count":                {world: []func(*world){published, func(w *world) { w.service.Status.LoadBalancer.Ingress[0].IP = "1.2.3.4" }}, waits: true},
	} {
		t.Run(name, func(t *testing.T) {
			w := guideWorld()
			for _, change := range tc.world {
				change(w)
			}
			c, _, _ := choose(w)
			out := announce(w, newGateway(w, c, granted("172.18.0.18")), tc.held)
			if (out.status != nil) != tc.shown || (out.wait != "") != tc.waits || out.problem != nil {
				t.Fatalf("got %+v", out)
			}
			if tc.shown && (out.status.Ingress[0].IP != "172.18.0.18" || *out.status.Ingress[0].IPMode != corev1.LoadBalancerIPModeVIP) {
				t.Errorf("got %+v", out.status)
			}
		})
	}
}

func TestAVipMadeAnewDoesNotReplaceThePod(t *testing.T) {
	w := guideWorld()
	c, _, _ := choose(w)
	if got := newGateway(w, c, granted("172.18.0.18")).mac; got != "00:00:00:00:00:02" {
		t.Errorf("a new gateway shows %s", got)
	}
	w.deployment = deploymentWith(madeAt("172.18.0.18", "attach-subnet"))
	if got := newGateway(w, c, granted("172.18.0.18")).mac; got != "00:00:00:00:00:01" {
		t.Errorf("a standing gateway changes to %s", got)
	}
}

func TestObstacles(t *testing.T) {
	ours := ownerOf(guideService()).Labels()
	earlier := kubeovn.Owner{Namespace: "default", Name: "test-service", UID: "0ld"}.Labels()
	meta := func(labels map[string]string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Namespace: "default", Name: "lb-svc-test-service", Labels: labels}
	}
	for name, tc := range map[string]struct {
		world  func(*world)
		remove int
		wait   string
		reason string
		text   string
	}{
		"nothing there": {world: func(*world) {}},
		"our own objects": {world: func(w *world) {
			w.deployment, w.configMap, w.nad = &appsv1.Deployment{ObjectMeta: meta(ours)}, &corev1.ConfigMap{ObjectMeta: meta(ours)}, &kubeovn.NAD{ObjectMeta: meta(ours)}
		}},
		"Kube-OVN's own gateway": {
			world:  func(w *world) { w.deployment = &appsv1.Deployment{ObjectMeta: meta(map[string]string{"app": "x"})} },
			reason: "ForeignGateway",
			text:   "Deployment lb-svc-test-service in namespace default is not kube-ovn-ccm's but a gateway as Kube-OVN makes them with --enable-lb-svc: run \"kube-ovn-ccm migrate\" to take the Service over with its address, or delete the Deployment",
		},
		"somebody's ConfigMap": {
			world:  func(w *world) { w.configMap = &corev1.ConfigMap{ObjectMeta: meta(nil)} },
			reason: "ForeignObject",
			text:   "ConfigMap lb-svc-test-service in namespace default is not kube-ovn-ccm's, and its name is needed for the Service's gateway: delete or rename it",
		},
		"an earlier Service's objects are removed": {
			world: func(w *world) {
				w.deployment, w.nad = &appsv1.Deployment{ObjectMeta: meta(earlier)}, &kubeovn.NAD{ObjectMeta: meta(earlier)}
			},
			remove: 2, wait: "the end of an earlier Service's NetworkAttachmentDefinition",
		},
		"what is being deleted is awaited": {
			world: func(w *world) {
				w.configMap = &corev1.ConfigMap{ObjectMeta: meta(ours)}
				w.configMap.DeletionTimestamp = &metav1.Time{}
			},
			wait: "the end of ConfigMap lb-svc-test-service",
		},
		"our object without our labels is still ours": {
			world: func(w *world) {
				w.deployment = &appsv1.Deployment{ObjectMeta: meta(nil)}
				w.deployment.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "kube-ovn-ccm"}}
				w.deployment.OwnerReferences = []metav1.OwnerReference{{Kind: "Service", UID: w.owner.UID}}
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := guideWorld()
			tc.world(w)
			remove, wait, problem := obstacles(w)
			if len(remove) != tc.remove || wait != tc.wait {
				t.Errorf("removes %v and waits for %q, want %d and %q", remove, wait, tc.remove, tc.wait)
			}
			checkProblem(t, problem, tc.reason, tc.text)
		})
	}
}
