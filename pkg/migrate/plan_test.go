package migrate

import (
	"bytes"
	"net/netip"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
	"github.com/kubeovn/kube-ovn-ccm/pkg/loadbalancer"
)

func macvlan() *kubeovn.NAD {
	return &kubeovn.NAD{Config: `{"cniVersion":"0.3.0","type":"macvlan","master":"eth0"}`}
}

func fine() surroundings {
	return surroundings{
		subnets: []*kubeovn.Subnet{onTheirs().subnet},
		nad:     macvlan(),
		holders: func(string, netip.Addr) []string { return nil },
	}
}

func TestWhatStandsInTheWay(t *testing.T) {
	other := "metallb.io/x"
	for sentence, tc := range map[string]struct {
		service func(*observation)
		around  func(*surroundings)
		want    string // part of the only obstacle; empty: none
	}{
		"nothing": {},
		"the status shows another address": {
			service: func(o *observation) { o.service.Status.LoadBalancer.Ingress[0].IP = "172.18.0.19" },
			want:    "the Service's status has 172.18.0.19, and not 172.18.0.18",
		},
		"the status shows none": {
			service: func(o *observation) { o.service.Status.LoadBalancer.Ingress = nil },
			want:    "the Service's status has no address",
		},
		"the Pod says another address": {
			service: func(o *observation) {
				o.theirPod().Annotations[provider+".kubernetes.io/ip_address"] = "172.18.0.19"
			},
			want: "the gateway Pod's annotation has 172.18.0.19",
		},
		"Kube-OVN has no record of the Pod": {
			service: func(o *observation) { o.record = nil }, want: "Kube-OVN's record of the Pod has no address",
		},
		"somebody else has the address, too": {
			around: func(s *surroundings) {
				s.holders = func(string, netip.Addr) []string { return []string{"Vip by-hand"} }
			},
			want: "172.18.0.18 is held by Vip by-hand, too",
		},
		"somebody else has the address, which Kube-OVN does not know to be the Pod's": {
			service: func(o *observation) { o.record, o.subnet = nil, nil },
			around: func(s *surroundings) {
				s.holders = func(subnet string, _ netip.Addr) []string { return []string{"Vip by-hand of " + subnet} }
			},
			want: "172.18.0.18 is held by Vip by-hand of lan, too",
		},
		"the gateway waits for a node": {
			service: func(o *observation) {
				o.theirPod().Status.Phase, o.theirPod().Spec.NodeName = corev1.PodPending, ""
			},
			want: "Kube-OVN's gateway Pod lb-svc-web-1 does not run: see why (kubectl describe pod), or delete Deployment lb-svc-web",
		},
		"a Vip holds another address for the Service": {
			service: func(o *observation) {
				o.vip = &kubeovn.Vip{ObjectMeta: metav1.ObjectMeta{Name: "lb-u1"}, Subnet: "lan", V4: "172.18.0.77"}
				o.service.Annotations[loadbalancer.AnnotationMigration] = takingOver("lb-svc-web-1", kubeovn.Addrs{V4: netip.MustParseAddr("172.18.0.18")}).String()
			},
			want: "Vip lb-u1 holds 172.18.0.77 for the Service",
		},
		"the Service is of another class": {
			service: func(o *observation) { o.service.Spec.LoadBalancerClass = &other }, want: "spec.loadBalancerClass is metallb.io/x",
		},
		"the Service is no load balancer any more": {
			service: func(o *observation) { o.service.Spec.Type = corev1.ServiceTypeNodePort }, want: "the Service is of type NodePort",
		},
		"the Service is being deleted": {
			service: func(o *observation) { now := metav1.Now(); o.service.DeletionTimestamp = &now }, want: "is being deleted",
		},
		"two Subnets have the attachment": {
			around: func(s *surroundings) {
				s.subnets = append(s.subnets, &kubeovn.Subnet{ObjectMeta: metav1.ObjectMeta{Name: "more"}})
			},
			want: "several Subnets have the provider lan.kube-system (lan, more): set the Service's annotation lan.kube-system.kubernetes.io/logical_switch to lan",
		},
		"two Subnets have it, and the Service names the right one": {
			service: func(o *observation) { o.service.Annotations[provider+".kubernetes.io/logical_switch"] = "lan" },
			around: func(s *surroundings) {
				s.subnets = append(s.subnets, &kubeovn.Subnet{ObjectMeta: metav1.ObjectMeta{Name: "more"}})
			},
		},
		"the Service names a Subnet that its address is not of": {
			service: func(o *observation) { o.service.Annotations[provider+".kubernetes.io/logical_switch"] = "more" },
			want:    "the Service names Subnet more, and its address is of Subnet lan",
		},
		"the attachment is of a type that no gateway can use": {
			around: func(s *surroundings) { s.nad = &kubeovn.NAD{Config: `{"type":"ipvlan"}`} }, want: `type is "ipvlan"`,
		},
		"the attachment is gone": {
			around: func(s *surroundings) { s.nad = nil }, want: "there is no NetworkAttachmentDefinition lan.kube-system",
		},
		"the namespace admits no gateway": {
			around: func(s *surroundings) { s.refused = "exceeded quota: pods" }, want: "does not admit a gateway Pod: exceeded quota",
		},
		"the name of our ConfigMap is taken": {
			around: func(s *surroundings) { s.foreign = []string{"ConfigMap lb-svc-web"} }, want: "ConfigMap lb-svc-web is somebody else's",
		},
		"the node of the gateway is not ready": {
			around: func(s *surroundings) { s.lost = []string{"n1"} }, want: "node n1 of Kube-OVN's gateway Pod is not ready: the Pod cannot be ended there",
		},
		"another node is not ready": {
			around: func(s *surroundings) { s.lost = []string{"n2"} },
		},
		"the Service wants both families, and the Subnet has one": {
			service: func(o *observation) { dualStack(o, corev1.IPFamilyPolicyRequireDualStack) },
			want:    "kube-ovn-ccm would not serve it: Subnet lan has no IPv6 range in spec.cidrBlock",
		},
		"the Service takes both families where there are both": {
			service: func(o *observation) { dualStack(o, corev1.IPFamilyPolicyPreferDualStack) },
		},
		"Kube-OVN has picked addresses of both families": {
			service: func(o *observation) {
				o.record.V6 = "fd00::18"
				o.theirPod().Annotations[provider+".kubernetes.io/ip_address"] = "172.18.0.18,fd00::18"
				o.service.Status.LoadBalancer.Ingress = nil
			},
			want: "Kube-OVN's gateway does not work with 172.18.0.18,fd00::18, of which one is IPv6, so there is nothing to keep: delete Deployment lb-svc-web",
		},
		"the gateway has two Pods": {
			service: func(o *observation) {
				o.backup = newBackup(o) // so that the address is known
				o.theirs.pods = append(o.theirs.pods, theirRunningPod())
				o.service.Status.LoadBalancer.Ingress = nil
			},
			want: "Kube-OVN's gateway has 2 Pods and must have one",
		},
	} {
		t.Run(sentence, func(t *testing.T) {
			o, s := onTheirs(), fine()
			if tc.service != nil {
				tc.service(o)
			}
			if tc.around != nil {
				tc.around(&s)
			}
			got := planForward(o, s).Obstacles
			switch {
			case tc.want == "" && len(got) > 0:
				t.Errorf("in the way: %q", got)
			case tc.want != "" && (len(got) == 0 || !strings.Contains(strings.Join(got, "\n"), tc.want)):
				t.Errorf("in the way: %q, want %q", got, tc.want)
			}
		})
	}
}

