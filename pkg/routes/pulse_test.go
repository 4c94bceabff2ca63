package routes

import (
	"context"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
)

var start = time.UnixMilli(1_700_000_000_000)

func after(seconds float64) time.Time {
	return start.Add(time.Duration(seconds * float64(time.Second)))
}

func TestPulse(t *testing.T) {
	type reading struct{ at, renewed float64 } // seconds; renewed 0: nobody leads
	for name, tc := range map[string]struct {
		readings []reading
		now      float64
		dead     bool
		step     float64 // was it outlived?
		lived    bool
		late     bool
		took     bool // what was written at step
	}{
		"nothing is known":                             {now: 100, step: 1, took: true},
		"one reading says nothing":                     {readings: []reading{{1, 900}}, now: 2, step: 1, took: true},
		"a renewal after the step":                     {[]reading{{1, 900}, {3, 906}}, 3, false, 1, true, false, true},
		"a renewal that may have been before the step": {[]reading{{1, 900}, {3, 906}}, 3, false, 2, false, false, true},
		"what has just been written is not in effect":  {[]reading{{1, 900}, {3, 906}}, 3, false, 2.8, false, false, false},
		"no renewal for long":                          {[]reading{{1, 900}, {11, 900}, {21, 900}, {22, 900}}, 22, true, 2, false, false, false},
		"nobody leads":                                 {[]reading{{1, 900}, {11, 0}, {22, 0}}, 22, true, 2, false, false, false},
		"nothing is read for long":                     {[]reading{{1, 900}, {2, 900}}, 40, false, 2, false, false, true},
		"it is back, and has not read all yet":         {[]reading{{1, 900}, {11, 0}, {22, 0}, {24, 930}}, 25, false, 2, true, true, false},
		"it is back and has read all":                  {[]reading{{1, 900}, {11, 0}, {22, 0}, {24, 930}, {34, 940}}, 34, false, 2, true, true, true},
		"after a gap only the new readings count":      {[]reading{{1, 900}, {3, 906}, {30, 930}}, 31, false, 1, false, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			var p pulse
			for _, r := range tc.readings {
				renewed := time.Time{}
				if r.renewed > 0 {
					renewed = after(r.renewed)
				}
				p = p.beat(renewed, after(r.at))
			}
			if dead := p.dead(after(tc.now)); dead != tc.dead {
				t.Errorf("dead %v", dead)
			}
			if lived, late := p.outlived(after(tc.step)); lived != tc.lived || late != tc.late {
				t.Errorf("outlived %v, late %v", lived, late)
			}
			if took := p.took(after(tc.step), after(tc.now)); took != tc.took {
				t.Errorf("took effect %v", took)
			}
		})
	}
}

func TestLease(t *testing.T) {
	lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "kube-ovn-controller"}}
	holder, nobody, renewed := "kube-ovn-controller-1", "", metav1.NewMicroTime(start)
	for name, tc := range map[string]struct {
		holder *string
		renew  *metav1.MicroTime
		want   time.Time
	}{
		"a leader":                     {&holder, &renewed, start},
		"a leader that ended in order": {&nobody, &renewed, time.Time{}},
		"no leader yet":                {nil, nil, time.Time{}},
	} {
		lease.Spec = coordinationv1.LeaseSpec{HolderIdentity: tc.holder, RenewTime: tc.renew}
		got, err := NewLease(fake.NewClientset(lease).CoordinationV1()).Alive(context.Background())
		if err != nil || !got.Equal(tc.want) {
			t.Errorf("%s: %s, %v", name, got, err)
		}
	}
	if _, err := NewLease(fake.NewClientset().CoordinationV1()).Alive(context.Background()); err == nil {
		t.Error("no Lease is no error")
	}
}
