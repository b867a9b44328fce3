package install

import (
	"bytes"
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
		"--gpgdir", dir, "--hookdir", root + "/etc/pacman.d/hooks", "--logfile", os.DevNull, "--noconfirm", "--noprogressbar", "--color", "never"}}
}

func (p pacman) run(args ...string) (string, error) {
	cmd := exec.CommandContext(p.t.Context(), "pacman", append(slices.Clone(args), p.args...)...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
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
	dir := t.TempDir()
	root = filepath.Join(dir, "root")
	for _, d := range []string{"var/lib/pacman", "var/cache/pacman/pkg"} {
		if err := os.MkdirAll(filepath.Join(root, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	p := newPacman(t, root, "SigLevel = Never\n[test]\nServer = file://"+dir+"\n")
	if err := alpmtest.WriteRepository(dir, "test", all, nil, false); err != nil {
		t.Fatal(err)
	}
	names := make([]string, len(all))
	for i, pkg := range all {
		names[i] = pkg.Name
	}
	said = p.must(append([]string{"-Sy"}, names...)...)
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
	return root, said
}

// redate gives all packages in a tree the date of installation that those of our tests have.
func redate(t testing.TB, root string) {
	t.Helper()
	descs, err := filepath.Glob(filepath.Join(root, localDir, "*", "desc"))
	if err != nil {
		t.Fatal(err)
	}
	line := regexp.MustCompile(`%INSTALLDATE%\n\d+\n`)
	for _, file := range descs {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		text = line.ReplaceAll(text, []byte("%INSTALLDATE%\n"+strconv.FormatInt(date.Unix(), 10)+"\n"))
		if err := os.WriteFile(file, text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// sameTree fails the test for every difference between two trees. The times of directories do not count, which are those
// of the last change in them.
func sameTree(t testing.TB, a, b string) {
	t.Helper()
	var sources [2]tree.Source
	for i, root := range []string{a, b} {
		dir, err := tree.Dir(root)
		if err != nil {
			t.Fatal(err)
		}
		sources[i] = tree.Clamp(dir, date)
	}
	all, err := tree.Diff(t.Context(), sources[0], sources[1], tree.DiffOptions{Times: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range all {
		if st, err := os.Lstat(filepath.Join(a, d.Path)); d.Aspect == tree.MTime && err == nil && st.IsDir() {
			continue
		}
		t.Error(d)
		if d.Aspect == tree.Content {
			x, _ := os.ReadFile(filepath.Join(a, d.Path))
			y, _ := os.ReadFile(filepath.Join(b, d.Path))
			t.Logf("ours:\n%.2000s\ntheirs:\n%.2000s", x, y)
		}
	}
}

func TestEqualsPacman(t *testing.T) {
	t.Parallel()
	log := func(what string) string { return "echo \"" + what + " $#:$1\" >> /var/log/scripts\n" }
	one := alpmtest.Pack("one", "depend = bash\nbackup = etc/one\nbackup = etc/none\noptdepend = two: for more\n", "etc/one", "usr/share/one")
	one.Install = "pre_install() {\n" + log("pre") + "}\npost_install() {\n" + log("post") + "ls /usr/share >> /var/log/scripts\n}\n"
	one.Changelog = "changed\n"
	two := alpmtest.Pack("two", "depend = one\ngroup = g\nprovides = three=3\n", "usr/share/two/x")
	two.Install = "# post_install\npre_install() {\n" + log("pre two") + "false\n}\n"
	all := append(alpmtest.Base(t), one, two)

	theirs, said := pacmanTree(t, all)
	ours := mustInstall(t, all, nil)
	redate(t, theirs)
	sameTree(t, ours.root, theirs)
	text, err := os.ReadFile(filepath.Join(ours.root, "var/log/scripts"))
	if err != nil || !bytes.HasPrefix(text, []byte("pre 1:1-1\npost 1:1-1\n")) {
		t.Errorf("scripts: %v\n%s", err, text)
	}
	if t.Failed() {
		t.Log(strings.Join(ours.said, "\n"), "\n", said)
	}
}
