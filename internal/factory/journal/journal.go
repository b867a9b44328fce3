// Package journal runs pipelines on one machine, and remembers in SQLite how far each run has come: what is finished is
// never done again, whatever becomes of the process. It leases, shards and elects nothing: one process drives, by a
// lock on a file, and any number of others look on, order runs and cancel them.
package journal

import (
	"context"
	"crypto/rand"
	"database/sql"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"ingot/internal/database"
	"ingot/internal/factory/course"
	"ingot/internal/factory/flow"
	"ingot/internal/fault"
	"ingot/internal/hold"
)

//go:embed migrations/*.sql
var migrations embed.FS

// State and Step are how far a run, or a step of one, has come.
type (
	State = course.State
	Step  = course.Step
)

// The states of package course.
const (
	Queued    = course.Queued
	Waiting   = course.Waiting
	Running   = course.Running
	Done      = course.Done
	Unchanged = course.Unchanged
	Partial   = course.Partial
	Failed    = course.Failed
	Skipped   = course.Skipped
	Cancelled = course.Cancelled
)

// Run is one run of a pipeline.
type Run struct {
	ID       int64           `json:"id"`
	Pipeline string          `json:"pipeline"`
	Cause    string          `json:"cause"` // what started it: manual, schedule, catch-up, repeat of N
	State    State           `json:"state"`
	Input    json.RawMessage `json:"input"`
	Created  time.Time       `json:"created"`
	Started  time.Time       `json:"started,omitzero"`
	Ended    time.Time       `json:"ended,omitzero"`
	Error    string          `json:"error,omitempty"`
	Hint     string          `json:"hint,omitempty"`

	Flow   flow.Pipeline `json:"-"` // as it was when the run was ordered
	cancel bool
}

// Journal is an open journal.
type Journal struct {
	db    *database.DB
	path  string
	clock Clock
}

// Clock tells the time, and waits. Tests have others than the system's.
type Clock interface {
	Now() time.Time
	After(time.Duration) <-chan time.Time
}

// System is the system's clock.
type System struct{}

// Now implements Clock.
func (System) Now() time.Time { return time.Now() }

// After implements Clock.
func (System) After(d time.Duration) <-chan time.Time { return time.After(d) }

// Open opens the journal in a file, which is made if it is missing.
func Open(ctx context.Context, path string, clock Clock) (*Journal, error) {
	db, err := database.Open(ctx, path, migrations)
	if err != nil {
		return nil, fmt.Errorf("opening the journal %s: %w", path, err)
	}
	return &Journal{db, path, clock}, nil
}

// Close closes the journal.
func (j *Journal) Close() error { return j.db.Close() }

// Hold makes this process the one that drives the runs of the journal, until release is called. Another one that does
// is named in the error, which has the kind fault.Exists.
func (j *Journal) Hold(name string) (release func(), err error) {
	release, err = hold.Try(filepath.Clean(j.path)+".lock", name)
	if fault.KindOf(err) == fault.Exists {
		err = fault.New(fault.Exists, fmt.Errorf("another process drives the pipelines: %w", err), "stop that one, or choose another folder with --state-dir")
	}
	return release, err
}

// Order is what Submit takes.
type Order struct {
	Flow  *flow.Pipeline
	Input any    // JSON
	Cause string // for people
	// From repeats run Of from this step on: the step, and all that wait for it, are done anew; the other steps' outputs
	// are taken from there.
	From string
	Of   int64
	// Due and Next are remembered of the pipeline, in one with the order: the due time that is heeded with it, and the next one.
	Due, Next time.Time
}

