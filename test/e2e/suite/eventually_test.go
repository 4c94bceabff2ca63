package suite

import (
	"context"
	"testing"
	"time"
)

// eventually asks again and again until check has no complaint, and fails the
// test with the last complaint when the time is over. It returns how long it
// took.
func eventually(t *testing.T, within time.Duration, what string, check func(ctx context.Context) error) time.Duration {
	t.Helper()
	start := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	var last error
	for {
		err := check(ctx)
		if err == nil {
			return time.Since(start)
		}
		if ctx.Err() == nil || last == nil {
			last = err
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s: not within %s: %v", what, within, last)
		case <-tick.C:
		}
	}
}

// consistently fails the test as soon as check complains within the time.
func consistently(t *testing.T, during time.Duration, what string, check func(ctx context.Context) error) {
	t.Helper()
	deadline := time.After(during)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		if err := check(t.Context()); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		select {
		case <-deadline:
			return
		case <-tick.C:
		}
	}
}

// must returns a value that a test cannot go on without.
func must[T any](v T, err error) func(t *testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}
