package course

import (
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ingot/internal/factory/flow"
	"ingot/internal/fault"
)

func TestSettle(t *testing.T) {
	now, half := time.Date(2026, 3, 1, 2, 0, 0, 0, time.UTC), json.RawMessage(`{"regions":[]}`)
	network := flow.Step{Name: "upload", Retry: flow.Network}
	passing := fault.New(fault.Unreachable, errors.New("no answer"), "ask again")
	for name, c := range map[string]struct {
		before Step
		def    flow.Step
		output json.RawMessage
		err    error
		want   Step
	}{
		"done":            {Step{Failures: 1, Error: "no answer", Hint: "ask again"}, network, half, nil, Step{State: Done, Failures: 1, Output: half}},
		"may pass":        {Step{Failures: 1}, network, nil, passing, Step{State: Waiting, Failures: 2, Due: now.Add(20 * time.Second), Error: "no answer", Hint: "ask again", Kind: fault.Unreachable}},
		"no attempt left": {Step{Failures: 5}, network, nil, passing, Step{State: Failed, Failures: 6, Error: "no answer", Hint: "ask again", Kind: fault.Unreachable}},
		"does not pass":   {Step{}, network, nil, fault.Newf(fault.Verdict, "no kernel"), Step{State: Failed, Failures: 1, Error: "no kernel", Kind: fault.Verdict}},
		"half, for now":   {Step{}, network, half, fault.Newf(fault.Partial, "half"), Step{State: Waiting, Failures: 1, Due: now.Add(10 * time.Second), Error: "half", Kind: fault.Partial}},
		"half":            {Step{}, flow.Step{Retry: flow.Once}, half, fault.Newf(fault.Partial, "half"), Step{State: Partial, Failures: 1, Output: half, Error: "half", Kind: fault.Partial}},
	} {
		got := c.before
		got.Settle(c.def, c.output, c.err, now)
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
}

func TestDecide(t *testing.T) {
	step := func(name string, after ...string) flow.Step { return flow.Step{Name: name, After: after} }
	over := func(s flow.Step) flow.Step { s.Over = "upload.regions"; return s }
	p := &flow.Pipeline{Steps: []flow.Step{step("resolve"), step("upload", "resolve"), over(step("share", "upload")), over(step("smoke", "share")), step("record", "smoke")}}
	p.Steps[0].Ends = "unchanged"
	all := func(share, smoke State) []Step {
		return []Step{{Name: "resolve", State: Done, Output: json.RawMessage(`{}`)}, {Name: "upload", State: Done},
			{Name: "share", Item: "a", State: share, Error: "denied"}, {Name: "share", Item: "b", State: Done},
			{Name: "smoke", Item: "a", State: smoke}, {Name: "smoke", Item: "b", State: Waiting}, {Name: "record", State: Waiting}}
	}
	now := time.Unix(0, 0)
	d := Decide(p, all(Failed, Waiting), now)
	if len(d.Start) != 1 || d.Start[0].Item != "b" || len(d.Skip) != 1 || d.Skip[0].Item != "a" || d.End != "" {
		t.Errorf("an item whose step failed, and one whose step is done: %+v", d)
	}
	steps := all(Failed, Skipped)
	steps[5].State, steps[6].State = Done, Done
	if d := Decide(p, steps, now); d.End != Partial || d.Cause.Reason() != "share a: denied" {
		t.Errorf("one of two items failed: %+v", d)
	}
	steps = all(Done, Waiting)[:1]
	steps[0].Output = json.RawMessage(`{"unchanged":true}`)
	if d := Decide(p, steps, now); d.End != Unchanged {
		t.Errorf("nothing changed: %+v", d)
	}
}
