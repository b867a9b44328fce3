package archive

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"ingot/internal/alpm/alpmtest"
	"ingot/internal/fault"
)

var snapshots = map[string][]string{
	"2014-08-x86_64": {"core", "extra", "community"},
	"2017-12-x86_64": {"core", "extra"},
}

// snapshot reads the databases of one, in the order of pacman.conf.
func snapshot(t testing.TB, name string) []*Database {
	t.Helper()
	var all []*Database
	for _, repo := range snapshots[name] {
		all = append(all, open(t, alpmtest.Data(t, "db", name, repo+".db")))
	}
	return all
}

// printed returns a selection as pacman's --print-format '%r %n %v' does.
func printed(s *Selection) string {
	var b strings.Builder
	for _, c := range s.Choices {
		fmt.Fprintln(&b, c.Repository, c.Package)
	}
	return b.String()
}

// withoutConflicts removes what only conflicts decide: pacman does not look at them when it is to print.
func withoutConflicts(all []*Database) []*Database {
	for _, d := range all {
		for _, p := range d.Packages {
			p.Conflicts = nil
		}
	}
	return all
}

// TestExpected compares with answers that pacman gave to requests, kept with the databases.
func TestExpected(t *testing.T) {
	t.Parallel()
	for name := range snapshots {
		dbs := withoutConflicts(snapshot(t, name))
		files, err := filepath.Glob(filepath.Join(alpmtest.Data(t, "expected", name), "*.txt"))
		if err != nil || len(files) < 12 {
			t.Fatalf("%d expected answers: %v", len(files), err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var command []string
			ok, answer := false, ""
			for line := range strings.Lines(string(text)) {
				line, comment := strings.CutPrefix(line, "# ")
				switch {
				case strings.HasPrefix(line, "pacman --config"):
					command = strings.Fields(line)
				case comment:
					ok = ok || line == "exit 0\n"
				default:
					answer += line
				}
			}
			rq := Request{Arch: "x86_64", Targets: command[slices.Index(command, "--print-format")+4:]}
			for i, word := range command {
				if word == "--ignore" {
					rq.Ignore = append(rq.Ignore, command[i+1])
				}
			}
			compare(t, dbs, rq, answer, ok, string(text))
		}
	}
}

func compare(t *testing.T, dbs []*Database, rq Request, answer string, ok bool, said string) {
	t.Helper()
	sel, err := Choose(context.Background(), dbs, rq)
	switch {
	case err != nil && ok:
		t.Errorf("%q: pacman succeeds, but: %v", rq.Targets, err)
	case err == nil && !ok:
		t.Errorf("%q: it succeeds, but pacman says %s", rq.Targets, said)
	case err != nil:
		missing, _ := strings.CutPrefix(err.Error(), "no repository has a package or a group ")
		for name := range strings.SplitSeq(missing, ", ") {
			if fault.KindOf(err) == fault.Missing && !strings.Contains(said, "target not found: "+name+"\n") {
				t.Errorf("%q: %v, but pacman says %s", rq.Targets, err, said)
			}
		}
		var f *Failure
		if errors.As(err, &f) {
			for _, m := range f.Missing {
				if want := fmt.Sprintf("satisfy dependency '%s' required by %s\n", m.Depend, m.Package.Name); !strings.Contains(said, want) {
					t.Errorf("%q: %v, but pacman says %s", rq.Targets, err, said)
				}
			}
		}
	default:
		if d := gocmp.Diff(strings.Split(answer, "\n"), strings.Split(printed(sel), "\n")); d != "" {
			t.Errorf("%q (-pacman +ours)\n%s", rq.Targets, d)
		}
	}
}

// pacman runs the real one with an empty local database and the databases of a snapshot.
type pacman struct {
	program, dir string
}

func newPacman(t *testing.T, snapshot string) *pacman {
	t.Helper()
	program, err := exec.LookPath("pacman")
	if err != nil {
		t.Skip("pacman is not installed (Debian: pacman-package-manager):", err)
	}
	p := &pacman{program, t.TempDir()}
	conf := "[options]\nArchitecture = x86_64\nSigLevel = Never\n"
	for _, folder := range []string{"db/sync", "db/local", "root", "cache", "gpg", "hooks"} {
		if err := os.MkdirAll(filepath.Join(p.dir, folder), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, repo := range snapshots[snapshot] {
		data, err := os.ReadFile(alpmtest.Data(t, "db", snapshot, repo+".db"))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(p.dir, "db/sync", repo+".db"), data, 0o644); err != nil {
			t.Fatal(err)
		}
		conf += "[" + repo + "]\nServer = file://" + p.dir + "/none\n"
	}
	if err := os.WriteFile(filepath.Join(p.dir, "pacman.conf"), []byte(conf), 0o644); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *pacman) run(t *testing.T, args ...string) (stdout, stderr string, ok bool) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), p.program, append([]string{"--config", p.dir + "/pacman.conf", "-r", p.dir + "/root",
		"-b", p.dir + "/db", "--cachedir", p.dir + "/cache", "--gpgdir", p.dir + "/gpg", "--hookdir", p.dir + "/hooks",
		"--logfile", "/dev/null", "--noconfirm", "--color", "never"}, args...)...)
	cmd.Env = []string{"LC_ALL=C", "PATH=" + os.Getenv("PATH"), "COLUMNS=1000000"}
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return out.String(), errs.String() + out.String(), err == nil
}

