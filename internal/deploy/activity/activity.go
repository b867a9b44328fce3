// Package activity takes steps from activities of AWS Step Functions, and does them: it is what `ingot worker` is at.
package activity

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sfn"

	"ingot/internal/factory/asl"
	"ingot/internal/fault"
	"ingot/internal/publish/pool"
	"ingot/internal/publish/retry"
)

// pollLimit is how long an answer to GetActivityTask may take: it holds the line for a minute where there is nothing to do.
const pollLimit = 75 * time.Second

// New returns a client of a configuration whose retries are off. endpoint is the URL of another Step Functions, "" for AWS's.
func New(cfg aws.Config, endpoint string) *sfn.Client {
	return sfn.NewFromConfig(cfg, func(o *sfn.Options) {
		if endpoint != "" {
			o.BaseEndpoint = &endpoint
		}
		o.HTTPClient = pool.Of(o.HTTPClient).FirstByte(pollLimit)
	})
}

// Worker does the steps of some activities. Several workers share the steps of an activity.
type Worker struct {
	API        *sfn.Client
	Activities []string      // ARNs
	Name       string        // of this worker, for people
	Beat       time.Duration // how often to give a sign of life; 0: a fourth of what machines wait for
	Slots      int           // how many steps to do at a time; 0: 2, since a boot test and an upload run side by side
	Idle       time.Duration // end after so long without a step; 0: never
	Do         func(context.Context, *asl.Request) (asl.Result, *asl.Failure)
	Logf       func(format string, args ...any)
}

