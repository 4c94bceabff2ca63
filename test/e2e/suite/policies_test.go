package suite

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
	"github.com/kubeovn/kube-ovn-ccm/test/e2e/lab"
)

// The priority of the policies by which answers of Pods return through a
// gateway, and one that stands for somebody else's.
const (
	ourPriority     = "29500"
	foreignPriority = "29321"
)

// ovnPolicies are the policies of one priority on the router of a Vpc, as OVN
// has them.
func (c *cluster) ovnPolicies(ctx context.Context, vpc, priority string) ([]string, error) {
	cmd, err := c.Host(lab.ControlPlane).Command(ctx, "ovn-nbctl", "lr-policy-list", vpc)
	if err != nil {
		return nil, err
	}
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%v: %w", cmd.Args, err)
	}
	var found []string
	for line := range strings.Lines(string(out)) {
		if f := strings.Fields(line); len(f) > 0 && f[0] == priority {
			found = append(found, strings.Join(f, " "))
		}
	}
	return found, nil
}

// noPolicies waits until a Vpc has no policy of ours, neither in its spec nor in
// OVN.
func (c *cluster) noPolicies(t *testing.T, vpc string, within time.Duration) {
	t.Helper()
	took := eventually(t, within, "no policy of ours on "+vpc, func(ctx context.Context) error {
		left, err := c.ovnPolicies(ctx, vpc, ourPriority)
		if err == nil && len(left) > 0 {
			err = fmt.Errorf("OVN has %q", left)
		}
		if err != nil {
			return err
		}
		u, err := c.resource("Vpc", "").Get(ctx, vpc, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if left := specPolicies(u, ourPriority); len(left) > 0 {
			return fmt.Errorf("its spec has %v", left)
		}
		return nil
	})
	t.Logf("no policy of ours after %s", took.Round(10*time.Millisecond))
}

// specPolicies are the members of a Vpc's spec.policyRoutes with that priority.
func specPolicies(u *unstructured.Unstructured, priority string) (found []any) {
	list, _, _ := unstructured.NestedSlice(u.Object, "spec", "policyRoutes")
	for _, p := range list {
		if m, ok := p.(map[string]any); ok && fmt.Sprint(m["priority"]) == priority {
			found = append(found, p)
		}
	}
	return found
}

// neighbor is somebody else who writes policies into Vpc ovn-cluster.
type neighbor struct{ written []any }

// someoneElse has a policy of its own in Vpc ovn-cluster for the time of the
// test.
func (c *cluster) someoneElse(t *testing.T) *neighbor {
	t.Helper()
	n := &neighbor{}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		n.written = nil
		err := n.write(ctx)
		for err != nil && ctx.Err() == nil {
			err = n.write(ctx) // somebody was quicker
		}
		if err != nil {
			t.Error(err)
		}
		// Kube-OVN forgets deletions that follow each other quickly.
		if cmd, err := c.Host(lab.ControlPlane).Command(ctx, "ovn-nbctl", "--if-exists", "lr-policy-del", kubeovn.DefaultVPC, foreignPriority); err == nil {
			_ = cmd.Run()
		}
	})
	n.edit(t, 1)
	return n
}

// edit replaces the policies by that many others, as a careful writer does: on
// the newest state, again if somebody else was quicker.
func (n *neighbor) edit(t *testing.T, policies int) {
	t.Helper()
	n.written = nil
	for i := range policies {
		n.written = append(n.written, map[string]any{
			"priority": int64(29321), "action": "allow", "match": fmt.Sprintf("ip4.src == 10.255.0.%d && ip4.dst == 10.255.1.%d", policies, i+1),
		})
	}
	eventually(t, 20*time.Second, "somebody else's edit of the Vpc", n.write)
}

func (n *neighbor) write(ctx context.Context) error {
	vpcs := c.resource("Vpc", "")
	u, err := vpcs.Get(ctx, kubeovn.DefaultVPC, metav1.GetOptions{})
	if err != nil {
		return err
	}
	list, _, err := unstructured.NestedSlice(u.Object, "spec", "policyRoutes")
	if err != nil {
		return err
	}
	list = slices.DeleteFunc(list, func(p any) bool {
		m, ok := p.(map[string]any)
		return ok && fmt.Sprint(m["priority"]) == foreignPriority
	})
	if err := unstructured.SetNestedSlice(u.Object, append(list, n.written...), "spec", "policyRoutes"); err != nil {
		return err
	}
	_, err = vpcs.Update(ctx, u, metav1.UpdateOptions{})
	if apierrors.IsConflict(err) {
		return fmt.Errorf("somebody was quicker: %w", err)
	}
	return err
}

// untouched fails the test unless the neighbor's policies are as it wrote them,
// in the Vpc and in OVN.
func (n *neighbor) untouched(t *testing.T) {
	t.Helper()
	eventually(t, 20*time.Second, "somebody else's policies", func(ctx context.Context) error {
		u, err := c.resource("Vpc", "").Get(ctx, kubeovn.DefaultVPC, metav1.GetOptions{})
		if err != nil {
			return err
		}
		in := specPolicies(u, foreignPriority)
		if fmt.Sprint(in) != fmt.Sprint(n.written) {
			return fmt.Errorf("the Vpc has %v, written was %v", in, n.written)
		}
		ovn, err := c.ovnPolicies(ctx, kubeovn.DefaultVPC, foreignPriority)
		if err != nil {
			return err
		}
		for _, p := range n.written {
			match, _ := p.(map[string]any)["match"].(string)
			if !slices.ContainsFunc(ovn, func(line string) bool { return strings.Contains(line, match) }) {
				return fmt.Errorf("OVN lacks %q, it has %q", match, ovn)
			}
		}
		return nil
	})
}
