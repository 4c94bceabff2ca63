package churn

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
)

const agnhost = "registry.k8s.io/e2e-test-images/agnhost:2.59"

// The mean time between two of a kind, and how long each of them stays. Two cores carry it.
const (
	podEvery, podShortest, podLongest             = 2 * time.Second, 5 * time.Second, 15 * time.Second
	serviceEvery, serviceShortest, serviceLongest = 5 * time.Second, 8 * time.Second, 30 * time.Second
	vipEvery, vipShortest, vipLongest             = 700 * time.Millisecond, 2 * time.Second, 10 * time.Second
)

// What is being made when the time is over is made all the same: else nobody would know whether it is there.

// pods makes Pods that take an address for an interface on one of the attachments.
func (c *churn) pods(ctx context.Context, rng *rand.Rand) error {
	pods := c.kube.CoreV1().Pods(c.namespace)
	return nowAndThen(ctx, rng, podEvery, func(n int) error {
		net := networks[rng.IntN(len(networks))]
		pod := PodWithAddress(fmt.Sprintf("pod-%d", n), c.namespace, net.name, net.subnet(c.namespace))
		op := opPodAny
		if n%2 == 1 {
			op = opPodNamed
			pod.Annotations[kubeovn.AnnotationKey(net.provider(c.namespace), kubeovn.FieldIPAddress)] = list(net.at(anyNumber(rng)))
		}
		if _, err := pods.Create(context.WithoutCancel(ctx), pod, metav1.CreateOptions{}); err != nil {
			return fmt.Errorf("making Pod %s: %w", pod.Name, err)
		}
		c.done.add(op)
		c.later(ctx, between(rng, podShortest, podLongest), opPodGone, func(ctx context.Context) error {
			return pods.Delete(ctx, pod.Name, metav1.DeleteOptions{})
		})
		return nil
	})
}

// PodWithAddress is a Pod that takes an address of a Subnet for an interface on an attachment of its namespace.
func PodWithAddress(name, namespace, attachment, subnet string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{
			kubeovn.Networks: namespace + "/" + attachment,
			kubeovn.AnnotationKey(attachment+"."+namespace, kubeovn.FieldLogicalSwitch): subnet,
		}},
		Spec: corev1.PodSpec{
			TerminationGracePeriodSeconds: new(int64),
			Containers:                    []corev1.Container{{Name: "pause", Image: agnhost, ImagePullPolicy: corev1.PullNever, Args: []string{"pause"}}},
		},
	}
}

// services makes Services that come and go.
func (c *churn) services(ctx context.Context, rng *rand.Rand) error {
	services := c.kube.CoreV1().Services(c.namespace)
	return nowAndThen(ctx, rng, serviceEvery, func(n int) error {
		net := networks[rng.IntN(len(networks))]
		svc := c.service(fmt.Sprintf("service-%d", n), net)
		op := opServiceAny
		if n%2 == 1 {
			op = opServiceNamed
			c.ask(svc, net.serviceNumber(rng))
		}
		if _, err := services.Create(context.WithoutCancel(ctx), svc, metav1.CreateOptions{}); err != nil {
			return fmt.Errorf("making Service %s: %w", svc.Name, err)
		}
		c.done.add(op)
		c.later(ctx, between(rng, serviceShortest, serviceLongest), opServiceGone, func(ctx context.Context) error {
			return services.Delete(ctx, svc.Name, metav1.DeleteOptions{})
		})
		return nil
	})
}

