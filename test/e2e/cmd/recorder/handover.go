package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
)

// handOver lets the only address of a Subnet go from a Pod to a Vip behind a
// fence, as "kube-ovn-ccm migrate" does, while another Pod waits for any address
// of that Subnet. What comes of it is in the objects.
func (s *scenario) handOver(ctx context.Context) error {
	const address = "172.24.0.2"
	pods, ips := s.kube.CoreV1().Pods("default"), s.dyn.Resource(kubeovn.IPResource)
	if err := s.apply(ctx, pod("first", "", networks("kube-system/narrow"))); err != nil {
		return err
	}
	err := until(ctx, 30*time.Second, "the address of the first Pod", func(ctx context.Context) error {
		first, err := pods.Get(ctx, "first", metav1.GetOptions{})
		if got := first.GetAnnotations()[kubeovn.AnnotationKey("narrow.kube-system", kubeovn.FieldIPAddress)]; err == nil && got != address {
			err = fmt.Errorf("it has %q", got)
		}
		return err
	})
	if err != nil {
		return err
	}
	err = errors.Join(s.exclude(ctx, func(list []string) []string { return append(list, address) }), s.apply(ctx, pod("greedy", "", networks("kube-system/narrow"))))
	if err != nil {
		return err
	}
	pause(ctx, 3*time.Second) // for the greedy one
	now := int64(0)
	if err := pods.Delete(ctx, "first", metav1.DeleteOptions{GracePeriodSeconds: &now}); err != nil {
		return err
	}
	err = until(ctx, 30*time.Second, "the end of the first Pod's IP", func(ctx context.Context) error {
		_, err := ips.Get(ctx, "first.default.narrow.kube-system", metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		return errors.Join(err, errors.New("it is still there"))
	})
	if err != nil {
		return err
	}
	pause(ctx, 3*time.Second) // for the greedy one, once more
	if err := s.apply(ctx, vip("handed-over", "narrow", `"v4ip":"`+address+`"`, ``)); err != nil {
		return err
	}
	pause(ctx, 3*time.Second)
	return s.exclude(ctx, func(list []string) []string {
		return slices.DeleteFunc(list, func(entry string) bool { return entry == address })
	})
}

// exclude changes which addresses of the Subnet narrow are for nobody who asks
// for any.
func (s *scenario) exclude(ctx context.Context, change func([]string) []string) error {
	subnets := s.dyn.Resource(kubeovn.SubnetResource)
	return until(ctx, 10*time.Second, "excludeIps", func(ctx context.Context) error {
		u, err := subnets.Get(ctx, "narrow", metav1.GetOptions{})
		if err != nil {
			return err
		}
		list, _, err := unstructured.NestedStringSlice(u.Object, "spec", "excludeIps")
		if err != nil {
			return err
		}
		if err := unstructured.SetNestedStringSlice(u.Object, change(list), "spec", "excludeIps"); err != nil {
			return err
		}
		_, err = subnets.Update(ctx, u, metav1.UpdateOptions{})
		return err
	})
}
