package loadbalancer

import (
	"slices"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/record"
)

func TestAProblemIsToldOnce(t *testing.T) {
	image := func(detail string) outcome {
		return outcome{problem: problemf("GatewayImageUnavailable", "no image").withDetail(detail).lasting()}
	}
	subnet := outcome{problem: problemf("SubnetNotFound", "no Subnet")}
	waits, served := outcome{wait: "something"}, outcome{status: &corev1.LoadBalancerStatus{}}
	for name, tc := range map[string]struct {
		outcomes []outcome
		events   []string
	}{
		"a clean run says nothing":              {outcomes: []outcome{waits, waits, served, served}},
		"the same problem is told once":         {outcomes: []outcome{subnet, subnet, subnet}, events: []string{"Warning SubnetNotFound no Subnet"}},
		"its details may change":                {outcomes: []outcome{image("a"), image("b")}, events: []string{"Warning GatewayImageUnavailable no image (a)"}},
		"another problem is told":               {outcomes: []outcome{subnet, image("a")}, events: []string{"Warning SubnetNotFound no Subnet", "Warning GatewayImageUnavailable no image (a)"}},
		"a problem that comes back, too":        {outcomes: []outcome{subnet, waits, subnet}, events: []string{"Warning SubnetNotFound no Subnet", "Normal ProblemSolved SubnetNotFound is solved", "Warning SubnetNotFound no Subnet"}},
		"a gateway between two failures is not": {outcomes: []outcome{image("a"), waits, image("a"), served}, events: []string{"Warning GatewayImageUnavailable no image (a)", "Normal ProblemSolved GatewayImageUnavailable is solved"}},
	} {
		t.Run(name, func(t *testing.T) {
			recorder := record.NewFakeRecorder(10)
			b := New(Deps{Recorder: recorder})
			for _, out := range tc.outcomes {
				b.conclude(t.Context(), guideService(), out)
			}
			close(recorder.Events)
			var got []string
			for e := range recorder.Events {
				got = append(got, e)
			}
			if !slices.Equal(got, tc.events) {
				t.Errorf("got %q, want %q", got, tc.events)
			}
		})
	}
}

func TestANewServiceOfTheSameNameStartsAfresh(t *testing.T) {
	var j journal
	first, second := ownerOf(guideService()), ownerOf(guideService())
	second.UID = "another"
	j.conclude(first, outcome{problem: problemf("X", "y")})
	if before, _ := j.conclude(second, outcome{wait: "z"}); before != nil {
		t.Errorf("it inherits %v", before)
	}
	j.forget(first)
	if got := j.pending(); !slices.Equal(got, []string{"default/test-service"}) {
		t.Errorf("pending: %v", got)
	}
	j.forget(second)
	if got := j.pending(); len(got) != 0 {
		t.Errorf("pending: %v", got)
	}
}

func TestStatusLost(t *testing.T) {
	var j journal
	svc := guideService()
	owner, addr := ownerOf(svc), granted("172.18.0.18").Addrs.V4
	if j.statusLost(svc) {
		t.Error("nothing was announced, so nothing is lost")
	}
	j.conclude(owner, outcome{status: &corev1.LoadBalancerStatus{Ingress: []corev1.LoadBalancerIngress{{IP: addr.String()}}}})
	if !j.statusLost(svc) {
		t.Error("an announced status that is not there is lost")
	}
	svc.Status.LoadBalancer = corev1.LoadBalancerStatus{Ingress: []corev1.LoadBalancerIngress{{IP: addr.String()}}}
	if j.statusLost(svc) {
		t.Error("an announced status that is there is not lost")
	}
	j.conclude(owner, outcome{wait: "a move"})
	svc.Status.LoadBalancer = corev1.LoadBalancerStatus{}
	if j.statusLost(svc) {
		t.Error("a withdrawn status is not lost")
	}
}

func TestLocksAreHeldByOneAndForgotten(t *testing.T) {
	var locks keyedLocks
	var wg sync.WaitGroup
	count := 0
	for range 50 {
		wg.Go(func() {
			defer locks.lock("a/b")()
			count++
		})
	}
	other := locks.lock("a/c") // another key does not wait
	other()
	wg.Wait()
	if count != 50 || len(locks.locks) != 0 {
		t.Errorf("count %d, %d locks left", count, len(locks.locks))
	}
}
