package web

import (
	"net/http"
	"strings"

	g "maragu.dev/gomponents"
	h "maragu.dev/gomponents/html"

	"ingot/internal/catalog"
	"ingot/internal/fault"
)

// maxSizes is how many releases the plot shows.
const maxSizes = 60

// release is the page of one release.
func (s *server) release(r *query) (*answer, error) {
	release, err := s.store.Get(r.Context(), r.PathValue("id"))
	if err != nil {
		return nil, err
	}
	same := catalog.Filter{Name: release.Name, Arch: release.Arch, Kind: release.Kind}
	newest, err := s.store.Latest(r.Context(), same)
	if err != nil {
		return nil, err
	}
	newest = append(newest, catalog.Release{})
	same.Limit = maxSizes
	all, _, err := s.store.List(r.Context(), same)
	if err != nil {
		return nil, err
	}
	before, err := s.from(r.Context(), release, "")
	if err != nil && fault.KindOf(err) != fault.Missing {
		return nil, err
	}
	_, log, err := s.store.Document(r.Context(), release.ID, catalog.Console)
	if err != nil && fault.KindOf(err) != fault.Missing {
		return nil, err
	}
	return s.page(http.StatusOK, release.Name+" "+release.Date.Format("2006-01-02"),
		h.P(h.Class("back"), h.A(h.Href("/"), g.Text("All images"))),
		h.H1(g.Text(release.Name), h.Span(h.Class("arch"), g.Text(release.Arch)), badge(release.State)),
		g.If(release.Description != "", h.P(h.Class("lead"), g.Text(release.Description))),
		notices(release, newest[0]),
		facts(release),
		section("amis", "AMIs", amiList(release)),
		usage(release, r.URL.Query().Get("region")),
		changes(before, release),
		verdicts(release, log),
		timings(release.Timings),
		sizes(all, release.ID),
		papers(release),
		past(release),
		packages(release, r.URL.Query().Get("q")),
	)
}

func section(id, title string, content ...g.Node) g.Node {
	return h.Section(h.Aria("labelledby", id), h.H2(h.ID(id), g.Text(title)), g.Group(content))
}

func fact(name string, value g.Node) g.Node { return h.Div(h.Dt(g.Text(name)), h.Dd(value)) }

func facts(r catalog.Release) g.Node {
	text := func(name, value string) g.Node { return g.If(value != "", fact(name, g.Text(value))) }
	return h.Dl(h.Class("details"),
		text("Distribution", r.Distro+" "+r.Version),
		text("Kind", r.Kind),
		fact("Date", day(r.Date)),
		text("State", r.State),
		text("Disk", size(r.DiskSize)),
		text("Snapshot", stored(r)+" in "+count(r.Blocks, "block")),
	)
}

func timings(all []catalog.Timing) g.Node {
	if len(all) == 0 {
		return nil
	}
	var end float64
	for _, t := range all {
		end += t.Seconds
	}
	var rows []bar
	var at float64
	for _, t := range all {
		rows = append(rows, bar{name: t.Step, from: at, to: at + t.Seconds, text: seconds(t.Seconds)})
		at += t.Seconds
	}
	return section("timings", "Making it", timeline("Step", "Time", rows, end))
}

// packages lists what is inside, or those whose name, version or source contains q.
func packages(r catalog.Release, q string) g.Node {
	var shown []catalog.Package
	needle := strings.ToLower(strings.TrimSpace(q))
	for _, p := range r.Packages {
		if strings.Contains(strings.ToLower(p.Name+" "+p.Version+" "+p.Source), needle) {
			shown = append(shown, p)
		}
	}
	return section("packages", count(len(r.Packages), "package"),
		h.Form(h.Class("find"), h.Method("get"), h.Action("/releases/"+r.ID+"#packages"), h.Role("search"),
			h.Label(h.For("q"), g.Text("Find a package")),
			h.Input(h.ID("q"), h.Name("q"), h.Type("search"), h.Value(q), h.AutoComplete("off"), h.Data("filter", "package-rows"),
				h.Placeholder("name, version or source")),
			h.Button(h.Type("submit"), g.Text("Find")),
		),
		g.If(needle != "", h.P(h.Class("count"), g.Text(count(len(shown), "package")+" with “"+q+"”. "),
			h.A(h.Href("/releases/"+r.ID+"#packages"), g.Text("Show all")))),
		h.Div(h.Class("scroll"), h.TabIndex("0"), h.Role("region"), h.Aria("label", "The list of packages"),
			h.Table(h.Class("packages"),
				h.THead(h.Tr(column("Name"), column("Version"), column("Architecture"), column("Source"))),
				h.TBody(h.ID("package-rows"), g.Map(shown, func(p catalog.Package) g.Node {
					return h.Tr(h.Th(h.Scope("row"), g.Text(p.Name)), h.Td(g.Text(p.Version)), h.Td(g.Text(p.Arch)), h.Td(g.Text(p.Source)))
				})),
			)),
	)
}

func column(name string) g.Node { return h.Th(h.Scope("col"), g.Text(name)) }
