package test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"ingot/internal/transmutetest"
)

// growpart takes the place of the repository's package, which cloud-init depends on. The script beside it is the real one.
const growpart = `pkgname=growpart
pkgver=0.33
pkgrel=1
pkgdesc='Extend a partition'
arch=(any)
license=(GPL3)
depends=(bash gawk util-linux)
provides=(cloud-guest-utils)
conflicts=(cloud-guest-utils)
source=(growpart)
sha256sums=(SKIP)
check() { bash -n growpart; }
package() { install -Dm755 growpart "$pkgdir/usr/bin/growpart"; }
`

// netplan stands in for a package that is built with another one.
const netplan = `pkgname=netplan
pkgver=0.107
pkgrel=2
arch=(x86_64)
license=(GPL3)
depends=(bash systemd)
makedepends=(growpart)
backup=(etc/netplan/default.yaml)
build() { growpart --help >built-with; }
package() {
	install -Dm600 /dev/stdin "$pkgdir/etc/netplan/default.yaml" <<<'network: {version: 2}'
	install -Dm644 built-with "$pkgdir/usr/lib/netplan/built-with"
	echo "at $SOURCE_DATE_EPOCH, on $(uname -n), by $(id -un)" >"$pkgdir/usr/lib/netplan/built"
}
`

// pkgbuilds makes a git repository for each package that is to be built, as images used to take them from the AUR, and returns
// the recipe's part about them.
func pkgbuilds(t *testing.T, a *transmutetest.Arch) string {
	t.Helper()
	var b strings.Builder
	b.WriteString("aur:\n")
	for _, p := range []struct { // they have to be built the other way round
		name  string
		files map[string]string
	}{
		{"netplan", map[string]string{"PKGBUILD": netplan}},
		{"growpart", map[string]string{"PKGBUILD": growpart, "growpart": packaged(t, a, "cloud-guest-utils", "usr/bin/growpart")}},
	} {
		dir := t.TempDir()
		git := func(args ...string) string {
			cmd := exec.CommandContext(t.Context(), "git", append([]string{"-C", dir, "-c", "user.name=test", "-c", "user.email=test@example.org"}, args...)...)
			cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_COMMITTER_DATE=2023-05-06T07:08:09Z", "GIT_AUTHOR_DATE=2023-05-06T07:08:09Z")
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("git %v: %v: %s", args, err, out)
			}
			return strings.TrimSpace(string(out))
		}
		git("init", "-q")
		for file, text := range p.files {
			if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		git("add", "-A")
		git("commit", "-q", "-m", p.name)
		fmt.Fprintf(&b, "  - {name: %s, url: %q, commit: %s}\n", p.name, dir, git("rev-parse", "HEAD"))
	}
	return b.String()
}

// packaged returns a file of a package.
func packaged(t *testing.T, a *transmutetest.Arch, name, file string) string {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(a.Dir, "*/os/x86_64", name+"-[0-9]*.pkg.tar.*[^g]"))
	if err != nil || len(all) == 0 {
		t.Fatalf("there is no package %s: %v", name, err)
	}
	files, err := transmutetest.Contents(all[0])
	if err != nil || files[file] == "" {
		t.Fatalf("%s: looking for %s: %v", all[0], file, err)
	}
	return files[file]
}
