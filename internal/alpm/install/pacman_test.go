package install

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"ingot/internal/alpm/alpmtest"
	"ingot/internal/tree"
	"ingot/internal/tree/treetest"
)

// pacman is the real one, working on a tree.
type pacman struct {
	t    testing.TB
	root string
	args []string
}

func newPacman(t testing.TB, root string, conf string) pacman {
	t.Helper()
	if _, err := exec.LookPath("pacman"); err != nil {
		t.Skip("pacman is not installed")
	}
	dir := t.TempDir()
	config := filepath.Join(dir, "pacman.conf")
	if err := os.WriteFile(config, []byte("[options]\nArchitecture = x86_64\n"+conf), 0o644); err != nil {
		t.Fatal(err)
	}
	return pacman{t, root, []string{"--root", root, "--dbpath", root + "/var/lib/pacman", "--cachedir", dir, "--config", config,
		"--gpgdir", dir, "--hookdir", root + "/etc/pacman.d/hooks", "--logfile", os.DevNull, "--noconfirm", "--color", "never"}}
}

func (p pacman) run(args ...string) (string, error) {
	if !strings.HasPrefix(args[0], "-Q") {
		args = append(args, "--noprogressbar")
	}
	cmd := exec.CommandContext(p.t.Context(), "pacman", append(args, p.args...)...)
	cmd.Env = append(os.Environ(), "TZ=UTC", "LC_ALL=C.UTF-8") // in the plain C locale, libarchive stops at the first name that is not ASCII
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (p pacman) must(args ...string) string {
	p.t.Helper()
	out, err := p.run(args...)
	if err != nil {
		p.t.Fatalf("pacman %v: %v\n%s", args, err, out)
	}
	return out
}

// pacmanTree installs packages with pacman, from a repository that it takes to be unsigned. It returns pacman's words.
func pacmanTree(t testing.TB, all []alpmtest.Package) (root, said string) {
	t.Helper()
	root, said, err := tryPacman(t, all)
	if err != nil {
		t.Fatalf("pacman: %v\n%s", err, said)
	}
	return root, said
}

func tryPacman(t testing.TB, all []alpmtest.Package) (root, said string, err error) {
	t.Helper()
	dir := t.TempDir()
	root = emptyRoot(t)
	p := newPacman(t, root, "SigLevel = Never\n[test]\nServer = file://"+dir+"\n")
	if err := alpmtest.WriteRepository(dir, "test", all, nil, false); err != nil {
		t.Fatal(err)
	}
	names := make([]string, len(all))
	for i, pkg := range all {
		names[i] = pkg.Name
	}
	said, err = p.run(append([]string{"-Sy"}, names...)...)
	if err != nil {
		return root, said, err
	}
	var order []string
	for _, m := range regexp.MustCompile(`(?m)^installing (\S+)\.\.\.$`).FindAllStringSubmatch(said, -1) {
		order = append(order, m[1])
	}
	if !slices.Equal(order, names) {
		t.Fatalf("pacman installed %v in the order %v", names, order)
	}
	if err := os.Remove(filepath.Join(root, syncDir, "test.db")); err != nil {
		t.Fatal(err)
	}
	redate(t, root)
	return root, said, nil
}

// emptyRoot makes a tree with what pacman asks for.
func emptyRoot(t testing.TB) string {
	t.Helper()
	root := filepath.Join(t.TempDir(), "root")
	for _, d := range []string{syncDir, cacheDir} {
		if err := os.MkdirAll(filepath.Join(root, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// redate gives all packages in a tree the date of installation that those of our tests have.
func redate(t testing.TB, root string) {
	t.Helper()
	changeDescs(t, root, `%INSTALLDATE%\n\d+\n`, "%INSTALLDATE%\n"+strconv.FormatInt(date.Unix(), 10)+"\n")
}

// unverified makes packages that pacman was given by the names of their files, and did not verify, verified ones.
func unverified(t testing.TB, root string) {
	t.Helper()
	changeDescs(t, root, `%VALIDATION%\nnone\n`, "%VALIDATION%\nsha256\n")
}

// changeDescs replaces text in what a tree's database says of packages.
func changeDescs(t testing.TB, root, pattern, by string) {
	t.Helper()
	descs, err := filepath.Glob(filepath.Join(root, localDir, "*", "desc"))
	if err != nil || len(descs) == 0 {
		t.Fatal("no packages", err)
	}
	for _, file := range descs {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, regexp.MustCompile(pattern).ReplaceAll(text, []byte(by)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// sameTree fails the test for every difference between two trees but in paths that are to be ignored.
func sameTree(t testing.TB, a, b string, ignore ...string) {
	t.Helper()
	for _, d := range treetest.Diff(t, a, b, date, ignore...) {
		t.Error(d)
		if d.Aspect == tree.Content {
			x, _ := os.ReadFile(filepath.Join(a, d.Path))
			y, _ := os.ReadFile(filepath.Join(b, d.Path))
			t.Logf("ours:\n%.2000q\ntheirs:\n%.2000q", x, y)
		}
	}
}
