package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"ingot/internal/fault"
)

// defaultTimeout is how long a command may take that names no limit.
const defaultTimeout = 10 * time.Minute

// Command is a program to run inside.
type Command struct {
	Args []string // the program, looked up in the tree's PATH unless it has a slash, and its arguments
	Env  []string // added to the sandbox's, as "KEY=value"
	Dir  string   // the working directory inside; "/" when empty

	// Stdin, Stdout and Stderr are /dev/null when nil. An *os.File is handed over as it is; another Stdin
	// is read until its end or the command's, and a Read that does not return holds up Run.
	Stdin          io.Reader
	Stdout, Stderr io.Writer

	// Interactive gives the command a terminal of its own, connected with the one that Stdin must be. The
	// caller puts that one into raw mode. Stderr is not used. There is no default Timeout.
	Interactive bool

	Timeout  time.Duration // 0 stands for 10 minutes
	UID, GID uint32        // as whom to run; no other groups
}

// ExitError says how a command failed.
type ExitError struct {
	Args     []string
	Code     int  // the exit code; 128 + Signal for a command that a signal ended
	Signal   int  // 0 for none
	TimedOut bool // it was killed, with everything it had started, because its time was over
}

func (e *ExitError) Error() string {
	name := strings.Join(e.Args, " ")
	if len(name) > 200 {
		name = name[:200] + "…"
	}
	switch {
	case e.TimedOut:
		return name + ": killed, its time is over"
	case e.Signal != 0:
		return fmt.Sprintf("%s: ended by signal %d (%s)", name, e.Signal, unix.Signal(e.Signal))
	}
	return fmt.Sprintf("%s: exit code %d", name, e.Code)
}

// Run runs a command to its end. When it returns, no process of the command is left, daemons included. The
// end of ctx, or of the command's time, kills it.
//
// A command that ran and failed is an *[ExitError] of kind fault.Script; one that could not be started is of
// that kind too.
func (s *Sandbox) Run(ctx context.Context, c Command) error {
	if len(c.Args) == 0 {
		return errors.New("running a command in the sandbox: it has no arguments")
	}
	lane, err := s.acquire(ctx)
	if err != nil {
		return fmt.Errorf("running %s in %s: %w", c.Args[0], s.root, err)
	}
	end, killed, err := c.call(ctx, lane, s.request(&c))
	if err != nil && end == nil {
		s.discard(lane)
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return fmt.Errorf("running %s in %s: %w%s", c.Args[0], s.root, err, s.said)
	}
	s.release(lane)
	killed = killed && end.Signal == int(unix.SIGKILL) // it may have ended just before
	switch {
	case killed && ctx.Err() != nil:
		return fmt.Errorf("running %s in %s: %w", c.Args[0], s.root, context.Cause(ctx))
	case end.Failure != nil:
		return fault.Newf(fault.Script, "starting %s in %s: %w", c.Args[0], s.root, end.Failure)
	case end.Code != 0:
		return fault.New(fault.Script, &ExitError{Args: c.Args, Code: end.Code, Signal: end.Signal, TimedOut: killed}, "")
	case err != nil:
		return fmt.Errorf("copying the input or output of %s: %w", c.Args[0], err)
	}
	return nil
}

func (s *Sandbox) request(c *Command) *request {
	r := &request{Args: c.Args, Env: environment(s.env, c.Env), Dir: c.Dir, UID: c.UID, GID: c.GID}
	if r.Dir == "" {
		r.Dir = "/"
	}
	return r
}

// environment joins two environments. Of two values of one variable the later counts; programs do not agree on
// what they make of both.
func environment(a, b []string) []string {
	all := append(slices.Clone(a), b...)
	last := make(map[string]int, len(all))
	for i, v := range all {
		name, _, _ := strings.Cut(v, "=")
		last[name] = i
	}
	kept := all[:0]
	for i, v := range all {
		if name, _, _ := strings.Cut(v, "="); last[name] == i {
			kept = append(kept, v)
		}
	}
	return kept
}

// acquire returns an idle lane, or a new one.
func (s *Sandbox) acquire(ctx context.Context) (*conn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return nil, os.ErrClosed
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	}
	if err := s.renewPolicy(); err != nil {
		return nil, err
	}
	if n := len(s.idle); n > 0 {
		lane := s.idle[n-1]
		s.idle = s.idle[:n-1]
		return lane, nil
	}
	lane, theirs, err := pair()
	if err != nil {
		return nil, err
	}
	err = s.converse(ctx, s.orders, func() error { return s.orders.send(order{}, theirs) })
	theirs.Close()
	if err == nil { // the lane has a word to say as well
		err = s.converse(ctx, lane, func() error { return nil })
	}
	if err != nil {
		lane.Close()
		return nil, err
	}
	s.open[lane] = true
	return lane, nil
}

// renewPolicy places the policy against service starts in a tree that was not ready for it at Open.
func (s *Sandbox) renewPolicy() error {
	s.scaffold.mu.Lock()
	defer s.scaffold.mu.Unlock()
	placed, err := s.placePolicy()
	if err != nil || !placed {
		return err
	}
	return s.orders.send(order{Made: &s.scaffold.made[len(s.scaffold.made)-1]})
}

func (s *Sandbox) release(lane *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.idle = append(s.idle, lane)
}

// discard ends a lane that does not answer as it should: it notices the end of its connection.
func (s *Sandbox) discard(lane *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, lane)
	lane.Close()
}
