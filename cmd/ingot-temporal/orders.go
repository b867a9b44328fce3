package main

import (
	"context"
	"fmt"

	enums "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/workflow/v1"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"

	"ingot/internal/factory"
	"ingot/internal/fault"
	"ingot/internal/recipe"

	"ingot/cmd/ingot-temporal/interpreter"
)

// idle fails with fault.Exists while a run of a pipeline is not over. It returns the last one, nil where there was none.
func (s *server) idle(ctx context.Context, c client.Client, pipeline string) (*workflow.WorkflowExecutionInfo, error) {
	doing := "starting a run of " + pipeline
	d, err := c.DescribeWorkflowExecution(ctx, interpreter.RunID(pipeline), "")
	err = explain(doing, err)
	switch run := d.GetWorkflowExecutionInfo(); {
	case fault.KindOf(err) == fault.Missing:
		return nil, nil
	case err != nil:
		return nil, err
	case isRunning(run):
		return run, fault.New(fault.Exists, fmt.Errorf("%s: another one is not over", doing),
			fmt.Sprintf("`ingot-temporal status %s` shows it, `ingot-temporal cancel %s` ends it", pipeline, pipeline))
	default:
		return run, nil
	}
}

// orderMemo is where a run has the name that it was ordered by, if it was ordered by one.
const orderMemo = "order"

// begin starts a run, unless one of its pipeline is not over.
func (s *server) begin(ctx context.Context, c client.Client, o interpreter.Order, name string) (client.WorkflowRun, error) {
	id := interpreter.RunID(o.Flow.Name)
	run, err := c.ExecuteWorkflow(ctx, client.StartWorkflowOptions{ID: id, TaskQueue: s.queue, Memo: map[string]any{orderMemo: name},
		WorkflowIDConflictPolicy: enums.WORKFLOW_ID_CONFLICT_POLICY_FAIL, WorkflowExecutionErrorWhenAlreadyStarted: true}, interpreter.RunWorkflow, o)
	return run, explain("starting a run of "+o.Flow.Name, err)
}

// orders implements station.Starter: the runs that upkeep orders begin on the server that it runs on.
type orders struct {
	*server
	client client.Client
}

// Start implements station.Starter. Of the runs that were started before, it knows the last one. ctx is an activity's: a worker of the
// run that is started is taken for lost as soon as one of the run that orders it.
func (s *orders) Start(ctx context.Context, r *recipe.Recipe, name string, told any) error {
	o, err := interpreter.NewOrder(factory.Pipeline(r), told, s.machineQueue(), activity.GetInfo(ctx).HeartbeatTimeout)
	if err != nil {
		return err
	}
	last, err := s.idle(ctx, s.client, r.Name)
	if last != nil && orderedBy(last) == name { // by an attempt of which nobody heard
		return nil
	}
	if err == nil {
		_, err = s.begin(ctx, s.client, o, name)
	}
	return err
}

// orderedBy returns the name that a run was ordered by, "" for none.
func orderedBy(run *workflow.WorkflowExecutionInfo) (name string) {
	if memo := run.GetMemo().GetFields()[orderMemo]; memo != nil {
		_ = converter.GetDefaultDataConverter().FromPayload(memo, &name) // of something else
	}
	return name
}
