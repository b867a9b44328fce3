package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	enums "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"

	"ingot/internal/cli"
	"ingot/internal/deploy/depot"
	"ingot/internal/deploy/station"
	"ingot/internal/factory"
	"ingot/internal/factory/asl"
	"ingot/internal/fault"
	"ingot/internal/recipe"

	"ingot/cmd/ingot-temporal/interpreter"
)

func verbs(k *cli.Kit) []*cobra.Command {
	return []*cobra.Command{workerVerb(k), startVerb(k), statusVerb(k), approveVerb(k), cancelVerb(k)}
}

// starter starts runs.
type starter struct {
	*server
	client         client.Client
	depot          depot.Store
	set            map[string]string
	regions        []string
	force, locked  bool
	schedule, wait bool
	unschedule     bool
	beat           time.Duration
}

func startVerb(k *cli.Kit) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "start RECIPE...",
		Short: "Start a run of images, or have a schedule start them",
		Long: `Start a run of each image; or, with --schedule, make a schedule on the server of what the recipe's schedule: says, or change the one that is
there. The recipe, and the files that it names, go into the depot. No second run of an image begins while one is at work.`,
		Args: k.Args(1, -1, "recipes"),
	}
	s := &starter{server: serverFlags(k, cmd), set: k.Settings(cmd)}
	place := k.PlaceFlags(cmd)
	cmd.Flags().StringSliceVar(&s.regions, "region", nil, "`REGIONS` to publish to, instead of the recipes'")
	cmd.Flags().BoolVar(&s.force, "force", false, "go on even if nothing changed since the last release")
	cmd.Flags().BoolVar(&s.locked, "locked", false, "take the packages of the lock, and no newer ones")
	cmd.Flags().BoolVar(&s.schedule, "schedule", false, "make or change the schedule of each image, and start nothing now")
	cmd.Flags().BoolVar(&s.unschedule, "unschedule", false, "take the schedule of each image away, and start nothing")
	cmd.Flags().BoolVar(&s.wait, "wait", false, "wait until the runs are over")
	cmd.Flags().DurationVar(&s.beat, "beat", asl.DefaultBeat, "take a worker for lost after so long without a sign of life")
	cmd.RunE = s.with(func(ctx context.Context, c client.Client, args []string) (err error) {
		if s.beat < time.Second {
			return fault.Newf(fault.Usage, "--beat %v is less than a second", s.beat)
		}
		s.client = c
		if s.depot, err = k.Depot(ctx, place); err != nil {
			return err
		}
		var all []client.WorkflowRun
		for _, path := range args {
			recipes, err := recipe.Load(path, s.set)
			if err != nil {
				return err
			}
			for _, r := range recipes {
				run, err := s.start(ctx, r)
				if err != nil {
					return err
				}
				if run != nil {
					all = append(all, run)
				}
			}
		}
		if !s.wait {
			return nil
		}
		var errs []error
		for _, run := range all {
			image := strings.TrimPrefix(run.GetID(), interpreter.RunID(""))
			out, err := ended(ctx, image, run)
			if err == nil {
				err = k.Say(out, "%s: the run is %s", image, out.State)
			}
			errs = append(errs, err)
		}
		return errors.Join(errs...)
	})
	return cmd
}

// start starts a run of an image, or has a schedule do so; the run is nil then.
func (s *starter) start(ctx context.Context, r *recipe.Recipe) (client.WorkflowRun, error) {
	if s.unschedule {
		err := s.client.ScheduleClient().GetHandle(ctx, interpreter.RunID(r.Name)).Delete(ctx)
		if err != nil {
			return nil, explain("taking the schedule of "+r.Name+" away", err)
		}
		return nil, s.kit.Say(r.Name, "%s: the schedule is gone", r.Name)
	}
	in := station.Order{Input: factory.Input{Recipe: filepath.Base(r.Path), Set: s.set, Name: r.Name, Regions: s.regions, Force: s.force, Locked: s.locked}, Cause: "manual"}
	if s.schedule {
		in.Cause = "schedule"
	}
	o, err := interpreter.NewOrder(factory.Pipeline(r), in, s.machineQueue(), s.beat)
	if err != nil {
		return nil, err
	}
	if s.schedule {
		return nil, s.plan(ctx, r, o)
	}
	doing := "starting a run of " + r.Name
	running, err := s.client.DescribeWorkflowExecution(ctx, interpreter.RunID(r.Name), "")
	var missing *serviceerror.NotFound
	switch {
	case errors.As(err, &missing):
	case err != nil:
		return nil, explain(doing, err)
	case running.GetWorkflowExecutionInfo().GetStatus() == enums.WORKFLOW_EXECUTION_STATUS_RUNNING:
		return nil, fault.New(fault.Exists, fmt.Errorf("%s: another one is not over", doing), fmt.Sprintf("`ingot-temporal status %s` shows it, `ingot-temporal cancel %s` ends it", r.Name, r.Name))
	}
	if err := s.put(ctx, r); err != nil {
		return nil, err
	}
	run, err := s.client.ExecuteWorkflow(ctx, client.StartWorkflowOptions{ID: interpreter.RunID(r.Name), TaskQueue: s.queue,
		WorkflowIDConflictPolicy: enums.WORKFLOW_ID_CONFLICT_POLICY_FAIL, WorkflowExecutionErrorWhenAlreadyStarted: true}, interpreter.RunWorkflow, o)
	if err != nil {
		return nil, explain(doing, err)
	}
	return run, s.kit.Say(map[string]string{"image": r.Name, "run": run.GetRunID()}, "%s: run %s is started", r.Name, run.GetRunID())
}

