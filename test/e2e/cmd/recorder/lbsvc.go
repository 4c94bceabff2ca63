package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// longName is a name that is short enough for a Service and, with "lb-svc-"
// before it, too long for a label.
const longName = "a-service-whose-name-is-longer-than-most-others-in-the-world"

// lbSvc restarts the controller with its own LoadBalancers switched on and
// records the gateways that it makes.
func (s *scenario) lbSvc(ctx context.Context) error {
	const attached = `"ovn.kubernetes.io/attachmentprovider":"lan4.kube-system"`
	s.process.end(20 * time.Second)
	if err := s.startKubeOVN(ctx, "--enable-lb-svc=true"); err != nil {
		return err
	}
	// One worker makes the gateways, one after the other.
	if err := errors.Join(s.apply(ctx, service("plain", "", "")), s.apply(ctx, service("last", attached, ""))); err != nil {
		return err
	}
	err := until(ctx, 90*time.Second, "the gateways of Kube-OVN's own", func(ctx context.Context) error { return s.theirGateways(ctx, "guide", "last") })
	if err != nil {
		return err
	}
	if err := s.apply(ctx, service(longName, attached, "")); err != nil {
		return err
	}
	// Some versions make it, some fail at it, and some die of it.
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end) && s.theirGateways(ctx, longName) != nil; {
		pause(ctx, time.Second)
	}
	s.record.Died = s.process.ended()
	pause(ctx, 2*time.Second)
	return s.snapshot(ctx, "lbsvc", func(u *unstructured.Unstructured) bool {
		// What is wanted of the kinds that are recorded elsewhere, too.
		return u.GetKind() == "Deployment" || u.GetKind() == "Service" && u.GetName() != "kubernetes" || strings.HasPrefix(u.GetName(), "lb-svc-")
	}, "Service", "Deployment", "Pod", "IP")
}

// theirGateways complains unless Kube-OVN has made the gateways of the Services,
// and lets those run that there are.
func (s *scenario) theirGateways(ctx context.Context, services ...string) error {
	deployments, err := s.kube.AppsV1().Deployments("default").List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	made := map[string]bool{}
	for i := range deployments.Items {
		d := &deployments.Items[i]
		made[d.Spec.Template.Labels["service"]] = true
		if err := s.runPod(ctx, d); err != nil {
			return err
		}
	}
	for _, service := range services {
		if !made[service] {
			return fmt.Errorf("none for Service %s", service)
		}
	}
	return nil
}

// runPod stands in for the controllers and the kubelet that would run the Pod of
// one of Kube-OVN's gateways: Kube-OVN makes the next one only when the last one
// runs.
func (s *scenario) runPod(ctx context.Context, d *appsv1.Deployment) error {
	template := d.Spec.Template
	if !strings.HasPrefix(d.Name, "lb-svc-") || template.Labels["service"] == "" {
		return nil
	}
	labels, err1 := json.Marshal(template.Labels)
	annotations, err2 := json.Marshal(template.Annotations)
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	inner := func(object []byte) string { return strings.Trim(string(object), "{}") }
	name := d.Name[:min(len(d.Name), 40)] // a Pod's name is the name of a host
	err := s.apply(ctx, strings.TrimSuffix(pod(name, inner(labels), inner(annotations)), "}")+`,"status":{"phase":"Running"}}`)
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}
