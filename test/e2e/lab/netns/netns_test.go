package netns

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
)

// Namespaces need root, as everything about labs.
func namespace(t *testing.T, suffix string) string {
	t.Helper()
	name := "ccmlabtest-" + suffix
	if err := Create(name); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := Delete(name); err != nil {
			t.Error(err)
		}
	})
	return name
}

func TestCreateAndDelete(t *testing.T) {
	name := namespace(t, "life")
	if err := Create(name); !errors.Is(err, fs.ErrExist) {
		t.Errorf("creating it twice: %v", err)
	}
	if l, err := List("ccmlabtest-li"); err != nil || !slices.Equal(l, []string{name}) {
		t.Errorf("List = %v, %v", l, err)
	}
	if err := Delete(name); err != nil {
		t.Error(err)
	}
	if err := Delete(name); err != nil {
		t.Errorf("deleting it twice: %v", err)
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil || strings.Contains(string(mounts), name) {
		t.Errorf("the mount is still there (%v)", err)
	}
	if err := Do(name, func() error { return nil }); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("entering a deleted one: %v", err)
	}
}

func TestDoEntersAndComesBack(t *testing.T) {
	name := namespace(t, "do")
	interfaces := func() (names []string) {
		ifs, err := net.Interfaces()
		if err != nil {
			t.Error(err)
		}
		for _, i := range ifs {
			names = append(names, i.Name)
		}
		return names
	}
	before := interfaces()
	failure := errors.New("failed")
	err := Do(name, func() error {
		if got := interfaces(); slices.Equal(got, before) && len(before) > 1 {
			t.Errorf("inside there are the interfaces of the outside: %v", got)
		}
		return failure
	})
	if !errors.Is(err, failure) {
		t.Errorf("Do lost the error: %v", err)
	}
	if got := interfaces(); !slices.Equal(got, before) {
		t.Errorf("afterwards there are %v, before %v", got, before)
	}
}

func TestASocketStaysInItsNamespace(t *testing.T) {
	name := namespace(t, "socket")
	l, err := Listen(t.Context(), name, "tcp", "0.0.0.0:12345")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if c, err := net.Dial("tcp", "127.0.0.1:12345"); err == nil {
		c.Close()
		t.Error("it can be reached from outside")
	}
	if _, err := Dial(t.Context(), name, net.Dialer{}, "tcp", "localhost:12345"); err == nil {
		t.Error("a name was looked up")
	}
	p, err := ListenPacket(t.Context(), name, "udp", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	p.Close()
}
