package interpreter

import (
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
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"ingot/internal/factory/asl"
	"ingot/internal/factory/course"
	"ingot/internal/factory/flow"
	"ingot/internal/fault"
)

func step(name string, place flow.Place, retry flow.Retry, after ...string) flow.Step {
	return flow.Step{Name: name, Does: "do " + name, After: after, Place: place, Timeout: flow.Duration(time.Minute), Retry: retry}
}

// sample is a pipeline with all that there is.
func sample() *flow.Pipeline {
	resolve := step("resolve", flow.Machine, flow.Network)
	resolve.Ends = "unchanged"
	share, smoke := step("share", flow.Anywhere, flow.Network, "boot", "upload"), step("smoke", flow.Anywhere, flow.Once, "share")
	share.Over, smoke.Over = "upload.regions", "upload.regions"
	return &flow.Pipeline{Name: "img", Steps: []flow.Step{resolve, step("boot", flow.Machine, flow.Once, "resolve"),
		step("upload", flow.Machine, flow.Network, "resolve"), share, smoke, step("record", flow.Anywhere, flow.Network, "smoke")}}
}

func gated() *flow.Pipeline {
	p := sample()
	p.Steps = slices.Insert(p.Steps, 3, flow.Step{Name: "approve", Does: "wait", After: []string{"boot", "upload"}, Gate: true})
	p.Steps[4].After = []string{"approve"}
	return p
}

var fiveRegions = map[string]string{"upload": `{"regions":["e","d","c","b","a"]}`}

// play does the steps of a run: outputs, and errors that come before them, by step or by step and item.
type play struct {
	out   map[string]string
	fails map[string][]error
	hold  string // a step that goes on until it is ended
	held  func() // called when it has begun
	after func() // called when the run is over; may be nil

	mu     sync.Mutex
	did    []string
	tokens map[string][]string // of all attempts
	docs   map[string]string
	ends   *asl.Request // the last of End, Failed and Cancelled
}

func (p *play) tasks() map[string]flow.Func {
	all := map[string]flow.Func{}
	for _, name := range []string{"resolve", "boot", "upload", "share", "smoke", "record", asl.Begin, asl.End, asl.Failed, asl.Cancelled} {
		all[name] = p.do
	}
	return all
}

func (p *play) do(ctx context.Context, c flow.Call, doc json.RawMessage) (json.RawMessage, error) {
	name := strings.TrimSpace(c.Step + " " + c.Item)
	p.mu.Lock()
	p.did = append(p.did, name)
	p.tokens[name] = append(p.tokens[name], c.Token)
	p.docs[name] = string(doc)
	var err error
	if fails := p.fails[name]; len(fails) > 0 {
		err, p.fails[name] = fails[0], fails[1:]
	}
	out := p.out[c.Step]
	p.mu.Unlock()
	if p.hold == name {
		p.held()
		<-ctx.Done()
		return nil, ctx.Err()
	}
	if out == "" {
		out = fmt.Sprintf(`{"by":%q}`, name)
	}
	if err != nil && fault.KindOf(err) != fault.Partial {
		return nil, err
	}
	return json.RawMessage(out), err
}

// errLostWorker stands for an attempt whose worker says nothing any more.
var errLostWorker = errors.New("lost")

func (p *play) activity(ctx context.Context, r *asl.Request) (asl.Result, error) {
	if slices.Contains([]string{asl.End, asl.Failed, asl.Cancelled}, r.Step) {
		p.mu.Lock()
		p.ends = r
		p.mu.Unlock()
	}
	var lost error
	a := &Activity{Logf: func(string, ...any) {}, Do: func(ctx context.Context, r *asl.Request) (asl.Result, *asl.Failure) {
		res, err := r.Do(ctx, p.tasks(), nil)
		if errors.Is(err, errLostWorker) || errors.Is(err, errStopped) {
			lost = err
		}
		if fault.KindOf(err) == fault.Verdict {
			return res, r.Fail(err, []string{"grub rescue>"})
		}
		if err != nil {
			return res, r.Fail(err, nil)
		}
		return res, nil
	}}
	res, err := a.Step(ctx, r)
	switch {
	case errors.Is(lost, errLostWorker):
		err = temporal.NewHeartbeatTimeoutError()
	case errors.Is(lost, errStopped):
		err = temporal.NewApplicationError("stopped", asl.Interrupted)
	}
	return res, err
}

