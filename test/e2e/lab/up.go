package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/kubeovn/kube-ovn-ccm/test/e2e/assets"
	"github.com/kubeovn/kube-ovn-ccm/test/e2e/lab/unit"
)

// Options say what lab to make.
type Options struct {
	// Name of the lab: 1 to 12 lower-case letters and digits.
	Name string
	// Nodes is how many nodes it gets, 1 to MaxNodes.
	Nodes int
	// Assets are the programs and images it runs with.
	Assets assets.Set
	// Program is the executable of cmd/lab; the machines run a copy of it as their init.
	Program string
	// Progress receives a line per step. Nil is silent.
	Progress io.Writer
}

// How long a lab may take to come up; it takes about 15 s on two cores.
const upTimeout = 3 * time.Minute

// Up makes a lab and returns when its nodes are Ready and Pods can be made. What a dead lab of the same name has left is
// removed first. When it fails, or the context ends, everything is removed again but the logs; the error says where they are.
func Up(ctx context.Context, o Options) (*Lab, error) {
	l, err := byName(o.Name)
	if err != nil {
		return nil, err
	}
	if o.Nodes < 1 || o.Nodes > MaxNodes {
		return nil, fmt.Errorf("%d nodes: want 1 to %d", o.Nodes, MaxNodes)
	}
	unlock, err := l.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err := Available(o.Name); err != nil {
		return nil, err
	}
	l.state = state{Nodes: o.Nodes, Assets: o.Assets}
	ctx, cancel := context.WithTimeoutCause(ctx, upTimeout, fmt.Errorf("not up after %s", upTimeout))
	defer cancel()
	p := &progress{out: o.Progress, start: time.Now()}
	if err := l.up(ctx, o.Program, p); err != nil {
		return nil, l.giveUp(ctx, err)
	}
	return l, nil
}

// Available returns an error when a lab of that name is up. One that was never finished, or whose machines have all
// ended, does not count: Up removes it.
func Available(name string) error {
	l, err := Open(name)
	if errors.Is(err, ErrNotUp) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, n := range append(l.Nodes(), ControlPlane) {
		if _, on := l.initPID(n); on {
			return fmt.Errorf("lab %q is up already; `lab down --name %s` removes it", name, name)
		}
	}
	return nil
}

// giveUp removes what there is of a lab that could not be made.
func (l *Lab) giveUp(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil && !errors.Is(err, cause) {
		err = fmt.Errorf("%w (%w)", cause, err)
	}
	err = fmt.Errorf("lab %q did not come up: %w", l.name, err)
	if logs, kept := l.keepLogs(); kept == nil {
		err = fmt.Errorf("%w\nthe logs are in %s", err, logs)
	}
	clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
	defer cancel()
	return errors.Join(err, l.remove(clean))
}

func (l *Lab) up(ctx context.Context, program string, p *progress) error {
	if existed, err := l.exists(); err != nil {
		return err
	} else if existed {
		p.say("removing what an earlier lab %q has left", l.name)
		if err := l.remove(ctx); err != nil {
			return err
		}
	}
	_ = os.RemoveAll(failedLogs(l.name))
	if err := l.prepare(ctx, program); err != nil {
		return err
	}
	p.say("credentials and configuration are in %s", l.Dir())
	if err := l.plugSwitch(); err != nil {
		return err
	}
	for _, h := range topology(l.state.Nodes) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := l.boot(ctx, h); err != nil {
			return err
		}
	}
	p.say("network is there; control plane and %d nodes are booting", l.state.Nodes)
	if err := l.awaitCluster(ctx, p); err != nil {
		return err
	}
	l.state.Up = time.Now()
	return l.writeState()
}

