package web

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"ingot/internal/factory/journal"
	"ingot/internal/fault"
)

// runs is a journal of two runs, one of which failed with a long log.
type runs struct{ lines int }

var began = time.Date(2026, 11, 15, 2, 0, 0, 0, time.UTC)

func (runs) Run(_ context.Context, id int64) (journal.Run, error) {
	switch id {
	case 7:
		return journal.Run{ID: 7, Pipeline: "debian-12", Cause: "schedule", State: journal.Failed, Created: began, Started: began,
			Ended: began.Add(90 * time.Second), Error: "booting: <no root>", Hint: "look at the console"}, nil
	case 8:
		return journal.Run{ID: 8, Pipeline: "arch-std", Cause: "manual", State: journal.Queued, Created: began}, nil
	}
	return journal.Run{}, fault.New(fault.Missing, errors.New("there is no such run"), "")
}

func (r runs) Runs(ctx context.Context, _ string, _ int) (all []journal.Run, err error) {
	for _, id := range []int64{8, 7} {
		run, err := r.Run(ctx, id)
		if err != nil {
			return nil, err
		}
		all = append(all, run)
	}
	return all, nil
}

func (runs) Pipelines(context.Context) ([]journal.Pipeline, error) {
	return []journal.Pipeline{{Name: "debian-12", Failures: 3, Disabled: "3 runs failed"}, {Name: "arch-std", Next: began.AddDate(0, 0, 16)}}, nil
}

func (runs) Steps(context.Context, int64) ([]journal.Step, error) {
	return []journal.Step{{Name: "resolve", State: journal.Done, Attempts: 1, Started: began, Ended: began.Add(2 * time.Second)},
		{Name: "boot", Item: "bios nvme", State: journal.Failed, Attempts: 2, Started: began, Ended: began.Add(time.Minute), Error: "no root"}}, nil
}

func (r runs) LastLines(_ context.Context, _ int64, step string, limit int) (last []journal.Line, err error) {
	if step == "resolve" {
		return nil, nil
	}
	for id := max(1, r.lines-limit+1); id <= r.lines; id++ {
		last = append(last, journal.Line{ID: int64(id), Step: "boot", Time: began, Text: fmt.Sprintf("\x1b[1mline %d\x1b[0m <b>", id)})
	}
	return last, nil
}

func TestRunPages(t *testing.T) {
	with := Handler(fill(t), Options{Runs: runs{lines: 2500}, Failed: func(r *http.Request, err error) { t.Errorf("%s: %v", r.URL, err) }})
	without := Handler(fill(t), Options{})
	for _, test := range []struct {
		path         string
		handler      http.Handler
		status       int
		want, unwant string // parted by "|"
	}{
		{"/runs", with, 200, `href="/runs/7"|debian-12|off: 3 runs failed|1 December 2026 02:00 UTC|1m30s|queued|>Pipelines</a>`, ""},
		{"/runs/7", with, 200, "booting: &lt;no root&gt;|look at the console|boot bios nvme|no root|line 2500 &lt;b&gt;|line 2101 |last 400 lines", "line 2100 |\x1b"},
		{"/runs/7?step=resolve", with, 200, "Log of resolve|The log of all steps", "line 2500"},
		{"/runs/8", with, 200, `queued|15 November 2026|data-every="2"|<noscript>`, ""},
		{"/runs/7", with, 200, `id="live"`, "data-every|noscript"},
		{"/runs/9", with, 404, "There is no such page", ""},
		{"/runs/x", with, 404, "", ""},
		{"/runs", without, 404, "", ""},
		{"/runs/7", without, 404, "", ""},
		{"/releases/none", without, 404, "", "Pipelines</a>"},
	} {
		rq := httptest.NewRequestWithContext(t.Context(), http.MethodGet, test.path, nil)
		rq.Header.Set("Accept", "text/html")
		w := httptest.NewRecorder()
		test.handler.ServeHTTP(w, rq)
		body := w.Body.String()
		if w.Code != test.status {
			t.Errorf("%s: status %d, not %d", test.path, w.Code, test.status)
		}
		if got := w.Header().Get("Cache-Control"); got != cacheNever {
			t.Errorf("%s may be kept: %q", test.path, got)
		}
		for part := range strings.SplitSeq(test.want, "|") {
			if !strings.Contains(body, part) {
				t.Errorf("%s lacks %q:\n%s", test.path, part, body)
			}
		}
		for part := range strings.SplitSeq(test.unwant, "|") {
			if part != "" && strings.Contains(body, part) {
				t.Errorf("%s has %q", test.path, part)
			}
		}
	}
}
