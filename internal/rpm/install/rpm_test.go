package install

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ingot/internal/lock"
	"ingot/internal/progress"
	"ingot/internal/rpm"
	"ingot/internal/rpm/database"
	"ingot/internal/sandbox"
	"ingot/internal/tree"
)

func TestMain(m *testing.M) {
	sandbox.Main()
	os.Exit(m.Run())
}

// date is that of the locks of tests: later than the times in packages.
var date = time.Unix(2_000_000_000, 0).UTC()

// rpmbuild makes the packages of a spec and returns their paths, sorted.
func rpmbuild(t testing.TB, spec string) []string {
	t.Helper()
	if _, err := exec.LookPath("rpmbuild"); err != nil {
		t.Skipf("rpmbuild is not installed: %v", err)
	}
	top := t.TempDir()
	file := filepath.Join(top, "test.spec")
	if err := os.WriteFile(file, []byte(spec), 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("rpmbuild", "-bb", "--quiet", "--define", "_topdir "+top, "--define", "_build_id_links none",
		"--define", "_binary_payload w1.gzdio", "--define", "debug_package %{nil}", file).CombinedOutput()
	if err != nil {
		t.Fatalf("rpmbuild: %v\n%s", err, out)
	}
	paths, _ := filepath.Glob(filepath.Join(top, "RPMS", "*", "*.rpm"))
	return paths
}

func read(t testing.TB, path string) *rpm.Package {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	p, err := rpm.Read(f)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return p
}

func sum(data []byte) string {
	s := sha256.Sum256(data)
	return hex.EncodeToString(s[:])
}

// lockOf returns a lock of packages, in rpm's order, and where their files are.
func lockOf(t testing.TB, paths []string) (*lock.Lock, func(lock.Package) string) {
	t.Helper()
	of := make(map[*rpm.Package]string)
	var all []*rpm.Package
	for _, path := range paths {
		p := read(t, path)
		all, of[p] = append(all, p), path
	}
	ordered, err := rpm.Order(all)
	if err != nil {
		t.Fatal(err)
	}
	l := &lock.Lock{Version: lock.Version, Format: "rpm", Date: date, Arch: "x86_64"}
	files := make(map[string]string)
	for _, p := range ordered {
		data, err := os.ReadFile(of[p])
		if err != nil {
			t.Fatal(err)
		}
		files[p.Name] = of[p]
		l.Packages = append(l.Packages, lock.Package{Name: p.Name, Version: p.EVR.String(), Arch: p.Arch, Path: filepath.Base(of[p]),
			Size: int64(len(data)), SHA256: sum(data)})
	}
	return l, func(p lock.Package) string { return files[p.Name] }
}

// installed is a tree that Install made.
type installed struct {
	root string
	said []string // what was logged and printed
}

func tryInstall(t testing.TB, paths []string, change func(*Options)) (installed, error) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("a sandbox needs root, or a user namespace")
	}
	in := installed{root: filepath.Join(t.TempDir(), "root")}
	reporter := progress.New(func(e progress.Event) {
		if e.Kind == progress.Output || e.Kind == progress.Log {
			in.said = append(in.said, e.Text)
		}
	})
	l, file := lockOf(t, paths)
	o := Options{Root: in.root, Lock: l, File: file, Task: reporter.Begin("test", 0, progress.Items), Database: database.SQLite,
		Sandbox: func(ctx context.Context, root string) (*sandbox.Sandbox, error) {
			return sandbox.Open(ctx, sandbox.Config{Root: root})
		}}
	if change != nil {
		change(&o)
	}
	return in, Install(t.Context(), o)
}

func mustInstall(t testing.TB, paths []string, change func(*Options)) installed {
	t.Helper()
	in, err := tryInstall(t, paths, change)
	if err != nil {
		t.Fatalf("%v\n%s", err, strings.Join(in.said, "\n"))
	}
	return in
}

// rpmIn runs rpm on a tree.
func rpmIn(root string, args ...string) (string, error) {
	out, err := exec.Command("rpm", append([]string{"--root", root, "--define", "_dbpath /var/lib/rpm"}, args...)...).CombinedOutput()
	lines := strings.SplitAfter(string(out), "\n")
	lines = slices.DeleteFunc(lines, func(l string) bool { return strings.HasPrefix(l, "warning: could not open ") }) // indexes that rpm 4.8 does not have
	return strings.Join(lines, ""), err
}

// theirs has rpm itself install packages.
func theirs(t testing.TB, paths []string) string {
	t.Helper()
	root := t.TempDir()
	if out, err := rpmIn(root, append([]string{"-i", "--nosignature"}, paths...)...); err != nil {
		t.Fatalf("rpm -i: %v\n%s", err, out)
	}
	return root
}

