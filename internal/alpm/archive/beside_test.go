package archive

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"ingot/internal/alpm/alpmtest"
)

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

// TestBesidePacman asks the real pacman the same: which packages it would install, and in which order, and then, since it does
// not look at conflicts for that, what it is about to install in earnest before it fails to find the files.
func TestBesidePacman(t *testing.T) {
	t.Parallel()
	if testing.Short() || os.Geteuid() != 0 {
		t.Skip("runs pacman some hundred times, as root")
	}
	for name := range snapshots {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			besidePacman(t, name)
		})
	}
}

func besidePacman(t *testing.T, name string) {
	p := newPacman(t, snapshots[name], alpmtest.Data(t, "db", name))
	plain, full := withoutConflicts(snapshot(t, name)), snapshot(t, name)
	r := rand.New(rand.NewPCG(2014, 2017))
	failing, conflicts := 0, 0
	for _, db := range full {
		for _, targets := range randomTargets(full, db, r) {
			answer, said, ok := p.run(t, append([]string{"-Sp", "--print-format", "%r %n %v"}, targets...)...)
			compare(t, plain, Request{Targets: targets, Arch: "x86_64"}, onlyPackages(answer, full), ok, said)
			if !ok {
				failing++
			} else {
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
