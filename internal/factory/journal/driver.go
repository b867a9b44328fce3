package journal

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
	"strconv"
	"sync"
	"time"

	"ingot/internal/factory/course"
	"ingot/internal/factory/flow"
	"ingot/internal/fault"
	"ingot/internal/progress"
)

// Driver runs what was ordered. The process must hold the journal.
type Driver struct {
	Journal *Journal
	Tasks   map[string]flow.Func // by the steps' names
	Watch   func(r Run, step Step, e progress.Event)
	// DisableAfter so many failures in a row, the schedule starts a pipeline no more; 0 is never.
	DisableAfter int
	// Ask is how often to look whether somebody cancelled a run, or approved it; by default, several times a second.
	Ask time.Duration

	machine room
}

// maxStarts bounds how often a step is begun: one that ends the whole process is not begun for ever.
const maxStarts = 100

var errCancelled = errors.New("the run was cancelled")

// Do drives a run to its end, from wherever it is. The error is nil when the run came to an end, whichever: that is
// in the result. When ctx ends, the steps that are running are cut off, and the run goes on from there another time.
func (d *Driver) Do(ctx context.Context, id int64) (Run, error) {
	r, err := d.Journal.Run(ctx, id)
	if err != nil || r.State.Over() {
		return r, err
	}
	for _, s := range r.Flow.Steps {
		if d.Tasks[s.Name] == nil && !s.Gate {
			return r, fault.New(fault.Input, fmt.Errorf("run %d of %s has the step %s, which this ingot does not know", id, r.Pipeline, s.Name),
				fmt.Sprintf("let the ingot that ordered it finish, or give it up with `ingot cancel %d`", id))
		}
	}
	log := newLogger(d.Journal, r)
	w := &work{Driver: d, run: r, log: log, ended: make(chan struct{}, 1)}
	w.ctx, w.stop = context.WithCancelCause(ctx)
	defer w.stop(nil)
	err = w.loop()
	w.stop(cmp.Or(err, context.Canceled))
	w.running.Wait()
	if e := log.close(); err == nil {
		err = e
	}
	if err != nil {
		return r, err
	}
	return d.Journal.Run(context.WithoutCancel(ctx), id)
}

// work is a run that is being driven.
type work struct {
	*Driver
	run     Run
	log     *logger
	ctx     context.Context // of the steps
	stop    context.CancelCauseFunc
	running sync.WaitGroup
	ended   chan struct{} // holds one when a step has ended
	mu      sync.Mutex
	failed  error // of the journal, in a step's goroutine
}

func (w *work) loop() error {
	if err := w.begin(); err != nil {
		return err
	}
	ask := time.NewTicker(cmp.Or(w.Ask, 300*time.Millisecond))
	defer ask.Stop()
	for {
		r, err := w.Journal.Run(w.ctx, w.run.ID)
		if err != nil {
			return err
		}
		if r.cancel {
			return w.end(course.Decision{End: Cancelled})
		}
		steps, err := w.Journal.Steps(w.ctx, r.ID)
		if err != nil {
			return err
		}
		next := course.Decide(&r.Flow, steps, w.Journal.clock.Now())
		if next.End != "" {
			return w.end(next)
		}
		if err := w.settle(next); err != nil {
			return err
		}
		for _, s := range next.Start {
			if err := w.start(s, steps); err != nil {
				return err
			}
		}
		var due <-chan time.Time
		switch {
		case len(next.Skip)+len(next.Pass) > 0:
			continue
		case !next.Wait.IsZero():
			due = w.Journal.clock.After(next.Wait.Sub(w.Journal.clock.Now()))
		}
		select {
		case <-w.ctx.Done():
			return w.ctx.Err()
		case <-w.ended:
		case <-due:
		case <-ask.C:
		}
		w.mu.Lock()
		err = w.failed
		w.mu.Unlock()
		if err != nil {
			return err
		}
	}
}

// begin takes the run up: what was running when a process ended waits again.
func (w *work) begin() error {
	return w.Journal.db.Write(w.ctx, fmt.Sprintf("taking up run %d", w.run.ID), func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(w.ctx, "UPDATE run SET state = ?, started = CASE started WHEN 0 THEN ? ELSE started END WHERE id = ?",
			Running, milli(w.Journal.clock.Now()), w.run.ID); err != nil {
			return err
		}
		_, err := tx.ExecContext(w.ctx, "UPDATE step SET state = ? WHERE run = ? AND state = ?", Waiting, w.run.ID, Running)
		return err
	})
}

