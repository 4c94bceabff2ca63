package suite

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/kubeovn/kube-ovn-ccm/pkg/ipam"
	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
	"github.com/kubeovn/kube-ovn-ccm/test/e2e/assets"
)

const (
	// nextVersion is what the same sources are built as for the test of upgrades.
	nextVersion = "v0.1.999"
	// mostRollGap is for how long a Service may be away while its gateway becomes
	// another one.
	mostRollGap = 20 * time.Second
)

// TestAnUpgradeUnderTraffic goes the way of docs/upgrade.md: to the next
// version with the gateways left as they are, back, and to the next version
// with its gateways.
func TestAnUpgradeUnderTraffic(t *testing.T) {
	version := strings.TrimSpace(string(must(os.ReadFile(filepath.Join(c.root, "VERSION")))(t)))
	pinned := "gateway: {image: " + gatewayImage + version + "}\n"
	c.loadVersion(t, nextVersion)
	ns := c.namespace(t)
	c.backends(t, ns, 2)
	// One with each of the two targets.
	c.create(t, lbService(ns, "plain"))
	c.create(t, lbService(ns, "udp", port("http", corev1.ProtocolTCP, 80, "http"), port("udp", corev1.ProtocolUDP, 81, "udp")))
	var served []*witness
	for _, name := range []string{"plain", "udp"} {
		ip := c.externalIP(t, ns, name, 30*time.Second)
		c.answers(t, 5*time.Second, onLink, ip+":80")
		c.answers(t, 5*time.Second, behindRouter, ip+":80")
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		defer cancel()
		if err := c.install(ctx); err != nil {
			t.Error(err)
		}
		if err := c.rolledOut(ctx); err != nil {
			t.Error(err)
		}
	})
	// The pin alone changes nothing: it names what runs already.
	c.roll(t, version, pinned)
	for _, name := range []string{"plain", "udp"} {
		served = append(served, c.witness(t, ns, name))
	}

	for _, to := range []struct{ name, version string }{
		{"to the next version", nextVersion},
		{"back", version},
	} {
		t.Run(to.name+" nothing is lost and nothing is touched", func(t *testing.T) {
			for _, w := range served {
				w.begin(t)
			}
			c.roll(t, to.version, pinned)
			c.create(t, lbService(ns, "made-by-"+strings.ReplaceAll(to.version, ".", "-")))
			c.externalIP(t, ns, "made-by-"+strings.ReplaceAll(to.version, ".", "-"), time.Minute)
			for _, w := range served {
				w.sawNothing(t)
			}
		})
	}
	t.Run("without the pin the gateways follow, with their addresses", func(t *testing.T) {
		var measured []*gaps
		for _, w := range served {
			measured = append(measured, c.measure(t, c.tcp(w.ip+":80")))
		}
		c.roll(t, nextVersion, "")
		for _, w := range served {
			eventually(t, time.Minute, "the next version's gateway", func(ctx context.Context) error { return w.runs(ctx, nextVersion) })
			c.answers(t, 20*time.Second, onLink, w.ip+":80")
		}
		for i, w := range served {
			longest, lost, tries := measured[i].stop(t)
			t.Logf("%s: away for %s (%d of %d attempts)", w.name, longest.Round(time.Millisecond), lost, tries)
			if longest > mostRollGap {
				t.Errorf("%s: away for %s", w.name, longest)
			}
			w.sameReservation(t)
		}
	})
	c.noWarnings(t, ns)
}

// witness watches one Service.
type witness struct {
	ns, name, ip string
	pod          *corev1.Pod
	vip          *unstructured.Unstructured
	version      string // resourceVersion of the Service
	loads        []*load
}

// witness begins with what there is, once that stands still.
func (c *cluster) witness(t *testing.T, ns, name string) *witness {
	t.Helper()
	w := &witness{ns: ns, name: name, ip: c.externalIP(t, ns, name, 30*time.Second), pod: c.gatewayPod(t, ns, name)}
	c.answers(t, 20*time.Second, onLink, w.ip+":80")
	svc := must(c.kube.CoreV1().Services(ns).Get(t.Context(), name, metav1.GetOptions{}))(t)
	w.vip = must(c.dyn.Resource(kubeovn.VipResource).Get(t.Context(), ipam.VipName(svc.UID), metav1.GetOptions{}))(t)
	return w
}

// begin lets clients connect, and notes the Service as it is.
func (w *witness) begin(t *testing.T) {
	t.Helper()
	svc := must(c.kube.CoreV1().Services(w.ns).Get(t.Context(), w.name, metav1.GetOptions{}))(t)
	w.version = svc.ResourceVersion
	// Together what OVS's userspace datapath has to spare beside two rollouts.
	w.loads = []*load{c.connect(t, onLink, w.ip+":80", 60), c.connect(t, behindRouter, w.ip+":80", 30)}
}

