package web

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"net/http"
	"time"

	"ingot/internal/catalog"
)

// feedLength is how many releases the feed has.
const feedLength = 50

// feed tells of releases as Atom (RFC 4287). An entry's id holds the state, so that readers show a release again when it
// is deprecated or retired. Addresses are relative to that of the feed.
func (s *server) feed(r *query) (*answer, error) {
	all, _, err := s.store.List(r.Context(), catalog.Filter{Limit: feedLength})
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	text := func(before, value, after string) {
		b.WriteString(before)
		_ = xml.EscapeText(&b, []byte(value)) // a Buffer takes everything
		b.WriteString(after)
	}
	updated := time.Unix(0, 0).UTC()
	for _, x := range all {
		if x.Date.After(updated) {
			updated = x.Date
		}
	}
	b.WriteString(xml.Header + `<feed xmlns="http://www.w3.org/2005/Atom">` + "\n")
	text("<title>", s.o.Title+": machine images", "</title>\n")
	b.WriteString(`<id>urn:ingot:catalogue</id><link rel="self" href="/feed.atom"/><link href="/"/><author><name>ingot</name></author>` + "\n")
	text("<updated>", updated.Format(time.RFC3339), "</updated>\n")
	for _, x := range all {
		if x.State == catalog.Candidate {
			continue
		}
		text("<entry><title>", notice(x.State)+x.Name+" "+x.Arch+", "+x.Date.Format("2 January 2006"), "</title>")
		text("<id>urn:ingot:release:", x.ID+":"+x.State, "</id>")
		text(`<link href="/releases/`, x.ID, `"/>`)
		text("<updated>", x.Date.Format(time.RFC3339), "</updated>")
		text("<summary>", summary(x), "</summary></entry>\n")
	}
	b.WriteString("</feed>\n")
	return &answer{status: http.StatusOK, kind: "application/atom+xml; charset=utf-8", cache: cacheShort, body: b.Bytes()}, nil
}

// notice is what precedes the name of a release that is on its way out.
func notice(state string) string {
	switch state {
	case catalog.Deprecated:
		return "Deprecated: "
	case catalog.Retired:
		return "Retired: "
	}
	return ""
}

func summary(x catalog.Release) string {
	text := fmt.Sprintf("%s %s, %s, %s: ", x.Distro, x.Version, x.Kind, x.State)
	for i, a := range x.AMIs {
		if i > 0 {
			text += ", "
		}
		text += a.Region + " " + a.ImageID
	}
	return text
}
