package web

import (
	"encoding/xml"
	"regexp"
	"strings"
	"testing"
	"time"

	"ingot/internal/catalog"
	"ingot/internal/catalog/catalogtest"
)

func TestFeed(t *testing.T) {
	store, h := community(t)
	odd := catalogtest.Image("debian-12", "x86_64", 25)
	odd.Distro = "<&>"
	if err := store.Put(t.Context(), odd); err != nil {
		t.Fatal(err)
	}
	read := func() (titles []string, ids map[string]bool) {
		r := ask(t, h, "GET", "/feed.atom")
		d := xml.NewDecoder(strings.NewReader(r.body))
		var feed struct {
			XMLName xml.Name `xml:"http://www.w3.org/2005/Atom feed"`
			ID      string   `xml:"id"`
			Updated string   `xml:"updated"`
			Entries []struct {
				Title   string `xml:"title"`
				ID      string `xml:"id"`
				Updated string `xml:"updated"`
				Summary string `xml:"summary"`
				Link    struct {
					Href string `xml:"href,attr"`
				} `xml:"link"`
			} `xml:"entry"`
		}
		if err := d.Decode(&feed); err != nil || r.Header.Get("Content-Type") != "application/atom+xml; charset=utf-8" {
			t.Fatalf("%v: %s", err, r.body)
		}
		ids = make(map[string]bool)
		for _, e := range feed.Entries {
			if _, err := time.Parse(time.RFC3339, e.Updated); err != nil || ids[e.ID] || !strings.HasPrefix(e.Link.Href, "/releases/") {
				t.Errorf("%+v, %v", e, err)
			}
			if strings.Contains(e.Summary, "<&> 1") {
				titles = append(titles, "odd")
			}
			titles = append(titles, e.Title)
			ids[e.ID] = true
		}
		if feed.Updated != "2026-01-25T12:00:00Z" {
			t.Errorf("updated %s", feed.Updated)
		}
		return titles, ids
	}
	titles, before := read()
	if len(titles) != 9 || titles[0] != "odd" || !strings.HasPrefix(titles[8], "arch-std x86_64, 1 January") || titles[7] != "Deprecated: arch-std x86_64, 2 January 2026" {
		t.Errorf("%q", titles)
	}
	if err := store.SetState(t.Context(), odd.ID, catalog.Retired); err != nil {
		t.Fatal(err)
	}
	if titles, after := read(); titles[1] != "Retired: debian-12 x86_64, 25 January 2026" || len(after) != len(before) {
		t.Errorf("%q", titles)
	}
}

// Each line of the metrics is one of Prometheus' text format.
func TestMetrics(t *testing.T) {
	_, h := community(t)
	ask(t, h, "GET", "/latest")
	ask(t, h, "GET", "/latest")
	ask(t, h, "GET", "/nothing")
	ask(t, h, "POST", "/latest")
	line := regexp.MustCompile(`^(# (HELP|TYPE) [a-z_]+ .+|[a-z_]+(\{([a-z]+="[^"\n]*",?)+\})? [0-9.e+-]+)$`)
	body := ask(t, h, "GET", "/metrics").body
	for l := range strings.Lines(body) {
		if !line.MatchString(strings.TrimSuffix(l, "\n")) {
			t.Errorf("line %q", l)
		}
	}
	for _, want := range []string{
		`ingot_http_requests_total{endpoint="archLatest",status="2xx"} 2`, `ingot_http_requests_total{endpoint="archRegion",status="4xx"} 1`,
		`ingot_http_requests_total{endpoint="other",status="4xx"} 1`, `ingot_http_request_duration_seconds_count{endpoint="archLatest"} 2`,
		`ingot_http_request_duration_seconds_bucket{endpoint="archLatest",le="+Inf"} 2`, `ingot_cache_lookups_total{result="hit"} 1`,
		`ingot_release_timestamp_seconds{name="arch-lts",arch="x86_64",kind="ebs"} 1768478400`, `process_resident_memory_bytes `,
	} {
		if !strings.Contains(body, "\n"+want) {
			t.Errorf("lacks %s\n%s", want, body)
		}
	}
}
