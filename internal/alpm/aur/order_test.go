package aur

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ingot/internal/alpm/archive"
	"ingot/internal/alpm/makepkg"
	"ingot/internal/fault"
	"ingot/internal/fetch"
	"ingot/internal/recipe"
	"ingot/internal/transmutetest"
)

// databases has the tools, and a library that needs the package "virtual" or what provides it.
func databases(t *testing.T) *archive.Databases {
	t.Helper()
	a, err := transmutetest.NewEmptyArch(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []transmutetest.Small{{Name: "base-devel"}, {Name: "git"}, {Name: "go"}, {Name: "library", Depends: []string{"virtual"}}, {Name: "repository-virtual", Provides: []string{"virtual"}}} {
		p.Version = "1-1"
		if _, err := a.Add("extra", p, nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := a.Update("extra"); err != nil {
		t.Fatal(err)
	}
	c, err := fetch.New(fetch.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	d, err := archive.Read(t.Context(), c, archive.Ask{Keyring: "archlinux-keyring", Masters: a.MasterFingerprints(), Repositories: []archive.Repository{
		{Name: "core", Mirrors: archive.Servers(a.Mirrors(), "core", "x86_64")}, {Name: "extra", Mirrors: archive.Servers(a.Mirrors(), "extra", "x86_64")},
	}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestOrder(t *testing.T) {
	d := databases(t)
	for name, c := range map[string]struct {
		packages []string // name: lines of a .SRCINFO
		want     string   // name(what its tree is to have)
		fails    string
	}{
		"as they stand":      {[]string{"b:", "a:"}, "b() a()", ""},
		"by need":            {[]string{"a:makedepends = b>=9", "b:depends = c", "c:"}, "c() b(c) a(b c)", ""},
		"at run time alone":  {[]string{"a:makedepends = b", "b:", "c:depends = a"}, "b() a(b) c(a)", ""},
		"tests count":        {[]string{"a:checkdepends = b", "b:"}, "b() a(b)", ""},
		"through others":     {[]string{"a:makedepends = library", "virtual:"}, "virtual() a(virtual)", ""},
		"with what provides": {[]string{"a:makedepends = library", "b:provides = virtual"}, "b() a(b)", ""},
		"not with itself":    {[]string{"go:makedepends = go"}, "go()", ""},
		"nor what it makes":  {[]string{"a:makedepends = library|provides = virtual"}, "a()", ""},
		"circle":             {[]string{"x:", "a:makedepends = b", "b:makedepends = c", "c:makedepends = a"}, "", "a needs b needs c needs a"},
		"twice":              {[]string{"a:", "b:pkgname = a"}, "", "both a and b make the package a"},
		"not there":          {[]string{"a:makedepends = nothing"}, "", "nothing"},
	} {
		t.Run(name, func(t *testing.T) {
			var items []*item
			for _, p := range c.packages {
				name, lines, _ := strings.Cut(p, ":")
				text := "pkgbase = " + name + "\npkgver = 1\npkgrel = 1\narch = any\n"
				own := ""
				for _, line := range strings.Split(lines, "|") {
					if strings.HasPrefix(line, "pkgname") {
						own += line + "\n"
					} else if line != "" {
						text += line + "\n"
					}
				}
				info, err := makepkg.ParseInfo([]byte(text+"pkgname = "+name+"\n"+own), "x86_64")
				if err != nil {
					t.Fatal(err)
				}
				items = append(items, &item{AURPackage: recipe.AURPackage{Name: name}, info: info})
			}
			b := &Builder{Arch: "x86_64", Cache: filepath.Join(t.TempDir(), "none")}
			sorted, err := b.order(t.Context(), d, items)
			if c.fails != "" {
				if err == nil || !strings.Contains(err.Error(), c.fails) {
					t.Errorf("got %v", err)
				}
				if name == "circle" && fault.KindOf(err) != fault.Input {
					t.Errorf("kind %s", fault.KindOf(err))
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, n := range sorted {
				var needs []string
				for _, other := range n.needs {
					needs = append(needs, other.Name)
				}
				slices.Sort(needs)
				got = append(got, n.Name+"("+strings.Join(needs, " ")+")")
			}
			if text := strings.Join(got, " "); text != c.want {
				t.Errorf("got %s, want %s", text, c.want)
			}
		})
	}
}