// put has the workers find the recipe.
func (s *starter) put(ctx context.Context, r *recipe.Recipe) error {
	archive, _, err := station.Recipes(r)
	if err != nil {
		return err
	}
	return s.depot.Put(ctx, station.RecipeKey(r.Name), archive)
}

// plan makes the schedule of an image, or changes it.
func (s *starter) plan(ctx context.Context, r *recipe.Recipe, o interpreter.Order) error {
	if r.Schedule.Cron == "" {
		return r.Refuse("schedule", "it has no cron, and nothing else says when %s is due", r.Name)
	}
	plan, err := interpreter.Schedule(r, o, s.queue)
	if err != nil {
		return err
	}
	if err := s.put(ctx, r); err != nil {
		return err
	}
	all := s.client.ScheduleClient()
	_, err = all.Create(ctx, *plan)
	if errors.Is(err, temporal.ErrScheduleAlreadyRunning) {
		err = all.GetHandle(ctx, plan.ID).Update(ctx, client.ScheduleUpdateOptions{DoUpdate: func(in client.ScheduleUpdateInput) (*client.ScheduleUpdate, error) {
			now := in.Description.Schedule
			now.Spec, now.Action = &plan.Spec, plan.Action
			now.Policy = &client.SchedulePolicies{Overlap: plan.Overlap, CatchupWindow: plan.CatchupWindow}
			return &client.ScheduleUpdate{Schedule: &now}, nil
		}})
	}
	if err != nil {
		return explain("scheduling "+r.Name, err)
	}
	d, err := all.GetHandle(ctx, plan.ID).Describe(ctx)
	if err != nil {
		return explain("looking at the schedule of "+r.Name, err)
	}
	next := "never"
	if times := d.Info.NextActionTimes; len(times) > 0 {
		next = "on " + times[0].UTC().Format(clockFormat) + " UTC"
	}
	return s.kit.Say(map[string]any{"image": r.Name, "next": d.Info.NextActionTimes}, "%s runs next %s", r.Name, next)
}

const clockFormat = "2006-01-02 15:04"

// ended waits for the end of a run. One that failed is an error of the kind of the step that did.
func ended(ctx context.Context, image string, run client.WorkflowRun) (*interpreter.Status, error) {
	out := &interpreter.Status{}
	err := run.Get(ctx, out)
	var app *temporal.ApplicationError
	var cancelled *temporal.CanceledError
	switch {
	case err == nil:
		return out, nil
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case errors.As(err, &cancelled):
		return nil, fmt.Errorf("the run of %s was cancelled: %w", image, context.Canceled)
	case errors.As(err, &app):
		_ = app.Details(out) // an error of Temporal's own has none
		failure := asl.Failure{Kind: app.Type(), Text: fmt.Sprintf("the run of %s: %s", image, app.Message()), Hint: out.Hint}
		return out, failure.Err()
	}
	return nil, explain("waiting for the run of "+image, err)
}

// answerLimit bounds how long a worker has for saying how far a run has come.
const answerLimit = 15 * time.Second

func statusVerb(k *cli.Kit) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status [IMAGE]",
		Short: "Show the runs, or the steps of an image's last one",
		Args:  k.Args(0, 1, "at most one image"),
	}
	s := serverFlags(k, cmd)
	limit := cmd.Flags().Int32("limit", 20, "show so `MANY` runs")
	cmd.RunE = s.with(func(ctx context.Context, c client.Client, args []string) error {
		if len(args) == 0 {
			return s.list(ctx, c, *limit)
		}
		out, err := look(ctx, c, args[0])
		if err != nil {
			return err
		}
		lines := []string{fmt.Sprintf("%s: %s (pipeline %.12s)", out.Pipeline, out.State, out.Hash)}
		for _, st := range out.Steps {
			line := fmt.Sprintf("  %-24s %-9s", strings.TrimSpace(st.Name+" "+st.Item), st.State)
			if st.Attempts > 1 {
				line += fmt.Sprintf("  %d attempts", st.Attempts)
			}
			if st.Error != "" {
				line += "  " + st.Error
			}
			lines = append(lines, strings.TrimRight(line, " "))
		}
		if out.Error != "" {
			lines = append(lines, out.Error)
		}
		return k.Say(out, "%s", strings.Join(lines, "\n"))
	})
	return cmd
}

