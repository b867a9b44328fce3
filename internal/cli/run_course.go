package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"ingot/internal/factory"
	"ingot/internal/factory/journal"
	"ingot/internal/fault"
)

// course is what becomes of an image's line when a run of it is wanted: the run that is not over goes on, or the one that was
// cancelled, or another one is ordered.
type course struct {
	run    journal.Run // the one that goes on; 0 is its number where another one is ordered
	resume bool        // it was cancelled
	order  journal.Order
}

func (f *runFlags) course(ctx context.Context, j *journal.Journal, l factory.Line) (c course, err error) {
	last, err := j.Runs(ctx, l.Recipe.Name, 1)
	if err != nil {
		return c, err
	}
	if len(last) == 1 && f.from == "" {
		switch r := last[0]; {
		case !r.State.Over():
			return course{run: r}, nil
		case r.State == journal.Cancelled && !f.anew:
			return course{run: r, resume: true}, nil
		}
	}
	c.order = l.Order("manual")
	if f.from != "" {
		if len(last) == 0 {
			return c, fault.New(fault.Missing, fmt.Errorf("%s had no run yet that could be repeated from %s", l.Recipe.Name, f.from), "run it without --from")
		}
		c.order.From, c.order.Of, c.order.Cause = f.from, last[0].ID, fmt.Sprintf("repeat of %d from %s", last[0].ID, f.from)
	}
	return c, nil
}

// order orders a run of each line, or has the last one go on if it was cut off or cancelled.
func (f *runFlags) order(ctx context.Context, j *journal.Journal, lines []factory.Line) (ids []int64, err error) {
	for _, l := range lines {
		c, err := f.course(ctx, j, l)
		id := c.run.ID
		switch {
		case err != nil:
		case c.resume:
			err = j.Resume(ctx, id)
		case id == 0:
			id, err = j.Submit(ctx, c.order)
		}
		if err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	return ids, nil
}

// foreseen is what a run would do.
type foreseen struct {
	Name   string   `json:"name"`
	Course string   `json:"course"` // begin, repeat, or continue
	Run    int64    `json:"run,omitempty"`
	Steps  []string `json:"steps"`
	factory.Outlook
}

// foresee says what the runs of some lines would do, and has nothing done.
func (a *app) foresee(ctx context.Context, f *runFlags, j *journal.Journal, lines []factory.Line) error {
	p, err := a.plant(ctx, f.lineFlags, lines, j)
	if err != nil {
		return err
	}
	var all []foreseen
	for _, l := range lines {
		c, err := f.course(ctx, j, l)
		if err != nil {
			return err
		}
		v, err := foreseeOne(ctx, p, j, l, c)
		if err != nil {
			return fmt.Errorf("looking at what a run of %s would do: %w", l.Recipe.Name, err)
		}
		all = append(all, v)
	}
	a.settle()
	for _, v := range all {
		a.sayForeseen(v)
	}
	return nil
}

func foreseeOne(ctx context.Context, p *factory.Plant, j *journal.Journal, l factory.Line, c course) (v foreseen, err error) {
	v, in := foreseen{Name: l.Recipe.Name, Course: "begin"}, l.Input
	switch {
	case c.run.ID != 0: // with the input that it was ordered with
		v.Course, v.Run = "continue", c.run.ID
		if err := json.Unmarshal(c.run.Input, &in); err != nil {
			return v, err
		}
		v.Steps, err = j.Left(ctx, c.run)
	case c.order.From != "":
		v.Course, v.Run = "repeat", c.order.Of
		fallthrough
	default:
		v.Steps, err = j.Anew(ctx, c.order)
	}
	if err != nil {
		return v, err
	}
	v.Outlook, err = p.Foresee(ctx, p.Foundry.Progress, in, slices.Contains(v.Steps, "resolve"))
	if v.Resolved != nil && v.Resolved.Unchanged {
		v.Steps = []string{"resolve"}
	}
	return v, err
}

func (a *app) sayForeseen(v foreseen) {
	if a.json {
		a.result("outlook", v)
		return
	}
	say := func(format string, args ...any) { fmt.Fprintf(a.out, v.Name+": "+format+"\n", args...) }
	steps := strings.Join(v.Steps, ", ")
	switch v.Course {
	case "continue":
		say("would go on with run %d: %s", v.Run, steps)
	case "repeat":
		say("would repeat run %d: %s", v.Run, steps)
	default:
		say("would begin a run: %s", steps)
	}
	if r := v.Resolved; r != nil {
		if r.Unchanged {
			say("nothing has changed since the last release: nothing would be published")
			return
		}
		say("%s", count(r.Packages, "package"))
		for _, change := range r.Changes {
			say("  %s", change)
		}
	}
	if slices.Contains(v.Steps, "register") || slices.Contains(v.Steps, "share") {
		who := "private"
		if v.Public {
			who = "public"
		}
		say("%s AMIs (%s) in %s", who, strings.Join(v.Kinds, ", "), strings.Join(v.Regions, ", "))
	}
}
