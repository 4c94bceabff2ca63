package churn

import (
	"testing"
	"time"
)

func TestKubeOVNMayCountLateButNotNever(t *testing.T) {
	var s silences
	const a, b = "fd00::6 of Service a/b", "fd00::7 of Service a/c"
	look := func(second int, told int, addrs ...string) {
		t.Helper()
		if s.look(start.Add(time.Duration(second)*time.Second), addrs); len(s.told) != told {
			t.Errorf("after %d s told %q", second, s.told)
		}
	}
	look(0, 0, a)
	look(20, 0, a, b)
	look(29, 0, b) // a is counted
	look(31, 0, a, b)
	look(50, 0, a)
	look(61, 0, a)
	look(62, 1, a)
	look(63, 1, a) // it was told
	look(64, 1)
	look(65, 1, a)
	look(96, 2, a)
	if want := 33 * time.Second; s.longest != want {
		t.Errorf("the longest took %s, want %s", s.longest, want)
	}
}
