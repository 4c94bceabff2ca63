package churn

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
)

// comesToRest waits until the cluster has dealt with all that happened: both controllers run, the Services that stay are
// served and Kube-OVN's IPAM has their addresses, the others and their Vips are gone.
func (c *churn) comesToRest(ctx context.Context, kept []keptAddr) error {
	end := time.Now()
	if err := c.startKubeOVN(ctx); err != nil {
		return err
	}
	err := until(ctx, time.Minute, "rest after the churn", func(ctx context.Context) error {
		if _, err := c.leader(ctx); err != nil {
			return fmt.Errorf("kube-ovn-ccm has no leader: %w", err)
		}
		left, err := c.vipsLeft(ctx)
		if err == nil && len(left) != len(keptServices) {
			err = fmt.Errorf("there are other Vips than those of the %d Services that stay: %v", len(keptServices), left)
		}
		return err
	})
	if err != nil {
		return err
	}
	_ = until(ctx, withoutVip, "what Kube-OVN knows", func(context.Context) error {
		var forgotten []string
		for _, addr := range c.observer.Forgotten() {
			forgotten = append(forgotten, addr+" is not known to Kube-OVN's IPAM")
		}
		c.lan.mu.Lock() // the report is written now and then
		c.forgotten = forgotten
		c.lan.mu.Unlock()
		if len(forgotten) > 0 {
			return errors.New(forgotten[0]) // all of them are in the report
		}
		return nil
	})
	if err := c.allAnswer(ctx, kept); err != nil {
		return err
	}
	// What was asked on the LAN until now is judged when the watches have caught up.
	if err := c.observer.Settle(ctx); err != nil {
		return err
	}
	sleep(ctx, 2*lag+roundTime)
	c.lan.judge(time.Now())
	fmt.Fprintf(c.Progress, "at rest %.1f s after the end\n", time.Since(end).Seconds())
	return ctx.Err()
}

// vipsLeft are the Vips that are still there. Kube-OVN does nothing about those that were deleted while it was away until
// it is reminded of them.
func (c *churn) vipsLeft(ctx context.Context) ([]string, error) {
	vips := c.dyn.Resource(kubeovn.VipResource)
	all, err := vips.List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	var left []string
	for i := range all.Items {
		v := &all.Items[i]
		if !c.mine(text(v, "spec", "subnet")) {
			continue
		}
		left = append(left, v.GetName())
		if _, ours := kubeovn.OwnerOf(v); !ours && v.GetDeletionTimestamp() != nil {
			reminder := fmt.Appendf(nil, `{"metadata":{"annotations":{"churn.example.com/reminded":%q}}}`, time.Now())
			if _, err := vips.Patch(ctx, v.GetName(), types.MergePatchType, reminder, metav1.PatchOptions{}); err != nil && !apierrors.IsNotFound(err) {
				return nil, err
			}
		}
	}
	return left, nil
}

// mine reports whether a Subnet is one of the churn's.
func (c *churn) mine(subnet string) bool {
	for _, n := range networks {
		if n.subnet(c.namespace) == subnet {
			return true
		}
	}
	return false
}

// cleanUp removes all that was made and waits until it is gone.
func (c *churn) cleanUp(ctx context.Context) error {
	errs := []error{c.startKubeOVN(ctx)}
	vips := c.dyn.Resource(kubeovn.VipResource)
	left, err := c.vipsLeft(ctx)
	errs = append(errs, err)
	for _, name := range left {
		if strings.HasPrefix(name, c.namespace) {
			_ = vips.Delete(ctx, name, metav1.DeleteOptions{}) // the Subnet's end shows what is left
		}
	}
	errs = append(errs, c.kube.CoreV1().Namespaces().Delete(ctx, c.namespace, metav1.DeleteOptions{}))
	subnets := c.dyn.Resource(kubeovn.SubnetResource)
	for _, n := range networks {
		_ = subnets.Delete(ctx, n.subnet(c.namespace), metav1.DeleteOptions{})
	}
	errs = append(errs, until(ctx, time.Minute, "the end of the churn's Subnets", func(ctx context.Context) error {
		all, err := subnets.List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		for i := range all.Items {
			if name := all.Items[i].GetName(); c.mine(name) {
				vips, err := c.vipsLeft(ctx)
				return errors.Join(fmt.Errorf("%s is still there, with the Vips %v", name, vips), err)
			}
		}
		return nil
	}))
	errs = append(errs, connectHosts(c.Lab, false))
	return errors.Join(errs...)
}
