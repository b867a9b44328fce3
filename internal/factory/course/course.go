// Package course says how far a run of a pipeline has come, and what is to be done next: a function of its steps and of the time.
// Where steps are kept is the business of drivers.
package course

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"ingot/internal/factory/flow"
	"ingot/internal/fault"
)

// State is how far a run or a step has come.
type State string

// The states of runs and of steps. A run is queued, then running; a step waits, runs, and waits again between two
// attempts. The others are final.
const (
	Queued    State = "queued"
	Waiting   State = "waiting"
	Running   State = "running"
	Done      State = "done"
	Unchanged State = "unchanged" // a run that found nothing to do
	Partial   State = "partial"   // done for some items, or in part
	Failed    State = "failed"
	Skipped   State = "skipped" // a step that was not to be done, since one before it failed or ended the run
	Cancelled State = "cancelled"
)

// Over reports whether a run or step of this state is over.
func (s State) Over() bool { return s != Queued && s != Waiting && s != Running }

// Step is a step of a run, or one item of a step over a list.
type Step struct {
	Name     string          `json:"name"`
	Item     string          `json:"item,omitempty"`
	Token    string          `json:"-"`
	State    State           `json:"state"`
	Attempts int             `json:"attempts"` // begun
	Failures int             `json:"failures,omitempty"`
	Due      time.Time       `json:"due,omitzero"` // of the next attempt
	Started  time.Time       `json:"started,omitzero"`
	Ended    time.Time       `json:"ended,omitzero"`
	Progress string          `json:"progress,omitempty"` // how far it has come, for people, while it runs
	Output   json.RawMessage `json:"output,omitempty"`
	Error    string          `json:"error,omitempty"`
	Hint     string          `json:"hint,omitempty"`
	Kind     fault.Kind      `json:"-"` // of the error
	Approved bool            `json:"-"` // a gate: somebody has approved
}

// Settle records what became of an attempt that was not cut off: the step is over, or waits for another attempt, which is due then.
func (s *Step) Settle(def flow.Step, output json.RawMessage, err error, now time.Time) {
	if err == nil {
		s.State, s.Output, s.Error, s.Hint = Done, output, "", ""
		return
	}
	s.Failures++
	s.Error, s.Hint, s.Kind = err.Error(), fault.HintOf(err), fault.KindOf(err)
	policy := def.Retry.Policy()
	switch {
	case slices.Contains(flow.Transient(), s.Kind) && s.Failures < policy.Attempts:
		s.State, s.Due = Waiting, now.Add(policy.Pause(s.Failures))
	case s.Kind == fault.Partial && output != nil:
		s.State, s.Output = Partial, output
	default:
		s.State = Failed
	}
}

// Reason is the error of a step that made a run end, for people.
func (s *Step) Reason() string {
	if s.Item != "" {
		return s.Name + " " + s.Item + ": " + s.Error
	}
	return s.Name + ": " + s.Error
}

// Decision is what is to be done next in a run.
type Decision struct {
	Start []Step    // due now
	Skip  []Step    // will never be done
	Pass  []Step    // gates that are open
	Wait  time.Time // when the next attempt is due; zero for none
	End   State     // not "": the run is over like this
	Cause *Step     // the step that made it so, if one did
}

// Decide looks at the steps of a run. Steps in running are being done by this process.
func Decide(p *flow.Pipeline, steps []Step, now time.Time) Decision {
	var d Decision
	for i, s := range steps {
		def, _ := p.Step(s.Name)
		switch {
		case s.Item == "" && s.State == Failed:
			return Decision{End: Failed, Cause: &steps[i]}
		case def.Ends != "" && s.State == Done && flag(s.Output, def.Ends):
			return Decision{End: Unchanged, Cause: &steps[i]}
		case s.State != Waiting:
			continue
		}
		switch ready := readiness(p, def, s.Item, steps); {
		case ready == Skipped:
			d.Skip = append(d.Skip, s)
		case ready == Waiting:
		case def.Gate:
			if s.Approved {
				d.Pass = append(d.Pass, s)
			}
		case s.Due.After(now):
			if d.Wait.IsZero() || s.Due.Before(d.Wait) {
				d.Wait = s.Due
			}
		default:
			d.Start = append(d.Start, s)
		}
	}
	if slices.ContainsFunc(steps, func(s Step) bool { return !s.State.Over() }) {
		return d
	}
	// All are over; a step over a list whose source is over has all its items.
	d.End = Done
	for _, def := range p.Steps {
		switch state, cause := whole(def, steps); state {
		case Failed:
			return Decision{End: Failed, Cause: cause}
		case Partial:
			if d.End == Done {
				d.End, d.Cause = Partial, cause
			}
		}
	}
	return d
}

