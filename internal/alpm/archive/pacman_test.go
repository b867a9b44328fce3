package archive

import (
	"bytes"
	"context"
	"errors"
	"fmt"
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

// pacman runs the real one with an empty local database and some repositories.
type pacman struct {
	program, dir string
}

// newPacman returns one that knows the repositories of these names, in this order, whose databases and packages are in a
// folder.
func newPacman(t *testing.T, repositories []string, folder string) *pacman {
	t.Helper()
	program, err := exec.LookPath("pacman")
	if err != nil {
		t.Skip("pacman is not installed (Debian: pacman-package-manager):", err)
	}
	p := &pacman{program, t.TempDir()}
	conf := "[options]\nArchitecture = x86_64\nSigLevel = Never\n"
	for _, own := range []string{"db/sync", "db/local", "root", "cache", "gpg", "hooks"} {
		if err := os.MkdirAll(filepath.Join(p.dir, own), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, repo := range repositories {
		data, err := os.ReadFile(filepath.Join(folder, repo+".db"))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(p.dir, "db/sync", repo+".db"), data, 0o644); err != nil {
			t.Fatal(err)
		}
		conf += "[" + repo + "]\nServer = file://" + folder + "\n"
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
		"--logfile", p.dir + "/log", "--noconfirm", "--color", "never"}, args...)...)
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
