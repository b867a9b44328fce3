package factory

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"ingot/internal/factory/flow"
	"ingot/internal/factory/journal"
	"ingot/internal/factory/schedule"
	"ingot/internal/fault"
	"ingot/internal/recipe"
)

// Line is a pipeline of an image that runs again and again.
type Line struct {
	Recipe   *recipe.Recipe
	Input    Input
	Flow     *flow.Pipeline
	schedule *schedule.Schedule // nil: only when somebody asks for it
}

// NewLine returns the line of an image.
func NewLine(r *recipe.Recipe, in Input) (l Line, err error) {
	l = Line{Recipe: r, Input: in, Flow: Pipeline(r)}
	if r.Schedule.Cron != "" {
		l.schedule, err = parse(r, r.Name, "schedule", r.Schedule.Cron, r.Schedule.Late())
	}
	return l, err
}

// parse reads a schedule of a recipe. field is where the recipe has it.
func parse(r *recipe.Recipe, pipeline, field, cron string, jitter time.Duration) (*schedule.Schedule, error) {
	s, err := schedule.Parse(pipeline, cron, r.Schedule.Zone, jitter)
	if err != nil {
		return nil, r.Refuse(field, "%v", err)
	}
	return s, nil
}

// Order is the order of a run of the line.
func (l Line) Order(cause string) journal.Order {
	return journal.Order{Flow: l.Flow, Input: l.Input, Cause: cause}
}

// Plant drives the runs of some lines: those that are due, those that somebody ordered, and those that were cut off. The
// process must hold the journal.
type Plant struct {
	*Factory
	Driver *journal.Driver
	Lines  []Line
	Clock  journal.Clock
	Logf   func(format string, args ...any)
	Look   time.Duration // how often to look for runs that other processes ordered; by default, every second

	telling sync.Mutex
}

// keepRuns is how many runs of each pipeline are remembered.
const keepRuns = 500

// Run drives until ctx ends, which is no error. Steps that are running then are cut off; the next plant takes them up.
func (p *Plant) Run(ctx context.Context) error {
	w := &shift{Plant: p, active: map[string]bool{}, ended: make(chan error)}
	defer w.wait.Wait()
	ctx, stop := context.WithCancel(ctx) // if this ends on an error, the runs have to end, too
	defer stop()
	if err := p.tellEnds(ctx); err != nil {
		return err
	}
	for {
		if err := p.Journal.Prune(ctx, keepRuns); err != nil {
			return ignoreEnd(ctx, err)
		}
		next, err := w.look(ctx)
		if err != nil {
			return ignoreEnd(ctx, err)
		}
		var due <-chan time.Time
		if !next.IsZero() {
			due = p.Clock.After(max(0, next.Sub(p.Clock.Now())))
		}
		if err := w.pause(ctx, due); err != nil {
			return ignoreEnd(ctx, err)
		}
		if ctx.Err() != nil {
			return nil
		}
	}
}

func ignoreEnd(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil //nolint:nilerr // to end is what was asked for
	}
	return err
}

// shift is what a plant is at.
type shift struct {
	*Plant
	mu     sync.Mutex
	active map[string]bool // pipelines that have a run
	wait   sync.WaitGroup
	ended  chan error
}

// pause waits until something is due, a run has ended, or another process has ordered a run.
func (w *shift) pause(ctx context.Context, due <-chan time.Time) error {
	look := time.NewTicker(cmp.Or(w.Look, time.Second))
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-due:
			return nil
		case err := <-w.ended:
			return err
		case <-look.C:
			runs, err := w.Journal.Active(ctx)
			if err != nil {
				return err
			}
			if slices.ContainsFunc(runs, func(r journal.Run) bool { return w.mine(r.Pipeline) && !w.busy(r.Pipeline) }) {
				return nil
			}
		}
	}
}

func (w *shift) mine(pipeline string) bool {
	return slices.ContainsFunc(w.Lines, func(l Line) bool { return l.Flow.Name == pipeline })
}

func (w *shift) busy(pipeline string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.active[pipeline]
}

// look orders the runs that are due, starts what is ordered, and returns when something is due next.
func (w *shift) look(ctx context.Context) (next time.Time, err error) {
	now := w.Clock.Now()
	for _, l := range w.Lines {
		due, err := w.due(ctx, l, now)
		if err != nil {
			return next, err
		}
		if !due.IsZero() && (next.IsZero() || due.Before(next)) {
			next = due
		}
	}
	runs, err := w.Journal.Active(ctx)
	if err != nil {
		return next, err
	}
	for _, r := range runs {
		if w.mine(r.Pipeline) && !w.busy(r.Pipeline) {
			w.start(ctx, r)
		}
	}
	return next, nil
}