// Submit orders a run. While another run of the pipeline is not over, it fails with fault.Exists.
func (j *Journal) Submit(ctx context.Context, o Order) (id int64, err error) {
	doing := "ordering a run of " + o.Flow.Name
	if err := o.Flow.Check(); err != nil {
		return 0, err
	}
	input, err := json.Marshal(o.Input)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", doing, err)
	}
	definition, err := json.Marshal(o.Flow)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", doing, err)
	}
	var former []Step
	if o.From != "" {
		if former, err = j.kept(ctx, o); err != nil {
			return 0, err
		}
	}
	err = j.db.Write(ctx, doing, func(tx *sql.Tx) error {
		var active int64
		err := tx.QueryRowContext(ctx, "SELECT id FROM run WHERE pipeline = ? AND state IN (?, ?)", o.Flow.Name, Queued, Running).Scan(&active)
		if err == nil {
			return fault.New(fault.Exists, fmt.Errorf("run %d of it is not over", active), fmt.Sprintf("`ingot status %d` shows it, `ingot cancel %d` ends it", active, active))
		}
		if !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		res, err := tx.ExecContext(ctx, "INSERT INTO run (pipeline, definition, input, cause, state, created) VALUES (?,?,?,?,?,?)",
			o.Flow.Name, string(definition), string(input), o.Cause, Queued, milli(j.clock.Now()))
		if err != nil {
			return err
		}
		if id, err = res.LastInsertId(); err != nil {
			return err
		}
		if !o.Due.IsZero() {
			if err := scheduled(ctx, tx, o.Flow.Name, o.Due, o.Next); err != nil {
				return err
			}
		}
		for _, s := range o.Flow.Steps {
			if s.Over != "" {
				continue
			}
			if err := addStep(ctx, tx, id, s.Name, ""); err != nil {
				return err
			}
			i := slices.IndexFunc(former, func(f Step) bool { return f.Name == s.Name })
			if i < 0 {
				continue
			}
			// It took as long as it did, for the release's record.
			if _, err := tx.ExecContext(ctx, "UPDATE step SET started = ? WHERE run = ? AND name = ?", milli(former[i].Started), id, s.Name); err != nil {
				return err
			}
			if err := endStep(ctx, tx, id, o.Flow, former[i], former[i].Ended); err != nil {
				return err
			}
		}
		return nil
	})
	return id, err
}

// Left returns the names of the steps that a run has still to do when it goes on. A step over a list whose items are not known
// is among them.
func (j *Journal) Left(ctx context.Context, r Run) (names []string, err error) {
	steps, err := j.Steps(ctx, r.ID)
	if err != nil {
		return nil, err
	}
	for _, def := range r.Flow.Steps {
		known, left := false, false
		for _, s := range steps {
			if s.Name == def.Name {
				known, left = true, left || !s.State.Over() || s.State == Cancelled
			}
		}
		if left || !known {
			names = append(names, def.Name)
		}
	}
	return names, nil
}

// Anew returns the names of the steps that an order would have done: all of the pipeline, or those of a repeat.
func (j *Journal) Anew(ctx context.Context, o Order) ([]string, error) {
	var former []Step
	if o.From != "" {
		var err error
		if former, err = j.kept(ctx, o); err != nil {
			return nil, err
		}
	}
	return course.Anew(o.Flow, former), nil
}

// kept returns the steps of the run that an order repeats which are not to be done anew.
func (j *Journal) kept(ctx context.Context, o Order) ([]Step, error) {
	steps, err := j.Steps(ctx, o.Of)
	if err != nil {
		return nil, err
	}
	return course.Keep(o.Flow, o.From, steps)
}

func addStep(ctx context.Context, tx *sql.Tx, run int64, name, item string) error {
	_, err := tx.ExecContext(ctx, "INSERT INTO step (run, name, item, token, state) VALUES (?,?,?,?,?)", run, name, item, rand.Text(), Waiting)
	return err
}

// endStep records that a step is over, and adds the items of the steps over its output.
func endStep(ctx context.Context, tx *sql.Tx, run int64, p *flow.Pipeline, s Step, now time.Time) error {
	_, err := tx.ExecContext(ctx, "UPDATE step SET state = ?, failures = ?, ended = ?, output = ?, error = ?, kind = ?, hint = ? WHERE run = ? AND name = ? AND item = ?",
		s.State, s.Failures, milli(now), string(s.Output), s.Error, s.Kind.Exit(), s.Hint, run, s.Name, s.Item)
	if err != nil || s.State != Done && s.State != Partial || s.Item != "" {
		return err
	}
	for _, next := range p.Steps {
		items, err := course.ListOver(next, s)
		if err != nil {
			return err
		}
		for _, item := range items {
			if err := addStep(ctx, tx, run, next.Name, item); err != nil {
				return err
			}
		}
	}
	return nil
}

// milli is how a time is stored.
func milli(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func fromMilli(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.UnixMilli(n).UTC()
}