// prepare writes everything that does not need the network.
func (l *Lab) prepare(ctx context.Context, program string) error {
	if err := os.MkdirAll(l.LogDir(), 0o755); err != nil {
		return err
	}
	if err := l.writeState(); err != nil {
		return err
	}
	if err := l.setMachine(ctx); err != nil {
		return err
	}
	if err := copyFile(program, l.path("lab")); err != nil {
		return fmt.Errorf("keep a copy of this program: %w", err)
	}
	if err := writeOVSWrappers(l.path("ovs"), l.state.Assets.Trixie); err != nil {
		return fmt.Errorf("find Open vSwitch and OVN: %w", err)
	}
	return l.writeCredentials()
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// awaitCluster waits until the cluster can be used.
func (l *Lab) awaitCluster(ctx context.Context, p *progress) error {
	config, err := l.RESTConfig()
	if err != nil {
		return err
	}
	config.QPS = -1
	kube, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	steps := []struct {
		done string
		ask  func(context.Context) error
	}{
		{"API server answers", func(ctx context.Context) error {
			return kube.Discovery().RESTClient().Get().AbsPath("/readyz").Do(ctx).Error()
		}},
		{"nodes are registered", func(ctx context.Context) error { return eachNode(ctx, kube, l.state.Nodes, nil) }},
		{"Kube-OVN has connected the nodes", func(ctx context.Context) error { return eachNode(ctx, kube, l.state.Nodes, connected) }},
		{"nodes are Ready", func(ctx context.Context) error { return eachNode(ctx, kube, l.state.Nodes, ready) }},
		{"Pods can be made", func(ctx context.Context) error {
			_, err := kube.CoreV1().ServiceAccounts("default").Get(ctx, "default", metav1.GetOptions{})
			return err
		}},
		{"images are on the nodes", l.imagesImported},
	}
	for _, s := range steps {
		for {
			err := s.ask(ctx)
			if err == nil {
				break
			}
			if _, on := l.initPID(ControlPlane); !on {
				return errors.New("the control plane's init has ended; see " + filepath.Join(l.LogDir(), ControlPlane, "init.log"))
			}
			select {
			case <-ctx.Done():
				return fmt.Errorf("waiting until %s: %w%s", s.done, err, l.troubles(ctx))
			case <-time.After(100 * time.Millisecond):
			}
		}
		p.say("%s", s.done)
	}
	return nil
}

// troubles says which programs keep ending: they are why a cluster does not come up.
func (l *Lab) troubles(ctx context.Context) string {
	var b strings.Builder
	for _, h := range l.Status(context.WithoutCancel(ctx)) {
		for _, u := range h.Units {
			if u.State == unit.Failed || u.Restarts > 3 {
				fmt.Fprintf(&b, "\n%s on %s has ended %d times, last: %s", u.Name, h.Name, u.Restarts, u.Detail)
			}
		}
	}
	return b.String()
}

// imagesImported returns nil when every node has all images.
func (l *Lab) imagesImported(ctx context.Context) error {
	for _, n := range l.Nodes() {
		units, err := unit.Ask(ctx, l.control(n), unit.Request{Op: "status"})
		if err != nil {
			return err
		}
		for _, u := range units {
			if u.Name == imagesUnit && u.State != unit.Done {
				return fmt.Errorf("node %s: images are %s %s", n, u.State, u.Detail)
			}
		}
	}
	return nil
}

// eachNode returns nil when there are n nodes and ok (if given) says nothing against any of them.
func eachNode(ctx context.Context, kube kubernetes.Interface, n int, ok func(*corev1.Node) error) error {
	nodes, err := kube.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	if len(nodes.Items) < n {
		return apierrors.NewNotFound(corev1.Resource("nodes"), nodeName(len(nodes.Items)+1))
	}
	for i := range nodes.Items {
		if ok != nil {
			if err := ok(&nodes.Items[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

// connected asks for the annotation by which kube-ovn-controller says that the node has its port on the join network.
func connected(n *corev1.Node) error {
	if n.Annotations["ovn.kubernetes.io/allocated"] != "true" {
		return fmt.Errorf("node %s has no address from Kube-OVN yet", n.Name)
	}
	return nil
}

func ready(n *corev1.Node) error {
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue {
			return nil
		}
	}
	return fmt.Errorf("node %s is not Ready", n.Name)
}

// progress prints lines with the time since the start.
type progress struct {
	out   io.Writer
	start time.Time
}

func (p *progress) say(format string, args ...any) {
	if p.out != nil {
		fmt.Fprintf(p.out, "[%5.1fs] %s\n", time.Since(p.start).Seconds(), strings.TrimSpace(fmt.Sprintf(format, args...)))
	}
}
