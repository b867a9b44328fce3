package interpreter

import (
	"errors"
	"fmt"
	"strings"
	"time"

	enums "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"ingot/internal/factory"
	"ingot/internal/factory/course"
	"ingot/internal/recipe"
)

// RunID is the ID of all runs of a pipeline, one after the other: the server refuses a second one beside the first. It is that of the
// pipeline's schedule, too.
func RunID(pipeline string) string { return "ingot-" + pipeline }

// Due is the workflow that a schedule starts: a run of the pipeline, unless one is at work. A schedule alone would add its time to the
// ID, and know nothing of runs that somebody started by hand.
func (i *Interpreter) Due(ctx workflow.Context, o Order) (*Status, error) {
	out := &Status{}
	err := workflow.ExecuteChildWorkflow(workflow.WithChildOptions(ctx, workflow.ChildWorkflowOptions{
		WorkflowID: RunID(o.Flow.Name), ParentClosePolicy: enums.PARENT_CLOSE_POLICY_REQUEST_CANCEL, WaitForCancellation: true,
	}), RunWorkflow, o).Get(ctx, out)
	var busy *temporal.ChildWorkflowExecutionAlreadyStartedError
	if errors.As(err, &busy) {
		return &Status{Pipeline: o.Flow.Name, Hash: o.Hash, State: course.Skipped, Error: "another run is at work"}, nil
	}
	return out, err
}

// catchUp is for how long a due time that passed while the server was down is made up for.
const catchUp = 365 * 24 * time.Hour

// Schedule makes the schedule of an image's pipeline, or of its upkeep, as o has it; nil where its recipe has none. While a run is at
// work, none is started: what was missed is made up for by one run.
func Schedule(r *recipe.Recipe, o Order, queue string) (*client.ScheduleOptions, error) {
	field, cron, late := "schedule", r.Schedule.Cron, r.Schedule.Late()
	if o.Flow.Name == factory.UpkeepName(r.Name) {
		field, cron, late = "schedule.upkeep", r.Schedule.Looks(), r.Schedule.LooksLate()
	}
	if cron == "" {
		return nil, nil
	}
	f := strings.Fields(cron)
	if len(f) == 5 && !free(f[2]) && !free(f[4]) {
		return nil, r.Refuse(field, "%q has days of the month and of the week, of which Temporal takes those that are both", cron)
	}
	id := RunID(o.Flow.Name)
	return &client.ScheduleOptions{
		ID:            id,
		Spec:          client.ScheduleSpec{CronExpressions: []string{cron}, TimeZoneName: r.Schedule.Zone, Jitter: late},
		Overlap:       enums.SCHEDULE_OVERLAP_POLICY_SKIP,
		CatchupWindow: catchUp,
		Action:        &client.ScheduleWorkflowAction{ID: id + "-due", Workflow: DueWorkflow, Args: []any{o}, TaskQueue: queue},
		Note:          fmt.Sprintf("pipeline %.12s", o.Hash),
	}, nil
}

func free(field string) bool { return field == "*" || field == "?" }
