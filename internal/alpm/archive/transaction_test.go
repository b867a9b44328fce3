package archive

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"ingot/internal/alpm/alpmtest"
	"ingot/internal/fault"
)

// tangle makes packages of two repositories whose relations are as dense and contradictory as chance has it.
func tangle(r *rand.Rand) map[string][]alpmtest.Package {
	const size = 24
	versions := []string{"1-1", "2-1", "2.1-3", "1:1-1"}
	name := func() string { return fmt.Sprintf("p%d", r.IntN(size)) }
	virtual := func() string { return fmt.Sprintf("v%d", r.IntN(6)) }
	versioned := func(name string) string {
		if r.IntN(3) > 0 {
			return name
		}
		return name + []string{"=", ">=", "<=", "<", ">"}[r.IntN(5)] + versions[r.IntN(len(versions))]
	}
	all := make(map[string][]alpmtest.Package)
	for i, repo := range []string{"one", "two"} {
		for n := range size {
			if r.IntN(5) == i { // it is in the other one alone, perhaps
				continue
			}
			p := alpmtest.Package{Name: fmt.Sprintf("p%d", n), Version: versions[r.IntN(2)+2*i], Arch: "any"}
			add := func(key string, chance int, value func() string) {
				for r.IntN(10) < chance {
					p.Info += key + " = " + value() + "\n"
				}
			}
			add("depend", 3, func() string { return versioned(name()) })
			add("depend", 1, func() string { return versioned(virtual()) })
			add("provides", 3, virtual)
			add("provides", 2, func() string { return virtual() + "=" + versions[r.IntN(len(versions))] })
			add("provides", 1, name)
			add("conflict", 1, func() string { return versioned(name()) })
			add("conflict", 1, virtual)
			if r.IntN(3) == 0 { // it takes another one's place
				other := name()
				p.Info += "provides = " + other + "\nconflict = " + other + "\n"
			}
			add("group", 1, func() string { return fmt.Sprintf("g%d", r.IntN(3)) })
			add("optdepend", 2, func() string { return name() + ": for fun" })
			add("replaces", 1, name)
			all[repo] = append(all[repo], p)
		}
	}
	return all
}

// installed is a line of pacman's log.
var installed = regexp.MustCompile(`(?m)^\[.*\] \[ALPM\] installed (\S+) \((.*)\)$`)

// install has pacman install targets into an empty root, and returns what it did as [names] has it, without repositories.
func (p *pacman) install(t *testing.T, args ...string) (did, said string, ok bool) {
	t.Helper()
	for _, old := range []string{"db/local", "log"} {
		if err := os.RemoveAll(filepath.Join(p.dir, old)); err != nil {
			t.Fatal(err)
		}
	}
	_, said, ok = p.run(t, append([]string{"-S", "--dbonly", "--noprogressbar"}, args...)...)
	log, err := os.ReadFile(filepath.Join(p.dir, "log"))
	if err != nil && ok {
		t.Fatal(err)
	}
	var all []string
	for _, m := range installed.FindAllStringSubmatch(string(log), -1) {
		desc, err := os.ReadFile(filepath.Join(p.dir, "db/local", m[1]+"-"+m[2], "desc"))
		if err != nil {
			t.Fatal(err)
		}
		text := m[1] + "-" + m[2]
		if !strings.Contains(string(desc), "%REASON%\n1\n") {
			text += "*"
		}
		all = append(all, text)
	}
	return strings.Join(all, " "), said, ok
}

// TestTransactions has the real pacman install what it is asked for, and compares packages, their order and the
// reasons of their installation.
func TestTransactions(t *testing.T) {
	t.Parallel()
	if testing.Short() || os.Geteuid() != 0 {
		t.Skip("runs pacman some hundred times, as root")
	}
	outcomes, worlds := make(map[string]int), uint64(12)
	if os.Getenv("INGOT_E2E") == "1" {
		worlds = 200 // five minutes
	}
	for seed := range worlds {
		r := rand.New(rand.NewPCG(seed, 2026))
		packages, dir := tangle(r), t.TempDir()
		var dbs []*Database
		for _, repo := range []string{"one", "two"} {
			if err := alpmtest.WriteRepository(dir, repo, packages[repo], nil, false); err != nil {
				t.Fatal(err)
			}
			dbs = append(dbs, open(t, filepath.Join(dir, repo+".db")))
		}
		p := newPacman(t, []string{"one", "two"}, dir)
		for range 30 {
			rq := Request{Arch: "x86_64"}
			for range 1 + r.IntN(3) {
				n := r.IntN(24)
				rq.Targets = append(rq.Targets, []string{fmt.Sprintf("p%d", n), fmt.Sprintf("p%d", n), fmt.Sprintf("p%d>1-1", n%12),
					fmt.Sprintf("two/p%d", n%6), fmt.Sprintf("v%d", n%6), fmt.Sprintf("g%d", n%3)}[r.IntN(6)])
			}
			if n := r.IntN(24); r.IntN(16) == 0 {
				rq.Targets = append(rq.Targets, fmt.Sprintf("one/p%d", n), fmt.Sprintf("two/p%d", n))
			}
			if p := dbs[0].Packages[r.IntN(len(dbs[0].Packages))]; r.IntN(3) == 0 && p.Conflicts != nil {
				rq.Targets = append(rq.Targets, p.Name, p.Conflicts[0].Name)
			}
			args := rq.Targets
			if r.IntN(4) == 0 {
				rq.Ignore = []string{fmt.Sprintf("p%d", r.IntN(24))}
				args = append([]string{"--ignore", rq.Ignore[0]}, args...)
			}
			did, said, ok := p.install(t, args...)
			sel, err := Choose(context.Background(), dbs, rq)
			if outcome := agree(did, said, ok, sel, err); outcome != "" {
				outcomes[outcome]++
			} else {
				t.Errorf("seed %d, %q:\npacman %s\nours   %v, %v\npacman says %s", seed, args, did, sel, err, said)
			}
		}
	}
	t.Log(outcomes)
	for _, outcome := range []string{"installed", "one removed for another", "conflict", "lacks a dependency", "no such target", "two of a name"} {
		if outcomes[outcome] < 3 {
			t.Errorf("%d requests end with %q: too few to prove anything", outcomes[outcome], outcome)
		}
	}
}

// agree compares what pacman did with a choice, and says how both ended; "" if they differ.
func agree(did, said string, ok bool, sel *Selection, err error) string {
	var conflict *Conflict
	var failure *Failure
	switch {
	case err == nil && ok:
		var ours []string
		for _, c := range sel.Choices {
			text := c.Package.Name + "-" + c.Package.Version
			if c.Explicit {
				text += "*"
			}
			ours = append(ours, text)
		}
		switch {
		case gocmp.Diff(did, strings.Join(ours, " ")) != "":
			return ""
		case slices.ContainsFunc(sel.Removed, func(r Removal) bool { return !strings.Contains(said, "removing '"+r.Package.Name+"' from target list") }):
			return ""
		case sel.Removed != nil:
			return "one removed for another"
		}
		return "installed"
	case err == nil || ok:
		return ""
	case errors.As(err, &conflict) && strings.Contains(said, "unresolvable package conflicts"):
		return "conflict"
	case errors.As(err, &failure) && (strings.Contains(said, "unable to satisfy dependency") || strings.Contains(said, "could not satisfy dependencies")):
		return "lacks a dependency"
	case fault.KindOf(err) == fault.Missing && strings.Contains(said, "target not found"):
		return "no such target"
	case fault.KindOf(err) == fault.Input && strings.Contains(said, "duplicate target"):
		return "two of a name"
	}
	return ""
}
