package unit

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"time"
)

// probes are made on this machine or its LAN; what takes longer than this is not ready.
const probeTimeout = time.Second

// Probe asks once. The forms are "unix:PATH" and "tcp:ADDRESS" (somebody accepts connections), "file:PATH" (it exists)
// and "https://URL" (answers 200; the certificate is not checked, only readiness is asked).
func Probe(ctx context.Context, p string) error {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	kind, rest, _ := strings.Cut(p, ":")
	switch kind {
	case "file":
		_, err := os.Stat(rest)
		return err
	case "unix", "tcp":
		c, err := new(net.Dialer).DialContext(ctx, kind, rest)
		if err != nil {
			return err
		}
		return c.Close()
	case "https":
		t := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}
		q, err := http.NewRequestWithContext(ctx, http.MethodGet, p, nil)
		if err != nil {
			return err
		}
		r, err := t.RoundTrip(q)
		if err != nil {
			return err
		}
		defer r.Body.Close()
		if r.StatusCode != http.StatusOK {
			return fmt.Errorf("%s answers %s", p, r.Status)
		}
		return nil
	}
	return fmt.Errorf("unknown probe %q", p)
}

// pause waits for d; false means that the context has ended.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}
