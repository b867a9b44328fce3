package main

import (
	"context"
	"errors"

	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"

	"ingot/internal/deploy/station"
	"ingot/internal/factory"
	"ingot/internal/factory/flow"
	"ingot/internal/fault"
	"ingot/internal/recipe"

	"ingot/cmd/ingot-temporal/interpreter"
)

// plan makes the schedules of an image, or changes them: of its runs and of its upkeep. One that the recipe does not ask for any more
// is taken away.
func (s *starter) plan(ctx context.Context, r *recipe.Recipe) error {
	if r.Schedule.Cron == "" && r.Schedule.Looks() == "" {
		return r.Refuse("schedule", "it has no cron, and nothing else says when %s is due", r.Name)
	}
	pipelines := []*flow.Pipeline{factory.Pipeline(r), factory.Upkeep(r)}
	plans := make([]*client.ScheduleOptions, len(pipelines))
	for i, p := range pipelines { // nothing is done where one is refused
		o, err := s.order(r, p, station.Order{Cause: "schedule"})
		if err == nil {
			plans[i], err = interpreter.Schedule(r, o, s.queue)
		}
		if err != nil {
			return err
		}
	}
	if !s.dry {
		if err := s.put(ctx, r); err != nil {
			return err
		}
	}
	for i, p := range pipelines {
		there, err := s.planned(ctx, p.Name)
		switch {
		case err != nil:
		case plans[i] != nil:
			err = s.setPlan(ctx, p.Name, plans[i], there)
		case there:
			err = s.dropPlan(ctx, p.Name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// unplan takes the schedules of an image away.
func (s *starter) unplan(ctx context.Context, r *recipe.Recipe) error {
	none := true
	for _, pipeline := range []string{r.Name, factory.UpkeepName(r.Name)} {
		there, err := s.planned(ctx, pipeline)
		if err == nil && there {
			none, err = false, s.dropPlan(ctx, pipeline)
		}
		if err != nil {
			return err
		}
	}
	if none {
		return fault.Newf(fault.Missing, "taking the schedule of %s away: it has none", r.Name)
	}
	return nil
}

func (s *starter) handle(ctx context.Context, pipeline string) client.ScheduleHandle {
	return s.client.ScheduleClient().GetHandle(ctx, interpreter.RunID(pipeline))
}

// planned says whether a pipeline has a schedule on the server.
func (s *starter) planned(ctx context.Context, pipeline string) (bool, error) {
	_, err := s.handle(ctx, pipeline).Describe(ctx)
	var missing *serviceerror.NotFound
	if errors.As(err, &missing) {
		return false, nil
	}
	return err == nil, explain("looking at the schedule of "+pipeline, err)
}

// setPlan makes the schedule of a pipeline, or changes the one that is there.
func (s *starter) setPlan(ctx context.Context, pipeline string, plan *client.ScheduleOptions, there bool) error {
	if s.dry {
		how := map[bool]string{false: "made", true: "changed"}[there]
		said := map[string]any{"image": pipeline, "cron": plan.Spec.CronExpressions[0], "zone": plan.Spec.TimeZoneName, "schedule": how}
		return s.kit.Say(said, "%s: its schedule would be %s: %s (%s)", pipeline, how, plan.Spec.CronExpressions[0], first(plan.Spec.TimeZoneName, "UTC"))
	}
	var err error
	if there {
		err = s.handle(ctx, pipeline).Update(ctx, client.ScheduleUpdateOptions{DoUpdate: func(in client.ScheduleUpdateInput) (*client.ScheduleUpdate, error) {
			now := in.Description.Schedule
			now.Spec, now.Action = &plan.Spec, plan.Action
			now.Policy = &client.SchedulePolicies{Overlap: plan.Overlap, CatchupWindow: plan.CatchupWindow}
			return &client.ScheduleUpdate{Schedule: &now}, nil
		}})
	} else {
		_, err = s.client.ScheduleClient().Create(ctx, *plan)
	}
	if err != nil {
		return explain("scheduling "+pipeline, err)
	}
	d, err := s.handle(ctx, pipeline).Describe(ctx)
	if err != nil {
		return explain("looking at the schedule of "+pipeline, err)
	}
	next := "never"
	if times := d.Info.NextActionTimes; len(times) > 0 {
		next = "on " + times[0].UTC().Format(clockFormat) + " UTC"
	}
	return s.kit.Say(map[string]any{"image": pipeline, "next": d.Info.NextActionTimes}, "%s runs next %s", pipeline, next)
}

// dropPlan takes the schedule of a pipeline away.
func (s *starter) dropPlan(ctx context.Context, pipeline string) error {
	said := map[string]string{"image": pipeline, "schedule": "removed"}
	if s.dry {
		return s.kit.Say(said, "%s: its schedule would be taken away", pipeline)
	}
	if err := s.handle(ctx, pipeline).Delete(ctx); err != nil {
		return explain("taking the schedule of "+pipeline+" away", err)
	}
	return s.kit.Say(said, "%s: the schedule is gone", pipeline)
}
