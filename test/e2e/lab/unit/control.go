package unit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
)

// Request is what the control socket takes: one per connection, as JSON.
type Request struct {
	// Op is "status", "stop", "kill" (stop by SIGKILL), "start" or "restart".
	Op string
	// Unit the operation is about; not used by status.
	Unit string `json:",omitempty"`
	// Args are further arguments for the unit's command; used by restart only.
	Args []string `json:",omitempty"`
}

type response struct {
	Error string `json:",omitempty"`
	Units []Status
}

// Serve answers on the control socket until the listener fails.
func (s *Supervisor) Serve(ctx context.Context, l net.Listener) error {
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer c.Close()
			var q Request
			if json.NewDecoder(c).Decode(&q) != nil {
				return
			}
			r := response{}
			if err := s.do(ctx, q); err != nil {
				r.Error = err.Error()
			}
			r.Units = s.Status()
			_ = json.NewEncoder(c).Encode(r)
		}()
	}
}

func (s *Supervisor) do(ctx context.Context, q Request) error {
	switch q.Op {
	case "status":
		return nil
	case "stop", "kill":
		return s.Stop(ctx, q.Unit, q.Op == "kill")
	case "start":
		return s.StartUnit(ctx, q.Unit)
	case "restart":
		return s.Restart(ctx, q.Unit, q.Args)
	}
	return fmt.Errorf("unknown operation %q", q.Op)
}

// Listen opens the control socket at path, over what a dead predecessor may have left there.
func Listen(ctx context.Context, path string) (net.Listener, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	return new(net.ListenConfig).Listen(ctx, "unix", path)
}

// Ask sends a request to the control socket at path and returns the units' status after it.
func Ask(ctx context.Context, path string, q Request) ([]Status, error) {
	c, err := new(net.Dialer).DialContext(ctx, "unix", path)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { c.Close() })()
	if err := json.NewEncoder(c).Encode(q); err != nil {
		return nil, err
	}
	var r response
	if err := json.NewDecoder(c).Decode(&r); err != nil {
		return nil, errors.Join(ctx.Err(), err)
	}
	if r.Error != "" {
		return r.Units, errors.New(r.Error)
	}
	return r.Units, nil
}