// sawNothing fails the test for every connection that failed since begin, for
// every change of the address in the status, and for a new Pod or Vip.
func (w *witness) sawNothing(t *testing.T) {
	t.Helper()
	for _, l := range w.loads {
		l.withoutFailure(t)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	since := must(c.kube.CoreV1().Services(w.ns).Watch(ctx, metav1.ListOptions{
		FieldSelector: "metadata.name=" + w.name, ResourceVersion: w.version,
	}))(t)
	for e := range since.ResultChan() {
		if svc, ok := e.Object.(*corev1.Service); ok && (e.Type == watch.Deleted || published(svc) != w.ip) {
			t.Errorf("%s: meanwhile %s, with the status %+v", w.name, e.Type, svc.Status)
		}
	}
	if pod := c.gatewayPod(t, w.ns, w.name); pod.UID != w.pod.UID || pod.Status.ContainerStatuses[0].RestartCount != 0 {
		t.Errorf("%s: the gateway was %s and is %s, restarted %d times", w.name, w.pod.Name, pod.Name, pod.Status.ContainerStatuses[0].RestartCount)
	}
	w.sameReservation(t)
}

// sameReservation fails the test if the Vip was touched.
func (w *witness) sameReservation(t *testing.T) {
	t.Helper()
	vip := must(c.dyn.Resource(kubeovn.VipResource).Get(t.Context(), w.vip.GetName(), metav1.GetOptions{}))(t)
	if vip.GetUID() != w.vip.GetUID() || vip.GetResourceVersion() != w.vip.GetResourceVersion() {
		t.Errorf("%s: the Vip was touched:\n%v\n%v", w.name, w.vip, vip)
	}
	c.sameAddress(t, w.ns, w.name, w.ip)
}

// runs complains unless the gateway is of a version.
func (w *witness) runs(ctx context.Context, version string) error {
	l, err := c.kube.CoreV1().Pods(w.ns).List(ctx, metav1.ListOptions{LabelSelector: kubeovn.LabelServiceName + "=" + w.name})
	if err != nil {
		return err
	}
	for i := range l.Items {
		if image := l.Items[i].Spec.Containers[0].Image; image != gatewayImage+version {
			return fmt.Errorf("Pod %s runs %s", l.Items[i].Name, image)
		}
	}
	if len(l.Items) == 0 {
		return errors.New("there is no Pod")
	}
	return nil
}

// loadVersion builds the images of another version and puts them on the nodes.
func (c *cluster) loadVersion(t *testing.T, version string) {
	t.Helper()
	images := must(assets.Release(t.Context(), assets.Options{RepoRoot: c.root, Version: version}, t.TempDir()))(t)
	for _, image := range images {
		if err := c.Load(t.Context(), image.Tar); err != nil {
			t.Fatal(err)
		}
	}
}

// roll installs a version with a cloud-config, as a user would: by an overlay.
// It returns when the old Pods are gone and the lead is taken.
func (c *cluster) roll(t *testing.T, version, config string) {
	t.Helper()
	dir := t.TempDir()
	base := must(filepath.Rel(dir, filepath.Join(c.root, "manifests/base")))(t)
	for name, text := range map[string]string{
		"cloud-config.yaml": config,
		"kustomization.yaml": "resources: [" + base + "]\nimages: [{name: docker.io/kubeovn/kube-ovn-ccm, newTag: " + version + "}]\n" +
			"configMapGenerator: [{name: kube-ovn-ccm-config, namespace: kube-system, behavior: merge, files: [cloud-config.yaml]}]\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	start := time.Now()
	if out, err := c.Kubectl(t.Context(), "apply", "-k", dir); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if err := c.rolledOut(t.Context()); err != nil {
		t.Fatal(err)
	}
	leader := must(c.leader(t.Context()))(t)
	if image := leader.Spec.Containers[0].Image; !strings.HasSuffix(image, ":"+version) {
		t.Fatalf("the leader runs %s", image)
	}
	t.Logf("kube-ovn-ccm %s leads after %s", version, time.Since(start).Round(100*time.Millisecond))
}

// rolledOut waits until only Pods of the newest kube-ovn-ccm are there, and one
// of them leads.
func (c *cluster) rolledOut(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 90*time.Second)
	defer cancel()
	if out, err := c.Kubectl(ctx, "-n", "kube-system", "rollout", "status", "deployment/kube-ovn-ccm", "--timeout=80s"); err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	for {
		pods, err := c.kube.CoreV1().Pods("kube-system").List(ctx, metav1.ListOptions{LabelSelector: "app.kubernetes.io/name=kube-ovn-ccm"})
		if err == nil && len(pods.Items) != 2 {
			err = fmt.Errorf("%d Pods of kube-ovn-ccm", len(pods.Items))
		}
		if err == nil {
			err = c.led(ctx)
		}
		if err == nil || ctx.Err() != nil {
			return err
		}
		time.Sleep(200 * time.Millisecond)
	}
}
