package flow

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ingot/internal/fault"
)

func step(name string, after ...string) Step {
	return Step{Name: name, Does: "do " + name, After: after, Place: Anywhere, Timeout: Duration(time.Minute), Retry: Once}
}

func sample() *Pipeline {
	over := step("share", "boot", "upload")
	over.Over = "upload.regions"
	smoke := step("smoke", "share")
	smoke.Over = "upload.regions"
	return &Pipeline{Name: "p", Steps: []Step{step("resolve"), step("boot", "resolve"), step("upload", "resolve"), over, smoke, step("record", "smoke")}}
}

func TestPipeline(t *testing.T) {
	p := sample()
	if err := p.Check(); err != nil {
		t.Fatal(err)
	}
	var rows []string
	for _, row := range p.Stages() {
		var names []string
		for _, s := range row {
			names = append(names, s.Name)
		}
		rows = append(rows, strings.Join(names, " "))
	}
	if d := cmp.Diff([]string{"resolve", "boot upload", "share", "smoke", "record"}, rows); d != "" {
		t.Error(d)
	}
	if !p.Waits("record", "resolve") || p.Waits("boot", "upload") || p.Waits("resolve", "resolve") {
		t.Error("it waits for the wrong steps")
	}
	text, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	var again Pipeline
	if err := json.Unmarshal(text, &again); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(*p, again); d != "" {
		t.Error(d)
	}
	hash := p.Hash()
	if again.Hash() != hash {
		t.Error("a copy has another hash")
	}
	again.Steps[1].Timeout++
	if again.Hash() == hash {
		t.Error("another time limit leaves the hash")
	}
	want := "  ── resolve  do resolve, at most 1m\n  │\n  ┬─ boot     do boot, at most 1m\n  └─ upload   do upload, at most 1m\n  │\n" +
		"  ── share    do share, for each of upload.regions, at most 1m\n"
	if got := p.Draw(); !strings.HasPrefix(got, want) {
		t.Errorf("drawn:\n%s", got)
	}
}

func TestCheckRefuses(t *testing.T) {
	for name, spoil := range map[string]func(*Pipeline){
		"no steps":           func(p *Pipeline) { p.Steps = nil },
		"a name twice":       func(p *Pipeline) { p.Steps[1].Name = "resolve" },
		"a strange name":     func(p *Pipeline) { p.Steps[0].Name = "Do it" },
		"a later step":       func(p *Pipeline) { p.Steps[0].After = []string{"record"} },
		"no limit":           func(p *Pipeline) { p.Steps[0].Timeout = 0 },
		"no place":           func(p *Pipeline) { p.Steps[0].Place = "moon" },
		"no class":           func(p *Pipeline) { p.Steps[0].Retry = "" },
		"over nothing":       func(p *Pipeline) { p.Steps[3].Over = "upload" },
		"over a side step":   func(p *Pipeline) { p.Steps[1].Over = "upload.regions" },
		"over a fan":         func(p *Pipeline) { p.Steps[4].Over = "share.regions" },
		"an end over a list": func(p *Pipeline) { p.Steps[3].Ends = "unchanged" },
	} {
		p := sample()
		spoil(p)
		if err := p.Check(); fault.KindOf(err) != fault.Input {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestPause(t *testing.T) {
	var got []time.Duration
	for n := 1; n < 9; n++ {
		got = append(got, Network.Policy().Pause(n)/time.Second)
	}
	if d := cmp.Diff([]time.Duration{10, 20, 40, 80, 160, 320, 600, 600}, got); d != "" {
		t.Error(d)
	}
}

func TestTyped(t *testing.T) {
	type in struct {
		Input string
		Build struct{ Dir string }
	}
	fail := error(nil)
	f := Typed(func(_ context.Context, _ Call, x in) ([]string, error) { return []string{x.Input, x.Build.Dir}, fail })
	out, err := f(t.Context(), Call{}, json.RawMessage(`{"input":"a","build":{"dir":"b","more":1},"other":{}}`))
	if err != nil || string(out) != `["a","b"]` {
		t.Errorf("%s, %v", out, err)
	}
	if _, err := f(t.Context(), Call{}, json.RawMessage(`{"input":1}`)); fault.KindOf(err) != fault.Input {
		t.Errorf("another type: %v", err)
	}
	fail = errors.New("broken")
	if out, err := f(t.Context(), Call{}, json.RawMessage(`{}`)); out != nil || !errors.Is(err, fail) {
		t.Errorf("a failure returns %s, %v", out, err)
	}
	fail = fault.New(fault.Partial, errors.New("half"), "")
	if out, err := f(t.Context(), Call{}, json.RawMessage(`{}`)); string(out) != `["",""]` || err == nil {
		t.Errorf("half a success returns %s, %v", out, err)
	}
	large := Typed(func(context.Context, Call, in) (string, error) { return strings.Repeat("x", MaxOutput), nil })
	if _, err := large(t.Context(), Call{}, json.RawMessage(`{}`)); err == nil {
		t.Error("any size of output is taken")
	}
}
