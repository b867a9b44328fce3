// Package web serves the catalogue to people and programs: pages rendered on the server that work without
// JavaScript, and JSON. Everything is read-only and public. endpoints has all paths; /v1/openapi.json describes
// those for programs, and docs/api.md tells their users.
//
// An answer is made once and kept until the catalogue changes, which is looked for ten times a second.
//
// JSON answers are objects, so that members can be added; errors are problem details (RFC 9457).
package web

import (
	"errors"
	"net/http"
	"time"

	"ingot/internal/catalog"
	"ingot/internal/fault"
)

// ServerName is what the Server header of /healthz says. The others do without one: net/http pays for each header, and for
// more than eight it pays more (a map of Go has room for eight at first).
const ServerName = "ingot"

// Options says how to serve. All of them may be left out.
type Options struct {
	Title   string                     // of the site; default "ingot"
	Version string                     // of this program, for the metrics
	Runs    Runs                       // the factory's journal: its pages; nil for none
	Failed  func(*http.Request, error) // told of each request that failed for a reason of ours

	static bool // the pages stand on a server that knows nothing of queries
}

type server struct {
	store   catalog.Store
	o       Options
	cache   cache
	metrics metrics
}

const (
	jsonKind = "application/json"
	pageKind = "text/html; charset=utf-8"
	textKind = "text/plain; charset=utf-8"
)

var selection = append([]string{"state", "package", "package_version", "limit", "cursor"}, filters...)

// endpoints lists all there is.
func endpoints() []*endpoint {
	return []*endpoint{
		{path: "/{$}", id: "root", summary: "All AMIs of Arch Linux images, newest first; for browsers, the page", answer: (*server).root, kind: jsonKind, of: archAMIs{}, query: filters},
		{path: "/latest", id: "archLatest", summary: "The newest AMI of each Arch Linux image in each region", answer: (*server).archLatest, kind: jsonKind, of: archAMIs{}},
		{path: "/{region}", id: "archRegion", summary: "The AMIs of Arch Linux images in a region, newest first", answer: (*server).arch, kind: jsonKind, of: archAMIs{}},
		{path: "/{region}/{arch}", id: "archRegionArch", summary: "These of an architecture", answer: (*server).arch, kind: jsonKind, of: archAMIs{}},
		{path: "/{region}/{arch}/{type}", id: "archRegionArchType", summary: "These of a kernel", answer: (*server).arch, kind: jsonKind, of: archAMIs{}},
		{path: "/{region}/{arch}/{type}/latest", id: "archRegionArchTypeLatest", summary: "The newest of these", answer: (*server).archLatest, kind: jsonKind, of: archAMIs{}},

		{path: "/v1/latest", id: "latest", summary: "The newest release of each image that can be used, with its AMIs", query: append([]string{"state"}, filters...), answer: (*server).apiLatest, kind: jsonKind, of: page{}},
		{path: "/v1/releases", id: "releases", summary: "All releases, newest first, in pages", query: selection, answer: (*server).apiList, kind: jsonKind, of: page{}},
		{path: "/v1/releases/{id}", id: "release", summary: "One release with all that is known about it", answer: (*server).apiGet, kind: jsonKind, of: catalog.Release{}},
		{path: "/v1/releases/{id}/packages", id: "packages", summary: "The packages of a release", answer: (*server).apiPackages, kind: jsonKind, of: packageList{}},
		{path: "/v1/releases/{id}/history", id: "history", summary: "The states of a release, with their times", answer: (*server).apiHistory, kind: jsonKind, of: history{}},
		{path: "/v1/releases/{id}/diff", id: "diff", summary: "How the packages of a release differ from those of another", query: []string{"from"}, answer: (*server).apiDiff, kind: jsonKind, of: difference{}},
		{path: "/v1/releases/{id}/documents/{document}", id: "document", summary: "A document of a release: its SBOM, the console of its boot test, its lock", answer: (*server).apiDocument, kind: "*/*"},
		{path: "/v1/openapi.json", id: "openapi", summary: "This description", answer: (*server).openapi, kind: jsonKind, of: map[string]any{}},
		{path: "/feed.atom", id: "feed", summary: "The newest releases as a feed (Atom)", answer: (*server).feed, kind: "application/atom+xml; charset=utf-8"},
		{path: "/healthz", id: "health", summary: "Whether the server runs", answer: (*server).health, kind: textKind, fresh: true},
		{path: "/readyz", id: "ready", summary: "Whether the catalogue can be read", answer: (*server).ready, kind: textKind, fresh: true},
		{path: "/metrics", id: "metrics", summary: "Figures for Prometheus", answer: (*server).figures, kind: "text/plain; version=0.0.4; charset=utf-8", fresh: true},

		{path: "/releases/{id}", id: "releasePage", query: []string{"q", "region"}, answer: (*server).release, kind: pageKind, page: true},
		{path: "/runs", id: "runsPage", answer: (*server).pipelines, kind: pageKind, page: true, fresh: true},
		{path: "/runs/{run}", id: "runPage", query: []string{"step"}, answer: (*server).run, kind: pageKind, page: true, fresh: true},
		{path: "/assets/{file}", id: "asset", answer: (*server).asset, page: true},
	}
}

