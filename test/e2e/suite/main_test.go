// Package suite holds the tests that run against the real cluster: real
// Kubernetes, real Kube-OVN, real packets. hack/e2e.sh brings the cluster up,
// runs them and takes it down again.
//
// The tests run one after the other: several of them stop parts of the cluster
// that the others need.
package suite

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"

	"github.com/kubeovn/kube-ovn-ccm/test/e2e/lab"
)

// cluster is the one cluster under test, with kube-ovn-ccm installed as a user
// would install it.
type cluster struct {
	*lab.Lab
	kube kubernetes.Interface
	dyn  dynamic.Interface
	// root is the root of the checkout.
	root string
}

var c *cluster

func TestMain(m *testing.M) {
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "cluster tests:", err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (int, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	name := os.Getenv("LAB_NAME")
	if name == "" {
		return 1, errors.New("LAB_NAME is not set: run hack/e2e.sh, or `bin/lab up` and LAB_NAME=lab")
	}
	l, err := lab.Open(name)
	if err != nil {
		return 1, err
	}
	root, err := filepath.Abs("../../..")
	if err != nil {
		return 1, err
	}
	c = &cluster{Lab: l, root: root}
	cfg, err := l.RESTConfig()
	if err != nil {
		return 1, err
	}
	cfg.QPS, cfg.Burst = 200, 400
	if c.kube, err = kubernetes.NewForConfig(cfg); err != nil {
		return 1, err
	}
	if c.dyn, err = dynamic.NewForConfig(cfg); err != nil {
		return 1, err
	}
	if err := c.install(ctx); err != nil {
		return 1, err
	}
	return m.Run(), nil
}

// install is what the README tells a user to do: the controller, then the
// guide's attachment and Subnet; and those of the other IP families.
func (c *cluster) install(ctx context.Context) error {
	for _, args := range [][]string{
		{"apply", "-k", filepath.Join(c.root, "manifests/base")},
		{"-n", "kube-system", "rollout", "status", "deployment/kube-ovn-ccm", "--timeout=90s"},
		{"apply", "-f", c.example("nad.yaml"), "-f", c.example("subnet.yaml")},
	} {
		if out, err := c.Kubectl(ctx, args...); err != nil {
			return fmt.Errorf("kubectl %v: %w\n%s", args, err, out)
		}
	}
	if err := c.connectNetworks(ctx); err != nil {
		return err
	}
	err := c.led(ctx)
	for ctx.Err() == nil && err != nil {
		time.Sleep(200 * time.Millisecond)
		err = c.led(ctx)
	}
	return err
}

// example is the path of one of the guide's files.
func (c *cluster) example(file string) string {
	return filepath.Join(c.root, "manifests/examples/guide", file)
}
