package web

import (
	"maps"
	"net/http"
	"net/url"
	"slices"

	g "maragu.dev/gomponents"
	h "maragu.dev/gomponents/html"

	"ingot/internal/catalog"
	"ingot/internal/progress"
)

// index is the page that lists the newest AMIs.
func (s *server) index(r *query) (*answer, error) {
	q := r.URL.Query()
	f := r.filter()
	all, err := s.store.Latest(r.Context(), catalog.Filter{})
	if err != nil {
		return nil, err
	}
	shown := all
	if f != (catalog.Filter{}) {
		if shown, err = s.store.Latest(r.Context(), f); err != nil {
			return nil, err
		}
	}
	amis := 0
	for _, release := range shown {
		amis += len(release.AMIs)
	}
	return s.page(http.StatusOK, "Machine images",
		h.H1(g.Text("Machine images")),
		filterForm(all, q),
		h.P(h.Class("count"), g.Text(count(amis, "AMI")+" of "+count(len(shown), "image"))),
		g.If(len(shown) == 0, h.P(h.Class("none"), g.Text("No image fits. "), h.A(h.Href("/"), g.Text("Show all")))),
		g.Map(shown, card),
	)
}

// count is what people are told of a number.
var count = progress.Count

// filterForm is a form that works by itself; the script submits it on a change.
func filterForm(all []catalog.Release, q url.Values) g.Node {
	values := map[string]map[string]bool{"distro": {}, "version": {}, "name": {}, "arch": {}, "kind": {}, "region": {}}
	for _, r := range all {
		values["distro"][r.Distro], values["version"][r.Version], values["name"][r.Name] = true, true, true
		values["arch"][r.Arch], values["kind"][r.Kind] = true, true
		for _, a := range r.AMIs {
			values["region"][a.Region] = true
		}
	}
	any := false
	pick := func(name, label string) g.Node {
		chosen := q.Get(name)
		any = any || chosen != ""
		options := slices.Sorted(maps.Keys(values[name]))
		if chosen != "" && !values[name][chosen] { // a link may ask for what is gone; the form says so
			options = append(options, chosen)
		}
		return h.Div(h.Class("field"), h.Label(h.For("f-"+name), g.Text(label)),
			h.Select(h.ID("f-"+name), h.Name(name),
				h.Option(h.Value(""), g.Text("All")),
				g.Map(options, func(v string) g.Node {
					return h.Option(h.Value(v), g.If(v == chosen, h.Selected()), g.Text(v))
				}),
			))
	}
	fields := g.Group{pick("distro", "Distribution"), pick("version", "Release"), pick("name", "Image"), pick("region", "Region"), pick("arch", "Architecture"), pick("kind", "Kind")}
	return h.Form(h.Class("filters"), h.Method("get"), h.Action("/"), h.Role("search"), h.Aria("label", "Images"), h.Data("auto", ""),
		fields,
		h.Div(h.Class("actions"), h.Button(h.Type("submit"), g.Text("Filter")), g.If(any, h.A(h.Href("/"), g.Text("Show all")))),
	)
}

// card shows a release on the list.
func card(r catalog.Release) g.Node {
	return h.Article(h.Class("card"), h.Data("distro", r.Distro), h.Data("version", r.Version), h.Data("name", r.Name), h.Data("arch", r.Arch), h.Data("kind", r.Kind),
		h.Aria("labelledby", "r-"+r.ID),
		h.Header(
			h.H2(h.ID("r-"+r.ID), h.A(h.Href("/releases/"+r.ID), g.Text(r.Name)), h.Span(h.Class("arch"), g.Text(r.Arch)), badge(r.State)),
			g.If(r.Description != "", h.P(g.Text(r.Description))),
			h.Ul(h.Class("facts"),
				h.Li(g.Text(r.Distro+" "+r.Version)), h.Li(g.Text(r.Kind)), h.Li(day(r.Date)),
				h.Li(g.Text(size(r.DiskSize)+" disk, "+stored(r)+" stored")),
			),
		),
		amiList(r),
	)
}
