package web

import (
	"bytes"
	"strings"

	g "maragu.dev/gomponents"
	h "maragu.dev/gomponents/html"

	"ingot/internal/catalog"
)

// changes shows what became of the packages since the release before.
func changes(before catalog.Release, to catalog.Release) g.Node {
	if before.ID == "" {
		return nil
	}
	d := catalog.Compare(before.Packages, to.Packages)
	since := h.A(h.Href("/releases/"+before.ID), g.Text("the release of "+before.Date.Format("2 January 2006")))
	if d.Empty() {
		return section("changes", "What changed", h.P(g.Text("Its packages are those of "), since, g.Text(".")))
	}
	list := func(name string, all []catalog.Package) g.Node {
		return packageChanges(name, len(all), []string{"Name", "Version"}, g.Map(all, func(p catalog.Package) g.Node {
			return h.Tr(h.Th(h.Scope("row"), g.Text(p.Name)), h.Td(g.Text(p.Version)))
		}))
	}
	return section("changes", "What changed",
		h.P(g.Text("Since "), since, g.Text(": "+count(len(d.Changed), "package")+" updated, "+count(len(d.Added), "package")+" added, "+count(len(d.Removed), "package")+" removed.")),
		packageChanges("Updated", len(d.Changed), []string{"Name", "From", "To"}, g.Map(d.Changed, func(c catalog.VersionChange) g.Node {
			return h.Tr(h.Th(h.Scope("row"), g.Text(c.Name)), h.Td(g.Text(c.From)), h.Td(g.Text(c.To)))
		})),
		list("Added", d.Added), list("Removed", d.Removed),
	)
}

// openRows is how long a list of changes may be to be shown at once.
const openRows = 12

func packageChanges(name string, n int, columns []string, rows g.Node) g.Node {
	if n == 0 {
		return nil
	}
	return h.Details(h.Class("changed"), g.If(n <= openRows, g.Attr("open")),
		h.Summary(g.Text(name+" ("+count(n, "package")+")")),
		h.Div(h.Class("scroll"), h.TabIndex("0"), h.Role("region"), h.Aria("label", name),
			h.Table(h.Class("packages"), h.THead(h.Tr(g.Map(columns, column))), h.TBody(rows))))
}

// notices says what a user of the release should know first: that it is on its way out, or that it has grown old.
func notices(r catalog.Release, newest catalog.Release) g.Node {
	var all g.Group
	better := g.Group{g.Text(" There is no newer one yet.")}
	if newest.ID != "" && newest.ID != r.ID {
		better = g.Group{g.Text(" Use "), h.A(h.Href("/releases/"+newest.ID), g.Text("that of "+newest.Date.Format("2 January 2006"))), g.Text(" instead.")}
	}
	since := ""
	for _, c := range r.History {
		if c.State == r.State {
			since = " since " + c.At.Format("2 January 2006")
		}
	}
	switch {
	case r.State == catalog.Retired:
		all = append(all, h.P(h.Class("notice bad"), h.Strong(g.Text("Retired"+since+".")), g.Text(" Its AMIs are gone, the record stays."), better))
	case r.State == catalog.Deprecated:
		all = append(all, h.P(h.Class("notice bad"), h.Strong(g.Text("Deprecated"+since+".")), g.Text(" It can still be launched, and will be retired."), better))
	case r.State == catalog.Candidate:
		all = append(all, h.P(h.Class("notice"), h.Strong(g.Text("Candidate.")), g.Text(" It has not proved yet that it boots.")))
	case newest.ID != "" && newest.ID != r.ID && newest.Date.After(r.Date):
		all = append(all, h.P(h.Class("notice"), h.Strong(g.Text("There is a newer release.")), better))
	}
	if r.Check != nil && len(r.Check.Updates) > 0 && r.State != catalog.Retired {
		all = append(all, h.Div(h.Class("notice"),
			h.P(h.Strong(g.Text(count(len(r.Check.Updates), "package")+" of it")), g.Text(" had a newer version in the repositories on "+r.Check.At.Format("2 January 2006")+".")),
			packageChanges("Newer versions", len(r.Check.Updates), []string{"Name", "In the image", "In the repositories"}, g.Map(r.Check.Updates, func(u catalog.Update) g.Node {
				return h.Tr(h.Th(h.Scope("row"), g.Text(u.Name)), h.Td(g.Text(u.Version)), h.Td(g.Text(u.Newest)))
			}))))
	}
	return all
}

// consoleLines is how much of a console the page shows.
const consoleLines = 60

// console shows the end of what the machine of the boot test wrote.
func console(r catalog.Release, text []byte) g.Node {
	if len(text) == 0 {
		return nil
	}
	lines := bytes.Split(bytes.TrimRight(text, "\n"), []byte("\n"))
	lines = lines[max(len(lines)-consoleLines, 0):]
	return h.Details(h.Class("console"), h.Summary(g.Text("The end of its console")),
		h.Pre(h.TabIndex("0"), h.Aria("label", "Console"), h.Code(g.Text(printable(bytes.Join(lines, []byte("\n")))))),
		h.P(h.A(h.Href(documentLink(r, catalog.Console)), g.Text("The whole console"))))
}

// printable leaves out control characters, with which consoles move their cursors.
func printable(text []byte) string {
	return strings.Map(func(c rune) rune {
		if c < ' ' && c != '\n' && c != '\t' || c == 0x7f || c == '\ufffd' {
			return -1
		}
		return c
	}, string(escapeSequence.ReplaceAll(text, nil)))
}

func documentLink(r catalog.Release, name string) string {
	return "/v1/releases/" + r.ID + "/documents/" + name
}

var documentNames = map[string]string{catalog.SBOM: "Bill of materials (SPDX)", catalog.Console: "Console of the boot test", catalog.Lock: "Lock file"}

// papers lists what else there is of a release.
func papers(r catalog.Release) g.Node {
	sum := func(name, value string) g.Node { return g.If(value != "", fact(name, h.Code(g.Text(value)))) }
	sums := h.Dl(h.Class("details"), sum("Release", r.ID), sum("Disk SHA-256", r.DiskSHA256), sum("Lock SHA-256", r.LockSHA256))
	return section("papers", "Papers", sums, h.Ul(
		g.Map(r.Documents, func(d catalog.Document) g.Node {
			name := d.Name
			if known := documentNames[d.Name]; known != "" {
				name = known
			}
			return h.Li(h.A(h.Href(documentLink(r, d.Name)), g.Text(name)), g.Text(", "+smallSize(d.Size)))
		}),
		h.Li(h.A(h.Href("/v1/releases/"+r.ID), g.Text("All of this as JSON"))),
	))
}

// past lists the states of a release.
func past(r catalog.Release) g.Node {
	if len(r.History) == 0 {
		return nil
	}
	return section("history", "History", h.Ol(h.Class("history"), g.Map(r.History, func(c catalog.Change) g.Node {
		return h.Li(day(c.At), g.Text(" "+c.State))
	})))
}
