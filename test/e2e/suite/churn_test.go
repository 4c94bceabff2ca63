package suite

import (
	"strings"
	"testing"
	"time"

	"github.com/kubeovn/kube-ovn-ccm/test/e2e/churn"
)

// TestNoAddressIsHeldTwiceNorLost lets Pods, Services and Vips come and go for a
// minute while the controllers are killed; `make churn` does it for ten.
func TestNoAddressIsHeldTwiceNorLost(t *testing.T) {
	report, err := churn.Run(t.Context(), churn.Options{
		Lab: c.Lab, Duration: time.Minute, Seed: uint64(time.Now().UnixNano()), Progress: lineLogger{t},
	})
	if err != nil {
		t.Error(err)
	}
	var b strings.Builder
	report.Print(&b)
	t.Log("\n" + b.String())
	if err := report.Err(); err != nil {
		t.Error(err)
	}
}

// lineLogger writes lines into a test's log.
type lineLogger struct{ t *testing.T }

func (l lineLogger) Write(b []byte) (int, error) {
	l.t.Log(strings.TrimSuffix(string(b), "\n"))
	return len(b), nil
}