// run plays a pipeline to its end, in virtual time.
func (p *play) run(t *testing.T, o Order, set func(*testsuite.TestWorkflowEnvironment)) (*Status, time.Duration, error) {
	t.Helper()
	p.tokens, p.docs = map[string][]string{}, map[string]string{}
	env := (&testsuite.WorkflowTestSuite{}).NewTestWorkflowEnvironment()
	env.SetTestTimeout(time.Minute)
	env.SetWorkerOptions(worker.Options{DeadlockDetectionTimeout: 30 * time.Second}) // the machine may be busy
	i := &Interpreter{Steps: []string{"resolve", "boot", "upload", "share", "smoke", "record"}}
	env.RegisterWorkflowWithOptions(i.Run, workflow.RegisterOptions{Name: RunWorkflow})
	env.RegisterActivityWithOptions(p.activity, activity.RegisterOptions{Name: StepActivity})
	if set != nil {
		set(env)
	}
	began := env.Now()
	env.ExecuteWorkflow(RunWorkflow, o)
	took := env.Now().Sub(began)
	if !env.IsWorkflowCompleted() {
		t.Fatal("the workflow goes on")
	}
	if p.after != nil {
		p.after()
	}
	if err := env.GetWorkflowError(); err != nil {
		var out Status
		var app *temporal.ApplicationError
		if errors.As(err, &app) {
			_ = app.Details(&out)
		}
		return &out, took, err
	}
	var out Status
	if err := env.GetWorkflowResult(&out); err != nil {
		t.Fatal(err)
	}
	return &out, took, nil
}

