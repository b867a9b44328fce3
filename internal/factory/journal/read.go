package journal

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"ingot/internal/database"
	"ingot/internal/fault"
)

const runColumns = "id, pipeline, definition, input, cause, state, created, started, ended, error, hint, cancel"

func scanRun(scan func(...any) error) (r Run, err error) {
	var definition, input string
	var created, started, ended int64
	if err := scan(&r.ID, &r.Pipeline, &definition, &input, &r.Cause, &r.State, &created, &started, &ended, &r.Error, &r.Hint, &r.cancel); err != nil {
		return r, err
	}
	r.Input, r.Created, r.Started, r.Ended = json.RawMessage(input), fromMilli(created), fromMilli(started), fromMilli(ended)
	if err := json.Unmarshal([]byte(definition), &r.Flow); err != nil {
		return r, fault.Newf(fault.Input, "reading the pipeline of run %d: %w", r.ID, err)
	}
	return r, nil
}

// query collects rows.
func query[T any](ctx context.Context, j *Journal, doing string, scan func(func(...any) error) (T, error), text string, args ...any) (all []T, err error) {
	rows, err := j.db.Read.QueryContext(ctx, text, args...)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", doing, database.Explain(err))
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		v, err := scan(rows.Scan)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", doing, err)
		}
		all = append(all, v)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("%s: %w", doing, database.Explain(err))
	}
	return all, nil
}

// Run returns a run.
func (j *Journal) Run(ctx context.Context, id int64) (Run, error) {
	all, err := query(ctx, j, fmt.Sprintf("reading run %d", id), scanRun, "SELECT "+runColumns+" FROM run WHERE id = ?", id)
	if err == nil && len(all) == 0 {
		err = fault.New(fault.Missing, fmt.Errorf("there is no run %d", id), "`ingot status` lists the runs")
	}
	if err != nil {
		return Run{}, err
	}
	return all[0], nil
}

// Runs returns the newest runs, of one pipeline if one is named, the newest first.
func (j *Journal) Runs(ctx context.Context, pipeline string, limit int) ([]Run, error) {
	return query(ctx, j, "listing runs", scanRun, "SELECT "+runColumns+" FROM run WHERE ? IN ('', pipeline) ORDER BY id DESC LIMIT ?", pipeline, limit)
}

// Active returns the runs that are not over, the oldest first.
func (j *Journal) Active(ctx context.Context) ([]Run, error) {
	return query(ctx, j, "listing runs", scanRun, "SELECT "+runColumns+" FROM run WHERE state IN (?, ?) ORDER BY id", Queued, Running)
}

// Steps returns the steps of a run in the pipeline's order, items by name. A step over a list has none until the list is known.
func (j *Journal) Steps(ctx context.Context, id int64) ([]Step, error) {
	r, err := j.Run(ctx, id)
	if err != nil {
		return nil, err
	}
	rows, err := query(ctx, j, fmt.Sprintf("reading the steps of run %d", id), func(scan func(...any) error) (s Step, err error) {
		var due, started, ended int64
		var output string
		var exit int
		err = scan(&s.Name, &s.Item, &s.Token, &s.State, &s.Attempts, &s.Failures, &due, &started, &ended, &s.Approved, &output, &s.Error, &exit, &s.Hint, &s.Progress)
		if s.State != Running {
			s.Progress = ""
		}
		s.Due, s.Started, s.Ended, s.Kind = fromMilli(due), fromMilli(started), fromMilli(ended), kindOf(exit)
		if output != "" {
			s.Output = json.RawMessage(output)
		}
		return s, err
	}, "SELECT name, item, token, state, starts, failures, due, started, ended, approved, output, error, kind, hint, progress FROM step WHERE run = ? ORDER BY item", id)
	if err != nil {
		return nil, err
	}
	var all []Step
	for _, s := range r.Flow.Steps {
		for _, row := range rows {
			if row.Name == s.Name {
				all = append(all, row)
			}
		}
	}
	return all, nil
}

// kindOf returns the kind that has an exit code.
func kindOf(exit int) fault.Kind {
	for _, k := range fault.Kinds() {
		if k.Exit() == exit {
			return k
		}
	}
	return fault.Bug
}

// Line is a line of a run's log.
type Line struct {
	ID   int64     `json:"-"`
	Step string    `json:"step"`
	Item string    `json:"item,omitempty"`
	Time time.Time `json:"time"`
	Text string    `json:"text"`
}

const lineColumns = "id, step, item, time, text"

func scanLine(scan func(...any) error) (l Line, err error) {
	var at int64
	err = scan(&l.ID, &l.Step, &l.Item, &at, &l.Text)
	l.Time = fromMilli(at)
	return l, err
}

