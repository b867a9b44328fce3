package factory

import (
	"context"
	"strconv"
	"strings"

	"ingot/internal/catalog"
	"ingot/internal/factory/journal"
)

// Past knows of former runs, and of what a run has done so far.
type Past interface {
	// LastResolved returns the output of resolve in the last run of an image that was done, nil if there was none.
	LastResolved(ctx context.Context, name string) (*Resolved, error)
	// Timings says how long the steps of a run took that are done.
	Timings(ctx context.Context, run string) ([]catalog.Timing, error)
}

func (f *Factory) past() Past {
	if f.Past != nil {
		return f.Past
	}
	return journalPast{f.Journal}
}

// journalPast is what a journal remembers.
type journalPast struct{ *journal.Journal }

// LastResolved implements Past.
func (j journalPast) LastResolved(ctx context.Context, name string) (*Resolved, error) {
	return journal.Last[Resolved](ctx, j.Journal, name, "resolve")
}

// Timings implements Past.
func (j journalPast) Timings(ctx context.Context, run string) (all []catalog.Timing, err error) {
	id, err := strconv.ParseInt(run, 10, 64)
	if err != nil {
		return nil, err
	}
	steps, err := j.Steps(ctx, id)
	if err != nil {
		return nil, err
	}
	for _, s := range steps {
		if s.State == journal.Done && !s.Started.IsZero() { // former ingots did not take over the time with a step of another run
			name := strings.TrimSpace(s.Name + " " + s.Item)
			all = append(all, catalog.Timing{Step: name, Seconds: s.Ended.Sub(s.Started).Seconds()})
		}
	}
	return all, nil
}