func order(t *testing.T, p *flow.Pipeline) Order {
	t.Helper()
	o, err := NewOrder(p, map[string]string{"name": "img"}, "q-machine", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func times(n int, err error) []error { return slices.Repeat([]error{err}, n) }

func TestRun(t *testing.T) {
	t.Parallel()
	no, denied := fault.New(fault.Unreachable, errors.New("no answer"), "ask again"), fault.Newf(fault.Denied, "not allowed")
	all := []string{"Begin", "End", "boot", "record", "resolve", "share a", "share b", "share c", "share d", "share e", "smoke a", "smoke b", "smoke c", "smoke d", "smoke e", "upload"}
	with := func(more ...string) []string {
		out := append(slices.Clone(all), more...)
		slices.Sort(out)
		return out
	}
	for name, c := range map[string]struct {
		play  *play
		did   []string
		state course.State
		kind  string        // of the error
		least time.Duration // that passes
	}{
		"five regions":          {&play{}, all, course.Done, "", 0},
		"what may pass":         {&play{fails: map[string][]error{"resolve": times(2, no), "share b": times(1, no)}}, with("resolve", "resolve", "share b"), course.Done, "", 40 * time.Second},
		"no attempt is left":    {&play{fails: map[string][]error{"resolve": times(6, no)}}, []string{"Begin", "Failed", "resolve", "resolve", "resolve", "resolve", "resolve", "resolve"}, course.Failed, "unreachable", 310 * time.Second},
		"a worker is lost":      {&play{fails: map[string][]error{"boot": times(3, errLostWorker)}}, with("boot", "boot", "boot"), course.Done, "", 14 * time.Second},
		"a worker is stopped":   {&play{fails: map[string][]error{"boot": times(1, errStopped)}}, with("boot"), course.Done, "", 2 * time.Second},
		"many workers are lost": {&play{fails: map[string][]error{"resolve": times(14, errLostWorker)}}, append([]string{"Begin", "Failed"}, slices.Repeat([]string{"resolve"}, 14)...), course.Failed, "unreachable", 0},
		"what does not pass":    {&play{fails: map[string][]error{"boot": times(1, fault.Newf(fault.Verdict, "no kernel"))}}, []string{"Begin", "Failed", "boot", "resolve"}, course.Failed, "verdict", 0},
		"one region fails":      {&play{fails: map[string][]error{"share c": times(1, denied)}}, slices.DeleteFunc(slices.Clone(all), func(s string) bool { return s == "smoke c" }), course.Partial, "partial", 0},
		"half is done":          {&play{fails: map[string][]error{"upload": times(6, fault.Newf(fault.Partial, "half"))}}, with("upload", "upload", "upload", "upload", "upload"), course.Partial, "partial", 0},
		"every region fails": {&play{fails: map[string][]error{"share a": times(1, denied), "share b": times(1, denied), "share c": times(1, denied), "share d": times(1, denied), "share e": times(1, denied)}},
			slices.DeleteFunc(with("Failed"), func(s string) bool { return strings.HasPrefix(s, "smoke") || s == "record" || s == "End" }), course.Failed, "denied", 0},
		"nothing changed": {&play{out: map[string]string{"resolve": `{"unchanged":true}`}}, []string{"Begin", "End", "resolve"}, course.Unchanged, "", 0},
		"it must not be":  {&play{out: map[string]string{asl.Begin: `{"ends":true,"why":"3 runs in a row failed"}`}}, []string{"Begin"}, course.Skipped, "", 0},
		"it cannot begin": {&play{fails: map[string][]error{"Begin": times(1, denied)}}, []string{"Begin", "Failed"}, course.Failed, "denied", 0},
		"it cannot end":   {&play{fails: map[string][]error{"End": times(7, no)}}, with("End", "End", "End", "End", "End"), course.Failed, "unreachable", 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if c.play.out == nil {
				c.play.out = map[string]string{}
			}
			c.play.out["upload"] = fiveRegions["upload"]
			out, took, err := c.play.run(t, order(t, sample()), nil)
			if c.kind == "verdict" { // upload is ended, perhaps before it begins
				c.play.did = slices.DeleteFunc(c.play.did, func(s string) bool { return s == "upload" })
			}
			slices.Sort(c.play.did)
			if d := cmp.Diff(c.did, c.play.did); d != "" {
				t.Error(d)
			}
			kind := ""
			var app *temporal.ApplicationError
			if errors.As(err, &app) {
				kind = app.Type()
			}
			if out.State != c.state || kind != c.kind {
				t.Errorf("it is %q (%s), %v", out.State, out.Error, err)
			}
			if took < c.least {
				t.Errorf("it took %v", took)
			}
			for step, tokens := range c.play.tokens {
				if len(slices.Compact(tokens)) != 1 || len(tokens[0]) != 26 {
					t.Errorf("attempts at %s have the tokens %v", step, tokens)
				}
			}
			for _, s := range out.Steps {
				if !s.State.Over() {
					t.Errorf("the run is over, and %s %s is %s", s.Name, s.Item, s.State)
				}
			}
		})
	}
}

// What steps are given is what the other drivers give them.
func TestDocuments(t *testing.T) {
	t.Parallel()
	p := &play{out: fiveRegions, fails: map[string][]error{"share c": times(1, fault.New(fault.Denied, errors.New("not allowed"), "ask"))}}
	if _, _, err := p.run(t, order(t, sample()), nil); err == nil {
		t.Fatal("no error")
	}
	before := `"boot":{"by":"boot"},"input":{"name":"img"},%s"resolve":{"by":"resolve"},%s"upload":` + fiveRegions["upload"] + `}`
	for step, want := range map[string]string{
		"boot":    `{"input":{"name":"img"},"resolve":{"by":"resolve"}}`,
		"share a": "{" + fmt.Sprintf(before, `"item":"a",`, ""),
		"smoke a": "{" + fmt.Sprintf(before, `"item":"a",`, `"share":{"by":"share a"},`),
		"record": "{" + fmt.Sprintf(before, "", `"share":[{"by":"share a"},{"by":"share b"},{"by":"share d"},{"by":"share e"}],`+
			`"smoke":[{"by":"smoke a"},{"by":"smoke b"},{"by":"smoke d"},{"by":"smoke e"}],`),
	} {
		if p.docs[step] != want {
			t.Errorf("%s is given\n%s\nnot\n%s", step, p.docs[step], want)
		}
	}
	failures, err := p.ends.Failures()
	if err != nil || len(failures) != 1 || failures[0].Item != "c" || failures[0].Kind != "denied" || failures[0].Hint != "ask" {
		t.Errorf("the end is told of %+v, %v", failures, err)
	}
	if timings, err := p.ends.Timings(); err != nil || len(timings) != 6 {
		t.Errorf("the end is told of %v, %v", timings, err)
	}
}

func TestFailureIsTold(t *testing.T) {
	t.Parallel()
	p := &play{out: fiveRegions, fails: map[string][]error{"boot": times(1, fault.New(fault.Verdict, errors.New("no kernel"), "look"))}}
	if _, _, err := p.run(t, order(t, sample()), nil); err == nil {
		t.Fatal("no error")
	}
	failures, err := p.ends.Failures()
	want := &asl.Failure{Step: "boot", Kind: "verdict", Text: "no kernel", Hint: "look", Console: []string{"grub rescue>"}}
	if d := cmp.Diff([]*asl.Failure{want}, failures); d != "" || err != nil {
		t.Errorf("%s, %v", d, err)
	}
	p = &play{fails: map[string][]error{"Begin": times(1, fault.New(fault.Denied, errors.New("not allowed"), "ask"))}}
	if _, _, err := p.run(t, order(t, sample()), nil); err == nil {
		t.Fatal("no error")
	}
	failures, err = p.ends.Failures()
	if d := cmp.Diff([]string{"denied not allowed ask"}, kinds(failures)); d != "" || err != nil {
		t.Errorf("%s, %v", d, err)
	}
}

func kinds(all []*asl.Failure) (out []string) {
	for _, f := range all {
		out = append(out, f.Kind+" "+f.Text+" "+f.Hint)
	}
	return out
}

func TestGate(t *testing.T) {
	t.Parallel()
	p := &play{out: fiveRegions}
	out, took, err := p.run(t, order(t, gated()), func(env *testsuite.TestWorkflowEnvironment) {
		env.RegisterDelayedCallback(func() {
			v, err := env.QueryWorkflow(StatusQuery)
			var now Status
			if err != nil || v.Get(&now) != nil || now.State != course.Running || now.Steps[3].State != course.Waiting || slices.Contains(p.did, "share a") {
				t.Errorf("before somebody approves: %+v, %v", now, err)
			}
			env.SignalWorkflow(ApproveSignal, nil)
		}, 30*time.Hour)
	})
	if err != nil || out.State != course.Done || took < 30*time.Hour {
		t.Errorf("%+v after %v, %v", out, took, err)
	}
	p = &play{out: fiveRegions}
	_, took, err = p.run(t, order(t, gated()), nil)
	if err == nil || !strings.Contains(err.Error(), "took longer than") || took < 14*24*time.Hour {
		t.Errorf("nobody approves: %v after %v", err, took)
	}
}

func TestCancel(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		fails map[string][]error
		set   func(*testsuite.TestWorkflowEnvironment)
		told  int
		error string // that the run shows
	}{
		"":                          {told: 1},
		"the one who tells is lost": {fails: map[string][]error{asl.Cancelled: times(1, errLostWorker)}, told: 2},
		"nobody can be told":        {fails: map[string][]error{asl.Cancelled: times(1, fault.Newf(fault.Unreachable, "no answer"))}, told: 1, error: "telling that it was cancelled failed: no answer"},
		"of an ingot that tells none": {set: func(env *testsuite.TestWorkflowEnvironment) {
			env.OnGetVersion(tellsCancelled, workflow.DefaultVersion, workflow.Version(1)).Return(workflow.DefaultVersion)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := &play{out: fiveRegions, hold: "boot", fails: c.fails}
			var status Status
			_, _, err := p.run(t, order(t, sample()), func(env *testsuite.TestWorkflowEnvironment) {
				p.held = env.CancelWorkflow
				if c.set != nil {
					c.set(env)
				}
				p.after = func() {
					v, err := env.QueryWorkflow(StatusQuery)
					if err == nil {
						err = v.Get(&status)
					}
					if err != nil {
						t.Error(err)
					}
				}
			})
			if !temporal.IsCanceledError(err) {
				t.Errorf("it ended with %v", err)
			}
			if slices.Contains(p.did, "share a") || slices.Contains(p.did, asl.Failed) || slices.Contains(p.did, asl.End) {
				t.Errorf("it did %v", p.did)
			}
			told := len(p.tokens[asl.Cancelled])
			if told != c.told || told > 0 && (p.ends.Step != asl.Cancelled || p.ends.Pipeline != "img") {
				t.Errorf("it was told %d times: %v", told, p.did)
			}
			if status.State != course.Cancelled || status.Error != c.error {
				t.Errorf("it is %s: %s", status.State, status.Error)
			}
		})
	}
}

