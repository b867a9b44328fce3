package asl

import (
	"context"
	"crypto/sha256"
	"encoding/base32"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"ingot/internal/factory/flow"
	"ingot/internal/fault"
	"ingot/internal/progress"
)

// Request is what a machine asks for: one attempt at a step.
type Request struct {
	Step     string           `json:"step"`
	Run      string           `json:"run"` // name of the execution
	Item     string           `json:"item,omitempty"`
	Over     string           `json:"over,omitempty"`
	Attempt  int              `json:"attempt"`  // from 0
	Attempts int              `json:"attempts"` // how many there are
	Timeout  flow.Duration    `json:"timeout"`
	Where    map[string][]any `json:"where"` // where the results of steps are in the state
	State    json.RawMessage  `json:"state"`

	// What Begin, End, Failed and Cancelled have beside that.
	Machine   string `json:"machine,omitempty"`   // ARN of the state machine
	Execution string `json:"execution,omitempty"` // ARN
	Pipeline  string `json:"pipeline,omitempty"`  // its name; "": that of the image which the input names
	Light     bool   `json:"light,omitempty"`     // no step of it needs a machine
}

// Result is what became of a step. One that is done in part has both an output and a failure.
type Result struct {
	Output  json.RawMessage `json:"output"`
	Failure *Failure        `json:"failure"` // null, but always there: paths of a machine must lead somewhere
	Seconds float64         `json:"seconds"`
}

// Failure is an error on its way through a machine.
type Failure struct {
	Step    string   `json:"step,omitempty"`
	Item    string   `json:"item,omitempty"`
	Kind    string   `json:"kind"`
	Text    string   `json:"error"`
	Hint    string   `json:"hint,omitempty"`
	Console []string `json:"console,omitempty"` // its last lines, of an image that failed its boot test
}

// maxCause bounds the text of a failure, in bytes: Step Functions takes 32,768 characters.
const maxCause = 30 << 10

// ErrorCause returns a failure as Step Functions has it.
func (f *Failure) ErrorCause() (name, cause string) {
	short := *f
	if len(short.Text) > maxCause/4 {
		short.Text = strings.ToValidUTF8(short.Text[:maxCause/4], "") + " …"
	}
	for {
		text, err := json.Marshal(short)
		if err != nil {
			panic(err) // it is made of strings
		}
		if len(text) <= maxCause || len(short.Console) == 0 {
			return f.Kind, string(text)
		}
		short.Console = short.Console[1:]
	}
}

// ReadFailure reads a failure as Step Functions has it, which is one of ours, one of ours in an error of Lambda, or one of
// theirs.
func ReadFailure(name, cause string) *Failure {
	var lambda struct {
		Message string `json:"errorMessage"`
	}
	if json.Unmarshal([]byte(cause), &lambda) == nil && lambda.Message != "" {
		cause = lambda.Message
	}
	var f Failure
	if json.Unmarshal([]byte(cause), &f) == nil && f.Kind != "" {
		return &f
	}
	return &Failure{Kind: name, Text: cmpText(cause, name)}
}

func cmpText(cause, name string) string {
	if cause == "" {
		return name
	}
	return name + ": " + cause
}

// kind returns the kind of the name; what Step Functions says by itself may pass.
func (f *Failure) kind() fault.Kind {
	all := fault.Kinds()
	if i := slices.IndexFunc(all, func(k fault.Kind) bool { return k.String() == f.Kind }); i >= 0 {
		return all[i]
	}
	return fault.Unreachable
}

// Err returns the failure as an error of its kind.
func (f *Failure) Err() error { return fault.New(f.kind(), errors.New(f.Text), f.Hint) }

// found is a result in the state: one of ours, or an error that a catcher put there.
type found struct {
	Result
	Item         string `json:"-"`
	Error, Cause string
}

func (x *found) failure() *Failure {
	if x.Error != "" {
		return ReadFailure(x.Error, x.Cause)
	}
	return x.Failure
}

