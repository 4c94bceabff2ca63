package loadbalancer

import (
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
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	clienttesting "k8s.io/client-go/testing"
	cloudprovider "k8s.io/cloud-provider"

	"github.com/kubeovn/kube-ovn-ccm/pkg/gateway/spec"
	"github.com/kubeovn/kube-ovn-ccm/pkg/ipam"
	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
)

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
	if wish := c.kubeOVN.asked[len(c.kubeOVN.asked)-1].Wish.V4; wish != netip.MustParseAddr("172.18.0.30") {
		t.Errorf("asked for %v", wish)
	}
	c.wantEvents()
}

func TestAnImpossibleChangeLeavesEverythingAsItIs(t *testing.T) {
	c := serving(t)
	c.updateService(func(s *corev1.Service) { s.Spec.LoadBalancerIP = "10.0.0.1" })
	c.kubeOVN.result = ipam.Result{State: ipam.Refused, Reason: ipam.ReasonAddressOutOfRange, Message: "not in the range", Addrs: kubeovn.Addrs{V4: netip.MustParseAddr("172.18.0.18")}}
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

func TestEndpointsReachTheGatewayWithoutANewPod(t *testing.T) {
	c := newCluster(t, guideService())
	c.updateService(func(s *corev1.Service) {
		s.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
		s.Finalizers = []string{CleanupFinalizer}
	})
	c.grant("172.18.0.18")
	c.ensure()
	if got := c.document().Ports[0].Endpoints; len(got) != 0 {
		t.Errorf("without a gateway Pod no answer finds back, and yet the gateway has %v", got)
	}
	c.runPod()
	c.wantShown("172.18.0.18", "serving")
	if got := c.document().Ports[0].Endpoints; len(got) != 1 || !got[0].KeepClient {
		t.Errorf("the gateway has %v", got)
	}
	if got := c.routes.wanted; got.VPC != "ovn-cluster" || got.NextHops.String() != "10.16.0.77" || len(got.Backends) != 1 {
		t.Errorf("routed %+v", got)
	}
	template := c.deployment().Spec.Template
	c.slices[0].Endpoints = append(c.slices[0].Endpoints, podAt("10.16.0.6"))
	c.routes.held = "default/other"
	if publish, err := c.balancer.Refresh(t.Context(), "default", "test-service"); publish || err != nil {
		t.Errorf("another Pod changes the status: %t, %v", publish, err)
	}
	if got := c.document().Ports[0].Endpoints; len(got) != 2 || got[1].KeepClient {
		t.Errorf("the gateway has %v", got)
	}
	c.wantEvents("Warning ClientAddressConflict Service default/other keeps the client's address for the same ports of the same Pods, and their answers can go to one gateway only: the Pods see this gateway's address; let one of the Services use externalTrafficPolicy Cluster, or another target port")
	if !apiEqual(template, c.deployment().Spec.Template) {
		t.Error("the Pod template has changed")
	}
}

func TestTheConditionTellsWhatIs(t *testing.T) {
	c := newCluster(t, guideService())
	want := func(status metav1.ConditionStatus, reason, message string) {
		t.Helper()
		got := conditionIn(c.service())
		if got == nil || got.Status != status || got.Reason != reason || got.Message != message || got.LastTransitionTime.IsZero() {
			t.Fatalf("got %+v, want %s %s %s", got, status, reason, message)
		}
	}
	c.kubeOVN.subnetList = nil
	c.wantShown("", "no Subnet")
	want("False", "SubnetNotFound", "no Subnet has spec.provider lb-svc-attachment.kube-system: create one with the addresses for load balancers")
	c.kubeOVN.subnetList = subnetList{guideSubnet()}
	c.grant("172.18.0.18")
	c.ensure()
	want("False", "Progressing", "the load balancer is being set up")
	c.runPod()
	c.wantShown("172.18.0.18", "serving")
	want("True", "Serving", "serving 172.18.0.18 of Subnet attach-subnet by gateway Pod lb-svc-test-service-1 on node n1; the target is the cluster IP; Pods see the gateway's address")
	c.kube.ClearActions()
	c.wantShown("172.18.0.18", "another look")
	for _, action := range c.kube.Actions() {
		if patch, ok := action.(clienttesting.PatchAction); ok && patch.GetPatchType() == types.ApplyPatchType {
			t.Errorf("the condition is told again: %s", patch.GetPatch())
		}
	}
	c.kubeOVN.result = ipam.Result{State: ipam.Refused, Reason: ipam.ReasonAddressOutOfRange, Message: "not in the range", Addrs: granted("172.18.0.18").Addrs}
	c.wantShown("172.18.0.18", "an impossible wish")
	want("True", "AddressOutOfRange", "not in the range")
	c.stopPod()
	c.must(c.kube.AppsV1().Deployments("default").Delete(t.Context(), "lb-svc-test-service", metav1.DeleteOptions{}))
	c.must(c.balancer.EnsureLoadBalancerDeleted(t.Context(), "", c.service()))
	if got := conditionIn(c.service()); got != nil {
		t.Errorf("a Service that is ours no more still has %+v", got)
	}
}

func TestRoutesStayUntilTheGatewayKnowsThatTheyGo(t *testing.T) {
	c := newCluster(t, guideService())
	c.updateService(func(s *corev1.Service) { s.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal })
	c.grant("172.18.0.18")
	c.ensure()
	c.runPod()
	c.wantShown("172.18.0.18", "serving")
	wantRouted := func(want int, why string) {
		t.Helper()
		if got := len(c.routes.wanted.Backends); got != want {
			t.Fatalf("%s: %d backends are routed, want %d", why, got, want)
		}
	}
	wantRouted(1, "Pods see their clients")
	c.wakes = nil
	c.updateService(func(s *corev1.Service) { s.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyCluster })
	c.wantShown("172.18.0.18", "Pods are to see the gateway")
	wantRouted(1, "the gateway has yet to read it")
	if !slices.Contains(c.wakes, "default/test-service "+routesLinger.String()) {
		t.Errorf("nobody looks again in time: %q", c.wakes)
	}
	c.clock.SetTime(c.clock.Now().Add(routesLinger))
	c.wantShown("172.18.0.18", "long after")
	wantRouted(0, "long after")
}
