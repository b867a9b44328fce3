package aur_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"ingot/internal/fault"
	"ingot/internal/lock"
	"ingot/internal/recipe"
)

// growpart is as the AUR had it: one script from a tarball, here a plain file.
func (w *world) growpart() *recipe.AURPackage {
	url, sum := w.serve("growpart-0.31", "#!/bin/sh\necho grown\n")
	return w.aur("growpart", `pkgname=growpart
pkgver=0.31
pkgrel=1
pkgdesc='Grow a partition'
arch=(any)
url='https://example.org'
license=(GPL3)
depends=(bash 'gawk>=4')
source=('`+url+`')
sha256sums=('`+sum+`')
package() {
	install -Dm755 growpart-0.31 "$pkgdir/usr/bin/growpart"
}
`)
}

// netplan stands in for a package of many files that is built with another one from a PKGBUILD.
func (w *world) netplan() {
	w.aur("netplan", `pkgname=netplan
pkgver=1.1
pkgrel=3
epoch=1
arch=(x86_64)
license=(GPL3)
depends=(bash)
makedepends=('fakeyaml>=2')
checkdepends=(fakeyaml)
optdepends=('iproute2: for everything')
backup=(etc/netplan/default.yaml)
build() { fakeyaml netplan >generated.yaml; }
check() { [ "$(cat generated.yaml)" = "yaml of netplan" ]; }
package() {
	install -Dm600 generated.yaml "$pkgdir/etc/netplan/default.yaml"
	for i in 1 2 3; do install -Dm644 /dev/null "$pkgdir/usr/lib/netplan/$i"; done
	install -dm755 "$pkgdir/usr/bin"
	ln -s ../lib/netplan/1 "$pkgdir/usr/bin/netplan"
}
`)
	w.aur("fakeyaml", `pkgname=fakeyaml
pkgver=1
pkgrel=1
arch=(any)
depends=(bash)
pkgver() { echo 2.5; }
package() {
	printf '#!/bin/bash\necho yaml of "$@"\n' >y
	install -Dm755 y "$pkgdir/usr/bin/fakeyaml"
}
`, func(a *recipe.AURPackage) { a.Dependency = true })
}

// pair makes two packages of a folder beside the recipe.
func (w *world) pair() {
	w.write("pkgs/pair", map[string]string{"PKGBUILD": `pkgbase=pair
pkgname=(pair-one pair-two)
pkgver=7
pkgrel=1
arch=(any)
source=(common.txt)
sha256sums=(SKIP)
package_pair-one() { install -Dm644 common.txt "$pkgdir/usr/share/one"; }
package_pair-two() { depends=(pair-one); install -Dm644 common.txt "$pkgdir/usr/share/two"; }
`, "common.txt": "common\n"})
	w.recipe.AUR = append(w.recipe.AUR, recipe.AURPackage{Name: "pair-one", Directory: "pkgs/pair"})
}

