// Package interpreter runs pipelines on Temporal: one workflow that reads any pipeline, as package journal does on one machine, and
// one activity that does any step.
//
// The workflow decides by package course, which drives the journal, too; what a step is given is the request that a state machine
// of Step Functions would send, so that package station does the same for both.
package interpreter

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	enums "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"ingot/internal/factory/asl"
	"ingot/internal/factory/course"
	"ingot/internal/factory/flow"
	"ingot/internal/fault"
)

// Names on the server. A workflow or an activity that does something else with the same history gets another name.
const (
	RunWorkflow   = "ingot.run.1"
	DueWorkflow   = "ingot.due.1"
	StepActivity  = "ingot.step.1"
	ApproveSignal = "approve"
	StatusQuery   = "status"
)

// Order is what a run is started with.
type Order struct {
	Flow  flow.Pipeline   `json:"flow"`
	Hash  string          `json:"hash"` // of the pipeline, by the ingot that ordered the run
	Input json.RawMessage `json:"input"`
	Queue string          `json:"queue"`          // for steps that need a machine
	Beat  flow.Duration   `json:"beat"`           // after so long without a sign of life a worker is taken for lost
	Kept  []course.Step   `json:"kept,omitempty"` // steps of the run that this one repeats in part: they are not done anew
}

// NewOrder orders a run of a pipeline. input is what it is told, as JSON.
func NewOrder(p *flow.Pipeline, input any, queue string, beat time.Duration) (Order, error) {
	if err := p.Check(); err != nil {
		return Order{}, err
	}
	text, err := json.Marshal(input)
	if err != nil {
		return Order{}, fmt.Errorf("ordering a run of %s: %w", p.Name, err)
	}
	return Order{Flow: *p, Hash: p.Hash(), Input: text, Queue: queue, Beat: flow.Duration(beat)}, nil
}

// Status is how far a run has come, and its result.
type Status struct {
	Pipeline string        `json:"pipeline"`
	Run      string        `json:"run"`
	Hash     string        `json:"hash"`
	State    course.State  `json:"state"`
	Steps    []course.Step `json:"steps,omitempty"`
	Error    string        `json:"error,omitempty"`
	Hint     string        `json:"hint,omitempty"`
}

// Interpreter is the workflows of a worker that knows some steps.
type Interpreter struct{ Steps []string }

// Run is the workflow of a run. A run that fails, or is done in part, fails with an error whose type is the kind of the step's.
func (i *Interpreter) Run(ctx workflow.Context, o Order) (*Status, error) {
	i.refuse(&o)
	w := &work{Order: o, run: workflow.GetInfo(ctx).OriginalRunID, state: course.Running, results: map[string]json.RawMessage{}, lost: map[string]int{}}
	for _, s := range o.Flow.Steps {
		if s.Over == "" {
			w.steps = append(w.steps, w.step(s.Name, ""))
		}
	}
	for _, s := range o.Kept {
		if err := w.keep(s); err != nil {
			return nil, err
		}
	}
	if err := workflow.SetQueryHandler(ctx, StatusQuery, func() (*Status, error) { return w.status(), nil }); err != nil {
		return nil, err
	}
	workflow.Go(ctx, w.listen)
	return w.drive(ctx)
}

// refuse has this worker leave alone what it would do otherwise than the ingot that ordered it: the task of the workflow fails, and
// is offered again and again, until a worker that fits comes, or somebody terminates the run.
func (i *Interpreter) refuse(o *Order) {
	if hash := o.Flow.Hash(); hash != o.Hash {
		panic(fmt.Sprintf("the run's pipeline of %s is %.12s, which this ingot reads as %.12s: let a worker of the ingot that ordered it finish, or terminate the run", o.Flow.Name, o.Hash, hash))
	}
	for _, s := range o.Flow.Steps {
		if !s.Gate && !slices.Contains(i.Steps, s.Name) {
			panic(fmt.Sprintf("the run of %s has the step %s, which this ingot does not know: let a worker of the ingot that ordered it finish, or terminate the run", o.Flow.Name, s.Name))
		}
	}
}

// work is a run.
type work struct {
	Order
	run     string
	state   course.State
	reason  string
	hint    string
	blame   error                      // what made the run fail, where no step did
	steps   []course.Step              // in the pipeline's order, items by name
	results map[string]json.RawMessage // by key: asl.Result, or an error as a state machine has it
	lost    map[string]int             // workers, by key
	active  int                        // steps that are being done
	changed bool                       // since the last look
}

func key(step, item string) string { return step + "\x00" + item }