// Handler serves a catalogue. Time limits on reading requests and writing answers are the business of the
// http.Server around it.
func Handler(store catalog.Store, o Options) http.Handler { return handler(store, o, time.Second/10) }

func handler(store catalog.Store, o Options, lookEvery time.Duration) http.Handler {
	if o.Title == "" {
		o.Title = "ingot"
	}
	if o.Failed == nil {
		o.Failed = func(*http.Request, error) {}
	}
	s := &server{store: store, o: o}
	s.cache.init(store, lookEvery)
	mux := http.NewServeMux()
	for _, e := range endpoints() {
		mux.Handle("GET "+e.path, s.handle(e))
	}
	mux.Handle("/", s.handle(&endpoint{id: "other", answer: (*server).other, fresh: true}))
	return mux
}

// errNotFound is for paths that nothing answers at.
var errNotFound = fault.New(fault.Missing, errors.New("there is no such page"), "")

// status returns the HTTP status for an error and the text that the client may read: the reason when it is
// about the request, nothing of our insides otherwise.
func (s *server) status(r *http.Request, err error) (int, string) {
	switch fault.KindOf(err) {
	case fault.Missing:
		if errors.Is(err, errNotFound) {
			return http.StatusNotFound, "There is no such page."
		}
		return http.StatusNotFound, "There is no such release, or it has not got that."
	case fault.Input:
		return http.StatusBadRequest, err.Error()
	}
	if r.Context().Err() == nil {
		s.o.Failed(r, err)
	}
	return http.StatusInternalServerError, "The catalogue cannot be read at the moment."
}

// other answers where nothing else does.
func (s *server) other(r *query) (*answer, error) {
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		return nil, errNotFound
	case http.MethodOptions: // a browser asks so before it sends If-None-Match from another site
		return &answer{status: http.StatusNoContent, header: map[string][]string{"Allow": allowed, "Access-Control-Allow-Methods": allowed,
			"Access-Control-Allow-Headers": {"*"}, "Access-Control-Max-Age": {"86400"}}}, nil
	}
	return &answer{status: http.StatusMethodNotAllowed, kind: textKind, cache: cacheNever, body: []byte("This service is read-only.\n"),
		header: map[string][]string{"Allow": allowed}}, nil
}

var allowed = []string{"GET, HEAD, OPTIONS"}

func (s *server) health(*query) (*answer, error) {
	return &answer{status: http.StatusOK, kind: textKind, cache: cacheNever, header: map[string][]string{"Server": {ServerName}}, body: []byte("ok\n")}, nil
}

func (s *server) ready(r *query) (*answer, error) {
	if _, _, err := s.store.List(r.Context(), catalog.Filter{Limit: 1}); err != nil {
		s.o.Failed(r.Request, err)
		return &answer{status: http.StatusServiceUnavailable, kind: textKind, cache: cacheNever, body: []byte("the catalogue cannot be read\n")}, nil
	}
	return &answer{status: http.StatusOK, kind: textKind, cache: cacheNever, body: []byte("ok\n")}, nil
}

// root answers browsers with the page, and programs with what the community's service has there.
func (s *server) root(r *query) (*answer, error) {
	var a *answer
	var err error
	if wantsPage(r.Header.Get("Accept")) {
		a, err = s.index(r)
	} else {
		a, err = s.arch(r)
	}
	if err == nil {
		a.vary = varyAccept
	}
	return a, err
}
