package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	enums "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"

	"ingot/internal/cli"
	"ingot/internal/factory/asl"
	"ingot/internal/fault"

	"ingot/cmd/ingot-temporal/interpreter"
)

func verbs(k *cli.Kit) []*cobra.Command {
	return []*cobra.Command{workerVerb(k), startVerb(k), statusVerb(k), approveVerb(k), cancelVerb(k)}
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
		out.Run = first(out.Run, d.GetWorkflowExecutionInfo().GetExecution().GetRunId()) // one of a former ingot does not say it
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