// step is a step before anything was done. Its token goes into the history with the first attempt.
func (w *work) step(name, item string) course.Step {
	r := asl.Request{Run: w.run, Step: name, Item: item}
	return course.Step{Name: name, Item: item, Token: r.Token(), State: course.Waiting}
}

func (w *work) status() *Status {
	return &Status{Pipeline: w.Flow.Name, Run: w.run, Hash: w.Hash, State: w.state, Steps: slices.Clone(w.steps), Error: w.reason, Hint: w.hint}
}

// keep takes over a step of a former run that is over, and its result.
func (w *work) keep(s course.Step) error {
	s.Token = w.step(s.Name, "").Token
	res := asl.Result{Output: s.Output, Seconds: s.Ended.Sub(s.Started).Seconds()}
	if s.State == course.Partial {
		s.Kind = fault.Partial
		res.Failure = &asl.Failure{Step: s.Name, Kind: s.Kind.String(), Text: s.Error, Hint: s.Hint}
	}
	w.results[key(s.Name, "")], _ = json.Marshal(res) // of what was read from JSON
	return w.record(s)
}

// listen opens the gates when somebody approves.
func (w *work) listen(ctx workflow.Context) {
	for {
		workflow.GetSignalChannel(ctx, ApproveSignal).Receive(ctx, nil)
		for i := range w.steps {
			if def, _ := w.Flow.Step(w.steps[i].Name); def.Gate {
				w.steps[i].Approved = true
			}
		}
		w.changed = true
	}
}

// drive brings the run to its end.
func (w *work) drive(ctx workflow.Context) (*Status, error) {
	begun, err := w.control(ctx, asl.Begin)
	if ctx.Err() != nil {
		return w.cancelled(ctx)
	}
	if err != nil {
		return w.end(ctx, course.Decision{End: course.Failed}, err)
	}
	var begin struct {
		Ends bool   `json:"ends"`
		Why  string `json:"why"`
	}
	if err := json.Unmarshal(begun, &begin); err != nil {
		return nil, err
	}
	if begin.Ends {
		w.leave(course.Skipped)
		w.state, w.reason = course.Skipped, begin.Why
		return w.status(), nil
	}
	inner, stop := workflow.WithCancel(ctx)
	d, err := w.loop(inner)
	stop()
	over, _ := workflow.NewDisconnectedContext(ctx)
	if e := workflow.Await(over, func() bool { return w.active == 0 }); e != nil {
		return nil, e
	}
	if ctx.Err() != nil {
		return w.cancelled(ctx)
	}
	return w.end(ctx, d, err)
}

// tellsCancelled is what the history of a run has where it tells of its being cancelled; former ingots do not.
const tellsCancelled = "tells that it was cancelled"

// cancelled tells that somebody ended the run. What cannot be told is given up.
func (w *work) cancelled(ctx workflow.Context) (*Status, error) {
	w.state = course.Cancelled
	w.leave(course.Cancelled)
	over, _ := workflow.NewDisconnectedContext(ctx)
	if workflow.GetVersion(over, tellsCancelled, workflow.DefaultVersion, 1) == 1 {
		if _, err := w.control(over, asl.Cancelled); err != nil {
			w.reason = "telling that it was cancelled failed: " + err.Error()
		}
	}
	return w.status(), ctx.Err()
}

// loop starts what can be started until nothing is left. The error is that of a run that lasted too long.
func (w *work) loop(ctx workflow.Context) (course.Decision, error) {
	limit := asl.Limit(&w.Flow)
	last := workflow.Now(ctx).Add(limit)
	for {
		now := workflow.Now(ctx)
		if !now.Before(last) {
			return course.Decision{End: course.Failed}, fault.New(fault.Unreachable, fmt.Errorf("the run took longer than %v", limit), "see whether a worker listens to its queues")
		}
		d := course.Decide(&w.Flow, w.steps, now)
		if d.End != "" {
			return d, nil
		}
		w.changed = false
		for state, steps := range pairs(d) {
			for _, s := range steps {
				s.State = state
				if err := w.record(s); err != nil {
					return course.Decision{End: course.Failed}, err
				}
			}
		}
		for _, s := range d.Start {
			w.start(ctx, s)
		}
		wake := last
		if !d.Wait.IsZero() && d.Wait.Before(wake) {
			wake = d.Wait
		}
		if _, err := workflow.AwaitWithTimeout(ctx, wake.Sub(now), func() bool { return w.changed }); err != nil {
			return d, err
		}
	}
}

// pairs are the steps of a decision that are over without being done, in a fixed order.
func pairs(d course.Decision) func(func(course.State, []course.Step) bool) {
	return func(yield func(course.State, []course.Step) bool) {
		if yield(course.Skipped, d.Skip) {
			yield(course.Done, d.Pass)
		}
	}
}