// readiness says whether a step, or an item of one, can be done (Done), has to wait, or is never to be done (Skipped).
func readiness(p *flow.Pipeline, def flow.Step, item string, steps []Step) State {
	ready := Done
	for _, name := range def.After {
		before, _ := p.Step(name)
		state := Waiting
		if item != "" && before.Over == def.Over {
			if i := slices.IndexFunc(steps, func(s Step) bool { return s.Name == name && s.Item == item }); i >= 0 {
				state = steps[i].State
			}
		} else if state = source(before, steps); state == Done {
			state, _ = whole(before, steps)
		}
		switch state {
		case Done, Partial:
		case Waiting, Running:
			ready = Waiting
		default:
			return Skipped
		}
	}
	return ready
}

// source returns Done where the list that a step is over is known, or the step is over none.
func source(def flow.Step, steps []Step) State {
	from, _, over := strings.Cut(def.Over, ".")
	if !over {
		return Done
	}
	state, _ := whole(flow.Step{Name: from}, steps)
	if state == Partial {
		state = Done
	}
	return state
}

// whole returns the state of a step with all its items, and the item that failed. Without items, it is done.
func whole(def flow.Step, steps []Step) (State, *Step) {
	counts, n := map[State]int{}, 0
	var failed *Step
	for i, s := range steps {
		if s.Name != def.Name {
			continue
		}
		counts[s.State]++
		n++
		if failed == nil && s.Error != "" && s.State.Over() {
			failed = &steps[i]
		}
	}
	switch {
	case counts[Running] > 0:
		return Running, nil
	case counts[Waiting] > 0:
		return Waiting, nil
	case n == counts[Done]:
		return Done, nil
	case counts[Done]+counts[Partial] > 0:
		return Partial, failed
	case counts[Failed] > 0:
		return Failed, failed
	case counts[Cancelled] > 0:
		return Cancelled, nil
	}
	return Skipped, nil
}

// Keep returns the steps of a former run that are not done anew where it is repeated from a step on: those that do not wait for it.
// Their outputs are taken from there.
func Keep(p *flow.Pipeline, from string, former []Step) (keep []Step, err error) {
	if _, ok := p.Step(from); !ok {
		var names []string
		for _, s := range p.Steps {
			names = append(names, s.Name)
		}
		return nil, fault.New(fault.Usage, fmt.Errorf("there is no step %q", from), fmt.Sprintf("the steps are %v", names))
	}
	for _, s := range p.Steps {
		if s.Name == from || p.Waits(s.Name, from) || s.Over != "" {
			continue
		}
		i := slices.IndexFunc(former, func(f Step) bool { return f.Name == s.Name && (f.State == Done || f.State == Partial) })
		if i >= 0 {
			keep = append(keep, former[i])
		} else if p.Waits(from, s.Name) {
			return nil, fault.Newf(fault.Usage, "the last run cannot be repeated from step %s: it did not finish step %s, which that needs", from, s.Name)
		}
	}
	return keep, nil
}

// Anew returns the names of the steps of a pipeline that are done where some of a former run are kept.
func Anew(p *flow.Pipeline, kept []Step) (names []string) {
	for _, def := range p.Steps {
		if !slices.ContainsFunc(kept, func(s Step) bool { return s.Name == def.Name }) {
			names = append(names, def.Name)
		}
	}
	return names
}

// ListOver returns the items of a step over an output; none, if it is over nothing of it.
func ListOver(next flow.Step, s Step) ([]string, error) {
	field, ok := strings.CutPrefix(next.Over, s.Name+".")
	if !ok {
		return nil, nil
	}
	var out map[string]json.RawMessage
	var list []string
	err := json.Unmarshal(s.Output, &out)
	if err == nil && out[field] != nil {
		err = json.Unmarshal(out[field], &list)
	}
	slices.Sort(list)
	if err != nil || len(slices.Compact(slices.Clone(list))) != len(list) || slices.Contains(list, "") {
		return nil, fault.Newf(fault.Bug, "step %s is over %s, which is no list of different strings", next.Name, next.Over)
	}
	return list, nil
}

// flag returns a field of an output that is true or false.
func flag(output json.RawMessage, field string) bool {
	var out map[string]any
	if json.Unmarshal(output, &out) != nil {
		return false
	}
	return out[field] == true
}
