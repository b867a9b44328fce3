package station

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"ingot/internal/factory"
	"ingot/internal/factory/asl"
	"ingot/internal/factory/flow"
	"ingot/internal/factory/journal"
	"ingot/internal/fault"
)

// ended is how the runs of a pipeline ended.
type ended struct {
	Resolved *factory.Resolved `json:"resolved,omitempty"` // of the last one that was done
	Rebuilt  *factory.Rebuilt  `json:"rebuilt,omitempty"`  // of the last one that came so far
	Failures int               `json:"failures"`           // in a row
}

// rebuild takes in what a run of upkeep found to order, if it came so far.
func (e *ended) rebuild(r *asl.Request) error {
	var out factory.Rebuilt
	known, err := r.Output("rebuild", &out)
	if known && err == nil {
		e.Rebuilt = &out
	}
	return err
}

// DisableAfter so many failures in a row, runs that the schedule starts do nothing; as with `ingot serve`.
const DisableAfter = 3

func stateKey(name string) string { return "state/" + name + ".json" }

func (s *Station) state(ctx context.Context, name string) (e ended, err error) {
	text, err := s.Depot.Get(ctx, stateKey(name))
	if fault.KindOf(err) == fault.Missing {
		return e, nil
	}
	if err == nil {
		if err = json.Unmarshal(text, &e); err != nil {
			err = fault.Newf(fault.Input, "reading %s: %w", stateKey(name), err)
		}
	}
	return e, err
}

func (s *Station) setState(ctx context.Context, name string, e ended) error {
	text, err := json.Marshal(e)
	if err != nil {
		return err
	}
	return s.Depot.Put(ctx, stateKey(name), text)
}

// Order is what a run is told beside what the factory reads.
type Order struct {
	factory.Input
	Cause string   `json:"cause"`          // "schedule" where nobody asked for it
	Of    string   `json:"of,omitempty"`   // the run that it repeats in part
	Kept  []string `json:"kept,omitempty"` // the steps of that run which are not done anew
}

// pipeline is the name of the pipeline that a request is of.
func (o *Order) pipeline(r *asl.Request) string { return cmp.Or(r.Pipeline, o.Name) }

// begin ends a run at once where another one is at work, or where runs have failed too often; else it has a machine launched, if a
// step needs one.
func (s *Station) begin(_ *factory.Factory, r *asl.Request) flow.Func {
	return func(ctx context.Context, c flow.Call, _ json.RawMessage) (json.RawMessage, error) {
		var in Order
		if err := r.Input(&in); err != nil {
			return nil, err
		}
		out := struct {
			Ends bool   `json:"ends"`
			Why  string `json:"why,omitempty"`
		}{}
		older, err := s.Cloud.Older(ctx, r.Machine, r.Execution)
		if err != nil {
			return nil, err
		}
		past, err := s.state(ctx, in.pipeline(r))
		switch {
		case err != nil:
			return nil, err
		case older != "":
			out.Ends, out.Why = true, "run "+older+" is at work"
		case in.Cause == "schedule" && past.Failures >= DisableAfter:
			out.Ends, out.Why = true, fmt.Sprintf("%d runs in a row failed: start one by hand", past.Failures)
		case !r.Light:
			err = s.Cloud.Launch(ctx, r.Run, in.pipeline(r))
		}
		if out.Ends {
			c.Progress.Logf("%s: %s", in.pipeline(r), out.Why)
		} else if err == nil {
			err = s.inherit(ctx, r.Run, &in)
		}
		if err != nil {
			return nil, err
		}
		return json.Marshal(out)
	}
}

// end sums up a run that came to its end, and ends its machines.
func (s *Station) end(f *factory.Factory, r *asl.Request) flow.Func {
	return func(ctx context.Context, _ flow.Call, _ json.RawMessage) (json.RawMessage, error) {
		var in Order
		if err := r.Input(&in); err != nil {
			return nil, err
		}
		if err := s.dismiss(ctx, r); err != nil {
			return nil, err
		}
		failures, err := r.Failures()
		if err != nil {
			return nil, err
		}
		var resolved factory.Resolved
		known, err := r.Output("resolve", &resolved)
		if err != nil {
			return nil, err
		}
		state := journal.Done
		switch {
		case len(failures) > 0:
			state = journal.Partial
		case known && resolved.Unchanged:
			state = journal.Unchanged
		}
		now, err := s.state(ctx, in.pipeline(r))
		if err != nil {
			return nil, err
		}
		if now.Failures = 0; state == journal.Done && known {
			now.Resolved = &resolved
		}
		if err := now.rebuild(r); err != nil {
			return nil, err
		}
		if err := s.setState(ctx, in.pipeline(r), now); err != nil {
			return nil, err
		}
		if state == journal.Partial {
			if err := f.Tell(ctx, message(&in, r, state, failures), r.Token()); err != nil {
				return nil, err
			}
		}
		return json.Marshal(map[string]string{"state": string(state)})
	}
}

// broken ends the machines of a run that failed or was cancelled, and tells of it.
func (s *Station) broken(f *factory.Factory, r *asl.Request, how journal.State) flow.Func {
	return func(ctx context.Context, _ flow.Call, _ json.RawMessage) (json.RawMessage, error) {
		var in Order
		if err := r.Input(&in); err != nil {
			return nil, err
		}
		failures, err := r.Failures()
		errs := []error{err, s.dismiss(ctx, r)}
		if now, err := s.state(ctx, in.pipeline(r)); err == nil {
			if how == journal.Failed {
				now.Failures++
			}
			errs = append(errs, now.rebuild(r), s.setState(ctx, in.pipeline(r), now))
		} else {
			errs = append(errs, err)
		}
		errs = append(errs, f.Tell(ctx, message(&in, r, how, failures), r.Token()))
		if err := errors.Join(errs...); err != nil {
			return nil, err
		}
		return json.RawMessage("{}"), nil
	}
}

// dismiss ends the machines of a run, if it may have some.
func (s *Station) dismiss(ctx context.Context, r *asl.Request) error {
	if r.Light {
		return nil
	}
	return s.Cloud.Dismiss(ctx, r.Run)
}

func message(in *Order, r *asl.Request, state journal.State, failures []*asl.Failure) *factory.Message {
	m := factory.EndMessage(in.pipeline(r), r.Run, state)
	for i, f := range failures {
		where := f.Step
		if f.Item != "" {
			where += " " + f.Item
		}
		text := f.Text
		if where != "" {
			text = where + ": " + text
		}
		if i == 0 {
			m.Error, m.Hint, m.Console = text, f.Hint, f.Console
		} else {
			m.Error += "\n" + text
		}
	}
	return m
}