// randomTargets returns 50 requests of one to four targets: packages, groups, provided names, with versions
// or a repository, and some that do not exist. Every fifth holds two packages in conflict.
func randomTargets(dbs []*Database, db *Database, r *rand.Rand) [][]string {
	w, err := newWalk(context.Background(), dbs, Request{})
	if err != nil {
		panic(err)
	}
	var names, others []string
	var pairs [][]string
	for _, p := range db.Packages {
		names = append(names, p.Name)
		for _, d := range p.Provides {
			others = append(others, d.Name, d.String())
		}
		others = append(others, p.Groups...)
		for _, d := range append(p.Depends, p.Conflicts...) {
			others = append(others, d.String())
		}
		others = append(others, p.Name+"="+p.Version, p.Name+">"+p.Version, db.Name+"/"+p.Name)
		for _, d := range p.Conflicts {
			if c := w.provider(d, func(c *candidate) bool { return c.pkg != p }); c != nil {
				pairs = append(pairs, []string{p.Name, c.pkg.Name})
			}
		}
	}
	slices.Sort(others)
	others = slices.Compact(others)
	var all [][]string
	for i := range 50 {
		targets := []string{names[r.IntN(len(names))]}
		if i%5 == 0 {
			targets = slices.Clone(pairs[r.IntN(len(pairs))])
		}
		for range r.IntN(3) {
			targets = append(targets, names[r.IntN(len(names))])
		}
		if i%2 == 1 {
			targets = append(targets, others[r.IntN(len(others))])
		}
		if i%16 == 7 {
			targets = append(targets, "no-such-package")
		}
		all = append(all, targets)
	}
	return all
}

// TestBesidePacman asks the real pacman the same.
func TestBesidePacman(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("runs pacman some hundred times")
	}
	for name := range snapshots {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			besidePacman(t, name)
		})
	}
}

func besidePacman(t *testing.T, name string) {
	p, plain, full := newPacman(t, name), withoutConflicts(snapshot(t, name)), snapshot(t, name)
	r := rand.New(rand.NewPCG(2014, 2017))
	failing, conflicts := 0, 0
	for _, db := range full {
		for i, targets := range randomTargets(full, db, r) {
			answer, said, ok := p.run(t, append([]string{"-Sp", "--print-format", "%r %n %v"}, targets...)...)
			compare(t, plain, Request{Targets: targets, Arch: "x86_64"}, onlyPackages(answer, full), ok, said)
			if !ok {
				failing++
			} else if i%5 == 0 {
				// Without --print, pacman looks at conflicts too, tells what it would install, by name, and
				// then fails to find the files.
				_, said, _ = p.run(t, append([]string{"-S"}, targets...)...)
				conflicts += compareConflicts(t, full, targets, said)
			}
		}
	}
	t.Logf("%d requests cannot be satisfied, %d have conflicts", failing, conflicts)
	if failing < 5 || conflicts < 5 {
		t.Errorf("too few failures (%d) and conflicts (%d) to prove anything", failing, conflicts)
	}
}

// onlyPackages drops what pacman prints besides packages when providers are to be chosen.
func onlyPackages(answer string, dbs []*Database) string {
	var b strings.Builder
	for line := range strings.Lines(answer) {
		if words := strings.Fields(line); len(words) == 3 && slices.ContainsFunc(dbs, func(d *Database) bool { return d.Name == words[0] }) {
			b.WriteString(line)
		}
	}
	return b.String()
}

// compareConflicts compares with what pacman says it is going to install; 1 if conflicts played a part.
func compareConflicts(t *testing.T, dbs []*Database, targets []string, said string) int {
	t.Helper()
	sel, err := Choose(context.Background(), dbs, Request{Targets: targets, Arch: "x86_64"})
	_, list, ok := strings.Cut(said, "\nPackages (")
	var c *Conflict
	var f *Failure
	switch {
	case err != nil && ok:
		t.Errorf("%q: pacman would install it, but: %v", targets, err)
	case errors.As(err, &c):
		if !strings.Contains(said, "unresolvable package conflicts") || !strings.Contains(said, c.Package.Name+" and "+c.With.Name) {
			t.Errorf("%q: %v, but pacman says %s", targets, err, said)
		}
	case errors.As(err, &f):
		if len(f.Removed) == 0 || !strings.Contains(said, "unable to satisfy dependency") {
			t.Errorf("%q: %v, but pacman says %s", targets, err, said)
		}
	case err != nil || !ok:
		t.Errorf("%q: %v, but pacman says %s", targets, err, said)
	default:
		list, _, _ = strings.Cut(list, "\n")
		_, list, _ = strings.Cut(list, ")")
		var ours []string
		for _, c := range sel.Choices {
			ours = append(ours, c.Package.Name+"-"+c.Package.Version)
		}
		pacmans := strings.Fields(list)
		slices.Sort(ours)
		slices.Sort(pacmans)
		if d := gocmp.Diff(pacmans, ours); d != "" {
			t.Errorf("%q (-pacman +ours)\n%s", targets, d)
		}
		for _, out := range sel.Removed {
			if want := fmt.Sprintf("removing '%s' from target list because it conflicts with '%s'", out.Package.Name, out.For.Name); !strings.Contains(said, want) {
				t.Errorf("%q: %v removed for %v, but pacman says %s", targets, out.Package, out.For, said)
			}
		}
		return min(len(sel.Removed), 1)
	}
	return 1
}
