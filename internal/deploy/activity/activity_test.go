package activity

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"ingot/internal/factory/asl"
	"ingot/internal/factory/asl/asltest"
	"ingot/internal/fault"
)

const arn = "arn:aws:states:eu-west-1:123456789012:activity:a"

func newWorker(t *testing.T, a *asltest.Activities, name string, do func(context.Context, *asl.Request) (asl.Result, *asl.Failure)) *Worker {
	cfg := aws.Config{Region: "eu-west-1", Credentials: credentials.NewStaticCredentialsProvider("x", "x", ""), Retryer: func() aws.Retryer { return aws.NopRetryer{} }}
	return &Worker{API: New(cfg, a.URL), Activities: []string{arn}, Name: name, Beat: 200 * time.Millisecond, Slots: 1, Do: do, Logf: t.Logf}
}

func TestShared(t *testing.T) {
	t.Parallel()
	a := asltest.NewActivities(t)
	ctx, stop := context.WithCancel(t.Context())
	var workers, tasks sync.WaitGroup
	for _, name := range []string{"one", "two"} {
		w := newWorker(t, a, name, func(_ context.Context, r *asl.Request) (asl.Result, *asl.Failure) {
			time.Sleep(50 * time.Millisecond)
			if r.Step == "bad" {
				return asl.Result{}, r.Fail(fault.New(fault.Verdict, errors.New("no kernel"), ""), []string{"grub>"})
			}
			return asl.Result{Output: json.RawMessage(`{"x":1}`)}, nil
		})
		workers.Go(func() {
			if err := w.Run(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	for n := range 10 {
		tasks.Go(func() {
			step := "good"
			if n == 0 {
				step = "bad"
			}
			out, err := a.Do(ctx, arn, json.RawMessage(`{"step":"`+step+`","run":"r"}`), 5*time.Second)
			var failed *asltest.StateError
			switch {
			case step == "good" && (err != nil || string(out) != `{"output":{"x":1},"failure":null,"seconds":0}`):
				t.Error(string(out), err)
			case step == "bad" && (!errors.As(err, &failed) || failed.Name != "verdict" || asl.ReadFailure(failed.Name, failed.Cause).Console[0] != "grub>"):
				t.Error(err)
			}
		})
	}
	tasks.Wait()
	if _, err := a.Do(ctx, arn, json.RawMessage(`[]`), 5*time.Second); asltest.Kind(err) != fault.Input {
		t.Errorf("no request: %v", err)
	}
	stop()
	workers.Wait()
	if a.Taken["one"] == 0 || a.Taken["two"] == 0 || a.Taken["one"]+a.Taken["two"] != 11 {
		t.Errorf("who took how many: %v", a.Taken)
	}
}

// A worker that is asked to stop gives its step back.
func TestGivesBack(t *testing.T) {
	t.Parallel()
	a := asltest.NewActivities(t)
	ctx, stop := context.WithCancel(t.Context())
	w := newWorker(t, a, "one", func(ctx context.Context, r *asl.Request) (asl.Result, *asl.Failure) {
		time.AfterFunc(700*time.Millisecond, stop) // after some signs of life
		<-ctx.Done()
		return asl.Result{}, r.Fail(ctx.Err(), nil)
	})
	var wait sync.WaitGroup
	wait.Go(func() {
		if err := w.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	_, err := a.Do(t.Context(), arn, json.RawMessage(`{"step":"build","run":"r"}`), 30*time.Second)
	var failed *asltest.StateError
	if !errors.As(err, &failed) || failed.Name != asl.Interrupted {
		t.Error(err)
	}
	wait.Wait()
	if a.Beats == 0 {
		t.Error("no sign of life")
	}
}

// A step that the machine has given to another worker is cut off; a worker without work ends.
func TestLost(t *testing.T) {
	t.Parallel()
	a := asltest.NewActivities(t)
	cut := make(chan error, 1)
	w := newWorker(t, a, "one", func(ctx context.Context, r *asl.Request) (asl.Result, *asl.Failure) {
		<-ctx.Done()
		cut <- context.Cause(ctx)
		return asl.Result{}, r.Fail(ctx.Err(), nil)
	})
	w.Idle = 500 * time.Millisecond
	gone, leave := context.WithCancel(t.Context())
	time.AfterFunc(time.Second, leave)
	var wait sync.WaitGroup
	wait.Go(func() { _, _ = a.Do(gone, arn, json.RawMessage(`{"step":"build","run":"r"}`), 30*time.Second) })
	if err := w.Run(t.Context()); err != nil { // it ends, since nothing comes
		t.Error(err)
	}
	wait.Wait()
	select {
	case err := <-cut:
		if !errors.Is(err, errLost) {
			t.Error(err)
		}
	default:
		t.Error("the step was not cut off")
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	a := asltest.NewActivities(t)
	a.Refuse("AccessDeniedException")
	w := newWorker(t, a, "one", nil)
	if err := w.Run(t.Context()); fault.KindOf(err) != fault.Denied {
		t.Error(err)
	}
}
