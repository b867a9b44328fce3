package web

import (
	"cmp"
	"context"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	g "maragu.dev/gomponents"
	h "maragu.dev/gomponents/html"

	"ingot/internal/factory/journal"
	"ingot/internal/fault"
)

// Runs is what the pages read of the factory's journal. A run that is not there is an error of kind fault.Missing.
type Runs interface {
	Run(ctx context.Context, id int64) (journal.Run, error)
	Runs(ctx context.Context, pipeline string, limit int) ([]journal.Run, error)
	Pipelines(ctx context.Context) ([]journal.Pipeline, error)
	Steps(ctx context.Context, id int64) ([]journal.Step, error)
	LastLines(ctx context.Context, run int64, step string, limit int) ([]journal.Line, error)
}

const (
	runsShown  = 50  // on the page of all runs
	linesShown = 400 // of a log: its end
)

// pipelines is the page of what runs, what ran, and what will.
func (s *server) pipelines(r *query) (*answer, error) {
	if s.o.Runs == nil {
		return nil, errNotFound
	}
	all, err := s.o.Runs.Pipelines(r.Context())
	if err != nil {
		return nil, err
	}
	runs, err := s.o.Runs.Runs(r.Context(), "", runsShown)
	if err != nil {
		return nil, err
	}
	active := slices.ContainsFunc(runs, func(r journal.Run) bool { return !r.State.Over() })
	return s.fresh("Pipelines",
		h.H1(g.Text("Pipelines")),
		live(active,
			g.If(len(all) > 0, section("images", "Images", h.Table(
				h.THead(h.Tr(column("Image"), column("Next run"), column("Schedule"))),
				h.TBody(g.Map(all, func(p journal.Pipeline) g.Node {
					schedule := "on"
					if p.Disabled != "" {
						schedule = "off: " + p.Disabled
					}
					return h.Tr(h.Th(h.Scope("row"), g.Text(p.Name)), h.Td(moment(p.Next)), h.Td(g.Text(schedule)))
				}))))),
			section("runs", "Runs", g.If(len(runs) == 0, h.P(h.Class("quiet"), g.Text("Nothing has run yet."))),
				g.If(len(runs) > 0, h.Table(
					h.THead(h.Tr(column("Run"), column("Image"), column("State"), column("Began"), column("Took"), column("Cause"))),
					h.TBody(g.Map(runs, func(run journal.Run) g.Node {
						id := strconv.FormatInt(run.ID, 10)
						return h.Tr(h.Th(h.Scope("row"), h.A(h.Href("/runs/"+id), g.Text(id))), h.Td(g.Text(run.Pipeline)), h.Td(outcome(run.State)),
							h.Td(moment(cmp.Or(run.Started, run.Created))), h.Td(g.Text(took(run.Started, run.Ended))), h.Td(g.Text(run.Cause)))
					}))))),
		),
	)
}

