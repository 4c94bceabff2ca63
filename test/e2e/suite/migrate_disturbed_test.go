package suite

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// mostKilledGap is for how long a Service may be away if the program is killed
// while nobody has the address: until it is run again and has looked around.
const mostKilledGap = 5 * time.Second

// TestAMoveThatIsDisturbedKeepsTheAddress moves a Service there and back while
// the program, or what it works with, is killed.
//
// Every run of the program is killed after the first write that no run before it
// has made, and the next one begins at once: so it is killed after each of its
// writes, in both directions, in the time of one move each. What was written
// stands in the cluster, so every run is the one that goes on after that kill.
func TestAMoveThatIsDisturbedKeepsTheAddress(t *testing.T) {
	c.quiet(t)
	ns := c.namespace(t)
	c.backends(t, ns, 2)
	defer c.lbSvc(t, false)
	m := c.onKubeOVN(t, ns, "disturbed")[0]
	excluded := c.excluded(t)
	proxy := newKillProxy(t)
	there := []string{"migrate", "--apply", "-n", ns}
	back := append([]string{"--rollback"}, there[1:]...)
	back = append([]string{"migrate"}, back...)
	for _, tc := range []struct {
		name string
		move func(t *testing.T, proxy *killProxy, ns string, m moved, args []string)
		args []string
		ends func(ctx context.Context, ns string, m moved) error
		most time.Duration
	}{
		{"there, killed after every write", c.moveKilled, there, c.onOurs, mostKilledGap},
		{"back, killed after every write", c.moveKilled, back, c.onTheirs, mostKilledGap},
		{"there, while both controllers are killed", c.moveBereft, there, c.onOurs, mostGap},
		{"back, while both controllers are killed", c.moveBereft, back, c.onTheirs, mostGap},
	} {
		ok := t.Run(tc.name, func(t *testing.T) {
			measured := c.measure(t, m.attempt)
			tc.move(t, proxy, ns, m, tc.args)
			eventually(t, 10*time.Second, "the end", func(ctx context.Context) error { return tc.ends(ctx, ns, m) })
			c.oneAnswersFor(t, m.ip)
			longest, lost, tries := measured.stop(t)
			t.Logf("%s away for %s (%d of %d attempts)", m.ip, longest.Round(time.Millisecond), lost, tries)
			if longest >= tc.most {
				t.Errorf("away for %s", longest)
			}
			if got := c.excluded(t); !slices.Equal(got, excluded) {
				t.Errorf("the Subnet excludes %v, before %v", got, excluded)
			}
		})
		if !ok {
			return // the rest would begin where this one has not come to
		}
	}
}

// moveKilled moves by runs that are killed until one comes to its end. A command
// in a Pod is run again by every run that has not learnt of its end, and counts as
// new only once.
func (c *cluster) moveKilled(t *testing.T, proxy *killProxy, ns string, m moved, args []string) {
	t.Helper()
	ran := map[string]bool{}
	isNew := func(write string) bool {
		again := ran[write]
		ran[write] = strings.HasPrefix(write, runs)
		return !again
	}
	for n := 0; ; n++ {
		run := proxy.run(t, isNew, args...)
		if !run.endsWithin(2 * time.Minute) {
			t.Fatalf("run %d does not end:\n%s", n+1, &run.log)
		}
		writes, killed := run.written()
		if !killed {
			if !run.cmd.ProcessState.Success() || len(writes) > 0 {
				t.Fatalf("after %d kills: %s, writes %q\n%s", n, run.cmd.ProcessState, writes, &run.log)
			}
			t.Logf("%d runs were killed", n)
			return
		}
		if n == 40 {
			t.Fatal("forty writes and no end")
		}
		t.Logf("killed after %s", writes[len(writes)-1])
		c.keeps(t, ns, m)
	}
}

// keeps fails the test if a Service does not show its address, or somebody else
// holds it.
func (c *cluster) keeps(t *testing.T, ns string, m moved) {
	t.Helper()
	svc := must(c.kube.CoreV1().Services(ns).Get(t.Context(), m.name, metav1.GetOptions{}))(t)
	if got := published(svc); got != m.ip {
		t.Errorf("it shows %q, want %s", got, m.ip)
	}
	for _, vip := range must(c.holders(t.Context(), m.ip))(t) {
		if vip != "lb-"+string(svc.UID) {
			t.Errorf("%s is held by Vip %s", m.ip, vip)
		}
	}
}

// moveBereft moves while the leader of kube-ovn-ccm is killed, which costs
// the 15 s of its Lease, and kube-ovn-controller as well: at the moment in which
// the address is fenced and not yet let go, so that its end, or the Vip's, happens
// while nobody looks.
func (c *cluster) moveBereft(t *testing.T, proxy *killProxy, ns string, _ moved, args []string) {
	t.Helper()
	var killed error
	fenced := false
	run := proxy.run(t, func(write string) bool {
		if !fenced && strings.HasPrefix(write, "PATCH /apis/kubeovn.io/v1/subnets/") {
			fenced = true
			killed = c.Kill(t.Context(), "kube-ovn-controller") // before the program learns of its write
		}
		return false
	}, args...)
	t.Cleanup(func() { c.startKubeOVN(t) })
	eventually(t, time.Minute, "the end of who had the address", func(context.Context) error {
		writes, _ := run.written()
		if !slices.ContainsFunc(writes, func(write string) bool {
			return strings.HasPrefix(write, "DELETE /apis/kubeovn.io/v1/vips/") || strings.HasPrefix(write, "DELETE /api/v1/namespaces/"+ns+"/pods/")
		}) {
			return fmt.Errorf("so far %q", writes)
		}
		return nil
	})
	if err := errors.Join(killed, c.endLeader(t.Context())); err != nil {
		t.Error(err)
	}
	c.startKubeOVN(t)
	if run.ended() {
		t.Error("the move was over before both controllers were killed")
	}
	if !run.endsWithin(3*time.Minute) || !run.cmd.ProcessState.Success() {
		t.Fatalf("it did not come to its end:\n%s", &run.log)
	}
	t.Logf("\n%s", &run.log)
}

var answersARP = regexp.MustCompile(`reply from \S+ \[([0-9A-F:]+)\]`)

// oneAnswersFor fails the test unless one host on the LAN, and only one, answers
// for an address.
func (c *cluster) oneAnswersFor(t *testing.T, ip string) {
	t.Helper()
	cmd := must(c.Host(onLink).Command(t.Context(), "arping", "-c", "3", "-w", "3", "-b", "-I", "eth0", ip))(t)
	out, err := cmd.CombinedOutput()
	var macs []string
	for _, reply := range answersARP.FindAllStringSubmatch(string(out), -1) {
		if !slices.Contains(macs, reply[1]) {
			macs = append(macs, reply[1])
		}
	}
	if err != nil || len(macs) != 1 {
		t.Errorf("%d hosts answer for %s: %v\n%s", len(macs), ip, err, out)
	}
}