// Packages that need each other, of several from one PKGBUILD, are built in order; and another machine that has nothing
// but the lock gets the same bytes.
func TestBuild(t *testing.T) {
	long(t)
	w := newWorld(t)
	w.netplan()
	w.pair()
	a := w.growpart()
	l := w.must("pair-two")
	var order []string
	for _, b := range l.Builds {
		order = append(order, b.Name)
	}
	if want := []string{"fakeyaml", "netplan", "pair-one", "growpart"}; !slices.Equal(order, want) {
		t.Errorf("built in the order %v, want %v", order, want)
	}
	for _, c := range []struct{ name, version, arch, file, content, origin string }{
		{"netplan", "1:1.1-3", "x86_64", "etc/netplan/default.yaml", "yaml of netplan\n", "netplan#" + w.recipe.AUR[0].Commit},
		{"fakeyaml", "2.5-1", "any", "usr/bin/fakeyaml", "#!/bin/bash\necho yaml of \"$@\"\n", "fakeyaml#" + w.recipe.AUR[1].Commit},
		{"pair-one", "7-1", "any", "usr/share/one", "common\n", "pair-one#" + l.Builds[2].Content},
		{"pair-two", "7-1", "any", "usr/share/two", "common\n", "pair-one#" + l.Builds[2].Content},
		{"growpart", "0.31-1", "any", "usr/bin/growpart", "#!/bin/sh\necho grown\n", "growpart#" + a.Commit},
	} {
		p := l.Find("aur/" + c.name)
		if p == nil {
			t.Fatalf("the lock has no %s", c.name)
		}
		if p.Version != c.version || p.Arch != c.arch || p.Source != c.origin || p.Path != c.name+"-"+c.version+"-"+c.arch+".pkg.tar.zst" {
			t.Errorf("the lock has %+v", p)
		}
		if got := w.contents(l, c.name)[c.file]; got != c.content {
			t.Errorf("%s: /%s is %q", c.name, c.file, got)
		}
		if explicit := c.name != "fakeyaml"; p.Explicit != explicit {
			t.Errorf("%s is explicit: %v", c.name, p.Explicit)
		}
	}
	for _, name := range []string{"fakeyaml", "fakeroot"} {
		if slices.ContainsFunc(l.Packages, func(p lock.Package) bool { return p.Name == name }) {
			t.Errorf("%s is to be installed, and not only a tool", name)
		}
	}
	b := l.Builds[3]
	if b.Commit != a.Commit || !slices.Equal(b.Packages, []string{"growpart"}) || b.Date.Format(time.RFC3339) != "2023-05-06T07:08:09Z" ||
		len(b.Sources) != 1 || b.Sources[0].SHA256 == "" || b.Sources[0].Size != 21 || !slices.Contains(b.Tree, "extra/git") || !slices.Contains(b.Tree, "core/fakeroot") {
		t.Errorf("the lock says that it was built so: %+v", b)
	}

	again := w.must("pair-two") // from the cache
	if string(again.Bytes()) != string(l.Bytes()) {
		t.Error("a second lock is another one")
	}
	if n := w.asked["/growpart-0.31"]; n != 1 {
		t.Errorf("the source was fetched %d times", n)
	}
	w.remake(l)
}

// remake builds packages of a lock again, here and on another machine.
func (w *world) remake(l *lock.Lock) {
	w.t.Helper()
	all, first := l.Packages, w.cache
	w.cache = filepath.Join(w.dir, "cache")
	l.Packages = slices.DeleteFunc(slices.Clone(all), func(p lock.Package) bool { return p.Repository == lock.Built && p.Name != "netplan" })
	if err := w.builder().Remake(w.t.Context(), l, w.mirrors()); err != nil {
		w.t.Fatal(err)
	}
	w.contents(l, "netplan")
	w.contents(l, "fakeyaml")
	w.cache, l.Packages = first, all

	if err := w.builder().Remake(w.t.Context(), l, nil); err != nil { // all is there
		w.t.Error(err)
	}
	p := l.Find("aur/growpart")
	p.SHA256 = strings.Repeat("0", 64) // as if it had come out so when the lock was written
	w.wants(w.builder().Remake(w.t.Context(), l, w.mirrors()), fault.Trust, "package growpart, built again from growpart#", "is not the same", "repeatable")
	p.SHA256 = strings.Repeat("0", 63) + "1"
	l.Builds[3].TreeDigest = ""
	w.wants(w.builder().Remake(w.t.Context(), l, w.mirrors()), fault.Input, "the lock contradicts itself")

	w.write("pkgs/pair", map[string]string{"common.txt": "changed\n"})
	w.forget(l, "pair-one")
	w.wants(w.builder().Remake(w.t.Context(), l, w.mirrors()), fault.Trust, "folder of its PKGBUILD has changed", "ingot lock --upgrade")
}

