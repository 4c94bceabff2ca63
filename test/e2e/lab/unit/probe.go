package unit

import (
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
func Probe(p string) error {
	kind, rest, _ := strings.Cut(p, ":")
	switch kind {
	case "file":
		_, err := os.Stat(rest)
		return err
	case "unix", "tcp":
		c, err := net.DialTimeout(kind, rest, probeTimeout)
		if err != nil {
			return err
		}
		return c.Close()
	case "https":
		t := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}
		r, err := (&http.Client{Transport: t, Timeout: probeTimeout}).Get(p)
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
