package assets

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// heartbeat is how often a long step says that it is still at it.
const heartbeat = 15 * time.Second

// progress writes one line per event, with the time since the start.
type progress struct {
	mu    sync.Mutex
	out   io.Writer
	start time.Time
	lines int
}

func newProgress(out io.Writer) *progress {
	if out == nil {
		out = io.Discard
	}
	return &progress{out: out, start: time.Now()}
}

func (p *progress) printf(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lines++
	fmt.Fprintf(p.out, "[%6.1fs] %s\n", time.Since(p.start).Seconds(), fmt.Sprintf(format, args...))
}

// spoke reports whether anything was written.
func (p *progress) spoke() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.lines > 0
}

// step is one external program of a build: it reports that it has begun, that
// it goes on, and that it is done, and keeps its output in a log.
type step struct {
	// name is what is being made, as in "programs".
	name string
	// doing says what is done to that end, as in "compiling".
	doing string
	// log is the path of the file that gets the output.
	log string
}

// run runs cmd as this step. If it fails, the error says which step and how
// the output ended. The context must be the one that cmd was made with: when
// it ends, the whole process group is killed.
func (s step) run(ctx context.Context, p *progress, cmd *exec.Cmd) error {
	logFile, err := os.Create(s.log)
	if err != nil {
		return fmt.Errorf("%s: opening the log: %w", s.name, err)
	}
	defer logFile.Close()
	tail := &tail{}
	cmd.Stdout = io.MultiWriter(logFile, tail)
	cmd.Stderr = cmd.Stdout
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid = true
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 10 * time.Second

	begun := time.Now()
	p.printf("%s: %s", s.name, s.doing)
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("%s: starting %s: %w", s.name, filepath.Base(cmd.Path), err)
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	ticker := time.NewTicker(heartbeat)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			p.printf("%s: %s for %s%s", s.name, s.doing, time.Since(begun).Round(time.Second), tail.now())
		case err := <-done:
			if ctx.Err() != nil {
				return fmt.Errorf("%s: %s: %w", s.name, s.doing, ctx.Err())
			}
			if err != nil {
				return fmt.Errorf("%s: %s failed (%w)%s (all of it in %s)", s.name, s.doing, err, tail.now(), s.log)
			}
			p.printf("%s: done %s after %s", s.name, s.doing, time.Since(begun).Round(100*time.Millisecond))
			return nil
		}
	}
}

// tail remembers the last line that is not empty.
type tail struct {
	mu      sync.Mutex
	last    string
	partial []byte
}

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.partial = append(t.partial, b...)
	for {
		i := bytes.IndexByte(t.partial, '\n')
		if i < 0 {
			return len(b), nil
		}
		if line := strings.TrimSpace(string(t.partial[:i])); line != "" {
			t.last = line
		}
		t.partial = t.partial[i+1:]
	}
}

// now returns the last line as the end of a sentence, or nothing.
func (t *tail) now() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.last == "" {
		return ""
	}
	return ": " + t.last
}
