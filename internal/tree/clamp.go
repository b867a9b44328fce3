package tree

import (
	"context"
	"time"
)

// Clamp returns src with no file modified later than date. It is what makes a tree independent of when it was
// made, while files keep the dates that their packages gave them (reproducible-builds.org, SOURCE_DATE_EPOCH).
func Clamp(src Source, date time.Time) Source { return clamped{src, date} }

type clamped struct {
	Source
	date time.Time
}

func (c clamped) Walk(ctx context.Context, fn func(Entry) error) error {
	return c.Source.Walk(ctx, func(e Entry) error {
		if e.MTime.After(c.date) {
			e.MTime = c.date
		}
		return fn(e)
	})
}
