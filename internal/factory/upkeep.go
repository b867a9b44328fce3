package factory

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"ingot/internal/catalog"
	"ingot/internal/factory/flow"
	"ingot/internal/factory/journal"
	"ingot/internal/fault"
	"ingot/internal/pipeline"
	"ingot/internal/progress"
	"ingot/internal/recipe"
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
	out.Releases, out.Newest = len(checks), live[0].ID
	newest := checks[live[0].ID].Updates
	out.Outdated = len(newest)
	for _, u := range newest[:min(len(newest), maxChanges)] {
		out.Updates = append(out.Updates, fmt.Sprintf("~ %s %s → %s", u.Name, u.Version, u.Newest))
	}
	c.Progress.Logf("%s: the repositories have newer versions of %s", live[0].ID, progress.Count(out.Outdated, "package"))
	for _, u := range out.Updates {
		c.Progress.Logf("%s", u)
	}
	return out, nil
}

type checked struct {
	Input Input   `json:"input"`
	Check Checked `json:"check"`
}

// Orders has runs of images made that nobody asked for.
type Orders interface {
	// LastRebuilt returns what the last upkeep of an image found to order, nil if there was none.
	LastRebuilt(ctx context.Context, image string) (*Rebuilt, error)
	// Order orders a run for what a check has found, and returns what it is called. While another run of the image is not over, it
	// fails with fault.Exists. The same order twice in a row is one.
	Order(ctx context.Context, r *recipe.Recipe, in Input, cause string, found Checked) (run string, err error)
}

func (f *Factory) orders() Orders {
	if f.Orders != nil {
		return f.Orders
	}
	return journalOrders{f.Journal}
}

// rebuild orders a run of the image if there are newer packages that no run was ordered for: where one does not get a package in, the
// next one would not, either. While a run is under way, nothing is ordered; what that does not take is left for the next upkeep.
func (f *Factory) rebuild(ctx context.Context, c flow.Call, in checked) (out Rebuilt, err error) {
	if in.Check.Outdated == 0 {
		return out, nil
	}
	r, err := in.Input.Load()
	if err != nil {
		return out, err
	}
	last, err := f.orders().LastRebuilt(ctx, r.Name)
	if err != nil {
		return out, err
	}
	if last != nil {
		out.For = last.For
	}
	if !slices.ContainsFunc(in.Check.Updates, func(u string) bool { return !slices.Contains(out.For, u) }) {
		c.Progress.Logf("nothing is ordered: a run was, for the same packages")
		return out, nil
	}
	newest, _, err := f.Publish.Catalog.List(ctx, catalog.Filter{Name: r.Name, Live: true, Limit: 1})
	if err != nil {
		return out, err
	}
	if len(newest) == 0 || newest[0].ID != in.Check.Newest {
		c.Progress.Logf("nothing is ordered: %s is not the newest release any more", in.Check.Newest)
		return out, nil
	}
	out.Run, err = f.orders().Order(ctx, r, in.Input, fmt.Sprintf("%s, found by run %s", progress.Count(in.Check.Outdated, "newer package"), c.Run), in.Check)
	if fault.KindOf(err) == fault.Exists {
		c.Progress.Logf("nothing is ordered: %v", err)
		return out, nil
	}
	out.For = in.Check.Updates
	return out, err
}

// journalOrders orders runs in a journal.
type journalOrders struct{ *journal.Journal }

// LastRebuilt implements Orders.
func (j journalOrders) LastRebuilt(ctx context.Context, image string) (*Rebuilt, error) {
	return journal.Latest[Rebuilt](ctx, j.Journal, UpkeepName(image), "rebuild")
}

// Order implements Orders.
func (j journalOrders) Order(ctx context.Context, r *recipe.Recipe, in Input, cause string, _ Checked) (string, error) {
	last, err := j.Runs(ctx, r.Name, 1)
	if err != nil {
		return "", err
	}
	if len(last) > 0 && last[0].Cause == cause { // by an attempt of which nobody heard
		return strconv.FormatInt(last[0].ID, 10), nil
	}
	id, err := j.Submit(ctx, journal.Order{Flow: Pipeline(r), Input: in, Cause: cause})
	return strconv.FormatInt(id, 10), err
}

// UpkeepLine returns the line of an image's upkeep; ok is false where its recipe has none.
func UpkeepLine(l Line) (upkeep Line, ok bool, err error) {
	s := l.Recipe.Schedule
	if s.Looks() == "" {
		return upkeep, false, nil
	}
	upkeep = Line{Recipe: l.Recipe, Input: l.Input, Flow: Upkeep(l.Recipe)}
	upkeep.schedule, err = parse(l.Recipe, upkeep.Flow.Name, "schedule.upkeep", s.Looks(), s.LooksLate())
	return upkeep, err == nil, err
}
