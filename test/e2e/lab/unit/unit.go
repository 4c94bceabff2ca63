// Package unit is the init of the lab's machines: a small supervisor that starts programs in order, restarts those that
// end, reaps orphans, and can be asked over a Unix socket to stop and start them one by one.
package unit

import "time"

// Unit is one program of a machine, or a few commands to run once.
type Unit struct {
	// Name is unique on its machine; it also names the log file.
	Name string
	// Commands are argument vectors. A unit that runs once runs them one after the other, else there is exactly one.
	Commands [][]string
	// Once marks commands that are finished when they have succeeded; they are tried again until they do.
	Once bool
	// Unless names a file: when it exists already, a unit that runs once has nothing to do.
	Unless string `json:",omitempty"`
	// Env is added to the machine's environment, as KEY=value.
	Env []string `json:",omitempty"`
	// After names units that must be ready before the first start.
	After []string `json:",omitempty"`
	// Wait are probes that must succeed before the first start.
	Wait []string `json:",omitempty"`
	// Ready are probes that must succeed before the unit counts as ready; with none it is ready when it runs
	// (when it has succeeded, if it runs once).
	Ready []string `json:",omitempty"`
}

// State is what a unit is doing.
type State string

// The states of a unit.
const (
	Waiting State = "waiting" // for other units or for probes
	Running State = "running" // not ready yet
	Ready   State = "ready"
	Done    State = "done"    // ran once and succeeded
	Failed  State = "failed"  // ended by itself, will be started again in a moment
	Stopped State = "stopped" // on request
)

// Status describes a unit at one moment.
type Status struct {
	// Name of the unit.
	Name string
	// State it is in.
	State State
	// PID inside the machine, 0 if it does not run.
	PID int
	// Restarts counts how often it ended by itself.
	Restarts int
	// Since is when it last changed between running and not running.
	Since time.Time
	// Detail says what it waits for or how it ended.
	Detail string
}
