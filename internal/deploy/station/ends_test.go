package station

import (
	"context"
	"encoding/json"
	"slices"
	"testing"

	"ingot/internal/deploy/depot"
	"ingot/internal/factory"
	"ingot/internal/factory/asl"
	"ingot/internal/factory/flow"
)

// nothing implements Cloud, where nobody is to be asked.
type nothing struct{}

func (nothing) Older(context.Context, string, string) (string, error) { return "", nil }
func (nothing) Launch(context.Context, string, string) error          { return nil }
func (nothing) Dismiss(context.Context, string) error                 { return nil }

// teller keeps what it is told.
type teller []string

func (t *teller) Name() string { return "test" }

func (t *teller) Tell(_ context.Context, m *factory.Message, _ string) error {
	*t = append(*t, m.Event+" "+m.Pipeline+" "+m.Run)
	return nil
}

// control does one of the steps that runs begin and end with.
func control(t *testing.T, s *Station, step, run, pipeline string, in Order) {
	t.Helper()
	state, err := json.Marshal(map[string]any{"input": in})
	if err != nil {
		t.Fatal(err)
	}
	def := asl.Control(step)
	if _, failure := s.Do(t.Context(), &asl.Request{Step: step, Run: run, Pipeline: pipeline, Attempts: 1, Timeout: def.Timeout, State: state}); failure != nil {
		t.Fatalf("%s: %+v", step, failure)
	}
}

func newStation(t *testing.T) (*Station, *teller) {
	t.Helper()
	d, err := depot.OpenFolder(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	told := &teller{}
	return &Station{Factory: &factory.Factory{Tellers: []factory.Teller{told}}, Tasks: func(*factory.Factory) map[string]flow.Func { return map[string]flow.Func{} },
		Depot: d, Dir: t.TempDir(), Cloud: nothing{}}, told
}

// A run that was cancelled is told of, and counts as no failure.
func TestCancelled(t *testing.T) {
	t.Parallel()
	s, told := newStation(t)
	in := Order{Input: factory.Input{Name: "img"}}
	for _, x := range [][2]string{{asl.Failed, "img"}, {asl.Cancelled, "img"}, {asl.Cancelled, "img/upkeep"}} {
		control(t, s, x[0], "7", x[1], in)
	}
	if want := []string{"failed img 7", "cancelled img 7", "cancelled img/upkeep 7"}; !slices.Equal(*told, want) {
		t.Errorf("told: %q", *told)
	}
	for pipeline, want := range map[string]int{"img": 1, "img/upkeep": 0} {
		if e, err := s.state(t.Context(), pipeline); err != nil || e.Failures != want {
			t.Errorf("%s: %+v, %v", pipeline, e, err)
		}
	}
}

// A run that repeats another one in part has the papers of the steps that it keeps, and no others.
func TestInherit(t *testing.T) {
	t.Parallel()
	s, _ := newStation(t)
	for _, step := range []string{"build", "boot"} {
		if err := s.Depot.Put(t.Context(), papersKey("7", step), []byte("papers of "+step)); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 { // as after a worker was lost
		control(t, s, asl.Begin, "8", "img", Order{Input: factory.Input{Name: "img"}, Of: "7", Kept: []string{"resolve", "build", "audit"}})
	}
	keys, err := s.Depot.List(t.Context(), "runs/8/")
	if err != nil || !slices.Equal(keys, []string{"runs/8/build.zip"}) {
		t.Errorf("it has %v, %v", keys, err)
	}
	if text, err := s.Depot.Get(t.Context(), "runs/8/build.zip"); string(text) != "papers of build" {
		t.Errorf("it has %q, %v", text, err)
	}
}