// settle records the steps that are over without being done.
func (w *work) settle(d course.Decision) error {
	if len(d.Skip)+len(d.Pass) == 0 {
		return nil
	}
	return w.Journal.db.Write(w.ctx, fmt.Sprintf("going on with run %d", w.run.ID), func(tx *sql.Tx) error {
		for state, steps := range map[State][]Step{Skipped: d.Skip, Done: d.Pass} {
			for _, s := range steps {
				s.State = state
				if err := endStep(w.ctx, tx, w.run.ID, &w.run.Flow, s, w.Journal.clock.Now()); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// start begins an attempt. Before anything is done, it is written down that it was begun.
func (w *work) start(s Step, steps []Step) error {
	def, _ := w.run.Flow.Step(s.Name)
	doc, err := document(&w.run, s, steps)
	if err != nil {
		return err
	}
	s.Attempts++
	now := w.Journal.clock.Now()
	err = w.Journal.db.Write(w.ctx, "beginning step "+s.Name, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(w.ctx, "UPDATE step SET state = ?, starts = ?, started = ?, progress = '' WHERE run = ? AND name = ? AND item = ?",
			Running, s.Attempts, milli(now), w.run.ID, s.Name, s.Item)
		return err
	})
	if err != nil {
		return err
	}
	w.running.Go(func() {
		output, err := w.attempt(def, s, doc)
		if err := w.finish(def, s, output, err); err != nil {
			w.mu.Lock()
			w.failed = errors.Join(w.failed, err)
			w.mu.Unlock()
		}
		select {
		case w.ended <- struct{}{}:
		default:
		}
	})
	return nil
}

// attempt does a step once.
func (w *work) attempt(def flow.Step, s Step, doc json.RawMessage) (output json.RawMessage, err error) {
	if s.Attempts > maxStarts {
		return nil, fault.Newf(fault.Host, "step %s was begun %d times and never ended: it may be what ends this program", s.Name, maxStarts)
	}
	if def.Place == flow.Machine {
		if err := w.machine.enter(w.ctx, w.run.ID); err != nil {
			return nil, err
		}
		defer w.machine.leave()
	}
	limit := time.Duration(def.Timeout)
	ctx, cancel := context.WithTimeoutCause(w.ctx, limit, fault.Newf(fault.Unreachable, "step %s took longer than %v", s.Name, limit))
	defer cancel()
	sinks := []progress.Sink{w.log.sink(s)}
	if w.Watch != nil {
		sinks = append(sinks, func(e progress.Event) { w.Watch(w.run, s, e) })
	}
	defer func() {
		if x := recover(); x != nil {
			err = fault.Newf(fault.Bug, "step %s panicked: %v\n%s", s.Name, x, debug.Stack())
		}
		if err != nil && ctx.Err() != nil && w.ctx.Err() == nil {
			err = context.Cause(ctx) // the time limit
		}
	}()
	return w.Tasks[s.Name](ctx, flow.Call{Run: strconv.FormatInt(w.run.ID, 10), Step: s.Name, Item: s.Item, Token: s.Token, Attempt: s.Attempts,
		Progress: progress.New(sinks...)}, doc)
}

// finish records what became of an attempt.
func (w *work) finish(def flow.Step, s Step, output json.RawMessage, err error) error {
	ctx, now := context.WithoutCancel(w.ctx), w.Journal.clock.Now()
	if err != nil && w.ctx.Err() != nil { // cut off: it is done again when the run is taken up
		w.log.line(s, "cut off")
		return w.again(ctx, s, now)
	}
	s.Settle(def, output, err, now)
	switch {
	case s.State == Waiting:
		w.log.line(s, fmt.Sprintf("attempt %d failed, the next one is in %v: %s", s.Failures, s.Due.Sub(now), s.Error))
		return w.again(ctx, s, s.Due)
	case err != nil:
		w.log.line(s, "failed: "+s.Error)
	}
	return w.Journal.db.Write(ctx, "recording the end of step "+s.Name, func(tx *sql.Tx) error {
		return endStep(ctx, tx, w.run.ID, &w.run.Flow, s, now)
	})
}

// again has a step wait for its next attempt.
func (w *work) again(ctx context.Context, s Step, due time.Time) error {
	return w.Journal.db.Write(ctx, "recording an attempt at step "+s.Name, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "UPDATE step SET state = ?, failures = ?, due = ?, error = ?, kind = ?, hint = ? WHERE run = ? AND name = ? AND item = ?",
			Waiting, s.Failures, milli(due), s.Error, s.Kind.Exit(), s.Hint, w.run.ID, s.Name, s.Item)
		return err
	})
}

// end ends the run: steps that are running are stopped, those that wait are left.
func (w *work) end(d course.Decision) error {
	left := Skipped
	if d.End == Cancelled {
		left = Cancelled
	}
	w.stop(errCancelled)
	w.running.Wait()
	ctx, now := context.WithoutCancel(w.ctx), w.Journal.clock.Now()
	var reason, hint string
	if d.Cause != nil && d.End != Unchanged {
		reason, hint = d.Cause.Reason(), d.Cause.Hint
	}
	return w.Journal.db.Write(ctx, fmt.Sprintf("ending run %d", w.run.ID), func(tx *sql.Tx) error {
		for _, change := range []struct {
			text string
			args []any
		}{
			{"UPDATE step SET state = ? WHERE run = ? AND state IN (?, ?)", []any{left, w.run.ID, Waiting, Running}},
			{"UPDATE run SET state = ?, ended = ?, error = ?, hint = ?, cancel = 0 WHERE id = ?", []any{d.End, milli(now), reason, hint, w.run.ID}},
			{"INSERT OR IGNORE INTO pipeline (name) VALUES (?)", []any{w.run.Pipeline}},
		} {
			if _, err := tx.ExecContext(ctx, change.text, change.args...); err != nil {
				return err
			}
		}
		return w.count(ctx, tx, d.End)
	})
}

// count counts the failures of a pipeline in a row.
func (w *work) count(ctx context.Context, tx *sql.Tx, end State) error {
	switch end {
	case Cancelled:
		return nil
	case Done, Unchanged, Partial:
		_, err := tx.ExecContext(ctx, "UPDATE pipeline SET failures = 0, disabled = '' WHERE name = ?", w.run.Pipeline)
		return err
	}
	why := fmt.Sprintf("%d runs in a row failed, the last is run %d", w.DisableAfter, w.run.ID)
	_, err := tx.ExecContext(ctx, `UPDATE pipeline SET failures = failures + 1,
		disabled = CASE WHEN ? > 0 AND failures + 1 >= ? THEN ? ELSE disabled END WHERE name = ?`, w.DisableAfter, w.DisableAfter, why, w.run.Pipeline)
	return err
}
