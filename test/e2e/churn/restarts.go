package churn

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
)

// What is killed, and how often on average. In a short time kube-ovn-ccm is killed more often, so that it is at all.
const (
	kubeOVN      = "kube-ovn-controller"
	kubeOVNEvery = 12 * time.Second
	oursEvery    = 30 * time.Second
	ours         = "app.kubernetes.io/name=kube-ovn-ccm"
	// leaseTime is how long a leader is missed that dies without a word.
	leaseTime = 15 * time.Second
)

// restartKubeOVN kills Kube-OVN's controller and starts it again after a while, in which others go on asking.
func (c *churn) restartKubeOVN(ctx context.Context, rng *rand.Rand) error {
	return nowAndThen(ctx, rng, kubeOVNEvery, func(int) error {
		if err := c.Lab.Kill(ctx, kubeOVN); err != nil {
			return err
		}
		sleep(ctx, between(rng, 0, 4*time.Second))
		if err := c.startKubeOVN(ctx); err != nil {
			return err
		}
		c.done.add(opKubeOVN)
		return nil
	})
}

// startKubeOVN starts Kube-OVN's controller if it does not run, also when the time is over.
func (c *churn) startKubeOVN(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	return c.Lab.Start(ctx, kubeOVN)
}

// restartOurs kills the leader of kube-ovn-ccm and all of its Pods by turns.
func (c *churn) restartOurs(ctx context.Context, rng *rand.Rand) error {
	return nowAndThen(ctx, rng, min(oursEvery, c.Duration*2/7), func(n int) error {
		op, leader := opOurs, ""
		if n%2 == 0 {
			op = opLeader
			pod, err := c.leader(ctx)
			if err != nil {
				return nil //nolint:nilerr // there is none yet since the last time
			}
			leader = pod.Name
		}
		pods, err := c.kube.CoreV1().Pods(metav1.NamespaceSystem).List(ctx, metav1.ListOptions{LabelSelector: ours})
		if err != nil {
			return fmt.Errorf("listing the Pods of kube-ovn-ccm: %w", err)
		}
		for _, pod := range pods.Items {
			if leader != "" && pod.Name != leader {
				continue
			}
			err := c.kube.CoreV1().Pods(metav1.NamespaceSystem).Delete(ctx, pod.Name, metav1.DeleteOptions{GracePeriodSeconds: new(int64)})
			if err != nil && !apierrors.IsNotFound(err) {
				return fmt.Errorf("killing Pod %s: %w", pod.Name, err)
			}
		}
		c.done.add(op)
		return nil
	})
}

// leader is the Pod of kube-ovn-ccm that leads.
func (c *churn) leader(ctx context.Context) (*corev1.Pod, error) {
	lease, err := c.kube.CoordinationV1().Leases(metav1.NamespaceSystem).Get(ctx, "kube-ovn-ccm", metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	name, _, _ := strings.Cut(ptr.Deref(lease.Spec.HolderIdentity, ""), "_")
	return c.kube.CoreV1().Pods(metav1.NamespaceSystem).Get(ctx, name, metav1.GetOptions{})
}

// patch edits a Subnet.
func (c *churn) patch(ctx context.Context, subnet string, patch map[string]any) error {
	b, err := json.Marshal(patch)
	if err != nil {
		return err
	}
	if _, err := c.dyn.Resource(kubeovn.SubnetResource).Patch(ctx, subnet, types.MergePatchType, b, metav1.PatchOptions{}); err != nil {
		return fmt.Errorf("editing Subnet %s: %w", subnet, err)
	}
	return nil
}