// Run takes steps until ctx ends, or nothing came for the time Idle. Steps that are being done then are cut off and given back:
// another worker does them again at once.
func (w *Worker) Run(ctx context.Context) error {
	if w.Beat == 0 {
		w.Beat = asl.DefaultBeat / 4
	}
	if w.Slots == 0 {
		w.Slots = 2
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	busy := newIdle(w.Idle, func() { stop(errIdle) })
	defer busy.end()
	var wait sync.WaitGroup
	for _, arn := range w.Activities {
		for range w.Slots {
			wait.Go(func() {
				if err := w.poll(ctx, arn, busy); err != nil {
					stop(err)
				}
			})
		}
	}
	wait.Wait()
	if err := context.Cause(ctx); !errors.Is(err, errIdle) && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

var errIdle = errors.New("nothing to do")

// idle counts what is being done, and calls f after so long with nothing.
type idle struct {
	mu    sync.Mutex
	n     int
	after time.Duration
	timer *time.Timer
}

func newIdle(after time.Duration, f func()) *idle {
	i := &idle{after: after}
	if after > 0 {
		i.timer = time.AfterFunc(after, f)
	}
	return i
}

func (i *idle) add(n int) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.n += n
	switch {
	case i.timer == nil:
	case i.n > 0:
		i.timer.Stop()
	default:
		i.timer.Reset(i.after)
	}
}

func (i *idle) end() {
	if i.timer != nil {
		i.timer.Stop()
	}
}

// pollPause is how long to wait after a poll that failed.
const pollPause = 10 * time.Second

// poll takes one step after the other from an activity. That the service does not answer ends nothing.
func (w *Worker) poll(ctx context.Context, arn string, busy *idle) error {
	for ctx.Err() == nil {
		var out *sfn.GetActivityTaskOutput
		err := retry.Call(ctx, "states:GetActivityTask", retry.Policy{Limit: pollLimit}, func(ctx context.Context) (err error) {
			out, err = w.API.GetActivityTask(ctx, &sfn.GetActivityTaskInput{ActivityArn: &arn, WorkerName: &w.Name})
			return err
		})
		switch {
		case ctx.Err() != nil:
			return nil //nolint:nilerr // to end is what was asked for
		case err != nil && fault.KindOf(err) != fault.Unreachable:
			return fmt.Errorf("asking for work at %s: %w", arn, err)
		case err != nil:
			w.Logf("asking for work at %s: %v", arn, err)
			_ = retry.Sleep(ctx, pollPause) // the loop asks whether it was cut off
		case aws.ToString(out.TaskToken) != "":
			busy.add(1)
			err := w.step(ctx, *out.TaskToken, aws.ToString(out.Input))
			busy.add(-1)
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// errLost ends a step that is no more this worker's.
var errLost = errors.New("the step was given to another worker, or its run is over")

// step does a step, and says what became of it.
func (w *Worker) step(ctx context.Context, token, input string) error {
	var r asl.Request
	if err := json.Unmarshal([]byte(input), &r); err != nil {
		return w.fail(ctx, token, fault.Input.String(), fmt.Sprintf("this is no request for a step: %v", err))
	}
	limited, lose := context.WithCancelCause(ctx)
	defer lose(nil)
	var beats sync.WaitGroup
	beats.Go(func() { w.beat(limited, token, lose) })
	w.Logf("run %s: %s begins", r.Run, r.Step)
	res, failure := w.Do(limited, &r)
	lost := errors.Is(context.Cause(limited), errLost)
	lose(nil)
	beats.Wait()
	switch {
	case lost:
		w.Logf("run %s: %s: %v", r.Run, r.Step, errLost)
		return nil
	case failure == nil:
		text, err := json.Marshal(res)
		if err != nil {
			return err
		}
		w.Logf("run %s: %s is done in %.0f s", r.Run, r.Step, res.Seconds)
		return w.answer(ctx, "states:SendTaskSuccess", func(ctx context.Context) error {
			_, err := w.API.SendTaskSuccess(ctx, &sfn.SendTaskSuccessInput{TaskToken: &token, Output: aws.String(string(text))})
			return err
		})
	case ctx.Err() != nil:
		w.Logf("run %s: %s is given back", r.Run, r.Step)
		return w.fail(ctx, token, asl.Interrupted, "the worker was asked to stop")
	}
	w.Logf("run %s: %s failed: %s", r.Run, r.Step, failure.Text)
	name, cause := failure.ErrorCause()
	return w.fail(ctx, token, name, cause)
}

func (w *Worker) fail(ctx context.Context, token, name, cause string) error {
	return w.answer(ctx, "states:SendTaskFailure", func(ctx context.Context) error {
		_, err := w.API.SendTaskFailure(ctx, &sfn.SendTaskFailureInput{TaskToken: &token, Error: &name, Cause: &cause})
		return err
	})
}

// gone are the errors about a task that has ended otherwise.
var gone = []string{"TaskTimedOut", "TaskDoesNotExist", "InvalidToken"}

// answerLimit bounds how long a worker that was asked to stop gives its steps back.
const answerLimit = 30 * time.Second

// answer says what became of a step. Where nobody wants to know any more, that is no error; where it cannot be said, the machine
// misses the signs of life and gives the step to another worker.
func (w *Worker) answer(ctx context.Context, action string, send func(context.Context) error) error {
	ctx = context.WithoutCancel(ctx)
	ctx, cancel := context.WithTimeout(ctx, answerLimit)
	defer cancel()
	err := retry.Call(ctx, action, retry.Policy{}, send)
	if err == nil || slices.Contains(gone, retry.Code(err)) {
		return nil
	}
	if fault.KindOf(err) == fault.Denied {
		return err
	}
	w.Logf("saying what became of a step: %v", err)
	return nil
}

// beat gives signs of life until ctx ends. It takes the step away from this worker when the machine does, or when none arrived
// for so long that the machine has.
func (w *Worker) beat(ctx context.Context, token string, lose context.CancelCauseFunc) {
	tick := time.NewTicker(w.Beat)
	defer tick.Stop()
	last := time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		limited, cancel := context.WithTimeout(ctx, w.Beat)
		_, err := w.API.SendTaskHeartbeat(limited, &sfn.SendTaskHeartbeatInput{TaskToken: &token})
		cancel()
		switch {
		case err == nil:
			last = time.Now()
		case slices.Contains(gone, retry.Code(err)), time.Since(last) > 4*w.Beat:
			lose(errLost)
			return
		}
	}
}