func diff(t testing.TB, a, b string) []tree.Difference {
	t.Helper()
	var sources [2]tree.Source
	for i, dir := range []string{a, b} {
		s, err := tree.Dir(dir)
		if err != nil {
			t.Fatal(err)
		}
		sources[i] = s
	}
	all, err := tree.Diff(t.Context(), sources[0], sources[1], tree.DiffOptions{Times: true, Ignore: []string{"var/lib/rpm/**"}})
	if err != nil {
		t.Fatal(err)
	}
	var out []tree.Difference
	for _, d := range all {
		// What scripts make, and folders that anything is made in, have the time of the installation.
		if st, err := os.Lstat(filepath.Join(b, d.Path)); d.Aspect == tree.MTime && err == nil && time.Since(st.ModTime()) < time.Hour {
			continue
		}
		out = append(out, d)
	}
	return out
}

// TestWorld compares with what rpm makes of the same packages: files, and by their log the scripts, their order and arguments.
func TestWorld(t *testing.T) {
	spec, err := os.ReadFile("testdata/world.spec")
	if err != nil {
		t.Fatal(err)
	}
	paths := rpmbuild(t, string(spec))
	ours := mustInstall(t, paths, nil)
	want := theirs(t, paths)
	for _, d := range diff(t, ours.root, want) {
		t.Errorf("ours, rpm's: %s", d)
	}
	logs := [2]string{}
	for i, root := range []string{want, ours.root} {
		text, err := os.ReadFile(filepath.Join(root, "log"))
		if err != nil {
			t.Fatal(err)
		}
		logs[i] = string(text)
	}
	if d := cmp.Diff(logs[0], logs[1]); d != "" || strings.Contains(logs[0], "never") || strings.Count(logs[0], "\n") < 20 {
		t.Errorf("log (-rpm +ours)\n%s\n%s", d, logs[0])
	}
	said := strings.Join(ours.said, "\n")
	for _, part := range []string{"%post of package share2-1-1.noarch failed: /bin/sh", "exit code 3", "user nobody", "group nowhere"} {
		if !strings.Contains(said, part) {
			t.Errorf("%q was not said\n%s", part, said)
		}
	}
	verify(t, ours.root, want)
	goesOn(t, ours.root)
}

// verify has rpm verify a tree, and compares with its verdict on its own.
func verify(t *testing.T, ours, theirs string) {
	t.Helper()
	a, _ := rpmIn(ours, "-Va")
	b, _ := rpmIn(theirs, "-Va")
	if a != b {
		t.Errorf("rpm -Va (-rpm +ours)\n%s", cmp.Diff(b, a))
	}
	for _, args := range [][]string{{"-qa", "--qf", "%{NEVRA} %{DBINSTANCE}\n"}, {"-qas"}, {"-qaR"}, {"-q", "--whatprovides", "/bin/sh"}} {
		a, errA := rpmIn(ours, args...)
		b, errB := rpmIn(theirs, args...)
		if a != b || (errA == nil) != (errB == nil) {
			t.Errorf("rpm %v: %v, %v (-rpm +ours)\n%s", args, errA, errB, cmp.Diff(b, a))
		}
	}
}

// goesOn changes a tree with rpm: it takes over where we ended.
func goesOn(t *testing.T, root string) {
	t.Helper()
	update := rpmbuild(t, strings.ReplaceAll(`Name: NAME
Version: 2
Release: 1
Summary: s
License: none
BuildArch: noarch
%description
%install
mkdir -p %{buildroot}/usr/share/shared
echo new > %{buildroot}/usr/share/shared/other
%files
%dir /usr/share/shared
/usr/share/shared/other
`, "NAME", "share1"))
	for _, step := range []struct {
		args  []string
		query string
		want  string
	}{
		{[]string{"-e", "asks"}, "asks", "package asks is not installed\n"},
		{append([]string{"-U", "--nosignature"}, update...), "share1", "share1-2-1.noarch\n"},
	} {
		if out, err := rpmIn(root, step.args...); err != nil {
			t.Errorf("rpm %v: %v\n%s", step.args, err, out)
		}
		if out, _ := rpmIn(root, "-q", step.query); out != step.want {
			t.Errorf("after %v: %s", step.args, out)
		}
	}
	if text, err := os.ReadFile(filepath.Join(root, "usr/share/shared/other")); err != nil || string(text) != "new\n" {
		t.Errorf("the update's file is %q: %v", text, err)
	}
	if text, err := os.ReadFile(filepath.Join(root, "usr/share/shared/file")); err != nil || string(text) != "shared\n" {
		t.Errorf("a file that another package still has is %q: %v", text, err)
	}
}
