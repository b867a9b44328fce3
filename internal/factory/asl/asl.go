// Package asl writes a pipeline as a state machine of AWS Step Functions, in the Amazon States Language
// (https://states-language.net/spec.html) with JSONPath, and does the steps that such a machine asks for.
//
// The machine decides order, repetition and fan-out, and nothing else. What a step is given, and what a failure means for the
// next one, is worked out here, of the machine's state: the same as package journal gives to the same step.
package asl

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"ingot/internal/factory/flow"
	"ingot/internal/fault"
)

// Options say what a machine calls. Each is an ARN, or what stands for one in a template.
type Options struct {
	Function string // Lambda: short steps
	Activity string // taken by `ingot worker`: steps that need a machine
	Gate     string // an activity, that somebody takes who approves; needed where the pipeline has a gate
	// Beat is how often a worker has to give a sign of life, at most; default DefaultBeat.
	Beat time.Duration
}

const (
	// DefaultBeat is after how long without a sign of life a worker is taken for lost.
	DefaultBeat = 2 * time.Minute
	// gateLimit is how long a person has to approve.
	gateLimit = 14 * 24 * time.Hour
)

// Steps that are no part of any pipeline: what a run begins and ends with.
const (
	Begin  = "Begin"  // refuses a run that must not be; its output has the field "ends"
	End    = "End"    // sums up; its output has the field "state"
	Failed = "Failed" // tells of a failure

	Cancelled = "Cancelled" // tells that somebody ended the run; a state machine is not told of that itself
)

// Control is one of those steps as one of a pipeline.
func Control(name string) flow.Step {
	s := flow.Step{Name: name, Place: flow.Anywhere, Timeout: flow.Duration(5 * time.Minute), Retry: flow.Network}
	if name == Cancelled { // somebody waits for it
		s.Retry = flow.Once
	}
	return s
}

// Interrupted is the error of a step whose worker was asked to stop. It is done again by another one.
const Interrupted = "interrupted"

type (
	machine struct {
		Comment        string            `json:"Comment,omitempty"`
		StartAt        string            `json:"StartAt"`
		TimeoutSeconds int64             `json:"TimeoutSeconds,omitempty"`
		States         map[string]*state `json:"States"`
	}
	state struct {
		Type             string         `json:"Type"`
		Comment          string         `json:"Comment,omitempty"`
		Resource         string         `json:"Resource,omitempty"`
		ItemsPath        string         `json:"ItemsPath,omitempty"`
		ItemSelector     map[string]any `json:"ItemSelector,omitempty"`
		ItemProcessor    *machine       `json:"ItemProcessor,omitempty"`
		Branches         []*machine     `json:"Branches,omitempty"`
		Parameters       map[string]any `json:"Parameters,omitempty"`
		ResultSelector   map[string]any `json:"ResultSelector,omitempty"`
		ResultPath       string         `json:"ResultPath,omitempty"`
		TimeoutSeconds   int64          `json:"TimeoutSeconds,omitempty"`
		HeartbeatSeconds int64          `json:"HeartbeatSeconds,omitempty"`
		Retry            []retrier      `json:"Retry,omitempty"`
		Catch            []catcher      `json:"Catch,omitempty"`
		Choices          []choice       `json:"Choices,omitempty"`
		Default          string         `json:"Default,omitempty"`
		Error            string         `json:"Error,omitempty"`
		ErrorPath        string         `json:"ErrorPath,omitempty"`
		CausePath        string         `json:"CausePath,omitempty"`
		Next             string         `json:"Next,omitempty"`
		End              bool           `json:"End,omitempty"`
	}
	retrier struct {
		ErrorEquals     []string `json:"ErrorEquals"`
		IntervalSeconds int64    `json:"IntervalSeconds"`
		MaxAttempts     int      `json:"MaxAttempts"`
		BackoffRate     float64  `json:"BackoffRate"`
		MaxDelaySeconds int64    `json:"MaxDelaySeconds,omitempty"`
	}
	catcher struct {
		ErrorEquals []string `json:"ErrorEquals"`
		ResultPath  string   `json:"ResultPath"`
		Next        string   `json:"Next"`
	}
	// choice compares; the machines here ask for booleans that are there, and for words.
	choice struct {
		Variable      string `json:"Variable"`
		BooleanEquals *bool  `json:"BooleanEquals,omitempty"`
		StringEquals  string `json:"StringEquals,omitempty"`
		Next          string `json:"Next"`
	}
)

