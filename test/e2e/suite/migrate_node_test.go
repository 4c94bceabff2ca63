package suite

import (
	"context"
	"strings"
	"testing"
	"time"
)

// TestAMoveOutlivesTheNodeOfTheOldGateway cuts a node's power when Kube-OVN's
// gateway Pod there has no owners any more, and nobody would make another one: our
// gateway sees that nobody answers for the address, and the move goes on.
func TestAMoveOutlivesTheNodeOfTheOldGateway(t *testing.T) {
	c.quiet(t)
	ns := c.namespace(t)
	c.backends(t, ns, 2)
	defer c.lbSvc(t, false)
	m := c.onKubeOVN(t, ns, "on-lost-node")[0]
	node := c.kubeOVNGateway(t, ns, m.name).Spec.NodeName
	proxy := newKillProxy(t)
	var cut error
	run := proxy.run(t, func(write string) bool {
		if strings.HasPrefix(write, "DELETE /apis/apps/v1/namespaces/"+ns+"/replicasets/") {
			cut = c.PowerOff(t.Context(), node)
		}
		return false
	}, "migrate", "--apply", "-n", ns)
	on := func() { c.powerOn(t, node) }
	defer func() { on() }()
	start := time.Now()
	if !run.endsWithin(3*time.Minute) || !run.cmd.ProcessState.Success() || cut != nil {
		t.Fatalf("it did not come to its end, power: %v:\n%s", cut, &run.log)
	}
	t.Logf("at its end after %s:\n%s", time.Since(start).Round(time.Second), &run.log)
	eventually(t, 30*time.Second, "the end", func(ctx context.Context) error { return c.onOurs(ctx, ns, m) })
	on()
	on = func() {}
	c.oneAnswersFor(t, m.ip)
	took := eventually(t, 2*time.Minute, "an answer", func(ctx context.Context) error { return c.onOurs(ctx, ns, m) })
	t.Logf("served %s after the node was back", took.Round(time.Second))
}
