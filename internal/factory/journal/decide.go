package journal

import (
	"encoding/json"
	"slices"
	"strings"
	"time"

	"ingot/internal/factory/flow"
	"ingot/internal/fault"
)

// decision is what is to be done next in a run.
type decision struct {
	start []Step    // due now
	skip  []Step    // will never be done
	pass  []Step    // gates that are open
	wait  time.Time // when the next attempt is due; zero for none
	end   State     // not "": the run is over like this
	cause *Step     // the step that made it so, if one did
}

// decide looks at the steps of a run. Steps in running are being done by this process.
func decide(p *flow.Pipeline, steps []Step, now time.Time) decision {
	var d decision
	for i, s := range steps {
		def, _ := p.Step(s.Name)
		switch {
		case s.Item == "" && s.State == Failed:
			return decision{end: Failed, cause: &steps[i]}
		case def.Ends != "" && s.State == Done && flag(s.Output, def.Ends):
			return decision{end: Unchanged, cause: &steps[i]}
		case s.State != Waiting:
			continue
		}
		switch ready := readiness(p, def, s.Item, steps); {
		case ready == Skipped:
			d.skip = append(d.skip, s)
		case ready == Waiting:
		case def.Gate:
			if s.approved {
				d.pass = append(d.pass, s)
			}
		case s.Due.After(now):
			if d.wait.IsZero() || s.Due.Before(d.wait) {
				d.wait = s.Due
			}
		default:
			d.start = append(d.start, s)
		}
	}
	if slices.ContainsFunc(steps, func(s Step) bool { return !s.State.Over() }) {
		return d
	}
	// All are over; a step over a list whose source is over has all its items.
	d.end = Done
	for _, def := range p.Steps {
		switch state, cause := whole(def, steps); state {
		case Failed:
			return decision{end: Failed, cause: cause}
		case Partial:
			if d.end == Done {
				d.end, d.cause = Partial, cause
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

// listOver returns the items of a step over an output; none, if it is over nothing of it.
func listOver(next flow.Step, s Step) ([]string, error) {
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

// document is what a step is given.
func document(r *Run, s Step, steps []Step) (json.RawMessage, error) {
	def, _ := r.Flow.Step(s.Name)
	doc := map[string]any{"input": r.Input}
	if s.Item != "" {
		doc["item"] = s.Item
	}
	for _, before := range r.Flow.Steps {
		if !r.Flow.Waits(s.Name, before.Name) || before.Gate {
			continue
		}
		list := []json.RawMessage{}
		for _, x := range steps {
			if x.Name != before.Name || x.Output == nil {
				continue
			}
			if list = append(list, x.Output); before.Over == "" || before.Over == def.Over && x.Item == s.Item {
				doc[before.Name] = x.Output
			}
		}
		if before.Over != "" && before.Over != def.Over {
			doc[before.Name] = list
		}
	}
	return json.Marshal(doc)
}