// run is the page of one run: its steps, and the end of its log.
func (s *server) run(r *query) (*answer, error) {
	id, err := strconv.ParseInt(r.PathValue("run"), 10, 64)
	if s.o.Runs == nil || err != nil {
		return nil, errNotFound
	}
	run, err := s.o.Runs.Run(r.Context(), id)
	if fault.KindOf(err) == fault.Missing {
		return nil, errNotFound
	}
	if err != nil {
		return nil, err
	}
	steps, err := s.o.Runs.Steps(r.Context(), id)
	if err != nil {
		return nil, err
	}
	step := r.URL.Query().Get("step")
	log, cut, err := s.logEnd(r.Context(), id, step)
	if err != nil {
		return nil, err
	}
	title, logTitle := "Run "+strconv.FormatInt(id, 10)+" of "+run.Pipeline, "Log"
	if step != "" {
		logTitle += " of " + step
	}
	return s.fresh(title,
		h.P(h.A(h.Href("/runs"), g.Text("All runs"))),
		h.H1(g.Text(title)),
		live(!run.State.Over(),
			h.P(outcome(run.State), g.Text(" · "+run.Cause+" · "), moment(cmp.Or(run.Started, run.Created)), g.If(!run.Started.IsZero(), g.Text(" · "+took(run.Started, run.Ended)))),
			g.If(run.Error != "", h.P(h.Strong(h.Class("bad"), g.Text(run.Error)))),
			g.If(run.Hint != "", h.P(g.Text("Try: "+run.Hint))),
			section("steps", "Steps", h.Table(
				h.THead(h.Tr(column("Step"), column("State"), column("Took"), column("Attempts"), column("Says"))),
				h.TBody(g.Map(steps, func(st journal.Step) g.Node {
					return h.Tr(h.Th(h.Scope("row"), h.A(h.Href("?step="+url.QueryEscape(st.Name)+"#log"), g.Text(strings.TrimSpace(st.Name+" "+st.Item)))),
						h.Td(outcome(st.State)), h.Td(g.Text(took(st.Started, st.Ended))), h.Td(g.Text(strconv.Itoa(st.Attempts))), h.Td(g.Text(cmp.Or(st.Progress, st.Error))))
				})))),
			section("log", logTitle,
				g.If(step != "", h.P(h.A(h.Href("?#log"), g.Text("The log of all steps")))),
				g.If(cut, h.P(h.Class("quiet"), g.Textf("The last %d lines; `ingot logs %d` prints all.", linesShown, id))),
				h.Pre(h.TabIndex("0"), h.Role("region"), h.Aria("label", "Lines"), g.Text(log))),
		),
	)
}

// live is the part of a page that tells of what goes on: the script keeps it up to date, and without that a link does.
func live(going bool, parts ...g.Node) g.Node {
	return h.Div(h.ID("live"), g.If(going, h.Data("every", "2")),
		g.If(going, g.El("noscript", h.P(h.A(h.Href(""), g.Text("Look again"))))),
		g.Map(parts, func(part g.Node) g.Node { return h.Div(h.Data("part", ""), part) }))
}

// logEnd returns the last lines of a log, and whether there are more before them.
func (s *server) logEnd(ctx context.Context, run int64, step string) (text string, cut bool, err error) {
	lines, err := s.o.Runs.LastLines(ctx, run, step, linesShown+1)
	if err != nil {
		return "", false, err
	}
	cut = len(lines) > linesShown
	var b strings.Builder
	for _, l := range lines[max(0, len(lines)-linesShown):] {
		b.WriteString(l.Time.UTC().Format(time.TimeOnly) + "  " + escapeSequence.ReplaceAllString(l.Text, "") + "\n")
	}
	return b.String(), cut, nil
}

// fresh is a page that nobody may keep: what it tells of goes on.
func (s *server) fresh(title string, content ...g.Node) (*answer, error) {
	a, err := s.page(http.StatusOK, title, content...)
	if err == nil {
		a.cache = cacheNever
	}
	return a, err
}

// outcome shows the state of a run or step.
func outcome(state journal.State) g.Node {
	class := map[journal.State]string{journal.Done: "good", journal.Unchanged: "good", journal.Failed: "bad", journal.Partial: "bad"}[state]
	return h.Span(g.If(class != "", h.Class(class)), g.Text(string(state)))
}

// moment writes a point in time for people and for programs; nothing where there is none.
func moment(t time.Time) g.Node {
	if t.IsZero() {
		return g.Text("–")
	}
	t = t.UTC()
	return h.Time(h.DateTime(t.Format(time.RFC3339)), g.Text(t.Format("2 January 2006 15:04 UTC")))
}

// took says how long something took, or has taken so far.
func took(from, to time.Time) string {
	switch {
	case from.IsZero():
		return ""
	case to.IsZero():
		to = time.Now()
	}
	return to.Sub(from).Round(time.Second).String()
}
