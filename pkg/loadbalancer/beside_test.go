package loadbalancer

import (
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
)

func TestWhatIsLeftToKubeOVN(t *testing.T) {
	plain := guideService()
	plain.Annotations = nil
	handed := guideService()
	marked(takesOver)(handed)
	for sentence, c := range map[string]struct {
		svc              *corev1.Service
		enabled, gateway bool
		want             string
	}{
		"nothing while its lb-svc is off":                    {svc: guideService()},
		"what it serves while it is on":                      {svc: guideService(), enabled: true, want: "KubeOVNLbSvcEnabled"},
		"not what it does not serve":                         {svc: plain, enabled: true},
		"what it has a gateway for, off or not":              {svc: guideService(), gateway: true, want: "ForeignGateway"},
		"not what its gateway hands over":                    {svc: handed, gateway: true},
		"the switch is told first, as the first thing to do": {svc: guideService(), enabled: true, gateway: true, want: "KubeOVNLbSvcEnabled"},
	} {
		t.Run(sentence, func(t *testing.T) {
			got := ""
			if p := KubeOVNs(c.svc, c.enabled, c.gateway); p != nil {
				got = p.Reason
			}
			if got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

const (
	leftEvent = "Warning KubeOVNLbSvcEnabled Kube-OVN itself serves this Service, because it runs with --enable-lb-svc: " +
		"to have it served by kube-ovn-ccm, set --enable-lb-svc=false on Deployment kube-system/kube-ovn-controller and, " +
		`if Kube-OVN has made a gateway for it, run "kube-ovn-ccm migrate"`
	contestEvent = "Warning KubeOVNLbSvcEnabled Kube-OVN runs with --enable-lb-svc and wants to serve this Service, too: " +
		"set --enable-lb-svc=false on Deployment kube-system/kube-ovn-controller; until then its gateway is kept as it is, " +
		"and a change of the gateway's Pod waits"
	contestSolved = "Normal ProblemSolved KubeOVNLbSvcEnabled is solved"
)

func TestALeftServiceIsToldOnce(t *testing.T) {
	c := newCluster(t, guideService())
	svc := c.service()
	for range 3 {
		c.balancer.LeaveAlone(svc, KubeOVNs(svc, true, false))
	}
	c.wantEvents(leftEvent)
	c.balancer.LeaveAlone(svc, KubeOVNs(svc, true, true))
	c.wantEvents()
	c.grant("172.18.0.18")
	c.ensure() // its lb-svc is off now
	c.wantEvents(contestSolved)

	c.balancer.LeaveAlone(svc, KubeOVNs(svc, true, false))
	c.balancer.LeaveAlone(svc, nil)
	if pending := c.balancer.Pending(); len(pending) != 0 {
		t.Errorf("a forgotten Service is pending: %q", pending)
	}
}

// rolledOut is what the Deployment controller says when nothing is to be done.
func (c *cluster) rolledOut() {
	c.t.Helper()
	c.updateDeployment(func(d *appsv1.Deployment) {
		d.Status = appsv1.DeploymentStatus{ObservedGeneration: d.Generation, Replicas: 1, UpdatedReplicas: 1}
	})
}

func (c *cluster) updateDeployment(change func(*appsv1.Deployment)) {
	c.t.Helper()
	d := c.deployment()
	change(d)
	_, err := c.kube.AppsV1().Deployments("default").Update(c.t.Context(), d, metav1.UpdateOptions{FieldManager: "kube-ovn-controller"})
	c.must(err)
	c.sync()
}

// disturb does what kube-ovn-controller does to a Deployment at the place of
// its own when it starts with --enable-lb-svc: see updateLbSvcDeployment there.
func (c *cluster) disturb() {
	c.t.Helper()
	c.updateDeployment(func(d *appsv1.Deployment) {
		d.Generation++
		d.Status.UpdatedReplicas = 0
		d.Spec.Template.Annotations = map[string]string{
			kubeovn.Networks: "kube-system/lb-svc-attachment",
			kubeovn.AnnotationKey(guideProvider, kubeovn.FieldLogicalSwitch): "",
		}
	})
}

func (c *cluster) wantTemplate(paused bool, why string) {
	c.t.Helper()
	d := c.deployment()
	if d.Spec.Paused != paused {
		c.t.Errorf("%s: paused is %t", why, d.Spec.Paused)
	}
	if got := d.Spec.Template.Annotations[kubeovn.Networks]; got != "default/lb-svc-test-service" {
		c.t.Errorf("%s: the template's Pod is attached to %s", why, got)
	}
}

func TestAServedServiceOutlivesLbSvc(t *testing.T) {
	c := serving(t)
	c.wantEvents()
	c.rolledOut()
	c.wantShown("172.18.0.18", "before")
	c.wantTemplate(false, "before")
	uid := c.deployment().UID

	c.lbSvc = true
	c.wantShown("172.18.0.18", "switched on")
	c.wantTemplate(true, "switched on")
	c.wantEvents(contestEvent)
	for range 3 {
		c.disturb()
		c.wantShown("172.18.0.18", "disturbed")
		c.wantTemplate(true, "disturbed")
	}
	c.stopPod() // a paused Deployment makes another one
	c.wantShown("172.18.0.18", "without a Pod")
	c.runPod()
	c.wantShown("172.18.0.18", "with another Pod")
	c.wantEvents()

	c.lbSvc = false
	c.wantShown("172.18.0.18", "switched off")
	c.wantTemplate(false, "switched off")
	c.wantEvents(contestSolved)
	if c.deployment().UID != uid {
		t.Error("the gateway was made anew")
	}
	c.wantObjects("ConfigMap Deployment NAD Vip", "after all")
}

func TestARolloutIsNotStoppedHalfWay(t *testing.T) {
	c := serving(t)
	c.lbSvc = true
	c.wantShown("172.18.0.18", "switched on during a rollout")
	c.wantTemplate(false, "switched on during a rollout")
	c.rolledOut()
	c.wantShown("172.18.0.18", "rolled out")
	c.wantTemplate(true, "rolled out")
}

// TestADisturbedGatewayKeepsItsAddress: kube-ovn-controller was quicker than we.
func TestADisturbedGatewayKeepsItsAddress(t *testing.T) {
	c := serving(t)
	c.rolledOut()
	uid := c.deployment().UID
	c.disturb()
	c.lbSvc = true
	c.wantShown("172.18.0.18", "disturbed")
	c.wantTemplate(false, "disturbed")
	if c.deployment().UID != uid {
		t.Error("the gateway was made anew")
	}
}

// TestAPodOfAnotherTemplateIsReplaced: kube-ovn-controller was so much quicker
// that the rollout of its template is done.
func TestAPodOfAnotherTemplateIsReplaced(t *testing.T) {
	for sentence, held := range map[string]bool{"before it is held": false, "though it is held": true} {
		t.Run(sentence, func(t *testing.T) {
			c := serving(t)
			c.rolledOut()
			if held {
				c.lbSvc = true
				c.wantShown("172.18.0.18", "held")
				c.wantTemplate(true, "held")
			}
			c.disturb()
			c.stopPod()
			c.runPod()
			c.rolledOut()
			c.lbSvc = true
			c.wantShown("172.18.0.18", "disturbed")
			c.wantTemplate(false, "disturbed")
			c.stopPod()
			c.runPod()
			c.rolledOut()
			c.wantShown("172.18.0.18", "put right")
			c.wantTemplate(true, "put right")
		})
	}
}

func TestAServiceThatKubeOVNDoesNotServeIsNoneOfItsBusiness(t *testing.T) {
	svc := guideService()
	class := Class
	svc.Spec.LoadBalancerClass, svc.Annotations = &class, nil
	c := newCluster(t, svc)
	c.balancer.Config.DefaultAttachment = guideProvider
	c.grant("172.18.0.18")
	c.ensure()
	c.runPod()
	c.lbSvc = true
	c.rolledOut()
	c.wantShown("172.18.0.18", "switched on")
	c.wantTemplate(false, "switched on")
	c.wantEvents()
}