// dig follows a place into the state. The second result says whether the place has a list in it.
func dig(state json.RawMessage, place []any) (all []json.RawMessage, list bool, err error) {
	for i, step := range place {
		if len(state) == 0 || string(state) == "null" {
			return nil, slices.Contains(place, any(Each)), nil
		}
		switch step := step.(type) {
		case float64, int:
			var list []json.RawMessage
			if err := json.Unmarshal(state, &list); err != nil {
				return nil, false, err
			}
			n := int(asFloat(step))
			if n < 0 || n >= len(list) {
				return nil, false, fmt.Errorf("there is no element %d", n)
			}
			state = list[n]
		case string:
			if step == Each {
				var list []json.RawMessage
				if err := json.Unmarshal(state, &list); err != nil {
					return nil, true, err
				}
				for _, x := range list {
					below, _, err := dig(x, place[i+1:])
					if err != nil {
						return nil, true, err
					}
					all = append(all, below...)
				}
				return all, true, nil
			}
			var fields map[string]json.RawMessage
			if err := json.Unmarshal(state, &fields); err != nil {
				return nil, false, err
			}
			state = fields[step]
		default:
			return nil, false, fmt.Errorf("%v leads nowhere", step)
		}
	}
	if len(state) == 0 {
		return nil, false, nil
	}
	return []json.RawMessage{state}, false, nil
}

func asFloat(v any) float64 {
	if n, ok := v.(int); ok {
		return float64(n)
	}
	return v.(float64)
}

// results finds the results of a step. list says that the step is over a list, seen from here.
func (r *Request) results(step string) (all []found, list bool, err error) {
	texts, list, err := dig(r.State, r.Where[step])
	if err != nil {
		return nil, list, fault.Newf(fault.Bug, "looking for the result of step %s in the state of run %s: %w", step, r.Run, err)
	}
	for _, text := range texts {
		var x found
		if err := json.Unmarshal(text, &x); err != nil {
			return nil, list, fault.Newf(fault.Bug, "reading the result of step %s in the state of run %s: %w", step, r.Run, err)
		}
		if string(x.Output) == "null" {
			x.Output = nil
		}
		all = append(all, x)
	}
	return all, list, nil
}

// Input reads what the run was told.
func (r *Request) Input(v any) error {
	text := r.input()
	if err := json.Unmarshal(text, v); err != nil {
		return fault.Newf(fault.Input, "reading the input of run %s: %w", r.Run, err)
	}
	return nil
}

func (r *Request) input() json.RawMessage {
	var state struct {
		Input json.RawMessage `json:"input"`
		Run   struct {
			Input json.RawMessage `json:"input"`
		} `json:"run"`
	}
	_ = json.Unmarshal(r.State, &state) // no JSON has no input
	if r.Item != "" {
		return state.Run.Input
	}
	return state.Input
}

// Output reads the output of one step, and reports whether it has one.
func (r *Request) Output(step string, v any) (bool, error) {
	all, list, err := r.results(step)
	if err != nil || list || len(all) != 1 || all[0].Output == nil {
		return false, err
	}
	return true, json.Unmarshal(all[0].Output, v)
}

// Failures returns what failed so far, whole or in part, in the order of the steps' names.
func (r *Request) Failures() (all []*Failure, err error) {
	var state struct {
		Failure *struct{ Error, Cause string } `json:"failure"`
	}
	_ = json.Unmarshal(r.State, &state)
	if state.Failure != nil {
		all = append(all, ReadFailure(state.Failure.Error, state.Failure.Cause))
	}
	for _, step := range r.steps() {
		results, _, err := r.results(step)
		if err != nil {
			return nil, err
		}
		for _, x := range results {
			if f := x.failure(); f != nil {
				all = append(all, f)
			}
		}
	}
	return all, nil
}

// Timing is how long a step took, of all its items the longest.
type Timing struct {
	Step    string
	Seconds float64
}

