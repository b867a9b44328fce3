package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"ingot/internal/factory"
	"ingot/internal/factory/journal"
	"ingot/internal/fault"
)

// runFlags are the flags of `ingot run`.
type runFlags struct {
	*lineFlags
	from, approve                       string
	graph, locked, force, anew, enabled bool
	dry                                 bool
}

func (a *app) runVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "run RECIPE...",
		Short: "Run the whole pipeline of images once: from packages to a release",
		Long: `Run the pipeline of each image: choose packages, build, audit, boot; upload beside that; share, record, announce.
Where packages, recipe and ingot are those of the last release, it ends there and publishes nothing.

What is finished is written down, and never done again: a run that was killed, interrupted or cancelled goes on at
the step that it was in when the same command is run again. Steps that fail because a mirror or a cloud does not
answer are tried again. ingot status, logs and cancel look at runs from elsewhere.

While ingot serve RECIPE... works for the same state folder, it is given the run, and run waits for it.`,
		Args: args(0, -1, "recipes"),
	}
	f := &runFlags{lineFlags: addLineFlags(cmd)}
	cmd.Flags().BoolVar(&f.graph, "graph", false, "draw the pipeline, and do nothing (with --json, print it)")
	cmd.Flags().BoolVar(&f.dry, "dry-run", false, "say which steps would be done, with which packages, and where to; and do nothing of it")
	cmd.Flags().StringVar(&f.from, "from", "", "repeat the last run from this `STEP` on")
	cmd.Flags().BoolVar(&f.locked, "locked", false, "take the packages of the lock, and no newer ones")
	cmd.Flags().BoolVar(&f.force, "force", false, "go on even if nothing changed since the last release")
	cmd.Flags().BoolVar(&f.anew, "new", false, "begin anew, and leave a run that was cancelled as it is")
	cmd.Flags().BoolVar(&f.enabled, "enable", false, "let ingot serve start these images again, which it has given up after failures, and do nothing else")
	cmd.Flags().StringVar(&f.approve, "approve", "", "approve `RUN`, which waits for it, and do nothing else")
	work := a.asRoot(func(cmd *cobra.Command, args []string) error { return a.runOnce(cmd.Context(), f, args) })
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		switch {
		case f.approve != "":
			return a.approveRun(cmd.Context(), f)
		case len(args) == 0:
			return fault.New(fault.Usage, errors.New("ingot run takes recipes"), "see `ingot run --help`")
		case f.graph:
			return a.drawPipelines(f, args)
		case f.enabled:
			return a.enable(cmd.Context(), f, args)
		}
		return work(cmd, args)
	}
	return cmd
}

func (a *app) drawPipelines(f *runFlags, paths []string) error {
	lines, err := f.lines(paths)
	if err != nil {
		return err
	}
	a.settle()
	for _, l := range lines {
		p := l.Flow
		if a.json {
			a.result("pipeline", p)
			continue
		}
		fmt.Fprintf(a.out, "%s (%.12s)\n%s", p.Name, p.Hash(), p.Draw())
	}
	return nil
}

func (a *app) approveRun(ctx context.Context, f *runFlags) error {
	j, r, err := a.findRun(ctx, f.approve)
	if err != nil {
		return err
	}
	if f.dry {
		if err := r.Gated(); err != nil {
			return err
		}
		return a.say(r, "Would approve run %d of %s", r.ID, r.Pipeline)
	}
	if err := j.Approve(ctx, r.ID); err != nil {
		return err
	}
	return a.say(r, "Run %d of %s is approved", r.ID, r.Pipeline)
}

func (a *app) enable(ctx context.Context, f *runFlags, paths []string) error {
	lines, err := f.lines(paths)
	if err != nil {
		return err
	}
	j, err := a.journal(ctx)
	if err != nil {
		return err
	}
	if f.dry {
		return a.say(len(lines), "Would enable %s", count(len(lines), "image"))
	}
	for _, l := range lines {
		pipelines := []string{l.Recipe.Name}
		if l.Recipe.Schedule.Looks() != "" {
			pipelines = append(pipelines, factory.UpkeepName(l.Recipe.Name))
		}
		for _, pipeline := range pipelines {
			if err := j.Enable(ctx, pipeline); err != nil {
				return err
			}
		}
	}
	return a.say(len(lines), "Enabled %s", count(len(lines), "image"))
}

