package unit

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	restartDelay  = 500 * time.Millisecond
	probeEvery    = 50 * time.Millisecond
	stopGrace     = 5 * time.Second
	startPatience = time.Minute
)

// Supervisor runs the units of one machine. There is one per process: it collects every child.
type Supervisor struct {
	logs   string
	reaper *reaper
	units  map[string]*managed
	order  []string
}

// managed is a unit and what is known of it; mu guards everything below it.
type managed struct {
	Unit
	ready chan struct{} // closed when it has been ready once

	mu       sync.Mutex
	args     []string // behind the command's own
	status   Status
	wanted   bool
	changed  chan struct{} // closed and replaced upon every change
	wasReady bool
}

// New checks the units and prepares to run them, logging to files in the directory logs.
func New(units []Unit, logs string) (*Supervisor, error) {
	s := &Supervisor{logs: logs, units: map[string]*managed{}}
	for _, u := range units {
		if len(u.Commands) == 0 || (!u.Once && len(u.Commands) > 1) {
			return nil, fmt.Errorf("unit %s: want one command, or several and Once", u.Name)
		}
		for _, a := range u.After {
			if s.units[a] == nil { // only earlier ones: so there are no circles
				return nil, fmt.Errorf("unit %s: after %s, which is not listed before it", u.Name, a)
			}
		}
		if s.units[u.Name] != nil {
			return nil, fmt.Errorf("unit %s is listed twice", u.Name)
		}
		s.units[u.Name] = &managed{
			Unit: u, ready: make(chan struct{}), wanted: true, changed: make(chan struct{}),
			status: Status{Name: u.Name, State: Waiting, Since: time.Now()},
		}
		s.order = append(s.order, u.Name)
	}
	return s, nil
}

// Start starts everything and returns at once. When the context ends nothing is started any more; what runs, runs on.
func (s *Supervisor) Start(ctx context.Context) {
	s.reaper = newReaper()
	for _, n := range s.order {
		go s.manage(ctx, s.units[n])
	}
}

// Status returns the units in the order they were given.
func (s *Supervisor) Status() []Status {
	var out []Status
	for _, n := range s.order {
		u := s.units[n]
		u.mu.Lock()
		out = append(out, u.status)
		u.mu.Unlock()
	}
	return out
}

// manage is the life of one unit.
func (s *Supervisor) manage(ctx context.Context, u *managed) {
	s.awaitTurn(ctx, u)
	for ctx.Err() == nil {
		u.await(ctx, func() bool { return u.wanted })
		if ctx.Err() != nil {
			return
		}
		err := s.run(ctx, u)
		if err == nil && u.Once {
			u.set(Done, 0, "")
			u.markReady()
			return
		}
		u.mu.Lock()
		wanted := u.wanted
		if wanted {
			u.status.Restarts++
		}
		u.mu.Unlock()
		if !wanted {
			u.set(Stopped, 0, "")
			continue
		}
		detail := "ended"
		if err != nil {
			detail = err.Error()
		}
		u.set(Failed, 0, detail)
		pause(ctx, restartDelay)
	}
}

func (s *Supervisor) awaitTurn(ctx context.Context, u *managed) {
	for _, a := range u.After {
		u.set(Waiting, 0, "for "+a)
		select {
		case <-s.units[a].ready:
		case <-ctx.Done():
			return
		}
	}
	for _, p := range u.Wait {
		u.set(Waiting, 0, "for "+p)
		for Probe(ctx, p) != nil {
			if !pause(ctx, probeEvery) {
				return
			}
		}
	}
	u.set(Waiting, 0, "")
}

// run runs the unit's commands until they end; nil means that the last one succeeded.
func (s *Supervisor) run(ctx context.Context, u *managed) error {
	if u.Unless != "" {
		if _, err := os.Stat(u.Unless); err == nil {
			return nil
		}
	}
	u.mu.Lock()
	args := u.args
	u.mu.Unlock()
	for _, argv := range u.Commands {
		argv = slices.Concat(argv, args)
		pid, exit, err := s.reaper.start(argv, append(os.Environ(), u.Env...), filepath.Join(s.logs, u.Name+".log"))
		if err != nil {
			return fmt.Errorf("%s: %w", argv[0], err)
		}
		u.set(Running, pid, "")
		running, ended := context.WithCancel(ctx)
		if !u.Once {
			go u.watch(running)
		}
		ws := <-exit
		ended()
		if ws != 0 {
			return fmt.Errorf("%s: %s", filepath.Base(argv[0]), describe(ws))
		}
	}
	return nil
}

