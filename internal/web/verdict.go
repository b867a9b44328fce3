package web

import (
	"cmp"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"

	g "maragu.dev/gomponents"
	h "maragu.dev/gomponents/html"

	"ingot/internal/catalog"
)

// escapeSequence is how terminals are told of colours and places (ECMA-48, section 5.4).
var escapeSequence = regexp.MustCompile("\x1b(\\[[0-?]*[ -/]*[@-~]|[@-Z\\\\-_]|\\][^\x07\x1b]*(\x07|\x1b\\\\)?)")

// verdict is what the page shows of a boot test's report. Members that a report lacks are left out.
type verdict struct {
	Passed   bool   `json:"passed"`
	Reason   string `json:"reason"`
	Firmware string `json:"firmware"`
	Bus      string `json:"bus"`
	Accel    struct {
		Name string `json:"name"`
	} `json:"accel"`
	Seconds float64 `json:"seconds"`
	Stages  []struct {
		Name string  `json:"name"`
		Seen bool    `json:"seen"`
		At   float64 `json:"at"` // seconds since the machine started
	} `json:"stages"`
	Checks []struct {
		Name    string `json:"name"`
		Passed  bool   `json:"passed"`
		Skipped bool   `json:"skipped"`
		Detail  string `json:"detail"`
	} `json:"checks"`
}

// verdicts shows the reports of the boot tests. What cannot be read as one is left out: the JSON of the release has it.
func verdicts(r catalog.Release, log []byte) g.Node {
	var all []verdict
	for _, raw := range r.Verdicts() {
		var v verdict
		if json.Unmarshal(raw, &v) == nil {
			all = append(all, v)
		}
	}
	if len(all) == 0 {
		return g.If(len(log) > 0, section("boot", "Boot test", console(r, log)))
	}
	return section("boot", "Boot test", g.Map(all, func(v verdict) g.Node {
		outcome, class := "Passed", "good"
		if !v.Passed {
			outcome, class = "Failed", "bad"
		}
		var rows []bar
		end := v.Seconds
		for _, s := range v.Stages {
			if s.Seen {
				rows = append(rows, bar{name: s.Name, to: s.At, text: seconds(s.At)})
				end = max(end, s.At)
			}
		}
		// In the order in which they were seen: the stages of a boot overlap.
		slices.SortStableFunc(rows, func(a, b bar) int { return cmp.Compare(a.to, b.to) })
		return h.Div(h.Class("verdict"),
			h.P(h.Strong(h.Class(class), g.Text(outcome)), g.Text(" "+manner(v)), g.If(v.Reason != "", g.Text(": "+v.Reason))),
			g.If(len(rows) > 0, timeline("Stage", "After", rows, end)),
			g.If(len(v.Checks) > 0, checks(v)),
		)
	}), console(r, log))
}

// manner says how the machine was made.
func manner(v verdict) (text string) {
	for _, part := range []string{v.Firmware, v.Bus, v.Accel.Name} {
		if part != "" {
			text += " · " + part
		}
	}
	if v.Seconds > 0 {
		text += " · " + seconds(v.Seconds)
	}
	return text
}

func checks(v verdict) g.Node {
	var failed []g.Node
	passed := 0
	for _, c := range v.Checks {
		switch {
		case c.Passed:
			passed++
		case !c.Skipped:
			failed = append(failed, h.Li(h.Strong(h.Class("bad"), g.Text(c.Name)), g.If(c.Detail != "", g.Text(": "+c.Detail))))
		}
	}
	return g.Group{
		h.P(g.Text(count(passed, "check")+" passed inside the machine"), g.If(len(failed) > 0, g.Text(fmt.Sprintf(", %d failed:", len(failed))))),
		g.If(len(failed) > 0, h.Ul(g.Group(failed))),
	}
}

// bar is a row of a timeline, in seconds.
type bar struct {
	name, text string
	from, to   float64
}

// timeline draws bars to one scale. They are SVG, since the content policy allows no inline style.
func timeline(name, time string, rows []bar, end float64) g.Node {
	at := func(s float64) string { return strconv.FormatFloat(100*s/max(end, 0.001), 'f', 2, 64) }
	return h.Table(h.Class("timeline"),
		h.THead(h.Tr(column(name), column(time), h.Td())),
		h.TBody(g.Map(rows, func(b bar) g.Node {
			return h.Tr(h.Th(h.Scope("row"), g.Text(b.name)), h.Td(g.Text(b.text)),
				h.Td(h.Class("bar"), h.SVG(g.Attr("viewBox", "0 0 100 8"), g.Attr("preserveAspectRatio", "none"), h.Aria("hidden", "true"),
					g.El("rect", g.Attr("x", at(b.from)), g.Attr("width", at(max(b.to-b.from, end/200))), h.Height("8")))))
		})),
	)
}

func seconds(s float64) string { return strconv.FormatFloat(s, 'f', 1, 64) + " s" }
