package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/kubeovn/kube-ovn-ccm/pkg/ipam"
	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
	"github.com/kubeovn/kube-ovn-ccm/pkg/routes"
)

// recordedKinds are what Kube-OVN and kube-ovn-ccm tell each other by.
var recordedKinds = []string{"Subnet", "Vip", "IP", "IPPool", "Vpc", "NetworkAttachmentDefinition", "Pod"}

func everything(*unstructured.Unstructured) bool { return true }

// scenario is what one version of kube-ovn-controller is asked to do.
type scenario struct {
	*cluster
	controller string
	process    *process

	cache    *kubeovn.Cache
	reserver *ipam.Reserver
	router   *routes.Writer
	record   record
}

func newScenario(c *cluster, controller string) *scenario {
	cache := kubeovn.NewCache(c.dyn)
	return &scenario{
		cluster: c, controller: controller, cache: cache,
		reserver: ipam.NewReserver(cache, c.dyn, nil),
		router:   routes.NewWriter(c.dyn, cache, routes.NewLease(c.kube.CoordinationV1()), func(kubeovn.Owner) {}, nil),
	}
}

// play does all that is recorded, in order.
func (s *scenario) play(ctx context.Context) error {
	for _, step := range []struct {
		name string
		do   func(context.Context) error
	}{
		{"the cluster", s.prepare},
		{"Kube-OVN", func(ctx context.Context) error { return s.startKubeOVN(ctx) }},
		{"Subnets", s.subnets},
		{"Pods", s.pods},
		{"a Vip that lingers", s.leave},
		{"addresses", s.addresses},
		{"routes", s.routes},
		{"objects", func(ctx context.Context) error { return s.snapshot(ctx, "objects", everything, recordedKinds...) }},
		{"an address given back", s.giveBack},
		{"an address that changes hands", s.handOver},
		{"a restart of Kube-OVN", s.restart},
		{"its own lb-svc", s.lbSvc},
	} {
		start := time.Now()
		if err := step.do(ctx); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
		fmt.Fprintf(os.Stderr, "%-32s %s\n", step.name, time.Since(start).Round(time.Millisecond))
	}
	return nil
}

// prepare makes what kube-ovn-controller expects to find.
func (s *scenario) prepare(ctx context.Context) error {
	const node = `{"apiVersion":"v1","kind":"Node","metadata":{"name":"n1","annotations":{"ovn.kubernetes.io/chassis":"11111111-1111-1111-1111-111111111111"}},
		"status":{"addresses":[{"type":"InternalIP","address":"172.18.0.6"}],"conditions":[{"type":"Ready","status":"True"}]}}`
	// On its very first start some versions wait for ever for a default VPC that they do not see become ready.
	const vpc = `{"apiVersion":"kubeovn.io/v1","kind":"Vpc","metadata":{"name":"ovn-cluster"},
		"status":{"default":true,"standby":true,"router":"ovn-cluster","defaultLogicalSwitch":"ovn-default"}}`
	// Kube-OVN takes the image of its own gateways from it.
	const image = `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"namespace":"kube-system","name":"ovn-vpc-nat-config"},"data":{"image":"vpc-nat-gateway"}}`
	// Where its lb-svc attaches a Service that names no attachment, if it does.
	other := nad("kube-system", "lb-svc-attachment", lan4)
	for _, text := range []string{node, vpc, image, other} {
		if err := s.apply(ctx, text); err != nil {
			return err
		}
	}
	s.cache.Start(ctx)
	go s.router.Run(ctx)
	return until(ctx, 20*time.Second, "the caches", func(context.Context) error {
		if !s.cache.Synced() {
			return fmt.Errorf("missing: %q", s.cache.Missing())
		}
		return nil
	})
}

