package journal

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"ingot/internal/factory/course"
	"ingot/internal/factory/flow"
	"ingot/internal/fault"
	"ingot/internal/progress"
)

// Cancel ends a run: at once where nobody drives it, else as soon as the driver sees it.
func (j *Journal) Cancel(ctx context.Context, id int64) error {
	r, err := j.Run(ctx, id)
	if err != nil {
		return err
	}
	if r.State.Over() {
		return fault.Newf(fault.Missing, "run %d is over already: %s", id, r.State)
	}
	doing := fmt.Sprintf("cancelling run %d", id)
	err = j.db.Write(ctx, doing, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "UPDATE run SET cancel = 1 WHERE id = ? AND state IN (?, ?)", id, Queued, Running)
		return err
	})
	if err != nil {
		return err
	}
	release, err := j.Hold("ingot cancel")
	if fault.KindOf(err) == fault.Exists {
		return nil
	}
	if err != nil {
		return err
	}
	defer release()
	if r, err = j.Run(ctx, id); err != nil || r.State.Over() { // its driver has ended it since
		return err
	}
	w := &work{Driver: &Driver{Journal: j}, run: r}
	w.ctx, w.stop = context.WithCancelCause(ctx)
	return w.end(course.Decision{End: Cancelled})
}

// Gated says why a run waits for nobody's approval, nil if it does.
func (r Run) Gated() error {
	if r.State.Over() || !slices.ContainsFunc(r.Flow.Steps, func(s flow.Step) bool { return s.Gate }) {
		return fault.Newf(fault.Missing, "run %d, which is %s, waits for nobody", r.ID, r.State)
	}
	return nil
}

// Approve opens the gates of a run.
func (j *Journal) Approve(ctx context.Context, id int64) error {
	r, err := j.Run(ctx, id)
	if err == nil {
		err = r.Gated()
	}
	if err != nil {
		return err
	}
	return j.db.Write(ctx, fmt.Sprintf("approving run %d", id), func(tx *sql.Tx) error {
		for _, s := range r.Flow.Steps {
			if !s.Gate {
				continue
			}
			if _, err := tx.ExecContext(ctx, "UPDATE step SET approved = 1 WHERE run = ? AND name = ?", id, s.Name); err != nil {
				return err
			}
		}
		return nil
	})
}

// Resume orders that a cancelled run goes on at the steps that it was in.
func (j *Journal) Resume(ctx context.Context, id int64) error {
	return j.db.Write(ctx, fmt.Sprintf("resuming run %d", id), func(tx *sql.Tx) error {
		res, err := tx.ExecContext(ctx, "UPDATE run SET state = ?, ended = 0, told = 0 WHERE id = ? AND state = ?", Queued, id, Cancelled)
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil || n == 0 {
			return errors.Join(err, fault.Newf(fault.Missing, "it was not cancelled"))
		}
		_, err = tx.ExecContext(ctx, "UPDATE step SET state = ?, due = 0 WHERE run = ? AND state = ?", Waiting, id, Cancelled)
		return err
	})
}

// Untold returns the runs whose end has not been told yet, the oldest first.
func (j *Journal) Untold(ctx context.Context) ([]Run, error) {
	return query(ctx, j, "listing runs", scanRun, "SELECT "+runColumns+" FROM run WHERE told = 0 AND state NOT IN (?, ?) ORDER BY id", Queued, Running)
}

// Told records that the end of a run has been told.
func (j *Journal) Told(ctx context.Context, id int64) error {
	return j.db.Write(ctx, fmt.Sprintf("recording that the end of run %d was told", id), func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "UPDATE run SET told = 1 WHERE id = ?", id)
		return err
	})
}

// Prune forgets all but the newest runs of each pipeline; never one that is not over, or the last that was done.
func (j *Journal) Prune(ctx context.Context, keep int) error {
	return j.db.Write(ctx, "forgetting old runs", func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `DELETE FROM run WHERE state NOT IN (?, ?)
			AND id NOT IN (SELECT max(id) FROM run WHERE state = ? GROUP BY pipeline)
			AND id NOT IN (SELECT id FROM (SELECT id, row_number() OVER (PARTITION BY pipeline ORDER BY id DESC) AS place FROM run) WHERE place <= ?)`,
			Queued, Running, Done, keep)
		return err
	})
}