// runOnce runs the pipelines of some recipes to their end.
func (a *app) runOnce(ctx context.Context, f *runFlags, paths []string) error {
	lines, err := f.lines(paths)
	if err != nil {
		return err
	}
	for i := range lines {
		lines[i].Input.Locked, lines[i].Input.Force = f.locked, f.force
	}
	j, err := a.journal(ctx)
	if err != nil {
		return err
	}
	if f.dry {
		return a.foresee(ctx, f, j, lines)
	}
	release, busy := j.Hold("ingot run")
	if fault.KindOf(busy) == fault.Exists {
		return a.orderElsewhere(ctx, f, j, lines, busy)
	}
	if busy != nil {
		return busy
	}
	defer release()
	p, err := a.plant(ctx, f.lineFlags, lines, j)
	if err != nil {
		return err
	}
	ids, err := f.order(ctx, j, lines)
	if err != nil {
		return err
	}
	runs, err := p.Once(ctx, ids)
	if e := ctx.Err(); e != nil {
		return e
	}
	return a.sayRuns(ctx, j, runs, err)
}

// sayRuns says how runs ended, below the progress.
func (a *app) sayRuns(ctx context.Context, j *journal.Journal, runs []journal.Run, err error) error {
	a.settle()
	errs := []error{err}
	failed := 0
	for _, r := range runs {
		if r.State.Over() {
			e := a.sayRun(ctx, j, r)
			if errs = append(errs, e); e != nil {
				failed++
			}
		}
	}
	err = errors.Join(errs...)
	if err != nil && failed < len(runs) && !errors.Is(err, context.Canceled) {
		return fault.New(fault.Partial, err, fault.HintOf(err))
	}
	return err
}

// beginWithin is how long another process has to begin a run that was ordered.
const beginWithin = 10 * time.Second

// orderElsewhere orders runs from the process that drives pipelines, and waits for them. busy is why this one cannot.
func (a *app) orderElsewhere(ctx context.Context, f *runFlags, j *journal.Journal, lines []factory.Line, busy error) error {
	ids, err := f.order(ctx, j, lines)
	if err != nil {
		return err
	}
	ordered := time.Now()
	var runs []journal.Run
	var errs []error
	for _, id := range ids {
		r, err := a.follow(ctx, j, id, func(r journal.Run) error {
			if r.State != journal.Queued || time.Since(ordered) < beginWithin {
				return nil
			}
			return errors.Join(busy, j.Cancel(ctx, id)) // it drives other images
		})
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			errs = append(errs, err)
		default:
			runs = append(runs, r)
		}
	}
	return a.sayRuns(ctx, j, runs, errors.Join(errs...))
}

// follow shows the log of a run until it is over, or check fails.
func (a *app) follow(ctx context.Context, j *journal.Journal, id int64, check func(journal.Run) error) (journal.Run, error) {
	after := int64(0)
	for {
		r, err := j.Run(ctx, id) // before the lines, so that none is missed at the end
		if err != nil {
			return r, err
		}
		for {
			lines, err := j.Lines(ctx, id, "", after, 1000)
			if err != nil {
				return r, err
			}
			for _, l := range lines {
				a.reporter.Logf("%s %s", r.Pipeline, lineText(l))
				after = l.ID
			}
			if len(lines) == 0 {
				break
			}
		}
		if r.State.Over() {
			return r, nil
		}
		if err := check(r); err != nil {
			return r, err
		}
		select {
		case <-ctx.Done():
			return r, ctx.Err()
		case <-time.After(500 * time.Millisecond):
		}
	}
}

func lineText(l journal.Line) string {
	step := l.Step
	if l.Item != "" {
		step += " " + l.Item
	}
	return step + ": " + l.Text
}