// record puts a step in its place. One that is over adds the items of the steps over its output.
func (w *work) record(s course.Step) error {
	w.changed = true
	*w.at(s.Name, s.Item) = s
	if s.State != course.Done && s.State != course.Partial || s.Item != "" {
		return nil
	}
	for _, next := range w.Flow.Steps {
		items, err := course.ListOver(next, s)
		if err != nil {
			return err
		}
		for _, item := range items {
			w.steps = append(w.steps, w.step(next.Name, item))
		}
	}
	place := func(s course.Step) int {
		return slices.IndexFunc(w.Flow.Steps, func(def flow.Step) bool { return def.Name == s.Name })
	}
	slices.SortStableFunc(w.steps, func(a, b course.Step) int { return place(a) - place(b) })
	return nil
}

func (w *work) at(name, item string) *course.Step {
	return &w.steps[slices.IndexFunc(w.steps, func(s course.Step) bool { return s.Name == name && s.Item == item })]
}

// start begins an attempt at a step, beside all else.
func (w *work) start(ctx workflow.Context, s course.Step) {
	def, _ := w.Flow.Step(s.Name)
	s.Attempts++
	s.State, s.Started = course.Running, workflow.Now(ctx)
	*w.at(s.Name, s.Item) = s
	w.active++
	r := w.request(def, s, func(b flow.Step) bool { return w.Flow.Waits(s.Name, b.Name) })
	workflow.Go(ctx, func(ctx workflow.Context) {
		defer func() { w.active-- }()
		res, err := w.attempt(ctx, def, r)
		s := *w.at(s.Name, s.Item)
		s.Ended = workflow.Now(ctx)
		switch {
		case ctx.Err() != nil && err != nil: // the run is over, or was cancelled
			s.State = course.Waiting
		case w.again(&s, err):
		default:
			w.settle(def, &s, res, err)
		}
		if err := w.record(s); err != nil { // its output is no list of different strings
			s.State = course.Failed
			s.Error, s.Kind = err.Error(), fault.KindOf(err)
			*w.at(s.Name, s.Item) = s
		}
	})
}

// settle records the outcome of an attempt in the step, and its result for those after it.
func (w *work) settle(def flow.Step, s *course.Step, res asl.Result, err error) {
	failure := failureOf(err)
	if err == nil {
		failure = res.Failure // of what is done in part
	}
	if failure == nil {
		s.Settle(def, res.Output, nil, s.Ended)
	} else {
		s.Settle(def, res.Output, failure.Err(), s.Ended)
	}
	var text []byte
	if err == nil {
		text, _ = json.Marshal(res) // of what was read from JSON
	} else {
		name, cause := failure.ErrorCause()
		text, _ = json.Marshal(map[string]string{"Error": name, "Cause": cause})
	}
	w.results[key(s.Name, s.Item)] = text
}

// again has a step wait whose worker was lost, or asked to stop: that is no failure of the step.
func (w *work) again(s *course.Step, err error) bool {
	if !isLost(err) {
		return false
	}
	k := key(s.Name, s.Item)
	if w.lost[k]++; w.lost[k] > maxLost {
		return false
	}
	s.State, s.Due = course.Waiting, s.Ended.Add(lostPolicy.Pause(w.lost[k]))
	return true
}

// maxLost is how many workers a step may lose.
const maxLost = 8

var lostPolicy = flow.Policy{First: 2 * time.Second, Most: 2 * time.Minute}

// isLost says whether an attempt ended with its worker.
func isLost(err error) bool {
	var timeout *temporal.TimeoutError
	var app *temporal.ApplicationError
	return errors.As(err, &timeout) && timeout.TimeoutType() == enums.TIMEOUT_TYPE_HEARTBEAT || errors.As(err, &app) && app.Type() == asl.Interrupted
}

// failureOf reads the failure of an attempt; nil for none.
func failureOf(err error) *asl.Failure {
	var timeout *temporal.TimeoutError
	var app *temporal.ApplicationError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &app):
		var cause string
		if app.HasDetails() {
			_ = app.Details(&cause) // then it is one of Temporal's own
		}
		if cause == "" {
			cause = app.Message()
		}
		return asl.ReadFailure(app.Type(), cause)
	case errors.As(err, &timeout):
		return &asl.Failure{Kind: fault.Unreachable.String(), Text: fmt.Sprintf("a worker was lost, or took too long (%s)", strings.ToLower(timeout.TimeoutType().String()))}
	}
	return &asl.Failure{Kind: fault.KindOf(err).String(), Text: err.Error(), Hint: fault.HintOf(err)}
}