// due orders a run of a line if one is due, and returns when the next is. While the line has a run, none is ordered: what was
// missed is made up for after it, by one run.
func (w *shift) due(ctx context.Context, l Line, now time.Time) (next time.Time, err error) {
	if l.schedule == nil || w.busy(l.Flow.Name) {
		return next, nil
	}
	p, err := w.Journal.Pipeline(ctx, l.Flow.Name)
	if err != nil {
		return next, err
	}
	next = l.schedule.Next(now)
	if p.Due.IsZero() { // it was never seen before: it begins with its next due time
		return next, w.Journal.Scheduled(ctx, p.Name, now, next)
	}
	missed := l.schedule.Missed(p.Due, now)
	if missed.IsZero() || p.Disabled != "" {
		if p.Next.Equal(next) {
			return next, nil
		}
		return next, w.Journal.Scheduled(ctx, p.Name, p.Due, next)
	}
	cause := "schedule"
	if n := l.schedule.Next(p.Due); !n.Equal(missed) || now.Sub(missed) > catchUp {
		cause = fmt.Sprintf("catch-up of %s", n.Format("2006-01-02 15:04 MST"))
	}
	o := l.Order(cause)
	o.Due, o.Next = missed, next
	_, err = w.Journal.Submit(ctx, o)
	if fault.KindOf(err) == fault.Exists { // somebody ordered one a moment ago; the due time stays
		err = nil
	}
	return next, err
}

// catchUp is how late a run is called a catch-up.
const catchUp = 10 * time.Minute

// start drives a run beside the others.
func (w *shift) start(ctx context.Context, r journal.Run) {
	w.mu.Lock()
	w.active[r.Pipeline] = true
	w.mu.Unlock()
	w.Logf("%s: run %d begins (%s)", r.Pipeline, r.ID, r.Cause)
	w.wait.Go(func() {
		end, err := w.Driver.Do(ctx, r.ID)
		if err == nil {
			w.Logf("%s: run %d is %s", r.Pipeline, r.ID, end.State)
			err = w.tellEnds(ctx)
		} else if ctx.Err() == nil {
			err = fmt.Errorf("run %d of %s: %w", r.ID, r.Pipeline, err)
			if fault.KindOf(err) == fault.Input { // of another ingot: the other pipelines go on without this one
				w.Logf("%v", err)
				return
			}
		}
		w.mu.Lock()
		delete(w.active, r.Pipeline)
		w.mu.Unlock()
		select {
		case w.ended <- err:
		case <-ctx.Done(): // nobody waits for it any more
		}
	})
}

// tellEnds tells of all runs that ended and that nobody was told of. A message that cannot be sent is given up, and said so; one that
// ctx cuts off is left for the next start.
func (p *Plant) tellEnds(ctx context.Context) error {
	p.telling.Lock() // a run that has just ended, and another
	defer p.telling.Unlock()
	limit, cancel := context.WithTimeout(ctx, tellLimit)
	defer cancel()
	runs, err := p.Journal.Untold(ctx)
	if err != nil {
		return err
	}
	for _, r := range runs {
		if err := p.TellEnd(limit, r); err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			p.Logf("%s: telling of the end of run %d failed: %v", r.Pipeline, r.ID, err)
		}
		if err := p.Journal.Told(context.WithoutCancel(ctx), r.ID); err != nil { // what was sent is not sent again
			return err
		}
	}
	return nil
}

// tellLimit bounds how long the end of a run is told.
const tellLimit = 2 * time.Minute

// Once drives the named runs to their ends, and returns them as they are then.
func (p *Plant) Once(ctx context.Context, ids []int64) ([]journal.Run, error) {
	var mu sync.Mutex
	var wait sync.WaitGroup
	runs := map[int64]journal.Run{}
	errs := make([]error, len(ids))
	for i, id := range ids {
		wait.Go(func() {
			r, err := p.Driver.Do(ctx, id)
			mu.Lock()
			defer mu.Unlock()
			runs[id], errs[i] = r, err
		})
	}
	wait.Wait()
	if ctx.Err() == nil {
		errs = append(errs, p.tellEnds(ctx))
	}
	all := slices.SortedFunc(maps.Values(runs), func(a, b journal.Run) int { return int(a.ID - b.ID) })
	return all, errors.Join(errs...)
}
