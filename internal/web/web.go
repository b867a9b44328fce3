// Package web serves the catalogue to people and programs: pages rendered on the server that work without
// JavaScript, and JSON. Everything is read-only and public.
//
//	GET /                    page: the newest AMIs, with filters
//	GET /releases/{id}       page: one release, its packages, AMIs and boot test
//	GET /latest              JSON: the newest release of each image, with its AMIs
//	GET /v1/releases         JSON: all releases, newest first, in pages
//	GET /v1/releases/{id}    JSON: one release with all that is known about it
//	GET /healthz             whether the catalogue can be read
//
// JSON answers are objects, so that members can be added; errors are problem details (RFC 9457).
package web

import (
	"net/http"
	"net/url"
	"strconv"

	"ingot/internal/catalog"
	"ingot/internal/fault"
)

// ServerName is what the Server header of every answer says.
const ServerName = "ingot"

// Options says how to serve. All of them may be left out.
type Options struct {
	Title  string                     // of the site; default "ingot"
	Failed func(*http.Request, error) // told of each request that failed for a reason of ours
}

type server struct {
	store catalog.Store
	o     Options
}

// Handler serves a catalogue. Time limits on reading requests and writing answers are the business of the
// http.Server around it.
func Handler(store catalog.Store, o Options) http.Handler {
	if o.Title == "" {
		o.Title = "ingot"
	}
	if o.Failed == nil {
		o.Failed = func(*http.Request, error) {}
	}
	s := &server{store, o}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", s.index)
	mux.HandleFunc("GET /releases/{id}", s.release)
	mux.HandleFunc("GET /latest", s.apiLatest)
	mux.HandleFunc("GET /v1/releases", s.apiList)
	mux.HandleFunc("GET /v1/releases/{id}", s.apiGet)
	mux.HandleFunc("GET /healthz", s.health)
	mux.HandleFunc("GET /assets/{name}", s.asset)
	mux.HandleFunc("/", s.notFound)
	return secure(mux)
}

// maxValue bounds a query parameter, in bytes. No name in the catalogue is as long.
const maxValue = 200

// filter reads the query parameters that select releases.
func filter(q url.Values) (catalog.Filter, error) {
	f := catalog.Filter{Distro: q.Get("distro"), Name: q.Get("name"), Arch: q.Get("arch"), Region: q.Get("region"),
		Kind: q.Get("kind"), State: q.Get("state"), Cursor: q.Get("cursor")}
	for name := range q {
		if len(q.Get(name)) > maxValue && name != "cursor" {
			return f, fault.Newf(fault.Input, "query parameter %.20q is longer than %d bytes", name, maxValue)
		}
	}
	if s := q.Get("limit"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 {
			return f, fault.Newf(fault.Input, "query parameter limit: %q is no number from 1 on", s)
		}
		f.Limit = n
	}
	return f, nil
}

// status returns the HTTP status for an error and the text that the client may read: the reason when it is
// about the request, nothing of our insides otherwise.
func (s *server) status(r *http.Request, err error) (int, string) {
	switch fault.KindOf(err) {
	case fault.Missing:
		return http.StatusNotFound, "There is no such release."
	case fault.Input:
		return http.StatusBadRequest, err.Error()
	}
	if r.Context().Err() == nil {
		s.o.Failed(r, err)
	}
	return http.StatusInternalServerError, "The catalogue cannot be read at the moment."
}

func (s *server) health(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if _, _, err := s.store.List(r.Context(), catalog.Filter{Limit: 1}); err != nil {
		s.o.Failed(r, err)
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = w.Write([]byte("the catalogue cannot be read\n"))
		return
	}
	_, _ = w.Write([]byte("ok\n"))
}