// vips makes Vips by hand.
func (c *churn) vips(ctx context.Context, rng *rand.Rand) error {
	vips := c.dyn.Resource(kubeovn.VipResource)
	return nowAndThen(ctx, rng, vipEvery, func(n int) error {
		net := networks[rng.IntN(len(networks))]
		op, addrs := opVipAny, []netip.Addr(nil)
		switch rng.IntN(4) {
		case 0:
			op, addrs = opVipNamed, net.at(anyNumber(rng))
		case 1:
			if used := c.used(net); len(used) > 0 {
				op, addrs = opVipInUse, []netip.Addr{used[rng.IntN(len(used))]}
			}
		}
		vip := Vip(fmt.Sprintf("%s-%d", c.namespace, n), net.subnet(c.namespace), addrs...)
		if _, err := vips.Create(context.WithoutCancel(ctx), vip, metav1.CreateOptions{}); err != nil {
			return fmt.Errorf("making Vip %s: %w", vip.GetName(), err)
		}
		c.done.add(op)
		c.later(ctx, between(rng, vipShortest, vipLongest), opVipGone, func(ctx context.Context) error {
			return vips.Delete(ctx, vip.GetName(), metav1.DeleteOptions{})
		})
		return nil
	})
}

// Vip is one that somebody makes by hand, for certain addresses or for any.
func Vip(name, subnet string, addrs ...netip.Addr) *unstructured.Unstructured {
	spec := map[string]any{"subnet": subnet}
	for _, a := range addrs {
		if a.Is4() {
			spec["v4ip"] = a.String()
		} else {
			spec["v6ip"] = a.String()
		}
	}
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": kubeovn.VipResource.GroupVersion().String(), "kind": kindVip,
		"metadata": map[string]any{"name": name}, "spec": spec,
	}}
}

// later deletes something after a time, or at the end of the churn.
func (c *churn) later(ctx context.Context, after time.Duration, op string, remove func(context.Context) error) {
	c.background.Go(func() {
		sleep(ctx, after)
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
		defer cancel()
		err := remove(ctx)
		if err != nil && !apierrors.IsNotFound(err) {
			fmt.Fprintln(c.Progress, "a deletion failed, which the end will show:", err)
			return
		}
		c.done.add(op)
	})
}

// anyNumber is the last number of some address that is nobody's from the start.
func anyNumber(rng *rand.Rand) int { return firstNumber + rng.IntN(lastNumber-firstNumber+1) }

// serviceNumber is the last number of an address for a Service to ask for. Beside Vips by hand that Kube-OVN gives the lowest
// free IPv6 addresses when it restarts, only the upper half is safe, of which a Service that asks for others is told.
func (n network) serviceNumber(rng *rand.Rand) int {
	if len(n.cidrs) == 1 {
		return anyNumber(rng)
	}
	return lastNumber - rng.IntN((lastNumber-firstNumber)/2)
}

// used are the addresses of a network that somebody has now, in their order.
func (c *churn) used(n network) []netip.Addr {
	var out []netip.Addr
	for _, a := range c.observer.Held() {
		for _, p := range n.cidrs {
			if p.Contains(a) {
				out = append(out, a)
			}
		}
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return slices.Compact(out)
}

// subnets edits the Subnets: ranges are excluded and included again, also over addresses in use.
func (c *churn) subnets(ctx context.Context, rng *rand.Rand) error {
	const every = 4 * time.Second
	return nowAndThen(ctx, rng, every, func(n int) error {
		net := networks[rng.IntN(len(networks))]
		op, extra := opInclude, []any(nil)
		patch := map[string]any{}
		switch used := c.used(net); n % 4 {
		case 0:
			op = opExclude
			for _, p := range net.cidrs {
				first := firstNumber + rng.IntN(lastNumber-firstNumber-4)
				extra = append(extra, numbered(p, first).String()+".."+numbered(p, first+4).String())
			}
		case 1:
			if len(used) > 0 {
				op = opExcludeUsed
				a := used[rng.IntN(len(used))]
				extra = append(extra, a.String()+".."+a.Next().String())
			}
		case 2:
			op = opAnnotate
			patch["metadata"] = map[string]any{"annotations": map[string]any{"churn.example.com/edit": fmt.Sprint(n)}}
		}
		if op != opAnnotate {
			patch["spec"] = map[string]any{"excludeIps": append(net.excluded(), extra...)}
		}
		if err := c.patch(ctx, net.subnet(c.namespace), patch); err != nil {
			return err
		}
		c.done.add(op)
		return nil
	})
}
