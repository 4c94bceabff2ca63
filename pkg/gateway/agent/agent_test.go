package agent

import (
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kubeovn/kube-ovn-ccm/pkg/gateway/desired"
	"github.com/kubeovn/kube-ovn-ccm/pkg/gateway/spec"
)

func TestReady(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	document := []byte("the document")
	hash := spec.Hash(document)
	serving := Status{Serving: true, Applied: hash, Time: now.Add(-5 * time.Second)}
	for sentence, tc := range map[string]struct {
		status    Status
		announced string
		want      string // empty: ready
	}{
		"the document is served":                        {serving, "", ""},
		"the document that the Pod announces is served": {serving, hash + "\n", ""},
		"a newer document is under way to the Pod": {serving, "0123456789abcdef",
			"document 0123456789abcdef has not reached this Pod yet, the kernel has " + hash},
		"the document on disk is newer than the kernel": {Status{Serving: true, Applied: "0123456789abcdef", Time: now}, "",
			"document " + hash + " is not applied yet, the kernel has 0123456789abcdef"},
		"something is in the way": {Status{Applied: hash, Reason: "the cat is on the switch", Time: now}, "",
			"the cat is on the switch"},
		"the agent hangs": {Status{Serving: true, Applied: hash, Time: now.Add(-40 * time.Second)}, "",
			"the agent has not looked at the kernel for 40s"},
	} {
		t.Run(sentence, func(t *testing.T) {
			got := ""
			if err := Ready(tc.status, document, tc.announced, now); err != nil {
				got = err.Error()
			}
			if got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

func TestStatusIsWrittenWhole(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "lb-gateway")
	if _, err := ReadStatus(dir); err == nil || err.Error() != "the agent has not looked at the kernel yet" {
		t.Errorf("without a status: %v", err)
	}
	for _, want := range []Status{
		{Reason: "a long reason that is longer than the next one", Time: time.Unix(1, 0).UTC()},
		{Serving: true, Applied: "0123456789abcdef", Time: time.Unix(2, 0).UTC()},
	} {
		if err := want.write(dir); err != nil {
			t.Fatal(err)
		}
		got, err := ReadStatus(dir)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("in the directory there is %v, %v; want the status only", left, err)
	}
	if err := os.WriteFile(filepath.Join(dir, StatusFile), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadStatus(dir); err == nil {
		t.Error("half a status was read")
	}
}

func TestAnnouncementsAreABurstAndThenRare(t *testing.T) {
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	var n announcer
	var at []time.Duration
	for passed := time.Duration(0); passed < 150*time.Second; passed += 10 * time.Millisecond {
		if n.due(start.Add(passed)) {
			at = append(at, passed)
		}
		if passed == 130*time.Second {
			n.restart() // the address was taken again
		}
	}
	ms := time.Millisecond
	want := []time.Duration{0, 200 * ms, 400 * ms, 60400 * ms, 120400 * ms, 130010 * ms, 130210 * ms, 130410 * ms}
	if diff := cmp.Diff(want, at); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestTheNextLookIsAsSoonAsSomethingIsDue(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	ms := time.Millisecond
	held := []desired.Address{{Link: "net1", Prefix: netip.MustParsePrefix("172.18.0.18/16")}}
	for sentence, tc := range map[string]struct {
		held    []desired.Address
		next    time.Duration // when the next announcement is due
		serving bool
		want    time.Duration
	}{
		"nothing is due":                                  {held, time.Minute, true, 5 * time.Second},
		"an announcement is due":                          {held, 200 * ms, true, 200 * ms},
		"an announcement is late":                         {held, -200 * ms, true, 0},
		"something failed":                                {held, time.Minute, false, time.Second},
		"one address is announced, the other is not free": {held, 200 * ms, false, 200 * ms},
		"nothing is here that could be announced":         {nil, -200 * ms, false, time.Second},
		"the last address went while the gateway is well": {nil, -200 * ms, true, 5 * time.Second},
	} {
		t.Run(sentence, func(t *testing.T) {
			a := &Agent{config: Config{Resync: 5 * time.Second}, held: tc.held, announce: announcer{next: now.Add(tc.next)}}
			if got := a.pause(tc.serving, now); got != tc.want {
				t.Errorf("got %s, want %s", got, tc.want)
			}
		})
	}
}