// dualStack gives a Service of the cluster addresses of both families.
func dualStack(o *observation, policy corev1.IPFamilyPolicy) {
	o.service.Spec.ClusterIPs = []string{"10.96.0.7", "fd00:10:96::7"}
	o.service.Spec.IPFamilyPolicy = &policy
}

func TestWhatStandsInTheWayBack(t *testing.T) {
	ourNode := func(o *observation) { o.ours.pods[0].Spec.NodeName = "n1" }
	for sentence, tc := range map[string]struct {
		service func(*observation)
		around  func(*surroundings)
		want    string // the beginning of the only obstacle; empty: none
	}{
		"nothing": {},
		"the node of our gateway is not ready": {
			service: ourNode,
			around:  func(s *surroundings) { s.lost = []string{"n1"} },
			want:    "node n1 of our gateway Pod is not ready",
		},
		"it is lost on the way": {
			service: func(o *observation) {
				ourNode(o)
				goes(o, back, 3)
			},
			around: func(s *surroundings) { s.lost = []string{"n1"} },
			want:   "node n1 of our gateway Pod is not ready",
		},
		"the node of Kube-OVN's new gateway is lost on the way": {
			service: func(o *observation) {
				goes(o, back, 6)
				o.theirPod().Spec.NodeName = "n2"
			},
			around: func(s *surroundings) { s.lost = []string{"n2"} },
			want:   "node n2 of Kube-OVN's gateway Pod is not ready",
		},
		"the Subnet has got IPv6": {
			service: func(o *observation) {
				o.subnet.CIDRs = append(o.subnet.CIDRs, netip.MustParsePrefix("fd00::/64"))
			},
			want: "Subnet lan has IPv6, too",
		},
		"the attachment is gone": {
			around: func(s *surroundings) { s.nad = nil }, want: "there is no NetworkAttachmentDefinition lan.kube-system",
		},
	} {
		t.Run(sentence, func(t *testing.T) {
			o, s := onTheirs(), fine()
			goes(o, forward, 20)
			if tc.service != nil {
				tc.service(o)
			}
			if tc.around != nil {
				tc.around(&s)
			}
			got := planBack(o, s).Obstacles
			if tc.want == "" && len(got) > 0 || tc.want != "" && (len(got) != 1 || !strings.HasPrefix(got[0], tc.want)) {
				t.Errorf("in the way: %q, want %q", got, tc.want)
			}
		})
	}
}

