package suite

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
)

// podWithAddress makes a Pod that takes an address of the guide's Subnet from
// Kube-OVN for an interface on the guide's attachment.
func (c *cluster) podWithAddress(t *testing.T, ns, name, ip string) {
	t.Helper()
	_, err := c.kube.CoreV1().Pods(ns).Create(t.Context(), &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{
			kubeovn.Networks: "kube-system/lb-svc-attachment",
			kubeovn.AnnotationKey(guideAttachment, kubeovn.FieldIPAddress):     ip,
			kubeovn.AnnotationKey(guideAttachment, kubeovn.FieldLogicalSwitch): guideSubnet,
		}},
		Spec: corev1.PodSpec{
			TerminationGracePeriodSeconds: new(int64),
			Containers:                    []corev1.Container{{Name: "pause", Image: agnhost, ImagePullPolicy: corev1.PullNever, Args: []string{"pause"}}},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, 30*time.Second, "Pod "+name, func(ctx context.Context) error {
		p, err := c.kube.CoreV1().Pods(ns).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if p.Status.Phase != corev1.PodRunning {
			return fmt.Errorf("is %s", p.Status.Phase)
		}
		return nil
	})
}

// startKubeOVN starts kube-ovn-controller if it does not run.
func (c *cluster) startKubeOVN(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := c.Start(ctx, "kube-ovn-controller"); err != nil {
		t.Fatal(err)
	}
}

// cordon closes or opens all nodes for new Pods.
func (c *cluster) cordon(t *testing.T, closed bool) {
	t.Helper()
	for _, node := range c.Nodes() {
		patch := fmt.Appendf(nil, `{"spec":{"unschedulable":%t}}`, closed)
		if _, err := c.kube.CoreV1().Nodes().Patch(context.Background(), node, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
	}
}

// withoutGatewayImage takes the gateway's image off the nodes. There is no
// registry that the kubelet could pull it from. It stays under another name.
func (c *cluster) withoutGatewayImage(t *testing.T) {
	t.Helper()
	t.Cleanup(func() { c.giveGatewayImageBack(t) })
	c.renameImages(t, gatewayImage, hiddenImage)
}

func (c *cluster) giveGatewayImageBack(t *testing.T) {
	t.Helper()
	c.renameImages(t, hiddenImage, gatewayImage)
}

const (
	gatewayImage = "docker.io/kubeovn/kube-ovn-lb-gateway:"
	hiddenImage  = "docker.io/kubeovn/hidden:"
)

// renameImages gives the images whose names begin with from another name on all
// nodes.
func (c *cluster) renameImages(t *testing.T, from, to string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for _, node := range c.Nodes() {
		out := must(c.Ctr(ctx, node, "images", "ls", "-q"))(t)
		for ref := range strings.FieldsSeq(out) {
			tag, found := strings.CutPrefix(ref, from)
			if !found {
				continue
			}
			if out, err := c.Ctr(ctx, node, "images", "tag", "--force", ref, to+tag); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			if out, err := c.Ctr(ctx, node, "images", "rm", ref); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
		}
	}
}
