package asl_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ingot/internal/factory/asl"
	"ingot/internal/factory/asl/asltest"
	"ingot/internal/factory/flow"
	"ingot/internal/fault"
)

func step(name string, after ...string) flow.Step {
	return flow.Step{Name: name, Does: "do " + name, After: after, Place: flow.Anywhere, Timeout: flow.Duration(time.Minute), Retry: flow.Network}
}

// sample has every kind of step: two side by side, one after the other over a list, one that ends the run.
func sample() *flow.Pipeline {
	resolve, boot := step("resolve"), step("boot", "resolve")
	resolve.Ends = "unchanged"
	boot.Place, boot.Retry = flow.Machine, flow.Once
	share, smoke := step("share", "boot", "upload"), step("smoke", "share")
	share.Over, smoke.Over = "upload.regions", "upload.regions"
	return &flow.Pipeline{Name: "p", Steps: []flow.Step{resolve, boot, step("upload", "resolve"), share, smoke, step("record", "smoke")}}
}

var places = asl.Options{Function: "arn:aws:lambda:eu-west-1:123456789012:function:ingot", Activity: "arn:aws:states:eu-west-1:123456789012:activity:ingot",
	Gate: "arn:aws:states:eu-west-1:123456789012:activity:approve"}

func machine(t *testing.T, p *flow.Pipeline) []byte {
	t.Helper()
	text, err := asl.Machine(p, places)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestMachineIsValid(t *testing.T) {
	t.Parallel()
	p := sample()
	text := machine(t, p)
	asltest.Check(t, text)
	if !bytes.Equal(text, machine(t, sample())) {
		t.Error("the same pipeline gives another machine")
	}
	p.Steps = slices.Insert(p.Steps, 3, flow.Step{Name: "approve", Does: "wait", After: []string{"boot", "upload"}, Gate: true})
	p.Steps[4].After = []string{"approve"}
	asltest.Check(t, machine(t, p))
	p = sample()
	p.Steps[1].Ends = "unchanged"
	if _, err := asl.Machine(p, places); fault.KindOf(err) != fault.Input {
		t.Errorf("a step beside others ends the run: %v", err)
	}
}

// play runs the sample, whose steps return their names, or what answers has.
type play struct {
	mu    sync.Mutex
	calls []string          // "STEP ITEM", or "STEP ITEM, DOCUMENT" of those in show
	show  string            // a step
	fails map[string]string // by step and item: how often, and the kind
	out   map[string]string
	t     *testing.T
}

func (x *play) do(_ context.Context, c flow.Call, doc json.RawMessage) (json.RawMessage, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	name := strings.TrimSpace(c.Step + " " + c.Item)
	if c.Step == x.show {
		name += ", " + string(doc)
	}
	x.calls = append(x.calls, name)
	var times int
	var kind string
	key := strings.TrimSpace(c.Step + " " + c.Item)
	if n, _ := fmt.Sscan(x.fails[key], &times, &kind); n == 2 && c.Attempt <= times {
		i := slices.IndexFunc(fault.Kinds(), func(k fault.Kind) bool { return k.String() == kind })
		var out json.RawMessage
		if kind == "partial" {
			out = json.RawMessage(x.out[c.Step])
		}
		return out, fault.New(fault.Kinds()[i], errors.New(c.Step+" is broken"), "mend it")
	}
	if out := x.out[c.Step]; out != "" {
		return json.RawMessage(out), nil
	}
	if c.Step == "resolve" {
		return json.RawMessage(`{"unchanged":false}`), nil
	}
	return json.Marshal(map[string]string{"of": key})
}

func (x *play) run(player *asltest.Player, name string, p *flow.Pipeline) error {
	x.t.Helper()
	tasks := map[string]flow.Func{}
	for _, s := range p.Steps {
		tasks[s.Name] = x.do
	}
	_, err := player.Play(machine(x.t, p), name, map[string]string{"name": "p"}, func(ctx context.Context, task asltest.Task) (any, error) {
		payload, ok := task.Lambda()
		if !ok {
			payload = task.Input
		}
		own := map[string]flow.Func{}
		var r asl.Request
		if err := json.Unmarshal(payload, &r); err != nil {
			return nil, err
		}
		own[asl.Begin] = func(context.Context, flow.Call, json.RawMessage) (json.RawMessage, error) {
			return json.RawMessage(`{"ends":false}`), nil
		}
		own[asl.End], own[asl.Failed] = x.end(&r), x.end(&r)
		for k, f := range tasks {
			own[k] = f
		}
		out, err := asltest.Function(ctx, own, payload, nil)
		if err == nil && !ok { // an activity returns the result alone
			out = out.(map[string]any)["Payload"]
		}
		return out, err
	})
	return err
}

// end sums up as a machine's last step does.
func (x *play) end(r *asl.Request) flow.Func {
	return func(_ context.Context, c flow.Call, _ json.RawMessage) (json.RawMessage, error) {
		all, err := r.Failures()
		if err != nil {
			return nil, err
		}
		state, note := "done", c.Step
		for _, f := range all {
			state = "partial"
			note += fmt.Sprintf(" [%s %s %s %s: %s]", f.Step, f.Item, f.Kind, f.Hint, f.Text)
		}
		x.mu.Lock()
		x.calls = append(x.calls, note)
		x.mu.Unlock()
		return json.Marshal(map[string]string{"state": state})
	}
}

func TestMachineRuns(t *testing.T) {
	t.Parallel()
	player := asltest.NewPlayer(t)
	regions := map[string]string{"upload": `{"regions":["a","b"]}`}
	for name, c := range map[string]struct {
		*play
		want []string // in order of their names
		err  string
	}{
		"all goes well": {&play{out: regions, show: "record"}, []string{"End", "boot",
			`record, {"boot":{"of":"boot"},"input":{"name":"p"},"resolve":{"unchanged":false},"share":[{"of":"share a"},{"of":"share b"}],"smoke":[{"of":"smoke a"},{"of":"smoke b"}],"upload":{"regions":["a","b"]}}`,
			"resolve", "share a", "share b", "smoke a", "smoke b", "upload"}, ""},
		"an item sees its own": {&play{out: regions, show: "smoke"}, []string{"End", "boot", "record", "resolve", "share a", "share b",
			`smoke a, {"boot":{"of":"boot"},"input":{"name":"p"},"item":"a","resolve":{"unchanged":false},"share":{"of":"share a"},"upload":{"regions":["a","b"]}}`,
			`smoke b, {"boot":{"of":"boot"},"input":{"name":"p"},"item":"b","resolve":{"unchanged":false},"share":{"of":"share b"},"upload":{"regions":["a","b"]}}`, "upload"}, ""},
		"nothing changed": {&play{out: map[string]string{"resolve": `{"unchanged":true}`}}, []string{"End", "resolve"}, ""},
		"tried again":     {&play{out: regions, fails: map[string]string{"resolve": "2 unreachable", "share b": "5 quota"}}, []string{"End", "boot", "record", "resolve", "resolve", "resolve", "share a", "share b", "share b", "share b", "share b", "share b", "share b", "smoke a", "smoke b", "upload"}, ""},
		"too often":       {&play{fails: map[string]string{"resolve": "6 unreachable"}}, []string{"Failed [resolve  unreachable mend it: resolve is broken]", "resolve", "resolve", "resolve", "resolve", "resolve", "resolve"}, "unreachable"},
		"not tried again": {&play{fails: map[string]string{"resolve": "1 trust"}}, []string{"Failed [resolve  trust mend it: resolve is broken]", "resolve"}, "trust"},
		"a sick region": {&play{out: regions, fails: map[string]string{"share b": "9 denied"}, show: "record"}, []string{"End [share b denied mend it: share is broken]", "boot",
			`record, {"boot":{"of":"boot"},"input":{"name":"p"},"resolve":{"unchanged":false},"share":[{"of":"share a"}],"smoke":[{"of":"smoke a"}],"upload":{"regions":["a","b"]}}`,
			"resolve", "share a", "share b", "smoke a", "upload"}, "partial"},
		"all regions sick": {&play{out: regions, fails: map[string]string{"share a": "9 denied", "share b": "9 denied"}}, []string{
			"Failed [record  denied mend it: share is broken] [share a denied mend it: share is broken] [share b denied mend it: share is broken]",
			"boot", "resolve", "share a", "share b", "upload"}, "denied"},
		"done in part": {&play{out: regions, fails: map[string]string{"upload": "9 partial"}}, []string{"End [upload  partial mend it: upload is broken]", "boot", "record", "resolve",
			"share a", "share b", "smoke a", "smoke b", "upload", "upload", "upload", "upload", "upload", "upload"}, "partial"},
		"no boot": {&play{out: regions, fails: map[string]string{"boot": "1 verdict"}}, []string{"Failed [boot  verdict mend it: boot is broken]", "boot", "resolve", "upload"}, "verdict"},
	} {
		t.Run(name, func(t *testing.T) {
			x := c.play
			x.t = t
			err := x.run(player, name, sample())
			slices.Sort(x.calls)
			if d := cmp.Diff(c.want, x.calls); d != "" {
				t.Error(d)
			}
			got := ""
			if err != nil {
				got = asltest.Kind(err).String()
			}
			if got != c.err {
				t.Errorf("it ended with %q (%v)", got, err)
			}
		})
	}
}
