package interpreter

import (
	"context"
	"errors"
	"sync"
	"time"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/temporal"

	"ingot/internal/factory/asl"
)

// Activity does steps. Between signs of life it does not look whether it was cancelled.
type Activity struct {
	Do   func(context.Context, *asl.Request) (asl.Result, *asl.Failure)
	Logf func(format string, args ...any)
}

var errStopped = errors.New("the worker was asked to stop")

// Step does one step.
func (a *Activity) Step(ctx context.Context, r *asl.Request) (asl.Result, error) {
	outer := ctx
	ctx, stop := context.WithCancelCause(ctx)
	var beats sync.WaitGroup
	beats.Go(func() { beat(ctx, stop) })
	defer beats.Wait()
	defer stop(nil)
	a.Logf("run %s: %s begins", r.Run, r.Step)
	res, failure := a.Do(ctx, r)
	switch {
	case failure == nil:
		a.Logf("run %s: %s is done in %.0f s", r.Run, r.Step, res.Seconds)
		return res, nil
	case errors.Is(context.Cause(ctx), errStopped):
		a.Logf("run %s: %s is given back", r.Run, r.Step)
		return asl.Result{}, temporal.NewApplicationErrorWithOptions(errStopped.Error(), asl.Interrupted, temporal.ApplicationErrorOptions{NonRetryable: true})
	case outer.Err() != nil:
		a.Logf("run %s: %s is ended: %v", r.Run, r.Step, context.Cause(outer))
		return asl.Result{}, outer.Err()
	}
	a.Logf("run %s: %s failed: %s", r.Run, r.Step, failure.Text)
	kind, cause := failure.ErrorCause()
	return asl.Result{}, temporal.NewApplicationErrorWithOptions(failure.Text, kind, temporal.ApplicationErrorOptions{NonRetryable: true, Details: []any{cause}})
}

// beat gives signs of life until ctx ends, and ends the step when the worker is to stop.
func beat(ctx context.Context, stop context.CancelCauseFunc) {
	every := time.Second
	if limit := activity.GetInfo(ctx).HeartbeatTimeout; limit > 0 {
		every = limit / 4
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-activity.GetWorkerStopChannel(ctx):
			stop(errStopped)
			return
		case <-tick.C:
			activity.RecordHeartbeat(ctx)
		}
	}
}
