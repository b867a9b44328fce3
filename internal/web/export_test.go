package web

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ingot/internal/catalog"
	"ingot/internal/catalog/catalogtest"
	"ingot/internal/fault"
)

// A plain file server answers with the export as the program does.
func TestExport(t *testing.T) {
	store, h := community(t)
	one := catalogtest.Image("arch-std", "x86_64", 15)
	if err := store.PutDocument(t.Context(), one.ID, catalog.Document{Name: catalog.Console, Type: "text/plain"}, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "site")
	would, err := Export(t.Context(), store, Options{}, dir, true)
	if _, e := os.Stat(dir); err != nil || e == nil {
		t.Errorf("a dry export made the folder, or failed: %v", err)
	}
	first, err := Export(t.Context(), store, Options{}, dir, false)
	if err != nil || first.Files < 40 || first.Written != first.Files || first != would {
		t.Fatalf("%+v, dry %+v, %v", first, would, err)
	}
	files := http.FileServer(http.Dir(dir))
	static := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { // as `index index.html index.json` of nginx
		if p := filepath.Join(dir, r.URL.Path, "index.json"); !strings.HasSuffix(r.URL.Path, "/") {
			if text, err := os.ReadFile(p); err == nil {
				_, _ = w.Write(text)
				return
			}
		}
		files.ServeHTTP(w, r)
	})
	for _, target := range []string{"/latest", "/us-east-1", "/us-east-1/x86_64/std/latest", "/v1/latest", "/v1/releases", "/v1/releases/" + one.ID, "/v1/releases/" + one.ID + "/diff",
		"/v1/releases/" + one.ID + "/documents/console.log", "/v1/openapi.json", "/feed.atom", style.url, script.url} {
		want := ask(t, h, "GET", target)
		w := httptest.NewRecorder()
		static.ServeHTTP(w, httptest.NewRequest(http.MethodGet, target, nil))
		if w.Code != http.StatusOK || w.Body.String() != want.body {
			t.Errorf("%s: %d, %.100q instead of %.100q", target, w.Code, w.Body, want.body)
		}
	}
	for _, target := range []string{"/", "/releases/" + one.ID + "/"} {
		w := httptest.NewRecorder()
		static.ServeHTTP(w, httptest.NewRequest(http.MethodGet, target, nil))
		if w.Code != http.StatusOK || !strings.Contains(w.Body.String(), "arch-std") || !strings.Contains(w.Body.String(), "data-static") {
			t.Errorf("%s: %d", target, w.Code)
		}
	}

	// The next one replaces the changed files and removes what is gone.
	stray := filepath.Join(dir, "v1", "releases", "gone", "index.json")
	before, err := os.Stat(filepath.Join(dir, "v1", "releases", one.ID, "index.json"))
	if err := os.MkdirAll(filepath.Dir(stray), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(stray, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, dry := range []bool{true, false} {
		again, err := Export(t.Context(), store, Options{}, dir, dry)
		if want := (Exported{Files: first.Files, Removed: 1}); err != nil || again != want {
			t.Errorf("dry %v: %+v, %v", dry, again, err)
		}
		if _, err := os.Stat(filepath.Dir(stray)); (err == nil) != dry {
			t.Errorf("dry %v: what is gone: %v", dry, err)
		}
	}
	if after, e := os.Stat(filepath.Join(dir, "v1", "releases", one.ID, "index.json")); err != nil || e != nil || !os.SameFile(before, after) {
		t.Errorf("an unchanged file was written again: %v, %v", err, e)
	}

	// Other people's files are safe.
	other := t.TempDir()
	if err := os.WriteFile(filepath.Join(other, "thesis.txt"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Export(t.Context(), store, Options{}, other, false); fault.KindOf(err) != fault.Exists {
		t.Errorf("%v", err)
	}
}
