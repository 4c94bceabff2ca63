package loadbalancer

import (
	"cmp"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
)

const (
	// networkPatience is for how long a Pod's network may fail before that is
	// called a problem, if it may still come by itself: multus can be a moment
	// behind with a NetworkAttachmentDefinition, Kube-OVN with an address; the
	// kubelet tries again after some 10 s.
	networkPatience = 30 * time.Second
	// reachPatience is the same where the CNI plugins get no answer from the API
	// server: multus gives it 250 ms, which a busy node misses several times.
	reachPatience = 2 * time.Minute
	// readyPatience is for how long a gateway may run without carrying
	// traffic before that is called a problem.
	readyPatience = 30 * time.Second
)

// ReasonGatewayNotReady is the reason of the Problem of a gateway that runs and
// does not carry traffic.
const ReasonGatewayNotReady = "GatewayNotReady"

// gatewayHealth says why no Pod of a gateway carries traffic: a Problem if
// somebody has to do something, else what is awaited.
func gatewayHealth(w *world, g *gateway) outcome {
	pods := slices.DeleteFunc(slices.Clone(w.pods), func(p gatewayPod) bool {
		return p.DeletionTimestamp != nil || p.Status.Phase == corev1.PodFailed || p.Status.Phase == corev1.PodSucceeded
	})
	slices.SortFunc(pods, func(a, b gatewayPod) int {
		return cmp.Or(b.CreationTimestamp.Compare(a.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
	})
	if len(pods) == 0 {
		if problem := deploymentProblem(w.deployment, g.paused); problem != nil {
			return outcome{problem: problem.lasting()}
		}
		return outcome{wait: "the gateway Pod"}
	}
	newest := pods[0]
	problem, lookAgain := podProblem(newest, g, w.now)
	if problem != nil {
		return outcome{problem: problem.lasting()}
	}
	return outcome{wait: "gateway Pod " + newest.Name, retryAfter: lookAgain}
}

// deploymentProblem says why the Deployment, perhaps paused by us, has no Pod.
func deploymentProblem(d *appsv1.Deployment, paused bool) *Problem {
	if d == nil {
		return nil
	}
	if d.Spec.Paused && !paused {
		return problemf("GatewayPaused", "Deployment %s is paused: kubectl rollout resume deployment %s", d.Name, d.Name)
	}
	for _, c := range d.Status.Conditions {
		if c.Type == appsv1.DeploymentReplicaFailure && c.Status == corev1.ConditionTrue {
			return problemf("GatewayForbidden",
				"namespace %s does not admit the gateway Pod: raise its quota, or let its Pod Security level admit a Pod with the capabilities NET_ADMIN and NET_RAW", d.Namespace).
				withDetail(c.Message)
		}
	}
	return nil
}

// podProblem says why a Pod does not carry traffic. Without a problem it says
// when to look again though the Pod may not change; 0 for never.
func podProblem(pod gatewayPod, g *gateway, now time.Time) (problem *Problem, lookAgain time.Duration) {
	if pod.Spec.NodeName == "" {
		return unschedulable(pod.Pod), 0
	}
	for _, c := range pod.Status.ContainerStatuses {
		if c.Name != AppName {
			continue
		}
		if c.State.Waiting != nil {
			c.Image = imageOf(pod.Pod) // the status may have it as it was resolved, or not yet
			if problem := waitingProblem(pod.Pod, c, g); problem != nil {
				return problem, 0
			}
		}
		if running := c.State.Running; running != nil {
			return unready(pod.Pod, g, running.StartedAt.Time, now)
		}
	}
	if pod.sandboxFailure != "" {
		return networkProblem(pod, g, now)
	}
	return nil, 0
}

// imageOf is the image that a gateway Pod asks for, which may be an older one
// than the next Pod will.
func imageOf(pod *corev1.Pod) string {
	for _, c := range pod.Spec.Containers {
		if c.Name == AppName {
			return c.Image
		}
	}
	return ""
}

func unschedulable(pod *corev1.Pod) *Problem {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse && c.Reason == corev1.PodReasonUnschedulable {
			return problemf("GatewayUnschedulable",
				"no node fits the gateway Pod: make room on a node, or change gateway.nodeSelector, tolerations or resources in the cloud-config").
				withDetail(c.Message)
		}
	}
	return nil
}

// waitingProblem reads why a container does not start. The kubelet alternates
// between the words for one cause, so they are told as one problem.
func waitingProblem(pod *corev1.Pod, c corev1.ContainerStatus, g *gateway) *Problem {
	switch why := c.State.Waiting; why.Reason {
	case "ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName", "ImageInspectError", "RegistryUnavailable":
		return problemf("GatewayImageUnavailable",
			"node %s cannot have the gateway image %s: make it available there, or correct gateway.image in the cloud-config", pod.Spec.NodeName, c.Image).
			withDetail(why.Message)
	case "CrashLoopBackOff":
		last := ""
		if t := c.LastTerminationState.Terminated; t != nil {
			last = cmp.Or(strings.TrimSpace(t.Message), t.Reason)
		}
		return problemf("GatewayFailed",
			"the gateway on node %s ends again and again: see kubectl logs -n %s deployment/%s --previous", pod.Spec.NodeName, pod.Namespace, g.name()).
			withDetail(last)
	case "CreateContainerError", "CreateContainerConfigError", "RunContainerError", "PreCreateHookError", "PostStartHookError":
		return problemf("GatewayFailed",
			"node %s cannot start the gateway's container: see kubectl describe pod -n %s -l %s", pod.Spec.NodeName, pod.Namespace, selectorOf(g.owner)).
			withDetail(why.Reason + ": " + why.Message)
	}
	return nil
}

// unready judges a gateway that runs and does not carry traffic.
func unready(pod *corev1.Pod, g *gateway, since, now time.Time) (*Problem, time.Duration) {
	if left := readyPatience - now.Sub(since); left > 0 {
		return nil, left
	}
	return problemf(ReasonGatewayNotReady,
		"the gateway on node %s runs but cannot carry traffic: see the Pod's Events and kubectl logs -n %s deployment/%s",
		pod.Spec.NodeName, pod.Namespace, g.name()), 0
}

// networkProblem judges a Pod whose network cannot be set up. A master that
// the node does not have is certain at once; anything else may come.
func networkProblem(pod gatewayPod, g *gateway, now time.Time) (*Problem, time.Duration) {
	message := pod.sandboxFailure
	if master := g.network.Master; master != "" && lacksMaster(message) {
		return problemf("GatewayNetworkFailed",
			"node %s has no network interface %q, which \"master\" in NetworkAttachmentDefinition %s asks for: name one that the node has, or keep gateways off the node by gateway.nodeSelector in the cloud-config",
			pod.Spec.NodeName, master, g.provider).withDetail(tail(message)), 0
	}
	unreached := lacksAPIServer(message)
	patience := networkPatience
	if unreached {
		patience = reachPatience
	}
	if left := patience - now.Sub(pod.CreationTimestamp.Time); left > 0 {
		return nil, left
	}
	if unreached {
		return problemf("GatewayNetworkFailed",
			"node %s cannot set up the gateway Pod's network because its CNI plugins get no answer from the API server: check the node's network and load, and the kubeconfig of multus there",
			pod.Spec.NodeName).withDetail(tail(message)), 0
	}
	return problemf("GatewayNetworkFailed",
		"node %s cannot set up the gateway Pod's network with NetworkAttachmentDefinition %s: check its spec.config and that the node has the CNI plugin %q",
		pod.Spec.NodeName, g.provider, g.network.Type).withDetail(tail(message)), 0
}

// lacksMaster recognizes what the CNI plugins say when the interface to build
// on does not exist.
func lacksMaster(message string) bool {
	m := strings.ToLower(message)
	return strings.Contains(m, "failed to lookup master") || strings.Contains(m, "link not found")
}

// lacksAPIServer recognizes what multus says when a request of its own to the
// API server fails on the way.
func lacksAPIServer(message string) bool {
	m := strings.ToLower(message)
	asked := strings.Contains(m, `"https://`) && (strings.Contains(m, "/api/v1/") || strings.Contains(m, "/apis/"))
	return asked && (strings.Contains(m, "context deadline exceeded") || strings.Contains(m, "timeout") || strings.Contains(m, "connection refused"))
}

// tail keeps the end of a long message, where the innermost cause stands; an
// Event takes 1024 bytes.
func tail(message string) string {
	const limit = 400
	message = strings.ToValidUTF8(strings.TrimSpace(message), "?")
	runes := []rune(message)
	if len(runes) <= limit {
		return message
	}
	return "…" + string(runes[len(runes)-limit:])
}