// startKubeOVN starts the controller and waits until it has booked the node.
func (s *scenario) startKubeOVN(ctx context.Context, flags ...string) (err error) {
	s.process, err = s.child(ctx, "kube-ovn-controller",
		[]string{"KUBECONFIG=" + s.path("kubeconfig"), "POD_NAME=kube-ovn-controller", "POD_NAMESPACE=kube-system", "KUBE_NAMESPACE=kube-system", "KUBE_NODE_NAME=n1", "POD_IP=127.0.0.1", "POD_IPS=127.0.0.1"},
		s.controller, append(flags, "--kubeconfig="+s.path("kubeconfig"), "--ovn-nb-addr=tcp:127.0.0.1:6641", "--ovn-sb-addr=tcp:127.0.0.1:6642",
			"--default-cidr=10.16.0.0/16,fd00:10:16::/112", "--node-switch-cidr=100.64.0.0/16,fd00:100:64::/112", "--service-cluster-ip-range=10.96.0.0/16",
			"--default-gateway-check=false", "--enable-metrics=false", "--logtostderr=true", "--alsologtostderr=false", "--log_file="+filepath.Join(s.dir, "klog.log"))...)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func(p *process) {
		select {
		case <-ctx.Done():
		case <-p.done:
			cancel()
		}
	}(s.process)
	return until(ctx, 90*time.Second, "the node's address", func(ctx context.Context) error {
		node, err := s.kube.CoreV1().Nodes().Get(ctx, "n1", metav1.GetOptions{})
		if err == nil && node.Annotations["ovn.kubernetes.io/allocated"] != "true" {
			err = fmt.Errorf("there is none; see %s", s.path("kube-ovn-controller.log"))
		}
		return err
	})
}

// restart stops the controller, starts it again and records what it then says.
func (s *scenario) restart(ctx context.Context) error {
	s.process.end(20 * time.Second)
	since := metav1.Now()
	if err := s.startKubeOVN(ctx); err != nil {
		return err
	}
	// It looks for garbage when all of its workers run; a Vip that is granted shows that they do.
	err := until(ctx, 90*time.Second, "Kube-OVN at work since "+since.String(), func(ctx context.Context) error {
		return s.grant(ctx, wish{name: "after-restart", subnet: "lan4"})
	})
	if err != nil {
		return err
	}
	err = until(ctx, 60*time.Second, "the end of Kube-OVN's own orphan", func(ctx context.Context) error {
		_, err := s.kube.AppsV1().Deployments("default").Get(ctx, "lb-svc-theirs", metav1.GetOptions{})
		if err == nil {
			return errors.New("it is still there")
		}
		return nil
	})
	if err != nil {
		return err
	}
	pause(ctx, 2*time.Second) // for what it might do to ours
	if err := s.look(ctx); err != nil {
		return err
	}
	return s.snapshot(ctx, "restarted", everything, recordedKinds...)
}

// routes has the answers of one Pod routed through a gateway, and no more.
func (s *scenario) routes(ctx context.Context) error {
	request := aRoute()
	err := until(ctx, 30*time.Second, "the policy route in OVN", func(ctx context.Context) error {
		if a := s.router.Want(request); len(a.Routed) != 1 {
			return fmt.Errorf("kube-ovn-ccm says %+v", a)
		}
		return s.inOVN(ctx, true)
	})
	if err != nil {
		return err
	}
	s.record.Routes = append(s.record.Routes, "written to Vpc ovn-cluster, and in OVN")
	return nil
}

// giveBack takes the route back, and an address, which another Service gets.
func (s *scenario) giveBack(ctx context.Context) error {
	err := until(ctx, 30*time.Second, "the end of the policy route in OVN", func(ctx context.Context) error {
		gone, err := s.router.Release(ctx, aRoute().Owner)
		if err == nil && !gone {
			err = errors.New("not yet")
		}
		return errors.Join(err, s.inOVN(ctx, false))
	})
	if err != nil {
		return err
	}
	s.record.Routes = append(s.record.Routes, "taken back, and gone from OVN")

	err = until(ctx, 30*time.Second, "the release of static4", func(ctx context.Context) error {
		gone, err := s.reserver.Release(ctx, ownerOf("static4"))
		if err == nil && !gone {
			err = errors.New("not yet")
		}
		return err
	})
	if err != nil {
		return err
	}
	return until(ctx, 30*time.Second, "the address for another Service", func(ctx context.Context) error {
		return s.grant(ctx, wish{name: "again4", subnet: "lan4", addresses: "172.18.0.18"})
	})
}

// apply creates an object and its status.
func (s *scenario) apply(ctx context.Context, text string) error {
	u := &unstructured.Unstructured{}
	if err := u.UnmarshalJSON([]byte(text)); err != nil {
		return err
	}
	resource, err := s.resource(u.GetKind(), u.GetNamespace())
	if err != nil {
		return err
	}
	made, err := resource.Create(ctx, u, metav1.CreateOptions{})
	if err != nil {
		return fmt.Errorf("creating %s %s: %w", u.GetKind(), u.GetName(), err)
	}
	if status, ok := u.Object["status"]; ok {
		made.Object["status"] = status
		_, err = resource.UpdateStatus(ctx, made, metav1.UpdateOptions{})
	}
	return err
}
