package main

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/spf13/cobra"
	enums "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/workflow/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"

	"ingot/internal/cli"
	"ingot/internal/factory/flow"
	"ingot/internal/fault"

	"ingot/cmd/ingot-temporal/interpreter"
)

func dryFlag(cmd *cobra.Command, dry *bool) {
	cmd.Flags().BoolVar(dry, "dry-run", false, "say what would be done, and do nothing of it")
}

func isRunning(run *workflow.WorkflowExecutionInfo) bool {
	return run.GetStatus() == enums.WORKFLOW_EXECUTION_STATUS_RUNNING
}

// running finds the run of a pipeline that is not over. Where there is none, it fails with fault.Missing.
func running(ctx context.Context, c client.Client, doing, pipeline string) (*workflow.WorkflowExecutionInfo, error) {
	d, err := c.DescribeWorkflowExecution(ctx, interpreter.RunID(pipeline), "")
	if err != nil {
		return nil, explain(doing, err)
	}
	run := d.GetWorkflowExecutionInfo()
	if !isRunning(run) {
		return nil, fault.Newf(fault.Missing, "%s: run %s of it is over already", doing, run.GetExecution().GetRunId())
	}
	return run, nil
}

// gated reports whether a run has a gate, by what it was started with: no worker is needed to know that.
func gated(ctx context.Context, c client.Client, run *workflow.WorkflowExecutionInfo) (bool, error) {
	first, err := c.GetWorkflowHistory(ctx, run.GetExecution().GetWorkflowId(), run.GetExecution().GetRunId(), false, enums.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT).Next()
	if err != nil {
		return false, err
	}
	var o interpreter.Order
	if err := converter.GetDefaultDataConverter().FromPayloads(first.GetWorkflowExecutionStartedEventAttributes().GetInput(), &o); err != nil {
		return false, err
	}
	return slices.ContainsFunc(o.Flow.Steps, func(s flow.Step) bool { return s.Gate }), nil
}

func approveVerb(k *cli.Kit) *cobra.Command {
	cmd := &cobra.Command{Use: "approve IMAGE", Short: "Let the run of an image go on that waits for it", Args: k.Args(1, 1, "an image")}
	s := serverFlags(k, cmd)
	var dry bool
	dryFlag(cmd, &dry)
	cmd.RunE = s.with(func(ctx context.Context, c client.Client, args []string) error {
		doing := "approving the run of " + args[0]
		run, err := running(ctx, c, doing, args[0])
		if err != nil {
			return err
		}
		waits, err := gated(ctx, c, run)
		switch {
		case err != nil:
			return explain(doing, err)
		case !waits:
			return fault.Newf(fault.Missing, "%s: it waits for nobody", doing)
		case dry:
			return k.Say(args[0], "Would approve the run of %s", args[0])
		}
		if err := c.SignalWorkflow(ctx, interpreter.RunID(args[0]), run.GetExecution().GetRunId(), interpreter.ApproveSignal, nil); err != nil {
			return explain(doing, err)
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
	var dry bool
	dryFlag(cmd, &dry)
	cmd.RunE = s.with(func(ctx context.Context, c client.Client, args []string) error {
		doing := "cancelling the run of " + args[0]
		run, err := running(ctx, c, doing, args[0])
		if err != nil {
			return err
		}
		if dry {
			return k.Say(args[0], "Would cancel the run of %s", args[0])
		}
		id, runID := run.GetExecution().GetWorkflowId(), run.GetExecution().GetRunId()
		if err := c.CancelWorkflow(ctx, id, runID); err != nil {
			return explain(doing, err)
		}
		limited, cancel := context.WithTimeout(ctx, cancelLimit)
		defer cancel()
		_, err = ended(limited, args[0], c.GetWorkflow(limited, id, runID))
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
