package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// receiveBuffer is how many bytes wait for a packet socket's reader. The userspace datapath of OVS reads its ports by
// such sockets, with the machine's default of some 200 packets: one tenth of a second of a test's load.
const (
	receiveBuffer     = "16777216"
	receiveBufferKnob = "net/core/rmem_default"
)

// machineSysctls are the settings of the whole machine that a kubelet or we write. Everything else that the programs
// set belongs to a namespace and goes with it.
var machineSysctls = []string{
	receiveBufferKnob,
	"vm/overcommit_memory", "vm/panic_on_oom",
	"kernel/panic", "kernel/panic_on_oops",
	"kernel/keys/root_maxkeys", "kernel/keys/root_maxbytes",
}

// machine is what the first lab found on the machine and the last one restores.
type machine struct {
	// BootID tells a state from before a restart, which must not be restored.
	BootID string
	// Sysctls are values by path below /proc/sys.
	Sysctls map[string]string
	// Controllers is what the root of the unified cgroup hierarchies handed to its children, by mount point.
	Controllers map[string]string
}

const (
	machineFile = ".machine.json"
	machineLock = ".machine.lock"
	machineBusy = "another lab command is saving or restoring the machine's settings"
)

func bootID() string {
	b, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(b))
}

// setMachine changes what the machine itself must have for labs, after its settings were saved.
func (l *Lab) setMachine(ctx context.Context) error {
	if err := l.saveMachine(ctx); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join("/proc/sys", receiveBufferKnob), []byte(receiveBuffer), 0); err != nil {
		return fmt.Errorf("let packets wait for Open vSwitch: %w", err)
	}
	return nil
}

// saveMachine notes the machine's settings, unless an earlier lab has done so.
func (l *Lab) saveMachine(ctx context.Context) error {
	unlock, err := lockFile(ctx, machineLock, machineBusy)
	if err != nil {
		return err
	}
	defer unlock()
	path := filepath.Join(Root, machineFile)
	var m machine
	if b, err := os.ReadFile(path); err == nil && json.Unmarshal(b, &m) == nil && m.BootID == bootID() {
		return nil
	}
	m = machine{BootID: bootID(), Sysctls: map[string]string{}, Controllers: map[string]string{}}
	for _, s := range machineSysctls {
		if b, err := os.ReadFile(filepath.Join("/proc/sys", s)); err == nil {
			m.Sysctls[s] = strings.TrimSpace(string(b))
		}
	}
	for _, h := range l.tree.Hierarchies {
		if b, err := os.ReadFile(filepath.Join(h.Path, "cgroup.subtree_control")); h.V2 && err == nil {
			m.Controllers[h.Path] = strings.TrimSpace(string(b))
		}
	}
	if err := writeJSON(path, m); err != nil {
		return fmt.Errorf("save the machine's settings: %w", err)
	}
	return nil
}

// restoreMachine puts the machine's settings back if no lab is left, and removes what all labs share.
func (l *Lab) restoreMachine(ctx context.Context) error {
	unlock, err := lockFile(ctx, machineLock, machineBusy)
	if err != nil {
		return err
	}
	defer func() {
		unlock()
		_ = os.Remove(Root) // only if it is empty
	}()
	es, err := os.ReadDir(Root)
	if err != nil {
		return err
	}
	for _, e := range es {
		if e.IsDir() && checkName(e.Name()) == nil {
			return nil // another lab
		}
	}
	path := filepath.Join(Root, machineFile)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var m machine
	if err := json.Unmarshal(b, &m); err == nil && m.BootID == bootID() {
		if err := m.restore(); err != nil {
			return err
		}
	}
	return os.Remove(path)
}

func (m machine) restore() error {
	for s, v := range m.Sysctls {
		if err := os.WriteFile(filepath.Join("/proc/sys", s), []byte(v), 0); err != nil {
			return fmt.Errorf("restore the machine's settings: %w", err)
		}
	}
	for mount, before := range m.Controllers {
		file := filepath.Join(mount, "cgroup.subtree_control")
		now, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		for c := range strings.FieldsSeq(string(now)) {
			if !strings.Contains(" "+before+" ", " "+c+" ") {
				_ = os.WriteFile(file, []byte("-"+c), 0) // fails when somebody else has come to use it: then it stays
			}
		}
	}
	return nil
}