// watch turns a running unit into a ready one.
func (u *managed) watch(ctx context.Context) {
	for _, p := range u.Ready {
		for Probe(ctx, p) != nil {
			if !pause(ctx, probeEvery) {
				return
			}
		}
	}
	u.mu.Lock()
	if ctx.Err() == nil && u.status.State == Running {
		u.status.State = Ready
		u.notify()
	}
	u.mu.Unlock()
	u.markReady()
}

func (u *managed) markReady() {
	u.mu.Lock()
	defer u.mu.Unlock()
	if !u.wasReady {
		u.wasReady = true
		close(u.ready)
	}
}

func (u *managed) set(st State, pid int, detail string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if (pid == 0) != (u.status.PID == 0) {
		u.status.Since = time.Now()
	}
	u.status.State, u.status.PID, u.status.Detail = st, pid, detail
	u.notify()
}

// notify wakes those in await; the lock is held.
func (u *managed) notify() {
	close(u.changed)
	u.changed = make(chan struct{})
}

// await blocks until cond, called with the lock held, is true, or the context ends.
func (u *managed) await(ctx context.Context, cond func() bool) {
	for {
		u.mu.Lock()
		ok, c := cond(), u.changed
		u.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-c:
		case <-ctx.Done():
			return
		}
	}
}

// find returns the unit of that name.
func (s *Supervisor) find(name string) (*managed, error) {
	if u, ok := s.units[name]; ok {
		return u, nil
	}
	return nil, fmt.Errorf("no component %q here; there are: %s", name, strings.Join(s.order, ", "))
}

// Stop ends a unit with SIGTERM (SIGKILL after five seconds, or at once with force) and keeps it stopped. It returns when it is gone.
func (s *Supervisor) Stop(ctx context.Context, name string, force bool) error {
	u, err := s.find(name)
	if err != nil {
		return err
	}
	u.mu.Lock()
	if u.Once {
		u.mu.Unlock()
		return fmt.Errorf("%s runs only once, it cannot be stopped", name)
	}
	u.wanted = false
	pid := u.status.PID
	if pid == 0 {
		u.status.State = Stopped
	}
	u.notify()
	u.mu.Unlock()
	if pid == 0 {
		return nil
	}
	sig := syscall.SIGTERM
	if force {
		sig = syscall.SIGKILL
	}
	_ = syscall.Kill(-pid, sig)
	t := time.AfterFunc(stopGrace, func() { _ = syscall.Kill(-pid, syscall.SIGKILL) })
	defer t.Stop()
	u.await(ctx, func() bool { return u.status.PID != pid })
	return nil
}

// StartUnit starts a stopped unit again and returns when it is ready (when it runs, if it has no probe).
func (s *Supervisor) StartUnit(ctx context.Context, name string) error {
	u, err := s.find(name)
	if err != nil {
		return err
	}
	if u.Once {
		return fmt.Errorf("%s runs only once, it cannot be started again", name)
	}
	u.mu.Lock()
	u.wanted = true
	u.notify()
	u.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	u.await(ctx, func() bool { return u.status.State == Ready })
	if ctx.Err() != nil {
		return fmt.Errorf("%s was started but is not ready after %s; look at %s", name, startPatience, filepath.Join(s.logs, name+".log"))
	}
	return nil
}

// Restart ends a unit as Stop does and starts it again with further arguments behind its own, instead of those that an
// earlier call gave it. It returns when the unit is ready.
func (s *Supervisor) Restart(ctx context.Context, name string, args []string) error {
	if err := s.Stop(ctx, name, false); err != nil {
		return err
	}
	u, err := s.find(name)
	if err != nil {
		return err
	}
	u.mu.Lock()
	u.args = args
	u.mu.Unlock()
	return s.StartUnit(ctx, name)
}