// The log of a run: lines wait in memory for a moment, so that many are written at once.
const (
	flushEvery = 300 * time.Millisecond
	maxLines   = 50_000 // of one run
	maxText    = 4096   // of one line, in bytes
)

type logger struct {
	j    *Journal
	run  int64
	mu   sync.Mutex
	wait []Line
	far  map[[2]string]string // progress of steps that is not written yet, by name and item
	at   time.Time            // when some was written last
	n    int
	err  error
	end  chan struct{}
	done sync.WaitGroup
}

func newLogger(j *Journal, r Run) *logger {
	l := &logger{j: j, run: r.ID, far: map[[2]string]string{}, end: make(chan struct{})}
	l.done.Go(func() {
		tick := time.NewTicker(flushEvery)
		defer tick.Stop()
		for {
			select {
			case <-l.end:
				l.flush()
				return
			case <-tick.C:
				l.flush()
			}
		}
	})
	return l
}

func (l *logger) close() error {
	close(l.end)
	l.done.Wait()
	return l.err
}

// line adds a line to the log.
func (l *logger) line(s Step, text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.n++; l.n == maxLines {
		text = "the log of this run ends here: it is too long"
	}
	if l.n <= maxLines {
		l.wait = append(l.wait, Line{Step: s.Name, Item: s.Item, Time: l.j.clock.Now(), Text: strings.ToValidUTF8(text[:min(len(text), maxText)], "")})
	}
}

// sink takes what a step reports.
func (l *logger) sink(s Step) progress.Sink {
	return func(e progress.Event) {
		l.advance(s, e)
		switch {
		case e.Kind == progress.Begin:
			l.line(s, e.Name+": begins")
		case e.Kind == progress.End && e.Err != "":
			l.line(s, e.Name+": "+e.Err)
		case e.Kind == progress.End && e.Text != "":
			l.line(s, e.Name+": "+e.Text)
		case e.Kind == progress.End:
			l.line(s, e.Name+": done")
		case e.Kind == progress.Log || e.Kind == progress.Output:
			l.line(s, e.Text)
		}
	}
}

// advance notes how far a step has come: the task that said something last stands for it.
func (l *logger) advance(s Step, e progress.Event) {
	text := e.Name
	switch {
	case e.Kind != progress.Begin && e.Kind != progress.Advance:
		return
	case e.Total > 0 && e.Unit == progress.Bytes:
		text = fmt.Sprintf("%s: %d %%", e.Name, 100*e.Done/e.Total)
	case e.Total > 0:
		text = fmt.Sprintf("%s: %d of %d", e.Name, e.Done, e.Total)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.far[[2]string{s.Name, s.Item}] = text
}

// progressEvery is how often progress is written.
const progressEvery = time.Second

func (l *logger) flush() {
	l.mu.Lock()
	lines, far := l.wait, map[[2]string]string(nil)
	l.wait = nil
	if len(l.far) > 0 && time.Since(l.at) >= progressEvery {
		far, l.far, l.at = l.far, map[[2]string]string{}, time.Now()
	}
	l.mu.Unlock()
	if len(lines)+len(far) == 0 {
		return
	}
	ctx := context.Background() // a run that was stopped is logged to its end
	err := l.j.db.Write(ctx, fmt.Sprintf("writing the log of run %d", l.run), func(tx *sql.Tx) error {
		add, err := tx.PrepareContext(ctx, "INSERT INTO line (run, step, item, time, text) VALUES (?,?,?,?,?)")
		if err != nil {
			return err
		}
		defer func() { _ = add.Close() }()
		for step, text := range far {
			if _, err := tx.ExecContext(ctx, "UPDATE step SET progress = ? WHERE run = ? AND name = ? AND item = ?", text, l.run, step[0], step[1]); err != nil {
				return err
			}
		}
		for _, x := range lines {
			if _, err := add.ExecContext(ctx, l.run, x.Step, x.Item, milli(x.Time), x.Text); err != nil {
				return err
			}
		}
		return nil
	})
	l.err = errors.Join(l.err, err)
}
