package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"go.temporal.io/sdk/client"

	"ingot/internal/cli"
	"ingot/internal/deploy/depot"
	"ingot/internal/deploy/station"
	"ingot/internal/factory"
	"ingot/internal/factory/asl"
	"ingot/internal/factory/course"
	"ingot/internal/factory/flow"
	"ingot/internal/fault"
	"ingot/internal/recipe"

	"ingot/cmd/ingot-temporal/interpreter"
)

// starter starts runs, and has schedules start them.
type starter struct {
	*server
	client                client.Client
	depot                 depot.Store // nil where nothing is to be done
	set                   map[string]string
	regions               []string
	from                  string
	force, locked, upkeep bool
	schedule, unschedule  bool
	wait, dry             bool
	beat                  time.Duration
}

func startVerb(k *cli.Kit) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "start RECIPE...",
		Short: "Start a run of images, or have a schedule start them",
		Long: `Start a run of each image; or, with --schedule, make schedules on the server of what the recipe's schedule: says, or change those that are
there: of its runs, and of its upkeep, which is called NAME/upkeep. The recipe, and the files that it names, go into the depot. No second
run of an image begins while one is at work.

--dry-run says which steps would be done, and not with which packages: ` + "`ingot run --dry-run`" + ` chooses those.`,
		Args: k.Args(1, -1, "recipes"),
	}
	s := &starter{server: serverFlags(k, cmd), set: k.Settings(cmd)}
	place := k.PlaceFlags(cmd)
	cmd.Flags().StringSliceVar(&s.regions, "region", nil, "`REGIONS` to publish to, instead of the recipes'")
	cmd.Flags().StringVar(&s.from, "from", "", "repeat the last run from this `STEP` on")
	cmd.Flags().BoolVar(&s.force, "force", false, "go on even if nothing changed since the last release")
	cmd.Flags().BoolVar(&s.locked, "locked", false, "take the packages of the lock, and no newer ones")
	cmd.Flags().BoolVar(&s.upkeep, "upkeep", false, "start a run of each image's upkeep, instead of one of the image")
	cmd.Flags().BoolVar(&s.schedule, "schedule", false, "make or change the schedules of each image, and start nothing now")
	cmd.Flags().BoolVar(&s.unschedule, "unschedule", false, "take the schedules of each image away, and start nothing")
	cmd.Flags().BoolVar(&s.wait, "wait", false, "wait until the runs are over")
	cmd.Flags().DurationVar(&s.beat, "beat", asl.DefaultBeat, "take a worker for lost after so long without a sign of life")
	dryFlag(cmd, &s.dry)
	cmd.RunE = s.with(func(ctx context.Context, c client.Client, args []string) (err error) {
		if s.beat < time.Second {
			return fault.Newf(fault.Usage, "--beat %v is less than a second", s.beat)
		}
		if s.schedule && s.unschedule || (s.schedule || s.unschedule) && (s.from != "" || s.upkeep) {
			return fault.Newf(fault.Usage, "--schedule and --unschedule start nothing: they go with neither --from nor --upkeep, nor with one another")
		}
		s.client = c
		if !s.dry {
			if s.depot, err = k.Depot(ctx, place); err != nil {
				return err
			}
		}
		var all []client.WorkflowRun
		for _, path := range args {
			recipes, err := recipe.Load(path, s.set)
			if err != nil {
				return err
			}
			for _, r := range recipes {
				switch {
				case s.unschedule:
					err = s.unplan(ctx, r)
				case s.schedule:
					err = s.plan(ctx, r)
				default:
					var run client.WorkflowRun
					if run, err = s.start(ctx, r); run != nil {
						all = append(all, run)
					}
				}
				if err != nil {
					return err
				}
			}
		}
		if !s.wait {
			return nil
		}
		var errs []error
		for _, run := range all {
			pipeline := strings.TrimPrefix(run.GetID(), interpreter.RunID(""))
			out, err := ended(ctx, pipeline, run)
			if err == nil {
				err = k.Say(out, "%s: %s", pipeline, out.State)
			}
			errs = append(errs, err)
		}
		return errors.Join(errs...)
	})
	return cmd
}

// order orders a run of a pipeline of an image.
func (s *starter) order(r *recipe.Recipe, p *flow.Pipeline, in station.Order) (interpreter.Order, error) {
	in.Input = factory.Input{Recipe: filepath.Base(r.Path), Set: s.set, Name: r.Name, Regions: s.regions, Force: s.force, Locked: s.locked}
	return interpreter.NewOrder(p, in, s.machineQueue(), s.beat)
}

// start starts a run; with --dry-run, it says so and returns none.
func (s *starter) start(ctx context.Context, r *recipe.Recipe) (client.WorkflowRun, error) {
	p := factory.Pipeline(r)
	if s.upkeep {
		p = factory.Upkeep(r)
	}
	if _, err := s.idle(ctx, s.client, p.Name); err != nil {
		return nil, err
	}
	in := station.Order{Cause: "manual"}
	of, kept, err := s.former(ctx, p)
	if err != nil {
		return nil, err
	}
	in.Of = of
	for _, step := range kept {
		in.Kept = append(in.Kept, step.Name)
	}
	o, err := s.order(r, p, in)
	if err != nil {
		return nil, err
	}
	o.Kept = kept
	if s.dry {
		how, steps := "a run would be started", course.Anew(p, kept)
		if of != "" {
			how = "run " + of + " would be repeated"
		}
		return nil, s.kit.Say(map[string]any{"image": p.Name, "of": of, "steps": steps}, "%s: %s: %s", p.Name, how, strings.Join(steps, ", "))
	}
	if err := s.put(ctx, r); err != nil {
		return nil, err
	}
	run, err := s.begin(ctx, s.client, o, "")
	if err != nil {
		return nil, err
	}
	return run, s.kit.Say(map[string]string{"image": p.Name, "run": run.GetRunID()}, "%s: run %s is started", p.Name, run.GetRunID())
}

// former returns the last run of a pipeline and what is kept of it, with --from; else nothing.
func (s *starter) former(ctx context.Context, p *flow.Pipeline) (run string, kept []course.Step, err error) {
	if s.from == "" {
		return "", nil, nil
	}
	last, err := look(ctx, s.client, p.Name)
	if fault.KindOf(err) == fault.Missing {
		return "", nil, fault.New(fault.Missing, fmt.Errorf("%s had no run yet that could be repeated from %s", p.Name, s.from), "start it without --from")
	}
	if err != nil {
		return "", nil, err
	}
	kept, err = course.Keep(p, s.from, last.Steps)
	return last.Run, kept, err
}

// put has the workers find the recipe.
func (s *starter) put(ctx context.Context, r *recipe.Recipe) error {
	archive, _, err := station.Recipes(r)
	if err != nil {
		return err
	}
	return s.depot.Put(ctx, station.RecipeKey(r.Name), archive)
}
