package web

import (
	"encoding/json"
	"net/http"

	"ingot/internal/catalog"
)

// page is a page of releases, and the answer to /latest, which is whole.
type page struct {
	Releases []catalog.Release `json:"releases"`
	Next     string            `json:"next,omitempty"` // the cursor parameter for the page after this one
}

// problem is an error as RFC 9457 has it.
type problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
}

func (s *server) apiLatest(w http.ResponseWriter, r *http.Request) {
	f, err := filter(r.URL.Query())
	if err == nil {
		var p page
		if p.Releases, err = s.store.Latest(r.Context(), f); err == nil {
			s.json(w, r, p.whole())
			return
		}
	}
	s.problem(w, r, err)
}

func (s *server) apiList(w http.ResponseWriter, r *http.Request) {
	f, err := filter(r.URL.Query())
	if err == nil {
		var p page
		if p.Releases, p.Next, err = s.store.List(r.Context(), f); err == nil {
			s.json(w, r, p.whole())
			return
		}
	}
	s.problem(w, r, err)
}

func (s *server) apiGet(w http.ResponseWriter, r *http.Request) {
	release, err := s.store.Get(r.Context(), r.PathValue("id"))
	if err != nil {
		s.problem(w, r, err)
		return
	}
	s.json(w, r, release)
}

// whole has a list of releases even where there are none.
func (p page) whole() page {
	if p.Releases == nil {
		p.Releases = []catalog.Release{}
	}
	return p
}

func (s *server) json(w http.ResponseWriter, r *http.Request, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		s.problem(w, r, err)
		return
	}
	w.Header().Set("Access-Control-Allow-Origin", "*") // any site may read what is public
	answer{http.StatusOK, "application/json", cacheShort, append(body, '\n')}.send(w, r)
}

func (s *server) problem(w http.ResponseWriter, r *http.Request, err error) {
	status, detail := s.status(r, err)
	body, _ := json.Marshal(problem{"about:blank", http.StatusText(status), status, detail}) // strings and a number
	w.Header().Set("Access-Control-Allow-Origin", "*")
	answer{status, "application/problem+json", cacheNever, append(body, '\n')}.send(w, r)
}
