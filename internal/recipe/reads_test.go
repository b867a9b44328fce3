package recipe

import (
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestReads(t *testing.T) {
	path := write(t, map[string]string{
		"base.yaml":      "include: [more/base.yaml]\nkeys:\n  - {fingerprint: " + commit + ", file: overridden.asc}\n",
		"more/base.yaml": "description: x\n", "own.asc": "key", "fix.patch": "patch", "pkg/PKGBUILD": "pkgname=a\n", "more/a b": "",
		"r.yaml": `include: [base.yaml]
name: ${n}
matrix: {n: [x, y]}
distro: arch
keys:
  - {fingerprint: ` + commit + `, file: own.asc}
  - {fingerprint: ` + commit + `, file: carried.asc}
  - {fingerprint: ` + commit + `}
repositories:
  - {name: more, mirrors: ["https://example.org"], keys: [{fingerprint: ` + commit + `, file: own.asc}, {fingerprint: ` + commit + `, file: /etc/passwd}]}
files:
  - {path: /a, source: more/a b}
  - {path: /b, content: more/a b}
scripts: [{source: ../run}, {run: ./own.asc}]
aur:
  - {name: a, directory: pkg}
  - {name: b, url: ../b.git, commit: ` + commit + `}
modules:
  - {name: ena, source: ena.tar.gz, sha256: ` + sum + `, patches: [{source: fix.patch}]}
  - {name: far, source: "https://example.org/far.tar.gz", sha256: ` + sum + `}
`})
	all, err := Load(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Dir(path)
	files := []string{path}
	for _, name := range []string{"base.yaml", "more/base.yaml", "own.asc", "/etc/passwd", "more/a b", "../run", "ena.tar.gz", "fix.patch"} {
		if !filepath.IsAbs(name) {
			name = filepath.Join(dir, name)
		}
		files = append(files, name)
	}
	for _, r := range all {
		got, folders := r.Reads()
		if d := cmp.Diff(files, got); d != "" {
			t.Errorf("%s reads other files: %s", r.Name, d)
		}
		if d := cmp.Diff([]string{filepath.Join(dir, "pkg")}, folders); d != "" {
			t.Errorf("%s reads other folders: %s", r.Name, d)
		}
	}
}