// Lines returns lines of a run's log, of one step if one is named, that come after the line with that ID.
func (j *Journal) Lines(ctx context.Context, run int64, step string, after int64, limit int) ([]Line, error) {
	return query(ctx, j, fmt.Sprintf("reading the log of run %d", run), scanLine,
		"SELECT "+lineColumns+" FROM line WHERE run = ? AND ? IN ('', step) AND id > ? ORDER BY id LIMIT ?", run, step, after, limit)
}

// LastLines returns the last lines of a run's log, of one step if one is named, in their order.
func (j *Journal) LastLines(ctx context.Context, run int64, step string, limit int) ([]Line, error) {
	lines, err := query(ctx, j, fmt.Sprintf("reading the log of run %d", run), scanLine,
		"SELECT "+lineColumns+" FROM line WHERE run = ? AND ? IN ('', step) ORDER BY id DESC LIMIT ?", run, step, limit)
	slices.Reverse(lines)
	return lines, err
}

// Pipeline is what is remembered of a pipeline between its runs.
type Pipeline struct {
	Name     string    `json:"name"`
	Failures int       `json:"failures,omitempty"` // runs that failed in a row
	Disabled string    `json:"disabled,omitempty"` // why the schedule starts it no more
	Due      time.Time `json:"due,omitzero"`       // the last due time that was heeded
	Next     time.Time `json:"next,omitzero"`      // the next one
}

// Pipelines returns all pipelines by name.
func (j *Journal) Pipelines(ctx context.Context) ([]Pipeline, error) {
	return query(ctx, j, "listing pipelines", func(scan func(...any) error) (p Pipeline, err error) {
		var due, next int64
		err = scan(&p.Name, &p.Failures, &p.Disabled, &due, &next)
		p.Due, p.Next = fromMilli(due), fromMilli(next)
		return p, err
	}, "SELECT name, failures, disabled, due, next FROM pipeline ORDER BY name")
}

// Pipeline returns what is remembered of a pipeline; nothing, for one that was never seen.
func (j *Journal) Pipeline(ctx context.Context, name string) (Pipeline, error) {
	all, err := j.Pipelines(ctx)
	for _, p := range all {
		if p.Name == name {
			return p, err
		}
	}
	return Pipeline{Name: name}, err
}

// Scheduled records which due time of a pipeline was heeded last, and which comes next.
func (j *Journal) Scheduled(ctx context.Context, name string, due, next time.Time) error {
	return j.db.Write(ctx, "recording when "+name+" is due", func(tx *sql.Tx) error { return scheduled(ctx, tx, name, due, next) })
}

func scheduled(ctx context.Context, tx *sql.Tx, name string, due, next time.Time) error {
	return remember(ctx, tx, name, "due = ?, next = ?", milli(due), milli(next))
}

// Enable lets the schedule start a pipeline again.
func (j *Journal) Enable(ctx context.Context, name string) error {
	return j.db.Write(ctx, "enabling pipeline "+name, func(tx *sql.Tx) error { return remember(ctx, tx, name, "failures = 0, disabled = ''") })
}

func remember(ctx context.Context, tx *sql.Tx, name, set string, args ...any) error {
	if _, err := tx.ExecContext(ctx, "INSERT OR IGNORE INTO pipeline (name) VALUES (?)", name); err != nil {
		return err
	}
	_, err := tx.ExecContext(ctx, "UPDATE pipeline SET "+set+" WHERE name = ?", append(args, name)...)
	return err
}

// Last returns the output of a step in the last run of a pipeline that was done; nil when there is none.
func Last[Out any](ctx context.Context, j *Journal, pipeline, step string) (*Out, error) {
	return output[Out](ctx, j, "reading the last run of "+pipeline, "run = (SELECT max(id) FROM run WHERE pipeline = ? AND state = ?)", step, Done, pipeline, Done)
}

// Latest returns the output of a step the last time that it was done, whatever became of that run; nil when it never was.
func Latest[Out any](ctx context.Context, j *Journal, pipeline, step string) (*Out, error) {
	return output[Out](ctx, j, "reading the runs of "+pipeline, "run IN (SELECT id FROM run WHERE pipeline = ?) ORDER BY run DESC LIMIT 1", step, Done, pipeline)
}

func output[Out any](ctx context.Context, j *Journal, doing, of string, args ...any) (*Out, error) {
	all, err := query(ctx, j, doing, func(scan func(...any) error) (text string, err error) {
		err = scan(&text)
		return text, err
	}, "SELECT output FROM step WHERE name = ? AND item = '' AND state = ? AND "+of, args...)
	if err != nil || len(all) == 0 {
		return nil, err
	}
	out := new(Out)
	if err := json.Unmarshal([]byte(all[0]), out); err != nil {
		return nil, fault.Newf(fault.Input, "%s: %w", doing, err)
	}
	return out, nil
}