// forget takes a package out of the cache.
func (w *world) forget(l *lock.Lock, name string) {
	w.t.Helper()
	file, ok := w.client().Cached(l.Find("aur/" + name).SHA256)
	if !ok {
		w.t.Fatalf("%s is not in the cache", name)
	}
	os.Remove(file)
}

func TestFailures(t *testing.T) {
	const head = "pkgver=1\npkgrel=1\narch=(any)\n"
	for _, c := range []struct {
		name, pkgbuild string
		more           func(*recipe.AURPackage)
		kind           fault.Kind
		words          []string
	}{
		{"failing", "build() { echo making it; echo it is broken >&2; return 3; }\npackage() { :; }\n", nil, fault.Script,
			[]string{"building failing: makepkg: exit code", "making it", "it is broken", "the whole log is "}},
		{"syntax", "package() { if; }\n", nil, fault.Script, []string{"reading the PKGBUILD: makepkg --printsrcinfo: exit code", "syntax error"}},
		{"wrong-commit", "package() { :; }\n", func(a *recipe.AURPackage) { a.Commit = strings.Repeat("0", 39) + "1" }, fault.Missing,
			[]string{"fetching the PKGBUILD from wrong-commit", "there is no commit 0000000000000000000000000000000000000001"}},
		{"no-repository", "package() { :; }\n", func(a *recipe.AURPackage) { a.URL = "nowhere" }, fault.Missing, []string{"there is no git repository"}},
		{"unreachable", "package() { :; }\n", func(a *recipe.AURPackage) { a.URL = "http://127.0.0.1:1/x"; a.Commit = strings.Repeat("1", 40) }, fault.Unreachable,
			[]string{"fetching the PKGBUILD from http://127.0.0.1:1/x", "check the URL"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.name != "failing" {
				long(t)
			}
			w := newWorld(t)
			w.aur(c.name, "pkgname="+c.name+"\n"+head+c.pkgbuild)
			if c.more != nil {
				c.more(&w.recipe.AUR[0])
			}
			w.refused(c.kind, c.words...)
		})
	}
}

// What the PKGBUILD leaves open, the recipe may say.
func TestGivenSources(t *testing.T) {
	long(t)
	w := newWorld(t)
	url, sum := w.serve("open.txt", "open")
	commit := w.commit("upstream", map[string]string{"tool": "a tool\n"})
	w.git(filepath.Join(w.dir, "upstream"), "tag", "v1")
	w.commit("upstream", map[string]string{"tool": "moved on\n"})
	w.aur("given", `pkgname=given
pkgver=1
pkgrel=1
arch=(any)
source=('`+url+`' '`+url+`.sig' 'tool::git+`+w.url+`/git/upstream#tag=v1' 'pinned::git+`+w.url+`/git/upstream#commit=`+commit+`')
sha256sums=(SKIP SKIP SKIP SKIP)
sha256sums[1]=SKIP
pkgver() { cd pinned; git describe --tags; }
package() {
	install -Dm644 open.txt "$pkgdir/usr/share/open"
	install -Dm644 tool/tool "$pkgdir/usr/share/tool"
	[ ! -s open.txt.sig ]
}
`, func(a *recipe.AURPackage) {
		a.URL = w.url + "/git/given"
		a.Sources = map[string]string{"open.txt": sum, "tool": commit}
	})
	l := w.must()
	files := w.contents(l, "given")
	if files["usr/share/open"] != "open" || files["usr/share/tool"] != "a tool\n" {
		t.Errorf("it has %q", files)
	}
	if b := l.Builds[0]; len(b.Sources) != 3 || b.Sources[0].SHA256 != sum || b.Sources[1].Commit != commit || b.Sources[2].Commit != commit || b.URL != w.url+"/git/given" {
		t.Errorf("the lock has %+v", b)
	}
	if p := l.Find("aur/given"); p.Version != "v1-1" {
		t.Errorf("its version is %s", p.Version)
	}
}
