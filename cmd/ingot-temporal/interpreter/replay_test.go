package interpreter

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	enums "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/history/v1"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"
	"google.golang.org/protobuf/encoding/protojson"

	"ingot/cmd/ingot-temporal/servertest"
	"ingot/internal/factory/course"
	"ingot/internal/fault"
)

// quiet is a logger of the SDK.
type quiet struct{}

func (quiet) Debug(string, ...any) {}
func (quiet) Info(string, ...any)  {}
func (quiet) Warn(string, ...any)  {}
func (quiet) Error(string, ...any) {}

// recorded is the history of a run of sample on Temporal's own server, as it was when DueWorkflow and RunWorkflow got their names.
const recorded = "testdata/run.json"

var sampleSteps = []string{"resolve", "boot", "upload", "share", "smoke", "record"}

// A worker of today takes up runs that one of yesterday began. Where this fails, the workflow needs another name, or
// workflow.GetVersion.
func TestReplay(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(recorded)
	if err != nil {
		t.Fatal(err)
	}
	var h history.History
	if err := protojson.Unmarshal(text, &h); err != nil {
		t.Fatal(err)
	}
	replay(t, &h)
	for n, e := range h.Events { // the same run, up to anywhere
		if e.GetEventType() == enums.EVENT_TYPE_WORKFLOW_TASK_STARTED {
			replay(t, &history.History{Events: h.Events[:n+1]})
		}
	}
	for _, e := range h.Events { // a test that cannot fail proves nothing
		if a := e.GetActivityTaskScheduledEventAttributes(); a != nil {
			a.ActivityType.Name = "other"
			break
		}
	}
	if err := replayer().ReplayWorkflowHistory(quiet{}, &h); err == nil {
		t.Error("another history is taken")
	}
}

func replayer() worker.WorkflowReplayer {
	r := worker.NewWorkflowReplayer()
	r.RegisterWorkflowWithOptions((&Interpreter{Steps: sampleSteps}).Run, workflow.RegisterOptions{Name: RunWorkflow})
	return r
}

func replay(t *testing.T, h *history.History) {
	t.Helper()
	if err := replayer().ReplayWorkflowHistory(quiet{}, h); err != nil {
		t.Errorf("replaying %d events: %v", len(h.Events), err)
	}
}

// The pipeline of the other tests on Temporal's own server. With $INGOT_TEMPORAL_RECORD, its history is kept for TestReplay.
func TestOnServer(t *testing.T) {
	address, namespace := servertest.Start(t)
	c, err := client.Dial(client.Options{HostPort: address, Namespace: namespace, Identity: "test", Logger: quiet{}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	p := &play{out: fiveRegions, tokens: map[string][]string{}, docs: map[string]string{}, fails: map[string][]error{"share c": times(1, fault.Newf(fault.Denied, "not allowed")),
		"boot": times(1, errStopped), "resolve": times(1, fault.Newf(fault.Unreachable, "no answer"))}}
	for _, queue := range []string{"q", "q-machine"} {
		w := worker.New(c, queue, worker.Options{})
		i := &Interpreter{Steps: sampleSteps}
		w.RegisterWorkflowWithOptions(i.Run, workflow.RegisterOptions{Name: RunWorkflow})
		w.RegisterWorkflowWithOptions(i.Due, workflow.RegisterOptions{Name: DueWorkflow})
		w.RegisterActivityWithOptions(p.activity, activity.RegisterOptions{Name: StepActivity})
		if err := w.Start(); err != nil {
			t.Fatal(err)
		}
		defer w.Stop()
	}
	o := order(t, gated())
	run, err := c.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{ID: RunID("img"), TaskQueue: "q"}, RunWorkflow, o)
	if err != nil {
		t.Fatal(err)
	}
	due, err := c.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{ID: "due", TaskQueue: "q"}, DueWorkflow, o)
	if err != nil {
		t.Fatal(err)
	}
	var status Status
	if err := due.Get(t.Context(), &status); err != nil || status.State != course.Skipped || status.Error != "another run is at work" {
		t.Errorf("a schedule's run beside another one: %+v, %v", status, err)
	}
	if err := c.SignalWorkflow(t.Context(), RunID("img"), "", ApproveSignal, nil); err != nil {
		t.Fatal(err)
	}
	if err := run.Get(t.Context(), &status); err == nil {
		t.Errorf("the run is %s", status.State)
	}
	h := &history.History{}
	for it := c.GetWorkflowHistory(t.Context(), RunID("img"), run.GetRunID(), false, enums.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT); it.HasNext(); {
		e, err := it.Next()
		if err != nil {
			t.Fatal(err)
		}
		h.Events = append(h.Events, e)
	}
	replay(t, h)
	if os.Getenv("INGOT_TEMPORAL_RECORD") == "" {
		return
	}
	text, err := protojson.MarshalOptions{Multiline: true, Indent: " "}.Marshal(h)
	if err := errors.Join(err, os.MkdirAll(filepath.Dir(recorded), 0o755), os.WriteFile(recorded, text, 0o644)); err != nil {
		t.Fatal(err)
	}
}
