package migrate

import (
	"context"
	"io"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/kubeovn/kube-ovn-ccm/pkg/loadbalancer"
)

// pods are the two gateways as far as commands can be run in them. Ours says that
// it serves as long as it is there.
type pods struct {
	kube     kubernetes.Interface
	commands []string
}

func (p *pods) run(ctx context.Context, namespace, pod, container string, command ...string) (string, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	if container == loadbalancer.AppName {
		_, err := p.kube.CoreV1().Pods(namespace).Get(ctx, pod, metav1.GetOptions{})
		return `{"serving":true}`, err
	}
	p.commands = append(p.commands, strings.Join(command, " "))
	return "", nil
}

func TestAnInterruptionWaitsUntilAGatewayHasTheAddress(t *testing.T) {
	for _, tc := range []struct {
		act  act
		last string // command in Kube-OVN's Pod
		ends string // the Pod that goes
	}{
		{actHandOver, "ip addr flush dev net1", "lb-svc-web-1"},
		{actHandBack, "/bin/bash -c bash /kube-ovn/lb-svc.sh eip-add 172.18.0.18/16,172.18.0.1", "ours"},
	} {
		t.Run(string(tc.act), func(t *testing.T) {
			o := onTheirs()
			goes(o, forward, 4)
			o.agent = nil
			pod := o.theirPod()
			pod.Annotations[provider+".kubernetes.io/cidr"] = "172.18.0.0/16"
			pod.Annotations[provider+".kubernetes.io/gateway"] = "172.18.0.1"
			o.ours.pods = []*corev1.Pod{{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "ours"}}}
			kube := fake.NewClientset(pod.DeepCopy(), o.ours.pods[0].DeepCopy())
			inside := &pods{kube: kube}
			m := &mover{kube: kube, exec: inside, out: io.Discard, patience: time.Second, started: time.Now()}
			interrupted, cancel := context.WithCancel(t.Context())
			cancel()
			if err := m.do(interrupted, o, tc.act); err != nil {
				t.Fatal(err)
			}
			if n := len(inside.commands); n == 0 || inside.commands[n-1] != tc.last {
				t.Errorf("in Kube-OVN's Pod: %q, want %q at last", inside.commands, tc.last)
			}
			if _, err := kube.CoreV1().Pods("shop").Get(t.Context(), tc.ends, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
				t.Errorf("Pod %s is there: %v", tc.ends, err)
			}
		})
	}
}