// Machine writes a pipeline as a state machine. The same pipeline and options give the same bytes. Its executions take
// {"input": …}, with what a run of the pipeline is told; their names are what the runs are called.
func Machine(p *flow.Pipeline, o Options) ([]byte, error) {
	if err := p.Check(); err != nil {
		return nil, err
	}
	if o.Beat == 0 {
		o.Beat = DefaultBeat
	}
	w := &writer{p, o, layout(p), nil}
	w.at = places(w.rows)
	m := &machine{Comment: fmt.Sprintf("ingot: %s (pipeline %.12s)", p.Name, p.Hash()), StartAt: Begin, TimeoutSeconds: seconds(Limit(p)), States: map[string]*state{}}
	if err := w.top(m); err != nil {
		return nil, err
	}
	return json.MarshalIndent(m, "", "  ")
}

type writer struct {
	*flow.Pipeline
	Options
	rows [][]unit
	at   map[string][]any
}

// Limit bounds a whole run: what waits for a worker that never comes has no other end.
func Limit(p *flow.Pipeline) (sum time.Duration) {
	for _, s := range p.Steps {
		if sum += 2 * time.Duration(s.Timeout); s.Gate {
			sum += gateLimit
		}
	}
	return sum
}

func (w *writer) top(m *machine) error {
	yes := true
	fail := []catcher{{[]string{"States.ALL"}, "$.failure", Failed}}
	add := func(name string, s *state) error {
		if m.States[name] != nil {
			return fault.Newf(fault.Input, "pipeline %s: two states would be called %s", w.Name, name)
		}
		m.States[name] = s
		return nil
	}
	// What begins and ends a run sees the whole state.
	control := func(step, next string, catch []catcher) *state {
		s := w.task(Control(step), w.at, nil)
		request := s.Parameters["Payload"].(map[string]any)
		request["machine.$"], request["execution.$"] = "$$.StateMachine.Id", "$$.Execution.Id"
		request["pipeline"], request["light"] = w.Name, !w.NeedsMachine()
		s.ResultPath, s.Next, s.Catch = "$."+step, next, catch
		return s
	}
	names := make([]string, len(w.rows))
	for i, row := range w.rows {
		names[i] = rowName(row)
	}
	all := map[string]*state{
		Begin:           control(Begin, "Begin?", fail),
		"Begin?":        {Type: "Choice", Choices: []choice{{Variable: "$.Begin.output.ends", BooleanEquals: &yes, Next: "Nothing to do"}}, Default: names[0]},
		"Nothing to do": {Type: "Succeed"},
		End:             control(End, "End?", fail),
		"End?":          {Type: "Choice", Choices: []choice{{Variable: "$.End.output.state", StringEquals: "partial", Next: "Done in part"}}, Default: "Done"},
		"Done":          {Type: "Succeed"},
		"Done in part":  {Type: "Fail", Error: fault.Partial.String()},
		Failed:          control(Failed, "Broken", []catcher{{[]string{"States.ALL"}, "$.Failed", "Broken"}}),
		"Broken":        {Type: "Fail", ErrorPath: "$.failure.Error", CausePath: "$.failure.Cause"},
	}
	for i, row := range w.rows {
		next := append(slices.Clone(names), End)[i+1]
		var s *state
		if len(row) == 1 {
			s = w.unit(row[0])
			if ends := row[0][0].Ends; ends != "" {
				at := fmt.Sprintf("$.%s.output.%s", names[i], ends)
				all[names[i]+"?"] = &state{Type: "Choice", Choices: []choice{{Variable: at, BooleanEquals: &yes, Next: End}}, Default: next}
				next = names[i] + "?"
			}
		} else {
			s = &state{Type: "Parallel"}
			for _, u := range row {
				if u[0].Ends != "" {
					return fault.Newf(fault.Input, "pipeline %s: step %s, which may end the run, stands beside others", w.Name, u[0].Name)
				}
				b := w.unit(u)
				b.End = true
				s.Branches = append(s.Branches, &machine{StartAt: u.name(), States: map[string]*state{u.name(): b}})
			}
		}
		s.ResultPath, s.Next, s.Catch = "$."+names[i], next, fail
		if err := add(names[i], s); err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if err := add(name, all[name]); err != nil {
			return err
		}
	}
	return nil
}

// rowName is the name of a row's state, and of its result.
func rowName(row []unit) string {
	names := make([]string, len(row))
	for i, u := range row {
		names[i] = u.name()
	}
	return strings.Join(names, "_and_")
}

