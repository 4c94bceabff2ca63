package suite

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestTheControllerIsACloudControllerManager looks at the controller itself, as
// an operator would.
func TestTheControllerIsACloudControllerManager(t *testing.T) {
	ns := c.namespace(t)
	c.backends(t, ns, 1)
	leader := must(c.leader(t.Context()))(t)
	pods := must(c.kube.CoreV1().Pods(ns).List(t.Context(), metav1.ListOptions{LabelSelector: "app=web"}))(t)
	curl := func(path string) string {
		t.Helper()
		return must(c.Kubectl(t.Context(), "-n", ns, "exec", pods.Items[0].Name, "--",
			"curl", "-sk", "--max-time", "3", "--write-out", " %{http_code}", "https://"+leader.Status.PodIP+":10258"+path))(t)
	}
	t.Run("healthz answers anybody", func(t *testing.T) {
		if got := curl("/healthz"); !strings.HasSuffix(got, " 200") {
			t.Errorf("healthz: %s", got)
		}
	})
	t.Run("metrics are not for anybody", func(t *testing.T) {
		if got := curl("/metrics"); !strings.HasSuffix(got, " 403") && !strings.HasSuffix(got, " 401") {
			t.Errorf("metrics for an anonymous client: %s", got)
		}
	})
	t.Run("it leads by a Lease of its own name", func(t *testing.T) {
		leases := must(c.kube.CoordinationV1().Leases("kube-system").List(t.Context(), metav1.ListOptions{}))(t)
		for _, l := range leases.Items {
			if l.Name == "cloud-controller-manager" {
				t.Error("it took the Lease that every other cloud-controller-manager takes")
			}
		}
	})
	t.Run("it runs the service controller alone, and may do all that it does", func(t *testing.T) {
		log := must(c.Kubectl(t.Context(), "-n", "kube-system", "logs", leader.Name))(t)
		if n := strings.Count(log, "] Started \""); n != 1 || !strings.Contains(log, `Started "service-lb-controller"`) {
			t.Errorf("%d controllers were started:\n%s", n, log)
		}
		if strings.Contains(strings.ToLower(log), "forbidden") {
			t.Errorf("it was forbidden something:\n%s", log)
		}
	})
}
