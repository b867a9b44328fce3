package web

import (
	"fmt"
	"strconv"
	"time"

	g "maragu.dev/gomponents"
	h "maragu.dev/gomponents/html"

	"ingot/internal/catalog"
)

// Measures of the plot of sizes, in its own units.
const (
	plotWidth, plotHeight           = 640.0, 180.0
	plotLeft, plotTop, plotBottom   = 64.0, 12.0, 28.0
	plotRight                       = 14.0
	plotInnerWidth, plotInnerHeight = plotWidth - plotLeft - plotRight, plotHeight - plotTop - plotBottom
)

// sizes shows how much the releases of an image store, newest first, with the one that the page is about marked.
func sizes(all []catalog.Release, id string) g.Node {
	if len(all) < 2 {
		return nil
	}
	most, first, last := 0, all[len(all)-1].Date, all[0].Date
	for _, r := range all {
		most = max(most, r.Blocks)
	}
	top := roundUp(int64(most) * blockSize)
	at := func(r catalog.Release) (x, y float64) {
		if span := last.Sub(first); span > 0 {
			x = float64(r.Date.Sub(first)) / float64(span)
		}
		return plotLeft + x*plotInnerWidth, plotTop + (1-float64(int64(r.Blocks)*blockSize)/float64(max(top, 1)))*plotInnerHeight
	}
	number := func(f float64) string { return strconv.FormatFloat(f, 'f', 1, 64) }
	text := func(x, y float64, anchor, s string) g.Node {
		return g.El("text", g.Attr("x", number(x)), g.Attr("y", number(y)), g.Attr("text-anchor", anchor), g.Text(s))
	}
	path, points := "", g.Group{}
	for i := len(all) - 1; i >= 0; i-- {
		x, y := at(all[i])
		letter := "L"
		if path == "" {
			letter = "M"
		}
		path += letter + number(x) + " " + number(y)
		radius, class := "3", ""
		if all[i].ID == id {
			radius, class = "5", "this"
		}
		points = append(points, h.A(h.Href("/releases/"+all[i].ID), g.Attr("aria-label", plotLabel(all[i])),
			g.El("circle", g.Attr("cx", number(x)), g.Attr("cy", number(y)), g.Attr("r", radius), g.If(class != "", h.Class(class)),
				g.El("title", g.Text(plotLabel(all[i]))))))
	}
	grid := g.Group{}
	for i := range 3 {
		y := plotTop + plotInnerHeight*float64(i)/2
		grid = append(grid, g.El("line", g.Attr("x1", number(plotLeft)), g.Attr("x2", number(plotWidth-plotRight)), g.Attr("y1", number(y)), g.Attr("y2", number(y))),
			text(plotLeft-8, y+4, "end", size(top*int64(2-i)/2)))
	}
	return section("sizes", "Size over time",
		h.SVG(h.Class("plot"), g.Attr("viewBox", "0 0 "+number(plotWidth)+" "+number(plotHeight)), h.Role("group"),
			h.Aria("label", fmt.Sprintf("What the snapshots of %d releases store, from %s to %s", len(all), short(first), short(last))),
			grid, g.El("path", g.Attr("d", path)), points,
			text(plotLeft, plotHeight-8, "start", short(first)), text(plotWidth-plotRight, plotHeight-8, "end", short(last))),
		h.Details(h.Summary(g.Text("The releases of this image")), releaseTable(all, id)),
	)
}

func plotLabel(r catalog.Release) string { return short(r.Date) + ": " + stored(r) }

func short(t time.Time) string { return t.Format("2 Jan 2006") }

// roundUp returns a number of bytes of at least n that divides well by two in the unit in which it is written.
func roundUp(n int64) int64 {
	unit := int64(2 << 20)
	for unit*16 < n {
		unit *= 2
	}
	return (n + unit - 1) / unit * unit
}

func releaseTable(all []catalog.Release, id string) g.Node {
	return h.Div(h.Class("scroll"), h.TabIndex("0"), h.Role("region"), h.Aria("label", "The releases of this image"), h.Table(
		h.THead(h.Tr(column("Date"), column("State"), column("Stored"), column("Release"))),
		h.TBody(g.Map(all, func(r catalog.Release) g.Node {
			name := h.A(h.Href("/releases/"+r.ID), g.Text(r.ID))
			return h.Tr(g.If(r.ID == id, h.Aria("current", "true")), h.Td(day(r.Date)), h.Td(g.Text(r.State)), h.Td(g.Text(stored(r))), h.Td(name))
		})),
	))
}
