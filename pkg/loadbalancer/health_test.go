package loadbalancer

import (
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func waiting(reason, message string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: AppName,
			State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}}}}
	}
}

func runningSince(seconds int64) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: AppName,
			State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(time.Unix(seconds, 0))}}}}
	}
}

func createdAt(seconds int64) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.CreationTimestamp = metav1.NewTime(time.Unix(seconds, 0)) }
}

func TestGatewayHealth(t *testing.T) {
	// guideWorld's clock stands at 1000, the Pod was made at 990.
	const noMaster = `plugin type="multus" failed (add): [default/x:lb-svc-test-service]: error adding container to network "lb-svc-test-service": failed to lookup master "eth9": Link not found`
	const noAnswer = `plugin type="multus" name="multus" failed (add): Multus: [default/x]: error waiting for pod: Get "https://172.18.0.2:6443/api/v1/namespaces/default/pods/x?timeout=1m0s": context deadline exceeded`
	pod := func(sandbox string, changes ...func(*corev1.Pod)) func(*world) {
		return func(w *world) {
			p := gatewayPodWith(func(p *corev1.Pod) {
				for _, c := range changes {
					c(p)
				}
			})
			p.sandboxFailure = sandbox
			w.pods = append(w.pods, p)
		}
	}
	image := func(detail string) string {
		return "node n1 cannot have the gateway image example.com/gw:1: make it available there, or correct gateway.image in the cloud-config (" + detail + ")"
	}
	for name, tc := range map[string]struct {
		world  func(*world)
		wait   string
		again  time.Duration
		reason string
		text   string
	}{
		"no Pod yet": {world: func(*world) {}, wait: "the gateway Pod"},
		"a Pod that starts": {
			world: pod("", waiting("ContainerCreating", "")), wait: "gateway Pod lb-svc-test-service-1",
		},
		"a Pod that is gone in all but name": {
			world: pod("", func(p *corev1.Pod) { p.Status.Phase = corev1.PodFailed }), wait: "the gateway Pod",
		},
		"the image cannot be pulled":           {world: pod("", waiting("ErrImagePull", "no route")), reason: "GatewayImageUnavailable", text: image("no route")},
		"the image cannot be pulled, again":    {world: pod("", waiting("ImagePullBackOff", "Back-off")), reason: "GatewayImageUnavailable", text: image("Back-off")},
		"the image must not be pulled":         {world: pod("", waiting("ErrImageNeverPull", "not present")), reason: "GatewayImageUnavailable", text: image("not present")},
		"the image's name is none":             {world: pod("", waiting("InvalidImageName", "bad")), reason: "GatewayImageUnavailable", text: image("bad")},
		"the container cannot be made":         {world: pod("", waiting("CreateContainerError", "no such file")), reason: "GatewayFailed", text: "node n1 cannot start the gateway's container: see kubectl describe pod -n default -l kube-ovn.io/service-uid=5e7c (CreateContainerError: no such file)"},
		"a gateway that is new needs its time": {world: pod("", runningSince(995)), wait: "gateway Pod lb-svc-test-service-1", again: 25 * time.Second},
		"a gateway that never becomes ready": {
			world: pod("", runningSince(960)), reason: "GatewayNotReady",
			text: "the gateway on node n1 runs but cannot carry traffic: see the Pod's Events and kubectl logs -n default deployment/lb-svc-test-service",
		},
		"a gateway that ends again and again": {
			world: pod("", waiting("CrashLoopBackOff", "back-off 10s"), func(p *corev1.Pod) {
				p.Status.ContainerStatuses[0].LastTerminationState.Terminated = &corev1.ContainerStateTerminated{Reason: "Error", Message: "no NET_ADMIN\n"}
			}),
			reason: "GatewayFailed",
			text:   "the gateway on node n1 ends again and again: see kubectl logs -n default deployment/lb-svc-test-service --previous (no NET_ADMIN)",
		},
		"no node fits": {
			world: pod("", func(p *corev1.Pod) {
				p.Spec.NodeName = ""
				p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: "Unschedulable", Message: "0/2 nodes are available"}}
			}),
			reason: "GatewayUnschedulable",
			text:   "no node fits the gateway Pod: make room on a node, or change gateway.nodeSelector, tolerations or resources in the cloud-config (0/2 nodes are available)",
		},
		"not scheduled yet": {world: pod("", func(p *corev1.Pod) { p.Spec.NodeName = "" }), wait: "gateway Pod lb-svc-test-service-1"},
		"the node lacks the master interface": {
			world: pod(noMaster, waiting("ContainerCreating", "")), reason: "GatewayNetworkFailed",
			text: `node n1 has no network interface "eth0", which "master" in NetworkAttachmentDefinition lb-svc-attachment.kube-system asks for: name one that the node has, or keep gateways off the node by gateway.nodeSelector in the cloud-config (` + noMaster + `)`,
		},
		"another failure of the network may pass": {world: pod("not there yet", waiting("ContainerCreating", "")), wait: "gateway Pod lb-svc-test-service-1", again: 20 * time.Second},
		"another failure of the network that stays": {
			world:  pod("no plugin", waiting("ContainerCreating", ""), createdAt(900)),
			reason: "GatewayNetworkFailed",
			text:   `node n1 cannot set up the gateway Pod's network with NetworkAttachmentDefinition lb-svc-attachment.kube-system: check its spec.config and that the node has the CNI plugin "macvlan" (no plugin)`,
		},
		"the API server may answer the CNI plugins again": {
			world: pod(noAnswer, waiting("ContainerCreating", ""), createdAt(900)), wait: "gateway Pod lb-svc-test-service-1", again: 20 * time.Second,
		},
		"the API server never answers the CNI plugins": {
			world: pod(noAnswer, waiting("ContainerCreating", ""), createdAt(800)), reason: "GatewayNetworkFailed",
			text: "node n1 cannot set up the gateway Pod's network because its CNI plugins get no answer from the API server: check the node's network and load, and the kubeconfig of multus there (" + noAnswer + ")",
		},
		"the newest Pod is what counts": {
			world: func(w *world) {
				pod("", waiting("ErrImagePull", "no route"))(w)
				pod("", func(p *corev1.Pod) { p.Name, p.CreationTimestamp = "newer", metav1.NewTime(time.Unix(999, 0)) })(w)
			},
			wait: "gateway Pod newer",
		},
		"the namespace does not admit the Pod": {
			world: func(w *world) {
				w.deployment = deploymentWith(nil)
				w.deployment.Status.Conditions = []appsv1.DeploymentCondition{{Type: appsv1.DeploymentReplicaFailure, Status: corev1.ConditionTrue, Message: `pods "x" is forbidden`}}
			},
			reason: "GatewayForbidden",
			text:   `namespace default does not admit the gateway Pod: raise its quota, or let its Pod Security level admit a Pod with the capabilities NET_ADMIN and NET_RAW (pods "x" is forbidden)`,
		},
		"the Deployment is paused": {
			world:  func(w *world) { w.deployment = deploymentWith(nil); w.deployment.Spec.Paused = true },
			reason: "GatewayPaused",
			text:   "Deployment lb-svc-test-service is paused: kubectl rollout resume deployment lb-svc-test-service",
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := guideWorld()
			w.config.Gateway.Image = "example.com/gw:1"
			c, _, _ := choose(w)
			tc.world(w)
			out := gatewayHealth(w, newGateway(w, c, granted("172.18.0.18")))
			if out.wait != tc.wait || out.retryAfter != tc.again {
				t.Errorf("waits for %q and looks again after %s, want %q and %s", out.wait, out.retryAfter, tc.wait, tc.again)
			}
			checkProblem(t, out.problem, tc.reason, tc.text)
		})
	}
}

func TestAnEventHoldsTheEndOfALongMessage(t *testing.T) {
	got := tail(strings.Repeat("ä", 1000) + " cause\n")
	if !strings.HasPrefix(got, "…ä") || !strings.HasSuffix(got, "ä cause") || len(got) > 1024 {
		t.Errorf("got %d bytes: %s", len(got), got)
	}
}
