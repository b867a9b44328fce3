package pipeline

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ingot/internal/distro"
	"ingot/internal/fault"
	"ingot/internal/fetch"
	"ingot/internal/lock"
	"ingot/internal/progress"
	"ingot/internal/recipe"
	"ingot/internal/workshop"
)

// mirrored is a distribution of which only the mirror matters.
type mirrored struct {
	distro.Distribution
	mirror string
}

func (m mirrored) Mirrors(*recipe.Recipe) map[string][]string {
	return map[string][]string{"main": {m.mirror}}
}

// lay writes files and returns their folder.
func lay(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestLuggage(t *testing.T) {
	const (
		a = "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb" // SHA-256 of a
		b = "3e23e8160039594a33894f6564e1b1348bbd7a0088d42c4acb73eeaed59c009d" // of b
	)
	dir := lay(t, map[string]string{
		"base.yaml": "distro: arch\n", "fix.patch": "a", "pkg/PKGBUILD": "pkgname=x\n", "mirror/a.pkg": "a", "x.lock": "",
		"r.yaml": `include: [base.yaml]
name: x
aur: [{name: x, directory: pkg}]
modules: [{name: ena, source: "https://example.org/b.tar.gz", sha256: ` + b + `, patches: [{source: fix.patch}]}]
`})
	if err := os.Symlink("PKGBUILD", filepath.Join(dir, "pkg/link")); err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	all, err := recipe.Load("r.yaml", nil)
	if err != nil {
		t.Fatal(err)
	}
	cache := filepath.Join(dir, "cache")
	client, err := fetch.New(fetch.Options{Dir: filepath.Join(cache, "downloads"), Offline: true})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if _, _, err := client.Put(t.Context(), strings.NewReader("b"), 1); err != nil {
		t.Fatal(err)
	}
	l := &lock.Lock{
		Packages: []lock.Package{{Name: "a", Arch: "any", Repository: "main", Path: "a.pkg", Size: 1, SHA256: a}},
		Modules: []lock.Module{{Name: "ena", Source: lock.Source{Name: "b.tar.gz", URL: "https://example.org/b.tar.gz", SHA256: b},
			Patches: []lock.Source{{Name: "fix.patch", SHA256: a}}}},
	}
	f := &Foundry{Cache: cache, Fetch: client}
	got, err := f.luggage(t.Context(), mirrored{mirror: "file://" + dir + "/mirror"}, all[0], l)
	if err != nil {
		t.Fatal(err)
	}
	object := func(sum string) workshop.File {
		return workshop.File{To: "/var/lib/ingot/cache/downloads/sha256/" + sum[:2] + "/" + sum, From: filepath.Join(cache, "downloads/sha256", sum[:2], sum)}
	}
	here := func(name string) workshop.File { return workshop.File{To: filepath.Join(dir, name), From: name} }
	link := here("pkg/link")
	link.Link = "PKGBUILD"
	want := []workshop.File{here("base.yaml"), here("fix.patch"), here("pkg/PKGBUILD"), link, here("r.yaml"), here("x.lock"),
		object(b), object(a), {To: "/var/lib/ingot/ingot", From: "/proc/self/exe"}}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}

	l.Packages[0].SHA256 = b[:63] + "0"
	if _, err := f.luggage(t.Context(), mirrored{mirror: "https://example.org"}, all[0], l); fault.KindOf(err) != fault.Unreachable {
		t.Errorf("a package that cannot be had: %v", err)
	}
}

func TestRelay(t *testing.T) {
	for name, tc := range map[string]struct {
		text string
		kind fault.Kind
		want string // of the error, and its hint
	}{
		"done":     {`{"event":"result","value":{"name":"x","kind":7}}` + "\n", 0, ""},
		"failed":   {`{"event":"error","value":{"kind":"script","exit":7,"error":"it failed","hint":"mend it"}}` + "\n", fault.Script, "it failed|mend it"},
		"a defect": {`{"event":"error","value":{"kind":"new","error":"it failed"}}` + "\n", fault.Bug, "it failed|"},
		"cut off":  {`{"event":"err`, 0, ""},
		"no JSON":  {"panic: oh\n", 0, ""},
	} {
		var lines []string
		err := relay(strings.NewReader(`{"event":"begin","time":"2026-12-01T00:00:00Z","task":1,"name":"tree"}`+"\n"+`{"event":"output","task":1,"text":"hello"}`+"\n"+tc.text),
			func(e progress.Event) { lines = append(lines, string(e.Kind)+" "+e.Name+e.Text) })
		if d := cmp.Diff([]string{"begin tree", "output hello"}, lines); d != "" {
			t.Errorf("%s: %s", name, d)
		}
		if tc.want == "" && err != nil || tc.want != "" && (fault.KindOf(err) != tc.kind || err == nil || err.Error()+"|"+fault.HintOf(err) != tc.want) {
			t.Errorf("%s: %v of kind %v", name, err, fault.KindOf(err))
		}
	}
}

func TestBuildInsideRefuses(t *testing.T) {
	dir := t.TempDir()
	host := &Artifact{Dir: dir, Manifest: Manifest{Name: "host", Arch: "arm64"}}
	r := &recipe.Recipe{Name: "x", Arch: "x86_64"}
	f := &Foundry{}
	if _, _, err := f.BuildInside(context.Background(), host, r, filepath.Join(dir, "x"), LockOptions{}); fault.KindOf(err) != fault.Usage || !strings.Contains(err.Error(), "arm64") {
		t.Errorf("a machine of another architecture: %v", err)
	}
	host.Manifest.Arch = r.Arch
	if _, _, err := f.BuildInside(context.Background(), host, r, dir, LockOptions{}); fault.KindOf(err) != fault.Usage || !strings.Contains(fault.HintOf(err), "--machine") {
		t.Errorf("an image that would make itself: %v", err)
	}
	r.Scripts = []recipe.Script{{Run: "true"}, {Run: "true", Network: true}}
	if _, _, err := f.BuildInside(context.Background(), host, r, filepath.Join(dir, "x"), LockOptions{}); fault.KindOf(err) != fault.Input || !strings.Contains(err.Error(), "scripts.1.network") {
		t.Errorf("a script that uses the network: %v", err)
	}
}
