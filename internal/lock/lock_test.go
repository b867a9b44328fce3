package lock

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ingot/internal/fault"
)

func sample() *Lock {
	return &Lock{
		Version: Version, Recipe: "x", Distro: "debian", Release: "bookworm", Arch: "x86_64", Format: "deb", Asked: "a",
		Date:    time.Date(2026, 11, 21, 2, 10, 46, 0, time.UTC),
		Indexes: []Index{{Repository: "main", Path: "dists/x/InRelease", SHA256: strings.Repeat("0", 64), Signers: []string{"AB"}}},
		Packages: []Package{
			{Name: "a", Version: "1:1-1", Arch: "all", Repository: "main", Path: "pool/a.deb", Size: 1, SHA256: strings.Repeat("1", 64)},
			{Name: "b", Version: "2", Arch: "amd64", Repository: "main", Path: "pool/b.deb", Size: 2, SHA256: strings.Repeat("2", 64), Explicit: true},
		},
	}
}

func TestRoundTrip(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.lock")
	l := sample()
	if err := l.Write(path); err != nil {
		t.Fatal(err)
	}
	got, err := Read(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(l, got); d != "" {
		t.Error(d)
	}
	if got.Digest() != l.Digest() {
		t.Error("the digest did not survive")
	}
}

func TestBuilds(t *testing.T) {
	l := sample()
	// One of the tools is called as a package, but is of another repository.
	l.Tools = []Package{{Name: "a", Version: "2", Arch: "all", Repository: Built, Path: "a", Size: 1, SHA256: strings.Repeat("3", 64)}, {Name: "c", Version: "1", Arch: "any", Repository: Built, Path: "c", Size: 1, SHA256: strings.Repeat("3", 64)}}
	l.Builds = []Build{{Name: "x", Tree: []string{"main/a", "aur/a", "aur/c"}, Packages: []string{"b"}, Date: l.Date}}
	got, err := Parse(l.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(l, got); d != "" {
		t.Error(d)
	}
	if got.Find("aur/c") != &got.Tools[1] || got.Find("main/a") != &got.Packages[0] || got.Find("main/c") != nil {
		t.Error("Find finds the wrong package")
	}
}

func TestModules(t *testing.T) {
	l := sample()
	tool := Package{Name: "gcc", Version: "4.4", Arch: "x86_64", Repository: "main", Path: "gcc", Size: 1, SHA256: strings.Repeat("3", 64)}
	l.Tools = []Package{{Name: "c", Version: "1", Arch: "any", Repository: Built, Path: "c", Size: 1, SHA256: strings.Repeat("3", 64)}, tool}
	l.Modules = []Module{{Name: "ena", Kernel: "2.6.32-431.el6", Tree: []string{"main/a", "main/gcc"},
		Source: Source{Name: "ena.tar.gz", URL: "https://host/ena.tar.gz", SHA256: strings.Repeat("4", 64)}, Patches: []Source{{Name: "p", SHA256: strings.Repeat("5", 64)}}}}
	got, err := Parse(l.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(l, got); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(append(slices.Clone(l.Packages), tool), got.Installed()); d != "" {
		t.Error(d)
	}
}

func TestParseRefuses(t *testing.T) {
	source := Source{Name: "x", SHA256: strings.Repeat("4", 64)}
	for name, change := range map[string]func(*Lock){
		"another version":   func(l *Lock) { l.Version = 2 },
		"no checksum":       func(l *Lock) { l.Packages[0].SHA256 = "12" },
		"no size":           func(l *Lock) { l.Packages[0].Size = 0 },
		"negative size":     func(l *Lock) { l.Packages[0].Size = -1 },
		"no path":           func(l *Lock) { l.Packages[1].Path = "" },
		"a package twice":   func(l *Lock) { l.Packages[1] = l.Packages[0] },
		"a tool twice":      func(l *Lock) { l.Tools = l.Packages[:1] },
		"an unknown tool":   func(l *Lock) { l.Builds = []Build{{Name: "x", Tree: []string{"main/a", "main/c"}}} },
		"a module's tool":   func(l *Lock) { l.Modules = []Module{{Name: "x", Tree: []string{"main/c"}, Source: source}} },
		"a module's source": func(l *Lock) { l.Modules = []Module{{Name: "x", Source: Source{Name: "x", SHA256: "12"}}} },
		"a module's patch":  func(l *Lock) { l.Modules = []Module{{Name: "x", Source: source, Patches: []Source{{Name: "x"}}}} },
		"a nameless record": func(l *Lock) { l.Packages[1].Name = "" },
	} {
		l := sample()
		change(l)
		if _, err := Parse(l.Bytes()); err == nil {
			t.Errorf("%s passed", name)
		}
	}
	if _, err := Parse([]byte(`{"version":1,"surprise":1}`)); err == nil {
		t.Error("an unknown field passed")
	}
	if _, err := Parse(append(sample().Bytes(), "{}\n"...)); err == nil {
		t.Error("a second lock behind the first passed")
	}
	path := filepath.Join(t.TempDir(), "x.lock")
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(path); fault.KindOf(err) != fault.Input {
		t.Errorf("garbage: %v", err)
	}
}

func TestFollows(t *testing.T) {
	old := sample()
	old.Indexes[0].Date = old.Date
	for name, tc := range map[string]struct {
		change func(*Index)
		ok     bool
	}{
		"the same":           {func(*Index) {}, true},
		"newer":              {func(i *Index) { i.Date = i.Date.Add(time.Hour) }, true},
		"older":              {func(i *Index) { i.Date = i.Date.Add(-time.Second) }, false},
		"another repository": {func(i *Index) { i.Date, i.Repository = time.Time{}, "other" }, true},
		"another suite":      {func(i *Index) { i.Date, i.Path = time.Time{}, "dists/y/InRelease" }, true},
	} {
		next := sample()
		next.Indexes = slices.Clone(old.Indexes)
		tc.change(&next.Indexes[0])
		if err := next.Follows(old); (err == nil) != tc.ok || err != nil && fault.KindOf(err) != fault.Trust {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(sample().Bytes())
	f.Fuzz(func(t *testing.T, data []byte) {
		l, err := Parse(data)
		if err != nil {
			return
		}
		if _, err := Parse(l.Bytes()); err != nil {
			t.Errorf("what was read cannot be read again: %v", err)
		}
	})
}

func TestGoesForward(t *testing.T) {
	of := func(repository, version string) *Lock {
		return &Lock{Packages: []Package{{Name: "a", Version: version, Repository: repository}, {Name: "b", Version: "1", Repository: "r"}}}
	}
	for _, tc := range []struct {
		now, old *Lock
		ok       bool
	}{
		{of("r", "2"), of("r", "1"), true},
		{of("r", "2"), of("r", "2"), true},
		{of("r", "1"), of("r", "2"), false},
		{of("other", "1"), of("r", "2"), true},
		{of("r", "1"), &Lock{}, true},
	} {
		err := tc.now.GoesForward(tc.old, strings.Compare, nil)
		if (err == nil) != tc.ok || err != nil && (fault.KindOf(err) != fault.Trust || !strings.Contains(err.Error(), "a 1 of repository r is older than 2")) {
			t.Errorf("%v after %v: %v", tc.now.Packages, tc.old.Packages, err)
		}
	}
	// A package that others are built with may be older than the image's own, which counts all the same.
	for _, repository := range []string{"r", "other"} {
		old := of("r", "2")
		old.Tools = []Package{{Name: "a", Version: "0", Repository: repository}}
		if err := of("r", "1").GoesForward(old, strings.Compare, nil); fault.KindOf(err) != fault.Trust {
			t.Errorf("with an older tool of repository %s: %v", repository, err)
		}
	}
	every := func(string, string) bool { return true }
	if err := of("other", "1").GoesForward(of("r", "2"), strings.Compare, every); fault.KindOf(err) != fault.Trust {
		t.Errorf("between repositories that are alike: %v", err)
	}
}
