package web

import (
	"bytes"
	"fmt"
	"net/http"
	"strconv"
	"time"

	g "maragu.dev/gomponents"
	h "maragu.dev/gomponents/html"

	"ingot/internal/catalog"
)

// page makes a page around its content.
func (s *server) page(status int, title string, content ...g.Node) (*answer, error) {
	var b bytes.Buffer
	err := h.Doctype(h.HTML(h.Lang("en"), g.If(s.o.static, g.Attr("data-static")),
		h.Head(
			h.Meta(h.Charset("utf-8")),
			h.Meta(h.Name("viewport"), h.Content("width=device-width, initial-scale=1")),
			h.Meta(h.Name("color-scheme"), h.Content("light dark")),
			h.TitleEl(g.Text(title+" · "+s.o.Title)),
			h.Link(h.Rel("icon"), h.Href(icon.url), h.Type(icon.kind)),
			h.Link(h.Rel("alternate"), h.Type("application/atom+xml"), h.Title("Releases"), h.Href("/feed.atom")),
			h.Link(h.Rel("stylesheet"), h.Href(style.url)),
			h.Script(h.Src(script.url), h.Defer()),
		),
		h.Body(
			h.A(h.Class("skip"), h.Href("#content"), g.Text("Skip to content")),
			h.Header(h.Class("top"), h.Div(h.Class("wide"),
				h.A(h.Class("brand"), h.Href("/"), h.Img(h.Src(icon.url), h.Alt(""), h.Width("24"), h.Height("24")), g.Text(s.o.Title)),
				h.Nav(h.Aria("label", "Site"), g.If(s.o.Runs != nil, h.A(h.Href("/runs"), g.Text("Pipelines"))), h.A(h.Href("/v1/latest"), g.Text("JSON")), h.A(h.Href("/v1/openapi.json"), g.Text("API")), h.A(h.Href("/feed.atom"), g.Text("Feed"))),
			)),
			h.Main(h.ID("content"), h.Class("wide"), g.Group(content)),
			h.Div(h.ID("status"), h.Role("status")),
		),
	)).Render(&b)
	if err != nil {
		return nil, fmt.Errorf("rendering the page %q: %w", title, err)
	}
	cache := cacheShort
	if status != http.StatusOK {
		cache = cacheNever
	}
	return &answer{status: status, kind: pageKind, cache: cache, body: b.Bytes()}, nil
}

// fail is the page that tells of an error.
func (s *server) fail(r *http.Request, err error) *answer {
	status, detail := s.status(r, err)
	a, err := s.page(status, http.StatusText(status), h.H1(g.Text(http.StatusText(status))), h.P(g.Text(detail)),
		h.P(h.A(h.Href("/"), g.Text("To the images"))))
	if err != nil {
		panic(err) // a Buffer takes everything
	}
	a.vary = varyAccept
	return a
}

// day writes a date for people and for programs.
func day(t time.Time) g.Node {
	return h.Time(h.DateTime(t.Format(time.RFC3339)), g.Text(t.Format("2 January 2006")))
}

// size writes a number of bytes in the units that EC2 bills and shows.
func size(n int64) string {
	const mib, gib = 1 << 20, 1 << 30
	switch {
	case n >= gib && n%gib == 0:
		return strconv.FormatInt(n/gib, 10) + " GiB"
	case n >= gib:
		return strconv.FormatFloat(float64(n)/gib, 'f', 1, 64) + " GiB"
	}
	return strconv.FormatInt((n+mib-1)/mib, 10) + " MiB"
}

// smallSize writes the size of a file.
func smallSize(n int64) string {
	if n < 1<<20 {
		return strconv.FormatInt((n+1023)/1024, 10) + " KiB"
	}
	return size(n)
}

const blockSize = 512 << 10 // of an EBS snapshot, in bytes

// stored returns how much of a release's disk its snapshot stores.
func stored(r catalog.Release) string { return size(int64(r.Blocks) * blockSize) }

// badge shows a state that is not the usual one.
func badge(state string) g.Node {
	if state == catalog.Public {
		return nil
	}
	return h.Span(h.Class("badge "+state), g.Text(state))
}

// amiList lists a release's AMIs, each with a button to copy its id that the script brings to light, and
// with its state where that is not the release's.
func amiList(r catalog.Release) g.Node {
	if len(r.AMIs) == 0 {
		return h.P(h.Class("quiet"), g.Text("There is no AMI of it yet."))
	}
	return h.Ul(h.Class("amis"), g.Map(r.AMIs, func(a catalog.AMI) g.Node {
		id := "i-" + r.ID + "-" + a.Region
		usable := a.State != catalog.Retired && a.State != catalog.Candidate
		return h.Li(h.Data("region", a.Region),
			h.Span(h.Class("region"), g.Text(a.Region)),
			h.Code(h.Class("id"), h.ID(id), g.Text(a.ImageID)),
			g.If(a.State != r.State, badge(a.State)),
			h.Span(h.Class("acts"),
				copyButton(a.ImageID, a.ImageID, id),
				g.If(usable, h.A(h.Href(launchLink(a)), h.Aria("label", "Launch "+a.ImageID+" in "+a.Region), g.Text("Launch"))),
				g.If(usable, h.A(h.Href("/releases/"+r.ID+"?region="+a.Region+"#use"), h.Aria("label", "Use "+a.ImageID+" in programs"), g.Text("Use"))),
			),
		)
	}))
}
