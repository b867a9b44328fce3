package journal

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"ingot/internal/factory/flow"
	"ingot/internal/fault"
	"ingot/internal/progress"
)

// fast is a clock on which waiting takes no time.
type fast struct {
	mu  sync.Mutex
	now time.Time
}

func (f *fast) Now() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.now
}

func (f *fast) After(d time.Duration) <-chan time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.now = f.now.Add(max(d, 0))
	c := make(chan time.Time, 1)
	c <- f.now
	return c
}

func open(t *testing.T) *Journal {
	t.Helper()
	j, err := Open(t.Context(), filepath.Join(t.TempDir(), "factory.db"), &fast{now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { j.Close() })
	return j
}

func step(name string, after ...string) flow.Step {
	return flow.Step{Name: name, Does: name, After: after, Place: flow.Anywhere, Timeout: flow.Duration(time.Minute), Retry: flow.Network}
}

func over(list string, s flow.Step) flow.Step {
	s.Over = list
	return s
}

// sample is a pipeline of every kind of step.
func sample() *flow.Pipeline {
	resolve := step("resolve")
	resolve.Ends = "unchanged"
	return &flow.Pipeline{Name: "web", Steps: []flow.Step{resolve, step("build", "resolve"), step("boot", "build"), step("upload", "build"),
		over("upload.regions", step("share", "boot", "upload")), over("upload.regions", step("smoke", "share")), step("record", "smoke")}}
}

// tasks are functions for sample, which say what they did. spoil may take the place of any.
type tasks struct {
	mu    sync.Mutex
	said  []string
	docs  map[string]string
	spoil func(ctx context.Context, c flow.Call) (any, error) // nil, nil: as usual
}

func (x *tasks) funcs(p *flow.Pipeline) map[string]flow.Func {
	all := map[string]flow.Func{}
	for _, s := range p.Steps {
		all[s.Name] = func(ctx context.Context, c flow.Call, doc json.RawMessage) (json.RawMessage, error) {
			x.mu.Lock()
			name := strings.TrimSpace(c.Step + " " + c.Item)
			x.said = append(x.said, name)
			if x.docs == nil {
				x.docs = map[string]string{}
			}
			x.docs[name] = string(doc)
			x.mu.Unlock()
			c.Progress.Logf("doing %s", name)
			var out any = map[string]any{"did": name}
			if c.Step == "upload" {
				out = map[string]any{"regions": []string{"us", "eu"}}
			}
			var err error
			if x.spoil != nil {
				var other any
				if other, err = x.spoil(ctx, c); other != nil {
					out = other
				}
			}
			text, e := json.Marshal(out)
			return text, errors.Join(err, e)
		}
	}
	return all
}

func (x *tasks) count(name string) int {
	n := 0
	for _, s := range x.said {
		if s == name {
			n++
		}
	}
	return n
}

// do orders a run and drives it to its end.
func do(t *testing.T, j *Journal, x *tasks, o Order) Run {
	t.Helper()
	id, err := j.Submit(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	d := &Driver{Journal: j, Tasks: x.funcs(o.Flow), DisableAfter: 2}
	r, err := d.Do(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// states are the states of a run's steps, as text.
func states(t *testing.T, j *Journal, id int64) string {
	t.Helper()
	steps, err := j.Steps(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, s := range steps {
		all = append(all, strings.TrimSpace(s.Name+" "+s.Item)+"="+string(s.State))
	}
	return strings.Join(all, ", ")
}

func TestRun(t *testing.T) {
	t.Parallel()
	j, x := open(t), &tasks{}
	r := do(t, j, x, Order{Flow: sample(), Input: map[string]string{"recipe": "r"}, Cause: "manual"})
	if r.State != Done || r.Error != "" || r.Started.IsZero() || r.Ended.IsZero() {
		t.Errorf("the run: %+v", r)
	}
	want := "resolve=done, build=done, boot=done, upload=done, share eu=done, share us=done, smoke eu=done, smoke us=done, record=done"
	if got := states(t, j, r.ID); got != want {
		t.Errorf("steps: %s", got)
	}
	if d := cmp.Diff(`{"boot":{"did":"boot"},"build":{"did":"build"},"input":{"recipe":"r"},"item":"eu","resolve":{"did":"resolve"},`+
		`"share":{"did":"share eu"},"upload":{"regions":["us","eu"]}}`, x.docs["smoke eu"]); d != "" {
		t.Error(d)
	}
	if !strings.Contains(x.docs["record"], `"smoke":[{"did":"smoke eu"},{"did":"smoke us"}]`) {
		t.Errorf("record is given %s", x.docs["record"])
	}
	lines, err := j.Lines(t.Context(), r.ID, "boot", 0, 100)
	if err != nil || len(lines) != 1 || lines[0].Text != "doing boot" {
		t.Errorf("the log: %v %v", lines, err)
	}
	all, err := j.Lines(t.Context(), r.ID, "", 0, 100)
	if err != nil || len(all) < 3 {
		t.Fatalf("the whole log: %v %v", all, err)
	}
	if last, err := j.LastLines(t.Context(), r.ID, "", 2); err != nil || cmp.Diff(all[len(all)-2:], last) != "" {
		t.Errorf("the end of the log: %v %v", last, err)
	}
	if last, err := j.LastLines(t.Context(), r.ID, "boot", 2); err != nil || cmp.Diff(lines, last) != "" {
		t.Errorf("the end of a step's log: %v %v", last, err)
	}
	// A run that is over is not done again.
	n := len(x.said)
	if r, err := (&Driver{Journal: j, Tasks: x.funcs(sample())}).Do(t.Context(), r.ID); err != nil || r.State != Done || len(x.said) != n {
		t.Errorf("again: %+v, %v, %v", r, err, x.said[n:])
	}
}

func TestEnds(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	down := fault.New(fault.Unreachable, errors.New("down"), "wait")
	for name, tc := range map[string]struct {
		spoil  func(ctx context.Context, c flow.Call) (any, error)
		state  State
		error  string
		states string
		again  map[string]int // attempts
	}{
		"nothing to do": {func(_ context.Context, c flow.Call) (any, error) {
			if c.Step == "resolve" {
				return map[string]bool{"unchanged": true}, nil
			}
			return nil, nil
		}, Unchanged, "", "resolve=done, build=skipped, boot=skipped, upload=skipped, record=skipped", nil},
		"a defect": {func(_ context.Context, c flow.Call) (any, error) {
			if c.Step == "build" {
				return nil, broken
			}
			return nil, nil
		}, Failed, "build: broken", "resolve=done, build=failed, boot=skipped, upload=skipped, record=skipped", map[string]int{"build": 1}},
		"down for a while": {func(_ context.Context, c flow.Call) (any, error) {
			if c.Step == "upload" && c.Attempt < 4 {
				return nil, down
			}
			return nil, nil
		}, Done, "", "resolve=done, build=done, boot=done, upload=done, share eu=done, share us=done, smoke eu=done, smoke us=done, record=done", map[string]int{"upload": 4}},
		"down for ever": {func(_ context.Context, c flow.Call) (any, error) {
			if c.Step == "upload" {
				return nil, down
			}
			return nil, nil
		}, Failed, "upload: down", "resolve=done, build=done, boot=done, upload=failed, record=skipped", map[string]int{"upload": 6}},
		"one region": {func(_ context.Context, c flow.Call) (any, error) {
			if c.Step == "share" && c.Item == "eu" {
				return nil, broken
			}
			return nil, nil
		}, Partial, "share eu: broken", "resolve=done, build=done, boot=done, upload=done, share eu=failed, share us=done, smoke eu=skipped, smoke us=done, record=done", nil},
		"all regions": {func(_ context.Context, c flow.Call) (any, error) {
			if c.Step == "share" {
				return nil, broken
			}
			return nil, nil
		}, Failed, "share eu: broken", "resolve=done, build=done, boot=done, upload=done, share eu=failed, share us=failed, smoke eu=skipped, smoke us=skipped, record=skipped", nil},
		"no regions": {func(_ context.Context, c flow.Call) (any, error) {
			if c.Step == "upload" {
				return map[string][]string{"regions": {}}, nil
			}
			return nil, nil
		}, Done, "", "resolve=done, build=done, boot=done, upload=done, record=done", nil},
		"half a step": {func(_ context.Context, c flow.Call) (any, error) {
			if c.Step == "upload" {
				return map[string][]string{"regions": {"us"}}, fault.New(fault.Partial, errors.New("eu is down"), "")
			}
			return nil, nil
		}, Partial, "upload: eu is down", "resolve=done, build=done, boot=done, upload=partial, share us=done, smoke us=done, record=done", map[string]int{"upload": 6}},
		"a panic": {func(_ context.Context, c flow.Call) (any, error) {
			if c.Step == "build" {
				panic("at the disco")
			}
			return nil, nil
		}, Failed, "build: step build panicked: at the disco", "resolve=done, build=failed, boot=skipped, upload=skipped, record=skipped", nil},
		"a list with an item twice": {func(_ context.Context, c flow.Call) (any, error) {
			if c.Step == "upload" {
				return map[string][]string{"regions": {"us", "us"}}, nil
			}
			return nil, nil
		}, "", "", "", nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			j, x := open(t), &tasks{spoil: tc.spoil}
			id, err := j.Submit(t.Context(), Order{Flow: sample()})
			if err != nil {
				t.Fatal(err)
			}
			r, err := (&Driver{Journal: j, Tasks: x.funcs(sample())}).Do(t.Context(), id)
			if tc.state == "" {
				if err == nil {
					t.Errorf("it ended as %s", r.State)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if first, _, _ := strings.Cut(r.Error, "\n"); r.State != tc.state || first != tc.error {
				t.Errorf("%s: %q", r.State, r.Error)
			}
			got := states(t, j, r.ID)
			if strings.Contains(tc.states, "upload=skipped") || strings.Contains(tc.states, "upload=failed") {
				got = strings.ReplaceAll(got, "boot=skipped, upload=failed", "boot=done, upload=failed") // it may have been cut off
			}
			if got != tc.states {
				t.Errorf("steps: %s", got)
			}
			for step, n := range tc.again {
				if x.count(step) != n {
					t.Errorf("%s was done %d times, not %d", step, x.count(step), n)
				}
			}
		})
	}
}

func TestTimeLimit(t *testing.T) {
	t.Parallel()
	j, p := open(t), sample()
	p.Steps[1].Timeout, p.Steps[1].Retry = flow.Duration(20*time.Millisecond), flow.Heavy
	x := &tasks{spoil: func(ctx context.Context, c flow.Call) (any, error) {
		if c.Step == "build" {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		return nil, nil
	}}
	r := do(t, j, x, Order{Flow: p})
	if r.State != Failed || r.Error != "build: step build took longer than 20ms" || x.count("build") != 2 {
		t.Errorf("%s: %q after %d attempts", r.State, r.Error, x.count("build"))
	}
}

// One run of a pipeline at a time; one driver of a journal at a time.
func TestOne(t *testing.T) {
	t.Parallel()
	j := open(t)
	id, err := j.Submit(t.Context(), Order{Flow: sample()})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := j.Submit(t.Context(), Order{Flow: sample()}); fault.KindOf(err) != fault.Exists || !strings.Contains(err.Error(), fmt.Sprintf("run %d of it is not over", id)) {
		t.Errorf("a second run: %v", err)
	}
	other := sample()
	other.Name = "db"
	if _, err := j.Submit(t.Context(), Order{Flow: other}); err != nil {
		t.Error(err)
	}
	release, err := j.Hold("ingot serve")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := j.Hold("ingot run"); fault.KindOf(err) != fault.Exists || !strings.Contains(err.Error(), "ingot serve (process") {
		t.Errorf("a second driver: %v", err)
	}
	release()
	unknown := &Driver{Journal: j, Tasks: map[string]flow.Func{}}
	if _, err := unknown.Do(t.Context(), id); fault.KindOf(err) != fault.Input || !strings.Contains(err.Error(), "step resolve") {
		t.Errorf("a driver that knows no step: %v", err)
	}
}

// A run that is cut off, or cancelled, goes on at the step that it was in.
func TestGoesOn(t *testing.T) {
	t.Parallel()
	j := open(t)
	began := make(chan struct{}, 9)
	slow := true
	x := &tasks{spoil: func(ctx context.Context, c flow.Call) (any, error) {
		if c.Step == "upload" && slow {
			began <- struct{}{}
			<-ctx.Done()
			return nil, ctx.Err()
		}
		return nil, nil
	}}
	id, err := j.Submit(t.Context(), Order{Flow: sample()})
	if err != nil {
		t.Fatal(err)
	}
	d := &Driver{Journal: j, Tasks: x.funcs(sample())}
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-began; cancel() }()
	if _, err := d.Do(ctx, id); !errors.Is(err, context.Canceled) {
		t.Fatalf("cut off: %v", err)
	}
	go func() {
		<-began
		if err := j.Cancel(t.Context(), id); err != nil { // as another process would
			t.Error(err)
		}
	}()
	release, err := j.Hold("test")
	if err != nil {
		t.Fatal(err)
	}
	r, err := d.Do(t.Context(), id)
	release()
	if err != nil || r.State != Cancelled {
		t.Fatalf("cancelled: %+v, %v", r, err)
	}
	if err := j.Cancel(t.Context(), id); fault.KindOf(err) != fault.Missing {
		t.Errorf("cancelled twice: %v", err)
	}
	slow = false
	if err := j.Resume(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if err := j.Cancel(t.Context(), id); err != nil { // nobody drives it
		t.Fatal(err)
	}
	if r, err := j.Run(t.Context(), id); err != nil || r.State != Cancelled {
		t.Fatalf("cancelled while nobody drove it: %+v, %v", r, err)
	}
	if err := j.Resume(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if r, err = d.Do(t.Context(), id); err != nil || r.State != Done {
		t.Fatalf("in the end: %+v, %v", r, err)
	}
	if x.count("build") != 1 || x.count("upload") != 3 {
		t.Errorf("it did %v", x.said)
	}
	if err := j.Resume(t.Context(), id); fault.KindOf(err) != fault.Missing {
		t.Errorf("a run that is done goes on: %v", err)
	}
}

func TestRepeat(t *testing.T) {
	t.Parallel()
	j, x := open(t), &tasks{}
	first := do(t, j, x, Order{Flow: sample()})
	x.said = nil
	again := do(t, j, x, Order{Flow: sample(), From: "share", Of: first.ID})
	slices.Sort(x.said)
	if d := cmp.Diff([]string{"record", "share eu", "share us", "smoke eu", "smoke us"}, x.said); d != "" || again.State != Done {
		t.Errorf("%s %s", again.State, d)
	}
	before, err := j.Steps(t.Context(), first.ID)
	after, e := j.Steps(t.Context(), again.ID)
	if err := errors.Join(err, e); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(before[1], after[1], cmpopts.IgnoreFields(Step{}, "Token", "Attempts")); d != "" || after[1].Name != "build" || after[1].Started.IsZero() {
		t.Errorf("what was kept is another step: %s", d)
	}
	if !strings.Contains(x.docs["share eu"], `"build":{"did":"build"}`) {
		t.Errorf("it was given %s", x.docs["share eu"])
	}
	if _, err := j.Submit(t.Context(), Order{Flow: sample(), From: "paint", Of: first.ID}); fault.KindOf(err) != fault.Usage {
		t.Errorf("from a step that is not: %v", err)
	}
	x.spoil = func(_ context.Context, c flow.Call) (any, error) { return nil, errors.New("broken") }
	failed := do(t, j, x, Order{Flow: sample()})
	if _, err := j.Submit(t.Context(), Order{Flow: sample(), From: "share", Of: failed.ID}); fault.KindOf(err) != fault.Usage || !strings.Contains(err.Error(), "did not finish step resolve") {
		t.Errorf("from a step that needs what failed: %v", err)
	}
}

func TestGate(t *testing.T) {
	t.Parallel()
	j, p := open(t), sample()
	p.Steps = slices.Insert(p.Steps, 4, flow.Step{Name: "approve", Does: "wait", After: []string{"boot", "upload"}, Gate: true})
	p.Steps[5].After = []string{"approve"}
	x := &tasks{}
	id, err := j.Submit(t.Context(), Order{Flow: p})
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	seen := false
	d := &Driver{Journal: j, Tasks: x.funcs(p), Watch: func(_ Run, s Step, e progress.Event) {
		mu.Lock()
		defer mu.Unlock()
		seen = seen || s.Name == "upload"
	}}
	go func() {
		for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
			steps, err := j.Steps(t.Context(), id)
			if err != nil {
				return
			}
			if i := slices.IndexFunc(steps, func(s Step) bool { return s.Name == "boot" }); steps[i].State == Done && steps[i+1].State == Done {
				if err := j.Approve(t.Context(), id); err != nil {
					t.Error(err)
				}
				return
			}
		}
	}()
	if r, err := d.Do(t.Context(), id); err != nil || r.State != Done || !seen {
		t.Errorf("%+v, %v, watched: %v", r, err, seen)
	}
	if err := j.Approve(t.Context(), id); fault.KindOf(err) != fault.Missing {
		t.Errorf("approved when it is over: %v", err)
	}
}

func TestDisabled(t *testing.T) {
	t.Parallel()
	j := open(t)
	bad := &tasks{spoil: func(context.Context, flow.Call) (any, error) { return nil, errors.New("broken") }}
	disabled := func() string {
		t.Helper()
		p, err := j.Pipeline(t.Context(), "web")
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprint(p.Failures, " ", p.Disabled)
	}
	do(t, j, bad, Order{Flow: sample()})
	if got := disabled(); got != "1 " {
		t.Errorf("after a failure: %s", got)
	}
	do(t, j, bad, Order{Flow: sample()})
	if got := disabled(); got != "2 2 runs in a row failed, the last is run 2" {
		t.Errorf("after two: %s", got)
	}
	if err := j.Enable(t.Context(), "web"); err != nil || disabled() != "0 " {
		t.Errorf("enabled: %v %s", err, disabled())
	}
	do(t, j, bad, Order{Flow: sample()})
	do(t, j, bad, Order{Flow: sample()})
	do(t, j, &tasks{}, Order{Flow: sample()})
	if got := disabled(); got != "0 " {
		t.Errorf("after a run that was done: %s", got)
	}
	untold, err := j.Untold(t.Context())
	if err != nil || len(untold) != 5 {
		t.Fatalf("%d runs are untold: %v", len(untold), err)
	}
	if err := j.Told(t.Context(), untold[0].ID); err != nil {
		t.Fatal(err)
	}
	if err := j.Prune(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	runs, err := j.Runs(t.Context(), "web", 10)
	if err != nil || len(runs) != 1 || runs[0].ID != untold[4].ID {
		t.Errorf("left are %v, %v", runs, err)
	}
	if lines, err := j.Lines(t.Context(), untold[0].ID, "", 0, 10); err != nil || len(lines) != 0 {
		t.Errorf("the log of a run that is forgotten: %v %v", lines, err)
	}
}
