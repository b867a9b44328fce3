package main

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"ingot/internal/cli"
	"ingot/internal/deploy/station"
	"ingot/internal/fault"

	"ingot/cmd/ingot-temporal/interpreter"
)

// stopLimit is how long steps have to give themselves back when the worker is stopped.
const stopLimit = 30 * time.Second

// decideLimit is how long it may take to decide what comes next, on a machine that builds and boots beside that. The server waits 10 s.
const decideLimit = 8 * time.Second

func workerVerb(k *cli.Kit) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "worker",
		Short: "Do the steps of runs, and decide what comes next in them",
		Long: `Take part in the runs of a Temporal server until Ctrl-C or SIGTERM: decide what comes next, and do steps. Several workers share the
work; they need the same --depot and the same --catalog. What a worker was at when it is stopped, another one does again at once; when a
worker is lost, its step is given to another one after the time of start --beat.

With --no-machine, a worker leaves alone the steps that need disks, root and QEMU: build, audit, boot and the like.
Those of $INGOT_NOTIFY (URLs separated by blanks) are told of releases, failures and runs that are cancelled; give all workers the same
ones. Images of the kind instance-store take --key, and all workers the same one.`,
		Args: k.Args(0, 0, "no arguments"),
	}
	s, place := serverFlags(k, cmd), k.PlaceFlags(cmd)
	k.StepFlags(cmd, place)
	light := cmd.Flags().Bool("no-machine", false, "do only short steps")
	slots := cmd.Flags().Int("slots", 2, "do so `MANY` steps that need a machine at a time: a boot test and an upload run side by side")
	cmd.RunE = k.AsRoot(func(cmd *cobra.Command, _ []string) error {
		if *slots < 1 {
			return fault.Newf(fault.Usage, "--slots %d: a worker needs one, or --no-machine", *slots)
		}
		heavyStation, lightStation, err := k.Stations(cmd.Context(), place)
		if err != nil {
			return err
		}
		c, err := s.dial(cmd.Context())
		if err != nil {
			return err
		}
		defer c.Close()
		ctx, fail := context.WithCancelCause(cmd.Context())
		defer fail(nil)
		options := worker.Options{WorkerStopTimeout: stopLimit, DeadlockDetectionTimeout: decideLimit, OnFatalError: func(err error) { fail(explain("taking part in runs", err)) }}
		lightStation.Starter = &orders{s, c}
		all := []worker.Worker{shortWorker(c, s.queue, k, lightStation, options)}
		if !*light {
			options.MaxConcurrentActivityExecutionSize, options.DisableWorkflowWorker = *slots, true
			w := worker.New(c, s.machineQueue(), options)
			register(w, k, heavyStation)
			all = append(all, w)
		}
		for _, w := range all {
			if err := w.Start(); err != nil {
				return explain("taking part in runs", err)
			}
			defer w.Stop()
		}
		k.Logf("taking part in runs, by the queue %s", s.queue)
		<-ctx.Done()
		if cmd.Context().Err() != nil {
			return nil
		}
		return context.Cause(ctx)
	})
	return cmd
}

// shortWorker decides, and does the short steps.
func shortWorker(c client.Client, queue string, k *cli.Kit, st *station.Station, o worker.Options) worker.Worker {
	w := worker.New(c, queue, o)
	st.Cloud = nobody{}
	i := &interpreter.Interpreter{Steps: slices.Collect(maps.Keys(st.Tasks(st.Factory)))}
	w.RegisterWorkflowWithOptions(i.Run, workflow.RegisterOptions{Name: interpreter.RunWorkflow})
	w.RegisterWorkflowWithOptions(i.Due, workflow.RegisterOptions{Name: interpreter.DueWorkflow})
	register(w, k, st)
	return w
}

func register(w worker.Worker, k *cli.Kit, st *station.Station) {
	a := &interpreter.Activity{Do: st.Do, Logf: k.Logf}
	w.RegisterActivityWithOptions(a.Step, activity.RegisterOptions{Name: interpreter.StepActivity})
}

// nobody implements station.Cloud where machines are there already, and the server lets no two runs of an image be at work.
type nobody struct{}

// Older implements station.Cloud.
func (nobody) Older(context.Context, string, string) (string, error) { return "", nil }

// Launch implements station.Cloud.
func (nobody) Launch(context.Context, string, string) error { return nil }

// Dismiss implements station.Cloud.
func (nobody) Dismiss(context.Context, string) error { return nil }
