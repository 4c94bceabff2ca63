package ipam

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/kubeovn/kube-ovn-ccm/pkg/kubeovn"
)

// waiting is the memory of a wait that began and asked so long before start.
func waiting(since, asked time.Duration, nudges int, request string) wait {
	return wait{request: request, since: start.Add(-since), vip: "v1", asked: start.Add(-asked), nudges: nudges}
}

const (
	anyOfLAN = "attach-subnet "
	the18    = "attach-subnet 172.18.0.18"
)

// decisions are situations by name, each with what is decided in it.
type decisions map[string]struct {
	subnet       *kubeovn.Subnet  // nil: lan()
	needs        kubeovn.Families // none: IPv4
	wish, sticky string           // "v4,v6"
	vip          *kubeovn.Vip
	others       others
	granted      time.Duration // how long ago Kube-OVN last worked; 0: never
	wait         wait
	unproven     bool          // the Service does not use the addresses
	seen         time.Duration // how long ago their grant was seen; 0: never

	op       op
	want     string // "v4,v6"
	state    State
	reason   string
	says     []string // parts of the message
	held     string   // "v4,v6"
	mustMove bool
	retry    time.Duration
	nudges   int
	waits    bool // something is to be remembered
}

// others are the holders of addresses.
type others map[string]string

const s = time.Second

func (all decisions) check(t *testing.T) {
	for name, tc := range all {
		t.Run(name, func(t *testing.T) {
			in := input{
				request: Request{Owner: owner, Subnet: tc.subnet, Needs: tc.needs, Wish: addrs(tc.wish), Sticky: addrs(tc.sticky)},
				vip:     tc.vip, now: start, wait: tc.wait,
				holder: func(a netip.Addr) string { return tc.others[a.String()] },
			}
			if in.request.Subnet == nil {
				in.request.Subnet = lan()
			}
			if in.request.Needs == (kubeovn.Families{}) {
				in.request.Needs.V4 = true
			}
			if tc.granted != 0 {
				in.lastGrant = start.Add(-tc.granted)
			}
			in.sure = !tc.unproven
			if tc.seen != 0 {
				in.granted = start.Add(-tc.seen)
			}
			a := decide(in)
			if a.op != tc.op || a.want.String() != tc.want {
				t.Errorf("op %v of %q, want %v of %q", a.op, a.want, tc.op, tc.want)
			}
			got := a.result
			if got.State != tc.state || got.Reason != tc.reason || got.MustMove != tc.mustMove || got.RetryAfter != tc.retry || got.Addrs.String() != tc.held {
				t.Errorf("result %+v", got)
			}
			if (got.MAC != "") != (tc.held != "") {
				t.Errorf("MAC %q with addresses %q", got.MAC, tc.held)
			}
			if (got.State == Refused) != (got.Message != "") {
				t.Errorf("message %q in state %s", got.Message, got.State)
			}
			for _, part := range tc.says {
				if !strings.Contains(got.Message, part) {
					t.Errorf("message %q does not say %q", got.Message, part)
				}
			}
			if a.wait.nudges != tc.nudges || (a.wait != wait{}) != tc.waits {
				t.Errorf("remembers %+v", a.wait)
			}
		})
	}
}