// What is kept of another run is not done again, and those who need it get it.
func TestKept(t *testing.T) {
	t.Parallel()
	p := &play{out: fiveRegions, fails: map[string][]error{"upload": times(6, fault.Newf(fault.Partial, "half")), "share c": times(1, fault.Newf(fault.Denied, "no"))}}
	first, _, err := p.run(t, order(t, gated()), approved)
	if err == nil || first.State != course.Partial {
		t.Fatalf("%+v, %v", first, err)
	}
	text, err := json.Marshal(first) // as it comes from the server
	if err != nil {
		t.Fatal(err)
	}
	var last Status
	if err := json.Unmarshal(text, &last); err != nil {
		t.Fatal(err)
	}
	o := order(t, gated())
	if o.Kept, err = course.Keep(gated(), "share", last.Steps); err != nil {
		t.Fatal(err)
	}
	docs := p.docs
	again := &play{}
	second, _, err := again.run(t, o, nil)
	if err == nil || second.State != course.Partial { // upload is as it was
		t.Errorf("%+v, %v", second, err)
	}
	slices.Sort(again.did)
	if d := cmp.Diff([]string{"Begin", "End", "record", "share a", "share b", "share c", "share d", "share e", "smoke a", "smoke b", "smoke c", "smoke d", "smoke e"}, again.did); d != "" {
		t.Error(d)
	}
	if again.docs["share a"] != docs["share a"] || again.docs["share a"] == "" {
		t.Errorf("it was given\n%s\nnot\n%s", again.docs["share a"], docs["share a"])
	}
	failures, err := again.ends.Failures()
	if d := cmp.Diff([]string{"partial half "}, kinds(failures)); d != "" || err != nil {
		t.Errorf("%s, %v", d, err)
	}
}

func approved(env *testsuite.TestWorkflowEnvironment) {
	env.RegisterDelayedCallback(func() { env.SignalWorkflow(ApproveSignal, nil) }, time.Hour)
}

func TestRefuses(t *testing.T) {
	t.Parallel()
	other := order(t, sample())
	other.Hash = strings.Repeat("0", 64)
	newer := sample()
	newer.Steps = append(newer.Steps, step("polish", flow.Anywhere, flow.Once, "record"))
	for want, o := range map[string]Order{"pipeline of img is 000000000000, which this ingot reads as": other, "has the step polish, which this ingot does not know": order(t, newer)} {
		p := &play{}
		_, _, err := p.run(t, o, nil)
		if err == nil || !strings.Contains(err.Error(), want) || len(p.did) > 0 {
			t.Errorf("%v; it did %v", err, p.did)
		}
	}
}