func TestAPlanSaysWhereTheAddressIsFromAndWhatWillBeDone(t *testing.T) {
	o := onTheirs()
	e := planForward(o, fine())
	if e.Source != "dynamic" || e.Action != "move to kube-ovn-ccm" || e.Subnet != "lan" || e.Pod != "lb-svc-web-1" {
		t.Errorf("%+v", e)
	}
	o.deployment.Spec.Template.Annotations[provider+".kubernetes.io/ip_address"] = "172.18.0.18"
	if e = planForward(o, fine()); e.Source != "the Deployment's annotation" {
		t.Errorf("%+v", e)
	}
	o.service.Spec.LoadBalancerIP = "172.18.0.18"
	if e = planForward(o, fine()); e.Source != "spec.loadBalancerIP" {
		t.Errorf("%+v", e)
	}

	o = onTheirs()
	if e = planBack(o, fine()); e.Action != nothing {
		t.Errorf("what was not moved is moved back: %+v", e)
	}
	for n := 1; n < len(there); n++ {
		o = onTheirs()
		goes(o, forward, n)
		if e = planForward(o, fine()); e.Action != "go on with the move" && e.Action != "finish the move" || len(e.Obstacles) > 0 {
			t.Errorf("after %q: %+v", there[n-1], e)
		}
	}
	goes(o, forward, 20)
	if e = planForward(o, fine()); e.Action != nothing {
		t.Errorf("when all is done: %+v", e)
	}
	if e = planBack(o, fine()); e.Action != "move back to Kube-OVN" || len(e.Obstacles) > 0 {
		t.Errorf("back: %+v", e)
	}
}

func TestPortsThatKubeOVNBreaksAreTold(t *testing.T) {
	o := onTheirs()
	o.service.Spec.Ports[0].TargetPort = intstr.FromInt32(8080)
	if e := planForward(o, fine()); len(e.Obstacles) > 0 || len(e.Notes) != 1 || !strings.Contains(e.Notes[0], "port 80 goes nowhere with Kube-OVN's gateway, which sends to 8080") {
		t.Errorf("%+v", e)
	}
}

func TestThePlanOfAServiceInTheWaySaysThatNothingIsDone(t *testing.T) {
	var out bytes.Buffer
	r := report{Services: []entry{
		{Namespace: "shop", Name: "web", Addresses: "172.18.0.18", Action: "move to kube-ovn-ccm"},
		{Namespace: "shop", Name: "db", Action: "move to kube-ovn-ccm", Obstacles: []string{"the cat"}},
	}}
	if err := r.print(&out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"nothing: see below", "in the way of shop/db: the cat", "move to kube-ovn-ccm"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("it does not say %q:\n%s", want, out.String())
		}
	}
	if r.blocked() != 1 {
		t.Errorf("%d are blocked", r.blocked())
	}
}

func TestKubeOVNsScriptIsCalledAsKubeOVNCallsIt(t *testing.T) {
	o := onTheirs()
	pod := o.theirPod()
	pod.Annotations[provider+".kubernetes.io/cidr"] = "172.18.0.0/16"
	pod.Annotations[provider+".kubernetes.io/gateway"] = "172.18.0.1"
	pod.Annotations["ovn.kubernetes.io/gateway"] = "10.16.0.1"
	o.service.Spec.ClusterIP = "10.96.0.7"
	o.service.Spec.Ports = append(o.service.Spec.Ports, corev1.ServicePort{Port: 53, Protocol: corev1.ProtocolUDP, TargetPort: intstr.FromString("dns")})
	p, err := programOf(o.service, pod)
	if err != nil {
		t.Fatal(err)
	}
	want := "init \ndnat-add 172.18.0.18,80,tcp,10.96.0.7,80,10.16.0.1\ndnat-add 172.18.0.18,53,udp,10.96.0.7,53,10.16.0.1\neip-add 172.18.0.18/16,172.18.0.1"
	if got := strings.Join(append(p.rules, p.address), "\n"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
