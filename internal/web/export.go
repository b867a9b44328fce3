package web

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/google/renameio/v2"

	"ingot/internal/catalog"
	"ingot/internal/fault"
)

// Exported says what an export came to.
type Exported struct {
	Files   int // that the folder has
	Written int // of these, since they were not there or had other content
	Removed int // that nothing stands for any more
}

// Export writes pages and JSON into a folder, for any web server that takes index.html and index.json for the index of a
// folder. A file that is as it should be is not touched, and files of the export before that nothing stands for any more are
// removed: dir must be empty or one that Export made. A dry export changes nothing, and says what it would come to.
func Export(ctx context.Context, store catalog.Store, o Options, dir string, dry bool) (Exported, error) {
	o.static = true
	e := &export{ctx: ctx, root: dir, dry: dry, seen: make(map[string]bool), handler: Handler(store, o)}
	if err := e.claim(); err != nil {
		return Exported{}, err
	}
	if err := e.write(store); err != nil {
		return Exported{}, fmt.Errorf("exporting the catalogue to %s: %w", dir, err)
	}
	err := e.sweep()
	e.done.Files = len(e.seen)
	return e.done, err
}

// exportMark is the file that says that a folder is an export's.
const exportMark = ".ingot-export"

type export struct {
	ctx     context.Context
	root    string
	dry     bool
	handler http.Handler
	seen    map[string]bool
	done    Exported
}

// claim makes the folder, or refuses one with other people's files.
func (e *export) claim() error {
	entries, err := os.ReadDir(e.root)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("exporting the catalogue: %w", err)
	}
	mark := filepath.Join(e.root, exportMark)
	if _, err := os.Stat(mark); err != nil && len(entries) > 0 {
		return fault.New(fault.Exists, fmt.Errorf("exporting the catalogue: %s holds files that are no export's", e.root), "choose an empty folder")
	}
	return e.put(exportMark, nil)
}

// put makes a file what it should be.
func (e *export) put(name string, body []byte) error {
	e.seen[name] = true
	full := filepath.Join(e.root, filepath.FromSlash(name))
	if have, err := os.ReadFile(full); err == nil && bytes.Equal(have, body) {
		return nil
	}
	if e.done.Written++; e.dry {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
		return err
	}
	return renameio.WriteFile(full, body, 0o644)
}

func (e *export) write(store catalog.Store) error {
	ids, places := []string{}, map[string]bool{}
	var documents []string
	for r, err := range catalog.All(e.ctx, store, catalog.Filter{}) {
		if err != nil {
			return err
		}
		ids = append(ids, r.ID)
		if r.Distro != archDistro || r.Kind != ebs {
			continue
		}
		for _, a := range r.AMIs {
			at := "/" + a.Region
			for _, p := range []string{at, at + "/" + r.Arch, at + "/" + r.Arch + "/" + kernel(r), at + "/" + r.Arch + "/" + kernel(r) + "/latest"} {
				places[p] = true
			}
		}
	}
	targets := []string{"/latest", "/v1/latest", "/v1/releases", "/v1/openapi.json", "/feed.atom", style.url, script.url, icon.url}
	for p := range places {
		targets = append(targets, p)
	}
	slices.Sort(targets)
	for _, id := range ids {
		at := "/v1/releases/" + id
		targets = append(targets, at, at+"/packages", at+"/history", at+"/diff")
		r, err := store.Get(e.ctx, id)
		if err != nil {
			return err
		}
		for _, d := range r.Documents {
			documents = append(documents, at+"/documents/"+d.Name)
		}
	}
	if err := e.page("/"); err != nil {
		return err
	}
	for _, id := range ids {
		if err := e.page("/releases/" + id); err != nil {
			return err
		}
	}
	for _, t := range append(append(targets, "/"), documents...) {
		if err := e.file(t, jsonKind, ""); err != nil {
			return err
		}
	}
	return nil
}

func (e *export) page(target string) error { return e.file(target, "text/html", "index.html") }

var hasExtension = regexp.MustCompile(`\.(json|atom|css|js|svg)$`)

// file writes what the server answers at a path. Lists are whole, not in pages.
func (e *export) file(target, accept, index string) error {
	query := ""
	if target == "/v1/releases" {
		query = "?limit=1000"
	}
	body, status, err := e.ask(target+query, accept)
	if status == http.StatusNotFound && strings.HasSuffix(target, "/diff") {
		return nil // the first release of an image has none
	}
	if err != nil {
		return err
	}
	if index == "" && !hasExtension.MatchString(target) && !strings.Contains(target, "/documents/") {
		index = "index.json"
	}
	name := path.Join(strings.TrimPrefix(target, "/"), index)
	return e.put(name, body)
}

func (e *export) ask(target, accept string) ([]byte, int, error) {
	u, err := url.ParseRequestURI(target)
	if err != nil {
		return nil, 0, err
	}
	r := (&http.Request{Method: http.MethodGet, URL: u, Header: http.Header{"Accept": {accept}}, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1}).WithContext(e.ctx)
	w := &recorder{header: make(http.Header)}
	e.handler.ServeHTTP(w, r)
	if w.status != http.StatusOK {
		return nil, w.status, fmt.Errorf("%s answers %d: %.200s", target, w.status, w.body.Bytes())
	}
	return w.body.Bytes(), w.status, nil
}

// recorder keeps an answer.
type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (w *recorder) Header() http.Header               { return w.header }
func (w *recorder) WriteHeader(status int)            { w.status = status }
func (w *recorder) Write(b []byte) (n int, err error) { return w.body.Write(b) }

// sweep removes what an export before had and this one has not.
func (e *export) sweep() error {
	var folders []string
	err := filepath.WalkDir(e.root, func(p string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) && p == e.root { // a dry one does not make it
			return nil
		}
		if err != nil {
			return err
		}
		name, err := filepath.Rel(e.root, p)
		switch {
		case err != nil:
			return err
		case d.IsDir():
			folders = append(folders, p)
		case !e.seen[filepath.ToSlash(name)]:
			if e.done.Removed++; !e.dry {
				return os.Remove(p)
			}
		}
		return nil
	})
	if e.dry {
		return err
	}
	for _, p := range slices.Backward(folders) {
		_ = os.Remove(p) // those that are empty
	}
	return err
}
