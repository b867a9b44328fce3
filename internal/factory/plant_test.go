package factory

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"ingot/internal/catalog"
	"ingot/internal/catalog/catalogtest"
	"ingot/internal/factory/flow"
	"ingot/internal/factory/journal"
	"ingot/internal/recipe"
)

// town is a plant whose runs find nothing to do, in a bubble of time that begins on Saturday, 1 January 2000, at midnight UTC.
type town struct {
	t     *testing.T
	j     *journal.Journal
	lines []Line
	do    func(flow.Call)
	tasks map[string]flow.Func // that are real
	tells []Teller
}

func newTown(t *testing.T, recipes ...*recipe.Recipe) *town {
	w := &town{t: t, do: func(flow.Call) {}}
	var err error
	if w.j, err = journal.Open(t.Context(), filepath.Join(t.TempDir(), "factory.db"), journal.System{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.j.Close() })
	for _, r := range recipes {
		l, err := NewLine(r, Input{Name: r.Name})
		if err != nil {
			t.Fatal(err)
		}
		w.lines = append(w.lines, l)
	}
	return w
}

// until lets the plant work until ten minutes after midnight of a day.
func (w *town) until(year int, month time.Month, day int) {
	w.t.Helper()
	ctx, cancel := context.WithDeadline(w.t.Context(), time.Date(year, month, day, 0, 10, 0, 0, time.UTC))
	defer cancel()
	tasks := map[string]flow.Func{}
	for _, s := range Pipeline(w.lines[0].Recipe).Steps {
		tasks[s.Name] = func(_ context.Context, c flow.Call, _ json.RawMessage) (json.RawMessage, error) {
			w.do(c)
			return json.RawMessage(`{"unchanged":true}`), nil
		}
	}
	maps.Copy(tasks, w.tasks)
	p := &Plant{Factory: &Factory{Journal: w.j, Tellers: w.tells}, Driver: &journal.Driver{Journal: w.j, Tasks: tasks, DisableAfter: 3, Ask: 240 * time.Hour}, Lines: w.lines,
		Clock: journal.System{}, Logf: w.t.Logf, Look: 240 * time.Hour}
	if err := p.Run(ctx); err != nil {
		w.t.Fatal(err)
	}
}

// runs lists the runs of a pipeline: when they were ordered, and why.
func (w *town) runs(name string) (all []string) {
	w.t.Helper()
	runs, err := w.j.Runs(w.t.Context(), name, 1000)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, r := range runs {
		all = append([]string{r.Created.Format("01-02 15:04 ") + r.Cause}, all...)
	}
	return all
}

func image(name, cron string) *recipe.Recipe {
	return &recipe.Recipe{Name: name, Schedule: recipe.Schedule{Cron: cron}}
}

// Over a year with a leap day in it, and both changes of the clock.
func TestScheduled(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		berlin := image("berlin", "30 2 * 3,4,10,11 sun")
		berlin.Schedule.Zone = "Europe/Berlin"
		w := newTown(t, image("seed", "0 2 1,15 * *"), berlin, image("leap", "0 0 29 2 *"), image("never", ""))
		w.until(2000, 12, 31)
		seed := w.runs("seed")
		if len(seed) != 24 || seed[0] != "01-01 02:00 schedule" || seed[4] != "03-01 02:00 schedule" || seed[23] != "12-15 02:00 schedule" {
			t.Errorf("%d fortnights: %v", len(seed), seed)
		}
		if leap := w.runs("leap"); len(leap) != 1 || leap[0] != "02-29 00:00 schedule" {
			t.Errorf("the leap day: %v", leap)
		}
		if never := w.runs("never"); len(never) != 0 {
			t.Errorf("without a schedule: %v", never)
		}
		sundays := w.runs("berlin")
		text := strings.Join(sundays, ", ")
		for _, at := range []string{"03-19 01:30", "03-26 01:30", "04-02 00:30", "10-22 00:30", "10-29 00:30", "11-05 01:30"} {
			if !strings.Contains(text, at+" schedule") {
				t.Errorf("no run on %s", at)
			}
		}
		if len(sundays) != 18 {
			t.Errorf("%d Sundays: %v", len(sundays), sundays)
		}
	})
}

// What was missed while nothing ran, or while a run took long, is made up for once.
func TestMissed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newTown(t, image("seed", "0 * * * *"))
		w.until(2000, 1, 2)
		before := len(w.runs("seed"))
		time.Sleep(100*24*time.Hour + 20*time.Minute)
		slow := true
		w.do = func(c flow.Call) {
			if slow {
				slow = false
				time.Sleep(200 * time.Minute)
			}
		}
		w.until(2000, 4, 12)
		after := w.runs("seed")[before:]
		want := []string{"04-11 00:30 catch-up of 2000-01-02 01:00 UTC", "04-11 03:50 catch-up of 2000-04-11 01:00 UTC", "04-11 04:00 schedule"}
		if before != 24 || len(after) != 23 || !slices.Equal(after[:3], want) {
			t.Errorf("%d runs in a day, then %d: %v", before, len(after), after)
		}
	})
}

