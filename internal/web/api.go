package web

import (
	"context"
	"fmt"
	"mime"
	"net/http"

	"ingot/internal/catalog"
	"ingot/internal/fault"
)

// page is a page of releases, and the answer to /v1/latest, which is whole.
type page struct {
	Releases []catalog.Release `json:"releases"`
	Next     string            `json:"next,omitempty"` // the cursor parameter for the page after this one
}

type packageList struct {
	Packages []catalog.Package `json:"packages"`
}

type history struct {
	History []catalog.Change `json:"history"`
}

// difference is between two releases, by ID.
type difference struct {
	From string `json:"from"`
	To   string `json:"to"`
	catalog.Diff
}

func (s *server) apiLatest(r *query) (a *answer, err error) {
	var p page
	if p.Releases, err = s.store.Latest(r.Context(), r.filter()); err != nil {
		return a, err
	}
	return asJSON(p.whole())
}

func (s *server) apiList(r *query) (a *answer, err error) {
	var p page
	if p.Releases, p.Next, err = s.store.List(r.Context(), r.filter()); err != nil {
		return a, err
	}
	return asJSON(p.whole())
}

// whole has a list of releases even where there are none.
func (p page) whole() page {
	if p.Releases == nil {
		p.Releases = []catalog.Release{}
	}
	return p
}

func (s *server) apiGet(r *query) (*answer, error) {
	release, err := s.store.Get(r.Context(), r.PathValue("id"))
	if err != nil {
		return nil, err
	}
	return asJSON(release)
}

func (s *server) apiPackages(r *query) (*answer, error) {
	release, err := s.store.Get(r.Context(), r.PathValue("id"))
	if err != nil {
		return nil, err
	}
	return asJSON(packageList{append([]catalog.Package{}, release.Packages...)})
}

func (s *server) apiHistory(r *query) (*answer, error) {
	release, err := s.store.Get(r.Context(), r.PathValue("id"))
	if err != nil {
		return nil, err
	}
	return asJSON(history{append([]catalog.Change{}, release.History...)})
}

func (s *server) apiDiff(r *query) (*answer, error) {
	to, err := s.store.Get(r.Context(), r.PathValue("id"))
	if err != nil {
		return nil, err
	}
	from, err := s.from(r.Context(), to, r.URL.Query().Get("from"))
	if err != nil {
		return nil, err
	}
	return asJSON(difference{from.ID, to.ID, catalog.Compare(from.Packages, to.Packages)})
}

// from returns the release to compare another with: the one that is asked for, or the one before it.
func (s *server) from(ctx context.Context, to catalog.Release, id string) (catalog.Release, error) {
	if id == "" {
		before, _, err := s.store.List(ctx, catalog.Filter{Name: to.Name, Arch: to.Arch, Kind: to.Kind, Cursor: catalog.After(to), Limit: 1})
		if err != nil {
			return catalog.Release{}, err
		}
		if len(before) == 0 {
			return catalog.Release{}, fault.Newf(fault.Missing, "release %s is the first of its image", to.ID)
		}
		id = before[0].ID
	}
	return s.store.Get(ctx, id)
}

func (s *server) apiDocument(r *query) (*answer, error) {
	d, body, err := s.store.Document(r.Context(), r.PathValue("id"), r.PathValue("document"))
	if err != nil {
		return nil, err
	}
	a := &answer{status: http.StatusOK, kind: d.Type, cache: cacheShort, body: body}
	if kind, _, _ := mime.ParseMediaType(d.Type); kind != "text/plain" && kind != jsonKind && kind != "image/png" {
		a.kind = "application/octet-stream" // nothing that a browser would run
		a.header = map[string][]string{"Content-Disposition": {fmt.Sprintf("attachment; filename=%q", d.Name)}}
	}
	return a, nil
}
