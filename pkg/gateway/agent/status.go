package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/kubeovn/kube-ovn-ccm/pkg/gateway/spec"
)

// StatusFile is the name of the status in its directory.
const StatusFile = "status.json"

// staleAfter is the age from which a status says nothing about the present.
// The agent renews it with every look at the kernel.
const staleAfter = 30 * time.Second

// Status is what the agent last found. The kubelet's probes and operators
// read it.
type Status struct {
	// Serving says whether the kernel agrees with the document on disk.
	Serving bool `json:"serving"`
	// Applied is the spec.Hash of the document that the kernel agrees with;
	// empty if there is none yet.
	Applied string `json:"applied"`
	// Reason says why it is not serving; empty if it is.
	Reason string `json:"reason,omitempty"`
	// Awaited are the addresses that are not here because other hosts answer for
	// them. Everything else is in place: they are taken as soon as those fall
	// silent.
	Awaited []netip.Prefix `json:"awaited,omitempty"`
	// Time is when the kernel was last looked at.
	Time time.Time `json:"time"`
}

// write replaces the status file, so that a reader never sees a part of it.
func (s Status) write(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("write status: %w", err)
	}
	b, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("write status: %w", err)
	}
	temporary := filepath.Join(dir, StatusFile+".new")
	if err := os.WriteFile(temporary, append(b, '\n'), 0o644); err != nil {
		return fmt.Errorf("write status: %w", err)
	}
	if err := os.Rename(temporary, filepath.Join(dir, StatusFile)); err != nil {
		return fmt.Errorf("write status: %w", err)
	}
	return nil
}

// ReadStatus reads the status from its directory.
func ReadStatus(dir string) (Status, error) {
	var s Status
	b, err := os.ReadFile(filepath.Join(dir, StatusFile))
	if errors.Is(err, fs.ErrNotExist) {
		return s, errors.New("the agent has not looked at the kernel yet")
	}
	if err != nil {
		return s, fmt.Errorf("read status: %w", err)
	}
	if err := json.Unmarshal(b, &s); err != nil {
		return s, fmt.Errorf("read status: %w", err)
	}
	return s, nil
}

// Ready returns nil if the gateway serves the newest document, else the
// reason why not. document is what is on disk; announced is the hash that the
// Pod's annotation names, empty if it names none: the controller writes it
// after the document, so a Pod whose mount is still the old one knows it.
func Ready(s Status, document []byte, announced string, now time.Time) error {
	hash := spec.Hash(document)
	announced = strings.TrimSpace(announced)
	switch {
	case now.Sub(s.Time) > staleAfter:
		return fmt.Errorf("the agent has not looked at the kernel for %s", now.Sub(s.Time).Round(time.Second))
	case !s.Serving:
		return errors.New(s.Reason)
	case s.Applied != hash:
		return fmt.Errorf("document %s is not applied yet, the kernel has %s", hash, s.Applied)
	case announced != "" && announced != s.Applied:
		return &UnderWayError{announced, s.Applied}
	}
	return nil
}

// UnderWayError says that the gateway serves a document, and that the kubelet has
// not brought the newest one into the Pod yet, which takes a busy node seconds.
type UnderWayError struct{ announced, applied string }

// Error names both documents.
func (e *UnderWayError) Error() string {
	return fmt.Sprintf("document %s has not reached this Pod yet, the kernel has %s", e.announced, e.applied)
}