// request asks for a step, with the results of the steps before it that it needs.
func (w *work) request(def flow.Step, s course.Step, needs func(flow.Step) bool) *asl.Request {
	r := &asl.Request{Step: s.Name, Run: w.run, Item: s.Item, Over: def.Over, Attempt: s.Failures, Attempts: def.Retry.Policy().Attempts, Timeout: def.Timeout, Where: map[string][]any{}}
	results := map[string]any{}
	for _, b := range w.Flow.Steps {
		if b.Gate || !needs(b) {
			continue
		}
		list, one := []json.RawMessage{}, json.RawMessage(nil)
		for _, x := range w.steps {
			if text := w.results[key(x.Name, x.Item)]; x.Name == b.Name && text != nil && x.State.Over() {
				if list = append(list, text); b.Over == "" || b.Over == def.Over && x.Item == s.Item {
					one = text
				}
			}
		}
		switch {
		case b.Over != "" && b.Over != def.Over:
			results[b.Name], r.Where[b.Name] = list, []any{"results", b.Name, asl.Each}
		case one != nil:
			results[b.Name], r.Where[b.Name] = one, []any{"results", b.Name}
		}
	}
	state := map[string]any{"results": results, "input": w.Input}
	if s.Item != "" {
		state["run"] = map[string]any{"input": w.Input}
	}
	if s.Name == asl.Failed && w.blame != nil {
		name, cause := failureOf(w.blame).ErrorCause()
		state["failure"] = map[string]string{"Error": name, "Cause": cause}
	}
	r.State, _ = json.Marshal(state) // of what was read from JSON
	return r
}

// attempt has a worker do a step once. Repetition is decided here and not by the server, which does not tell errors that may pass
// from workers that were lost.
func (w *work) attempt(ctx workflow.Context, def flow.Step, r *asl.Request) (res asl.Result, err error) {
	o := workflow.ActivityOptions{
		StartToCloseTimeout: time.Duration(def.Timeout) + time.Minute, // the worker ends it before, with a better error
		HeartbeatTimeout:    time.Duration(w.Beat),
		WaitForCancellation: true,
		RetryPolicy:         &temporal.RetryPolicy{MaximumAttempts: 1},
		Summary:             strings.TrimSpace(r.Step + " " + r.Item),
	}
	if def.Place == flow.Machine {
		o.TaskQueue = w.Queue
	}
	err = workflow.ExecuteActivity(workflow.WithActivityOptions(ctx, o), StepActivity, r).Get(ctx, &res)
	return res, err
}

// control does one of the steps that runs begin and end with.
func (w *work) control(ctx workflow.Context, name string) (json.RawMessage, error) {
	def, s := asl.Control(name), w.step(name, "")
	for {
		r := w.request(def, s, func(flow.Step) bool { return true })
		r.Pipeline = w.Flow.Name
		res, err := w.attempt(ctx, def, r)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		now := workflow.Now(ctx)
		s.Ended = now
		if !w.again(&s, err) {
			if err == nil {
				return res.Output, nil
			}
			failure := failureOf(err).Err()
			if s.Settle(def, nil, failure, now); s.State == course.Failed {
				return nil, failure
			}
		}
		if err := workflow.Sleep(ctx, s.Due.Sub(now)); err != nil {
			return nil, err
		}
	}
}

// leave marks the steps that will not be done any more.
func (w *work) leave(as course.State) {
	for i := range w.steps {
		if !w.steps[i].State.Over() {
			w.steps[i].State = as
		}
	}
}

// end sums the run up. err is what made it fail, where no step did.
func (w *work) end(ctx workflow.Context, d course.Decision, err error) (*Status, error) {
	w.leave(course.Skipped)
	if w.blame = err; err == nil && d.End != course.Unchanged && d.Cause != nil {
		err = fault.New(d.Cause.Kind, errors.New(d.Cause.Reason()), d.Cause.Hint)
	}
	last := asl.End
	if d.End == course.Failed {
		last = asl.Failed
	}
	if err != nil {
		w.hint = fault.HintOf(err)
		if w.reason = err.Error(); d.End == course.Partial {
			err = fault.New(fault.Partial, err, w.hint)
		}
	}
	if _, e := w.control(ctx, last); ctx.Err() != nil {
		return w.cancelled(ctx)
	} else if e != nil {
		err = errors.Join(err, e)
		w.reason, d.End = err.Error(), course.Failed
	}
	if w.state = d.End; err == nil {
		return w.status(), nil
	}
	return nil, temporal.NewApplicationErrorWithOptions(err.Error(), fault.KindOf(err).String(), temporal.ApplicationErrorOptions{NonRetryable: true, Details: []any{w.status()}})
}
