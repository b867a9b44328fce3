package factory

import (
	"context"
	"fmt"
	"time"

	"ingot/internal/catalog"
	"ingot/internal/factory/flow"
	"ingot/internal/factory/journal"
	"ingot/internal/fault"
	"ingot/internal/pipeline"
)

// check asks the repositories for newer packages than the releases have that can be launched, and records them. The recipe's
// lock stays as it is: only a run renews it.
func (f *Factory) check(ctx context.Context, c flow.Call, in begun) (out Checked, err error) {
	r, err := in.Input.Load()
	if err != nil {
		return out, err
	}
	live, _, err := f.Publish.Catalog.List(ctx, catalog.Filter{Name: r.Name, Live: true, Limit: 1})
	if err != nil || len(live) == 0 {
		return out, err
	}
	l, _, err := f.foundry(c.Progress).Resolve(ctx, r, pipeline.LockOptions{Upgrade: true, Dry: true})
	if err != nil {
		return out, err
	}
	checks, err := pipeline.RecordUpdates(ctx, f.Publish.Catalog, l, false)
	if err != nil {
		return out, err
	}
	out.Releases = len(checks)
	newest := checks[live[0].ID].Updates
	out.Outdated = len(newest)
	for _, u := range newest[:min(len(newest), maxChanges)] {
		out.Updates = append(out.Updates, fmt.Sprintf("~ %s %s → %s", u.Name, u.Version, u.Newest))
	}
	c.Progress.Logf("%d packages of %s are newer in the repositories", out.Outdated, live[0].ID)
	for _, u := range out.Updates {
		c.Progress.Logf("%s", u)
	}
	return out, nil
}

type checked struct {
	Input Input   `json:"input"`
	Check Checked `json:"check"`
}

// rebuild orders a run of the image if its packages are out of date. Where one is under way, that will take them.
func (f *Factory) rebuild(ctx context.Context, c flow.Call, in checked) (out Rebuilt, err error) {
	if in.Check.Outdated == 0 {
		return out, nil
	}
	r, err := in.Input.Load()
	if err != nil {
		return out, err
	}
	out.Run, err = f.Journal.Submit(ctx, journal.Order{Flow: Pipeline(r), Input: in.Input, Cause: fmt.Sprintf("%d newer packages", in.Check.Outdated)})
	if fault.KindOf(err) == fault.Exists {
		c.Progress.Logf("nothing is ordered: %v", err)
		return out, nil
	}
	return out, err
}

// UpkeepLine returns the line of an image's upkeep; ok is false where its recipe has none.
func UpkeepLine(l Line) (upkeep Line, ok bool, err error) {
	s := l.Recipe.Schedule
	if s.Looks() == "" {
		return upkeep, false, nil
	}
	upkeep = Line{Recipe: l.Recipe, Input: l.Input, Flow: Upkeep(l.Recipe)}
	upkeep.schedule, err = parse(l.Recipe, upkeep.Flow.Name, "schedule.upkeep", s.Looks(), max(s.Late(), time.Hour))
	return upkeep, err == nil, err
}