// look says how far the last run of an image has come. A worker says so of one that is not over.
func look(ctx context.Context, c client.Client, image string) (*interpreter.Status, error) {
	doing := "looking at the run of " + image
	id := interpreter.RunID(image)
	d, err := c.DescribeWorkflowExecution(ctx, id, "")
	if err != nil {
		return nil, explain(doing, err)
	}
	switch d.GetWorkflowExecutionInfo().GetStatus() {
	case enums.WORKFLOW_EXECUTION_STATUS_COMPLETED, enums.WORKFLOW_EXECUTION_STATUS_FAILED:
		out, err := ended(ctx, image, c.GetWorkflow(ctx, id, ""))
		if out == nil || out.State == "" {
			return nil, err
		}
		return out, nil
	}
	limited, cancel := context.WithTimeout(ctx, answerLimit)
	defer cancel()
	out := &interpreter.Status{}
	v, err := c.QueryWorkflow(limited, id, "", interpreter.StatusQuery)
	if err == nil {
		err = v.Get(out)
	}
	if err != nil {
		return nil, fault.New(fault.Unreachable, fmt.Errorf("%s: no worker says how far it has come: %w", doing, err), "see whether `ingot-temporal worker` listens to its queue")
	}
	return out, nil
}

// list shows the last runs, the newest first.
func (s *server) list(ctx context.Context, c client.Client, limit int32) error {
	out, err := c.ListWorkflow(ctx, &workflowservice.ListWorkflowExecutionsRequest{PageSize: limit, Query: fmt.Sprintf("WorkflowType = '%s'", interpreter.RunWorkflow)})
	if err != nil {
		return explain("listing runs", err)
	}
	type run struct {
		Image   string    `json:"image"`
		Run     string    `json:"run"`
		State   string    `json:"state"`
		Started time.Time `json:"started"`
	}
	var all []run
	var lines []string
	for _, x := range out.GetExecutions() {
		r := run{strings.TrimPrefix(x.GetExecution().GetWorkflowId(), interpreter.RunID("")), x.GetExecution().GetRunId(), strings.ToLower(x.GetStatus().String()), x.GetStartTime().AsTime()}
		all = append(all, r)
		lines = append(lines, fmt.Sprintf("%s  %-20s %-10s %s", r.Started.Format(clockFormat), r.Image, r.State, r.Run))
	}
	if len(lines) == 0 {
		lines = []string{"There were no runs yet"}
	}
	return s.kit.Say(all, "%s", strings.Join(lines, "\n"))
}

func approveVerb(k *cli.Kit) *cobra.Command {
	cmd := &cobra.Command{Use: "approve IMAGE", Short: "Let the run of an image go on that waits for it", Args: k.Args(1, 1, "an image")}
	s := serverFlags(k, cmd)
	cmd.RunE = s.with(func(ctx context.Context, c client.Client, args []string) error {
		if err := c.SignalWorkflow(ctx, interpreter.RunID(args[0]), "", interpreter.ApproveSignal, nil); err != nil {
			return explain("approving the run of "+args[0], err)
		}
		return k.Say(args[0], "The run of %s is approved", args[0])
	})
	return cmd
}

// cancelLimit bounds how long a run has for ending.
const cancelLimit = 5 * time.Minute

func cancelVerb(k *cli.Kit) *cobra.Command {
	cmd := &cobra.Command{Use: "cancel IMAGE", Short: "End the run of an image", Args: k.Args(1, 1, "an image")}
	s := serverFlags(k, cmd)
	cmd.RunE = s.with(func(ctx context.Context, c client.Client, args []string) error {
		doing := "cancelling the run of " + args[0]
		if err := c.CancelWorkflow(ctx, interpreter.RunID(args[0]), ""); err != nil {
			return explain(doing, err)
		}
		limited, cancel := context.WithTimeout(ctx, cancelLimit)
		defer cancel()
		_, err := ended(limited, args[0], c.GetWorkflow(limited, interpreter.RunID(args[0]), ""))
		switch {
		case errors.Is(err, context.DeadlineExceeded):
			return fault.Newf(fault.Unreachable, "%s: it goes on after %v", doing, cancelLimit)
		case err != nil && !errors.Is(err, context.Canceled), ctx.Err() != nil:
			return err
		}
		return k.Say(args[0], "The run of %s is cancelled", args[0])
	})
	return cmd
}