// A pipeline that fails and fails is started no more, until somebody enables it; others go on.
func TestDisables(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newTown(t, image("bad", "0 2 1,15 * *"), image("good", "0 3 1,15 * *"))
		w.do = func(c flow.Call) {
			if r, err := w.j.Run(context.Background(), number(t, c.Run)); err == nil && r.Pipeline == "bad" && r.Created.Month() < time.June {
				panic("broken")
			}
		}
		w.until(2000, 7, 10)
		if bad, good := w.runs("bad"), w.runs("good"); len(bad) != 3 || len(good) != 13 {
			t.Errorf("until July: %v and %v", bad, good)
		}
		if p, err := w.j.Pipeline(t.Context(), "bad"); err != nil || p.Disabled != "3 runs in a row failed, the last is run 5" {
			t.Errorf("%+v, %v", p, err)
		}
		if err := w.j.Enable(t.Context(), "bad"); err != nil {
			t.Fatal(err)
		}
		w.until(2000, 7, 20)
		if bad := w.runs("bad"); len(bad) != 5 || bad[3] != "07-10 00:10 catch-up of 2000-02-15 02:00 UTC" || bad[4] != "07-15 02:00 schedule" {
			t.Errorf("enabled again: %v", bad)
		}
	})
}

// Newer packages order a run once: not again while they are the same ones, whatever became of the run; but when there is another one.
func TestRebuild(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "img.yaml")
	if err := os.WriteFile(path, []byte("name: img\ndistro: debian\nrelease: bookworm\nschedule: {cron: '0 2 1 1 *', upkeep: '0 5 * * *', rebuild: true}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	store, err := catalog.OpenSQLite(t.Context(), filepath.Join(t.TempDir(), "catalog.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	release := catalogtest.Image("img", "x86_64", 1)
	if err := store.Put(t.Context(), release); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		in := Input{Recipe: path, Name: "img"}
		r, err := in.Load()
		if err != nil {
			t.Fatal(err)
		}
		w := newTown(t, r)
		upkeep, ok, err := UpkeepLine(w.lines[0])
		if err != nil || !ok {
			t.Fatal(ok, err)
		}
		upkeep.Input = in
		w.lines = append(w.lines, upkeep)
		f := &Factory{Journal: w.j}
		f.Publish.Catalog = store
		newer, checked, failing := []string(nil), release.ID, false
		w.do = func(c flow.Call) {
			if c.Step == "resolve" && failing {
				panic("broken")
			}
		}
		w.tasks = map[string]flow.Func{
			"check": flow.Typed(func(context.Context, flow.Call, struct{}) (Checked, error) {
				return Checked{Releases: 1, Newest: checked, Outdated: len(newer), Updates: newer}, nil
			}),
			"rebuild": func(ctx context.Context, c flow.Call, doc json.RawMessage) (json.RawMessage, error) {
				out, err := flow.Typed(f.rebuild)(ctx, c, doc)
				again, e := flow.Typed(f.rebuild)(ctx, c, doc) // as when the process was killed before it wrote down what it did
				if errors.Join(err, e) != nil || string(again) != string(out) {
					t.Errorf("%s (%v), then %s (%v)", out, err, again, e)
				}
				return out, err
			},
		}
		days := 0
		for _, day := range []struct {
			newer   []string
			checked string
			failing bool
			want    string // the run that is ordered that day
		}{
			{nil, release.ID, false, ""},
			{[]string{"a 1"}, release.ID, true, "1 newer package"},
			{[]string{"a 1"}, release.ID, true, ""},
			{[]string{"a 1"}, release.ID, false, ""},
			{[]string{"a 1", "b 1"}, release.ID, false, "2 newer packages"},
			{[]string{"b 1"}, release.ID, false, ""},
			{[]string{"c 1"}, "former", false, ""}, // there is a release that the check did not see
			{nil, release.ID, false, ""},
			{[]string{"a 1"}, release.ID, false, "1 newer package"}, // of the next release
		} {
			before := len(w.runs("img"))
			newer, checked, failing = day.newer, day.checked, day.failing
			days++
			w.until(2000, 1, 1+days)
			all := w.runs("img")[before:]
			all = slices.DeleteFunc(all, func(s string) bool { return strings.HasSuffix(s, "schedule") })
			if (len(all) == 0) != (day.want == "") || len(all) > 1 || len(all) == 1 && !strings.Contains(all[0], day.want) {
				t.Errorf("day %d, %v newer: %q", days, day.newer, all)
			}
		}
		if upkeeps := w.runs("img/upkeep"); len(upkeeps) != days {
			t.Errorf("%d days, upkeep %v", days, upkeeps)
		}
	})
}

// deaf is a teller who never gets through.
type deaf struct{}

func (deaf) Name() string { return "deaf" }

func (deaf) Tell(ctx context.Context, _ *Message, _ string) error {
	<-ctx.Done()
	return ctx.Err()
}

// A plant that is stopped does not wait for a message to get through. It is sent at the next start.
func TestStopWhileTelling(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newTown(t, image("bad", "9 0 * * *"))
		w.do, w.tells = func(flow.Call) { panic("broken") }, []Teller{deaf{}}
		w.until(2000, 1, 1)
		if at := time.Now().Format("15:04:05"); at != "00:10:00" {
			t.Errorf("it ended at %s", at)
		}
		untold, err := w.j.Untold(t.Context())
		if err != nil || len(untold) != 1 {
			t.Errorf("untold: %+v, %v", untold, err)
		}
	})
}

func number(t *testing.T, text string) (n int64) {
	t.Helper()
	if _, err := fmt.Sscan(text, &n); err != nil {
		t.Fatal(err)
	}
	return n
}
