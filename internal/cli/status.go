package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"ingot/internal/factory/journal"
	"ingot/internal/fault"
)

func (a *app) statusVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status [RUN|NAME]",
		Short: "Show the pipelines and their runs, or the steps of one run",
		Args:  args(0, 1, "at most one run, by its number or its image's name"),
	}
	limit := cmd.Flags().Int("limit", 20, "show so `MANY` runs")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		j, err := a.journal(cmd.Context())
		if err != nil {
			return err
		}
		if len(args) == 1 {
			r, err := runOf(cmd.Context(), j, args[0])
			if err != nil {
				return err
			}
			return a.saySteps(cmd.Context(), j, r)
		}
		return a.sayPipelines(cmd.Context(), j, *limit)
	}
	return cmd
}

const clockFormat = "2006-01-02 15:04"

func (a *app) sayPipelines(ctx context.Context, j *journal.Journal, limit int) error {
	pipelines, err := j.Pipelines(ctx)
	if err != nil {
		return err
	}
	runs, err := j.Runs(ctx, "", limit)
	if err != nil {
		return err
	}
	for _, p := range pipelines {
		switch {
		case a.json:
			a.result("pipeline", p)
		case p.Disabled != "":
			fmt.Fprintf(a.out, "%s is disabled: %s (`ingot run --enable RECIPE`)\n", p.Name, p.Disabled)
		case !p.Next.IsZero():
			fmt.Fprintf(a.out, "%s runs next on %s UTC\n", p.Name, p.Next.Format(clockFormat))
		}
	}
	for _, r := range runs {
		if a.json {
			a.result("run", r)
			continue
		}
		why, _, _ := strings.Cut(r.Error, "\n")
		fmt.Fprintln(a.out, strings.TrimRight(fmt.Sprintf("%5d  %s  %-20s %-9s  %8s  %-16s %s", r.ID, r.Created.Format(clockFormat), r.Pipeline, r.State, took(r.Started, r.Ended), r.Cause, why), " "))
	}
	if len(pipelines)+len(runs) == 0 && !a.json {
		fmt.Fprintln(a.err, "Nothing has run yet: `ingot run RECIPE` does it once, `ingot serve RECIPE` whenever it is due")
	}
	return nil
}

// took says how long something took, or is taking.
func took(from, to time.Time) string {
	switch {
	case from.IsZero():
		return ""
	case to.IsZero():
		to = Clock.Now()
	}
	return span(to.Sub(from))
}

func (a *app) saySteps(ctx context.Context, j *journal.Journal, r journal.Run) error {
	steps, err := j.Steps(ctx, r.ID)
	if err != nil {
		return err
	}
	if a.json {
		a.result("run", r)
		for _, s := range steps {
			a.result("step", s)
		}
		return nil
	}
	fmt.Fprintf(a.out, "run %d of %s: %s (%s)\n", r.ID, r.Pipeline, r.State, r.Cause)
	for _, s := range steps {
		var more []string
		if s.Attempts > 1 {
			more = append(more, count(s.Attempts, "attempt"))
		}
		if s.State == journal.Waiting && !s.Due.IsZero() {
			more = append(more, "next at "+s.Due.Format("15:04:05"))
		}
		if s.Error != "" {
			more = append(more, s.Error)
		}
		fmt.Fprintln(a.out, strings.TrimRight(fmt.Sprintf("  %-24s %-9s  %8s  %s", strings.TrimSpace(s.Name+" "+s.Item), s.State, took(s.Started, s.Ended), strings.Join(more, "; ")), " "))
	}
	return nil
}

func (a *app) logsVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "logs RUN|NAME",
		Short: "Print the log of a run",
		Args:  args(1, 1, "a run, by its number or its image's name"),
	}
	step := cmd.Flags().String("step", "", "only this `STEP`")
	follow := cmd.Flags().BoolP("follow", "f", false, "go on until the run is over")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ctx := cmd.Context()
		j, r, err := a.findRun(ctx, args[0])
		if err != nil {
			return err
		}
		for after := int64(0); ; {
			r, err = j.Run(ctx, r.ID)
			if err != nil {
				return err
			}
			lines, err := j.Lines(ctx, r.ID, *step, after, 1000)
			if err != nil {
				return err
			}
			for _, l := range lines {
				after = l.ID
				if a.json {
					a.result("line", l)
				} else {
					fmt.Fprintf(a.out, "%s %s\n", l.Time.Format("2006-01-02 15:04:05"), lineText(l))
				}
			}
			if len(lines) > 0 {
				continue
			}
			if !*follow || r.State.Over() {
				return knownStep(ctx, j, r, *step)
			}
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(500 * time.Millisecond):
			}
		}
	}
	return cmd
}

// knownStep refuses the name of a step that a run has not; none is all of them.
func knownStep(ctx context.Context, j *journal.Journal, r journal.Run, name string) error {
	steps, err := j.Steps(ctx, r.ID)
	if err != nil || name == "" || slices.ContainsFunc(steps, func(s journal.Step) bool { return s.Name == name }) {
		return err
	}
	return fault.New(fault.Missing, fmt.Errorf("run %d has come to no step %q", r.ID, name), fmt.Sprintf("`ingot status %d` lists its steps", r.ID))
}

func (a *app) cancelVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "cancel RUN|NAME",
		Short: "End a run; ingot run goes on with it later, from the step that it was in",
		Args:  args(1, 1, "a run, by its number or its image's name"),
	}
	dry := cmd.Flags().Bool("dry-run", false, "say what would be ended, and end nothing")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ctx := cmd.Context()
		j, r, err := a.findRun(ctx, args[0])
		if err != nil {
			return err
		}
		if *dry && !r.State.Over() {
			left, err := j.Left(ctx, r)
			if err != nil {
				return err
			}
			return a.say(map[string]any{"run": r.ID, "left": left, "dry_run": true}, "Would end run %d of %s, which has still to do: %s", r.ID, r.Pipeline, strings.Join(left, ", "))
		}
		if err := j.Cancel(ctx, r.ID); err != nil {
			return err
		}
		limit, cancel := context.WithTimeout(ctx, cancelLimit)
		defer cancel()
		for {
			if r, err = j.Run(ctx, r.ID); err != nil {
				return err
			}
			if r.State.Over() {
				return a.say(r, "Run %d of %s is %s", r.ID, r.Pipeline, r.State)
			}
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-limit.Done():
				return fault.Newf(fault.Unreachable, "run %d was asked to end, and goes on after %v", r.ID, cancelLimit)
			case <-time.After(200 * time.Millisecond):
			}
		}
	}
	return cmd
}

// cancelLimit bounds how long a run has for ending.
const cancelLimit = 2 * time.Minute
