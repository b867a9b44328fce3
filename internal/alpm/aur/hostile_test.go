package aur_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ingot/internal/fault"
	"ingot/internal/recipe"
	"ingot/internal/tree"
)

// What a PKGBUILD tries, and what it must get.
func TestHostile(t *testing.T) {
	w := newWorld(t)
	host := strings.TrimPrefix(w.url, "http://")
	address, port, _ := strings.Cut(host, ":")
	secret := filepath.Join(w.dir, "secret")
	if err := os.WriteFile(secret, []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	w.aur("hostile", `pkgname=hostile
pkgver=1
pkgrel=1
arch=(any)
touch /etc/owned 2>/dev/null
try() { if "$@" 2>/dev/null; then echo "yes: $*"; else echo "no: $1"; fi >>/build/tried; }
connect() { exec 3<>/dev/tcp/`+address+"/"+port+`; }
see() { [ -e "`+secret+`" ]; }
build() {
	rm -f /build/tried
	try touch /etc/owned
	try touch /usr/bin/owned
	try touch /var/lib/pacman/owned
	try touch /dev/owned
	try see
	(try connect)
	try su -c true
	try sudo -n true
	try mount -t tmpfs x /mnt
	try unshare -Ur true
	try mknod /build/device b 8 0
	(setsid sleep 1000 & setsid setsid sleep 1000 &) >/dev/null 2>&1 </dev/null
	ln -s /etc /build/work/escape; mkdir -p /build/deep/a/b; ln -s / /build/deep/a/b/root
	chmod 000 /build/deep/a
}
package() { install -Dm644 /build/tried "$pkgdir/usr/share/tried"; }
`)
	// The tree to build in is there when the PKGBUILD is read, which tries the same.
	before := ""
	w.hear = func(line string) {
		if before == "" && strings.Contains(line, "Making package: hostile") {
			before = listing(t, w.tree())
		}
	}
	l := w.must()
	var want []string
	for _, what := range strings.Fields("touch touch touch touch see connect su sudo mount unshare mknod") {
		want = append(want, "no: "+what)
	}
	if got := w.contents(l, "hostile")["usr/share/tried"]; got != strings.Join(want, "\n")+"\n" {
		t.Errorf("it was let:\n%s", got)
	}
	w.nothingRuns("sleep 1000")
	if d := cmp.Diff(strings.Split(before, "\n"), strings.Split(listing(t, w.tree()), "\n")); before == "" || d != "" {
		t.Error("the tree that it was built in has changed:", d)
	}
	if left, _ := filepath.Glob(filepath.Join(w.cache, "aur", "work-*")); left != nil {
		t.Errorf("it has left %v", left)
	}
}

// tree is the one that PKGBUILDs are read in, and those built that need nothing else.
func (w *world) tree() string {
	w.t.Helper()
	trees, err := filepath.Glob(filepath.Join(w.cache, "aur", "tree-*[0-9a-f]"))
	if err != nil || len(trees) == 0 {
		w.t.Error("there is no tree", err)
		return "/nowhere"
	}
	oldest := trees[0]
	for _, root := range trees {
		if a, b := made(root), made(oldest); a.Before(b) {
			oldest = root
		}
	}
	return oldest
}

func made(root string) time.Time {
	info, err := os.Stat(filepath.Join(root, "build"))
	if err != nil {
		return time.Now()
	}
	return info.ModTime()
}

func (w *world) nothingRuns(command string) {
	w.t.Helper()
	if out, err := exec.Command("pgrep", "-fx", command).Output(); err == nil {
		w.t.Errorf("%s still runs: %s", command, out)
	}
}

// A build that multiplies ends when its time is over, with all that it has started.
func TestForkBomb(t *testing.T) {
	long(t)
	w := newWorld(t)
	w.aur("bomb", "pkgname=bomb\npkgver=1\npkgrel=1\narch=(any)\nbuild() { b() { sleep 1001 & b | b & }; b; sleep 1001; }\npackage() { :; }\n",
		func(a *recipe.AURPackage) { a.Timeout = "5s" })
	start := time.Now()
	w.refused(fault.Script, "its time is over")
	if d := time.Since(start); d > 2*time.Minute {
		t.Errorf("it took %s", d)
	}
	w.nothingRuns("sleep 1001")
}

// A build that is cancelled leaves nothing, and the next run starts it anew.
func TestCancel(t *testing.T) {
	long(t)
	w := newWorld(t)
	w.aur("long", "pkgname=long\npkgver=1\npkgrel=1\narch=(any)\nbuild() { echo here we are; sleep 1002; }\npackage() { :; }\n")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	w.ctx, w.hear = ctx, func(line string) {
		if line == "here we are" {
			cancel()
		}
	}
	if _, err := w.lock(); !errors.Is(err, context.Canceled) {
		t.Errorf("it ends with %v", err)
	}
	w.nothingRuns("sleep 1002")
	if left, _ := filepath.Glob(filepath.Join(w.cache, "aur", "work-*")); left != nil {
		t.Errorf("it has left %v", left)
	}
}

// listing is what a tree has, with times.
func listing(t *testing.T, root string) string {
	t.Helper()
	src, err := tree.Dir(root)
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	err = src.Walk(t.Context(), func(e tree.Entry) error {
		if filepath.Base(e.Path) != "policy-rc.d" { // the sandbox's own, as long as it is open
			all.WriteString(e.Path + " " + e.MTime.String() + "\n")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all.String()
}
