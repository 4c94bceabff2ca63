package suite

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
)

// gate is a condition that a test sets to make a Pod ready and unready.
const gate = "test.kube-ovn.io/on"

// web is a Pod behind the tests' Services. By HTTP on the port named http and by
// UDP on the port named udp it says its name and who asks.
func web(ns, name string, edits ...func(*corev1.Pod)) *corev1.Pod {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name, Labels: map[string]string{"app": "web"}},
		Spec: corev1.PodSpec{
			TerminationGracePeriodSeconds: ptr.To[int64](1),
			Containers: []corev1.Container{{
				Name: "web", Image: agnhost, ImagePullPolicy: corev1.PullNever,
				ReadinessProbe: &corev1.Probe{
					ProbeHandler:  corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/healthz", Port: intstr.FromString("http")}},
					PeriodSeconds: 1, TimeoutSeconds: 3, FailureThreshold: 10,
				},
			}},
		},
	}
	listens(8080, 8081)(pod)
	for _, edit := range edits {
		edit(pod)
	}
	return pod
}

// listens sets the ports on which a Pod serves.
func listens(http, udp int32) func(*corev1.Pod) {
	return func(pod *corev1.Pod) {
		container := &pod.Spec.Containers[0]
		container.Args = []string{"netexec", "--http-port=" + strconv.Itoa(int(http)), "--udp-port=" + strconv.Itoa(int(udp))}
		container.Ports = []corev1.ContainerPort{
			{Name: "http", ContainerPort: http},
			{Name: "udp", ContainerPort: udp, Protocol: corev1.ProtocolUDP},
		}
	}
}

func onNode(node string) func(*corev1.Pod) {
	return func(pod *corev1.Pod) { pod.Spec.NodeSelector = map[string]string{corev1.LabelHostname: node} }
}

// gated makes a Pod ready only while the test says so.
func gated(pod *corev1.Pod) {
	pod.Spec.ReadinessGates = []corev1.PodReadinessGate{{ConditionType: gate}}
}

// lingers lets a Pod serve for a minute after it was asked to end.
func lingers(pod *corev1.Pod) {
	pod.Spec.TerminationGracePeriodSeconds = ptr.To[int64](60)
	container := &pod.Spec.Containers[0]
	container.Args = append(container.Args, "--delay-shutdown=60")
}

// hostNetwork puts a Pod into its node's network.
func hostNetwork(pod *corev1.Pod) { pod.Spec.HostNetwork = true }

// run makes Pods and waits for them.
func (c *cluster) run(t *testing.T, pods ...*corev1.Pod) []*corev1.Pod {
	t.Helper()
	c.start(t, pods...)
	return c.ready(t, pods...)
}

// start makes Pods.
func (c *cluster) start(t *testing.T, pods ...*corev1.Pod) {
	t.Helper()
	for _, pod := range pods {
		if _, err := c.kube.CoreV1().Pods(pod.Namespace).Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
}

// ready waits until Pods are ready, those that are gated until they run, and
// returns them as they are then.
func (c *cluster) ready(t *testing.T, pods ...*corev1.Pod) []*corev1.Pod {
	t.Helper()
	var out []*corev1.Pod
	for _, pod := range pods {
		want := corev1.PodReady
		if len(pod.Spec.ReadinessGates) > 0 {
			want = corev1.ContainersReady
		}
		eventually(t, time.Minute, "Pod "+pod.Name, func(ctx context.Context) error {
			got, err := c.kube.CoreV1().Pods(pod.Namespace).Get(ctx, pod.Name, metav1.GetOptions{})
			if err != nil {
				return err
			}
			for _, cond := range got.Status.Conditions {
				if cond.Type == want && cond.Status == corev1.ConditionTrue {
					out = append(out, got)
					return nil
				}
			}
			return fmt.Errorf("it is %s, not %s", got.Status.Phase, want)
		})
	}
	return out
}

// webs are n Pods named prefix-0 and so on, spread over the nodes.
func (c *cluster) webs(t *testing.T, ns, prefix string, n int, edits ...func(*corev1.Pod)) []*corev1.Pod {
	t.Helper()
	var pods []*corev1.Pod
	for i := range n {
		node := c.Nodes()[i%len(c.Nodes())]
		pods = append(pods, web(ns, fmt.Sprintf("%s-%d", prefix, i), append(slices.Clone(edits), onNode(node))...))
	}
	return c.run(t, pods...)
}

func names(pods []*corev1.Pod) []string {
	var out []string
	for _, pod := range pods {
		out = append(out, pod.Name)
	}
	return out
}

// turn makes a gated Pod ready or unready.
func (c *cluster) turn(t *testing.T, pod *corev1.Pod, ready bool) {
	t.Helper()
	status := corev1.ConditionFalse
	if ready {
		status = corev1.ConditionTrue
	}
	patch := fmt.Appendf(nil, `{"status":{"conditions":[{"type":%q,"status":%q}]}}`, gate, status)
	if _, err := c.kube.CoreV1().Pods(pod.Namespace).Patch(t.Context(), pod.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status"); err != nil {
		t.Fatal(err)
	}
}

// end deletes a Pod and leaves it the seconds that it asked for, or those given.
func (c *cluster) end(t *testing.T, pod *corev1.Pod, seconds ...int64) {
	t.Helper()
	o := metav1.DeleteOptions{}
	if len(seconds) > 0 {
		o.GracePeriodSeconds = &seconds[0]
	}
	if err := c.kube.CoreV1().Pods(pod.Namespace).Delete(t.Context(), pod.Name, o); err != nil && !apierrors.IsNotFound(err) {
		t.Fatal(err)
	}
}

// answeredBy asks until every one of the Pods has answered the caller and fails
// the test when another one does.
func (who caller) answeredBy(t *testing.T, within time.Duration, network, hostport string, pods ...string) {
	t.Helper()
	seen := map[string]bool{}
	eventually(t, within, fmt.Sprintf("answers of %v by %s to %s", pods, network, who), func(ctx context.Context) error {
		for len(seen) < len(pods) {
			name, err := who.ask(ctx, network, hostport, "hostname")
			if err != nil {
				return fmt.Errorf("so far %v: %w", seen, err)
			}
			if !slices.Contains(pods, name) {
				t.Fatalf("%s answers %s at %s, not one of %v", name, who, hostport, pods)
			}
			seen[name] = true
		}
		return nil
	})
}

// onlyAnsweredBy waits until n answers in a row are of these Pods.
func (who caller) onlyAnsweredBy(t *testing.T, within time.Duration, n int, network, hostport string, pods ...string) {
	t.Helper()
	eventually(t, within, fmt.Sprintf("answers of %v alone by %s to %s", pods, network, who), func(ctx context.Context) error {
		for range n {
			name, err := who.ask(ctx, network, hostport, "hostname")
			if err == nil && !slices.Contains(pods, name) {
				err = fmt.Errorf("%s answers", name)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}