// unit makes the state of a unit, whose result is that of the step, or a list of {"item": …, STEP: result…}.
func (w *writer) unit(u unit) *state {
	if u.over() == "" {
		return w.task(u[0], w.before(u[0], nil), nil)
	}
	m := &machine{StartAt: u[0].Name, States: map[string]*state{}}
	from, field, _ := strings.Cut(u.over(), ".")
	kept, done := map[string]any{"item.$": "$.item"}, u[0].Name+" done"
	for i, s := range u {
		x := w.task(s, w.before(s, u), map[string]any{"item.$": "$.item"})
		x.ResultPath = path(s.Name)
		failed := s.Name + " failed"
		x.Catch = []catcher{{[]string{"States.ALL"}, path(s.Name), failed}}
		kept[word(s.Name)+".$"] = path(s.Name)
		m.States[failed] = &state{Type: "Pass", Parameters: maps.Clone(kept), End: true}
		if x.Next = done; i+1 < len(u) {
			x.Next = u[i+1].Name
		}
		m.States[s.Name] = x
	}
	m.States[done] = &state{Type: "Pass", Parameters: kept, End: true}
	items := "$"
	for _, step := range append(slices.Clone(w.at[from]), "output", field) {
		if n, ok := step.(int); ok {
			items += fmt.Sprintf("[%d]", n)
		} else {
			items += "." + step.(string)
		}
	}
	return &state{Type: "Map", ItemsPath: items, ItemSelector: map[string]any{"item.$": "$$.Map.Item.Value", "run.$": "$"}, ItemProcessor: m}
}

// path is the reference path of a step's result.
func path(step string) string { return "$." + word(step) }

// before says where what a step waits for is, in the state that it sees. u is the unit that it stands in, if that is over a
// list: its items have the run's state below "run".
func (w *writer) before(s flow.Step, u unit) map[string][]any {
	all := map[string][]any{}
	for _, b := range w.Steps {
		switch {
		case b.Gate || !w.Waits(s.Name, b.Name):
		case slices.ContainsFunc(u, func(x flow.Step) bool { return x.Name == b.Name }):
			all[b.Name] = []any{word(b.Name)}
		case u != nil:
			all[b.Name] = append([]any{"run"}, w.at[b.Name]...)
		default:
			all[b.Name] = w.at[b.Name]
		}
	}
	return all
}

// task makes the state of one step.
func (w *writer) task(s flow.Step, where map[string][]any, item map[string]any) *state {
	if s.Gate {
		return &state{Type: "Task", Comment: s.Does, Resource: w.Gate, TimeoutSeconds: seconds(gateLimit), Parameters: map[string]any{"run.$": "$$.Execution.Name"}}
	}
	request := map[string]any{"step": s.Name, "run.$": "$$.Execution.Name", "attempt.$": "$$.State.RetryCount", "attempts": s.Retry.Policy().Attempts,
		"timeout": s.Timeout, "where": where, "state.$": "$"}
	if item != nil {
		maps.Copy(request, item)
		request["over"] = s.Over
	}
	if s.Place == flow.Machine {
		return &state{Type: "Task", Comment: s.Does, Resource: w.Activity, Parameters: request, TimeoutSeconds: seconds(time.Duration(s.Timeout) + time.Minute),
			HeartbeatSeconds: seconds(w.Beat), Retry: retries(s.Retry, "States.HeartbeatTimeout", Interrupted)}
	}
	return &state{Type: "Task", Comment: s.Does, Resource: "arn:aws:states:::lambda:invoke",
		Parameters:     map[string]any{"FunctionName": w.Function, "Payload": request},
		ResultSelector: map[string]any{"output.$": "$.Payload.output", "seconds.$": "$.Payload.seconds", "failure.$": "$.Payload.failure"},
		TimeoutSeconds: seconds(time.Duration(s.Timeout) + time.Minute),
		Retry:          retries(s.Retry, "Lambda.ServiceException", "Lambda.AWSLambdaException", "Lambda.SdkClientException", "Lambda.TooManyRequestsException", "Lambda.Unknown")}
}

// retries repeat what may pass by itself as often as the class says, and what no step is to blame for (lost) in any case.
func retries(class flow.Retry, lost ...string) []retrier {
	all := []retrier{{ErrorEquals: lost, IntervalSeconds: 2, MaxAttempts: 8, BackoffRate: 2, MaxDelaySeconds: 120}}
	if p := class.Policy(); p.Attempts > 1 {
		var errors []string
		for _, k := range flow.Transient() {
			errors = append(errors, k.String())
		}
		all = append(all, retrier{append(errors, "States.Timeout"), seconds(p.First), p.Attempts - 1, 2, seconds(p.Most)})
	}
	return all
}

func seconds(d time.Duration) int64 { return int64((d + time.Second - 1) / time.Second) }