// Timings returns how long the steps took that are done.
func (r *Request) Timings() (all []Timing, err error) {
	for _, step := range r.steps() {
		results, _, err := r.results(step)
		if err != nil {
			return nil, err
		}
		t := Timing{Step: step}
		for _, x := range results {
			t.Seconds = max(t.Seconds, x.Seconds)
		}
		if t.Seconds > 0 {
			all = append(all, t)
		}
	}
	return all, nil
}

func (r *Request) steps() []string {
	var names []string
	for name := range r.Where {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// document is what the step is given: the same as package journal gives it.
func (r *Request) document() (json.RawMessage, error) {
	doc := map[string]any{"input": r.input()}
	if r.Item != "" {
		doc["item"] = r.Item
	}
	if slices.Contains([]string{Begin, End, Failed, Cancelled}, r.Step) { // they ask for what there is
		return json.Marshal(doc)
	}
	for _, step := range r.steps() {
		all, list, err := r.results(step)
		if err != nil {
			return nil, err
		}
		outputs := []json.RawMessage{}
		var failed *Failure
		for _, x := range all {
			if x.Output != nil {
				outputs = append(outputs, x.Output)
			} else if f := x.failure(); f != nil && failed == nil {
				failed = f
			}
		}
		switch {
		case len(outputs) == 0 && failed != nil: // every item failed
			return nil, failed.Err()
		case list:
			doc[step] = outputs
		case len(outputs) == 1:
			doc[step] = outputs[0]
		default:
			return nil, fault.Newf(fault.Bug, "the state of run %s has %d results of step %s", r.Run, len(outputs), step)
		}
	}
	return json.Marshal(doc)
}

// Token is that of the run, step and item: the same for all attempts.
func (r *Request) Token() string {
	sum := sha256.Sum256([]byte(r.Run + "\x00" + r.Step + "\x00" + r.Item))
	return base32.StdEncoding.EncodeToString(sum[:])[:26]
}

// Do does the step that is asked for. What it reports goes to p. An error is a failure with the step's name.
func (r *Request) Do(ctx context.Context, tasks map[string]flow.Func, p *progress.Reporter) (res Result, err error) {
	defer func() {
		if x := recover(); x != nil {
			err = fault.Newf(fault.Bug, "step %s panicked: %v\n%s", r.Step, x, debug.Stack())
		}
	}()
	do := tasks[r.Step]
	if do == nil {
		return res, fault.New(fault.Input, fmt.Errorf("run %s asks for the step %q, which this ingot does not know", r.Run, r.Step), "deploy this ingot, or use the one that was deployed")
	}
	doc, err := r.document()
	if err != nil {
		return res, err
	}
	limit := time.Duration(r.Timeout)
	if limit <= 0 {
		return res, fault.Newf(fault.Input, "run %s asks for step %s without a time limit", r.Run, r.Step)
	}
	limited, cancel := context.WithTimeoutCause(ctx, limit, fault.Newf(fault.Unreachable, "step %s took longer than %v", r.Step, limit))
	defer cancel()
	began := time.Now()
	res.Output, err = do(limited, flow.Call{Run: r.Run, Step: r.Step, Item: r.Item, Token: r.Token(), Attempt: r.Attempt + 1, Progress: p}, doc)
	res.Seconds = time.Since(began).Seconds()
	switch {
	case err == nil:
		return res, nil
	case limited.Err() != nil && ctx.Err() == nil:
		return Result{}, context.Cause(limited)
	case fault.KindOf(err) == fault.Partial && res.Output != nil && r.Attempt+1 >= r.Attempts:
		res.Failure = r.Fail(err, nil)
		return res, nil
	}
	return Result{}, err
}

// Fail makes a failure of the step's error.
func (r *Request) Fail(err error, console []string) *Failure {
	return &Failure{Step: r.Step, Item: r.Item, Kind: fault.KindOf(err).String(), Text: err.Error(), Hint: fault.HintOf(err), Console: console}
}
