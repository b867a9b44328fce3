package archive

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"ingot/internal/alpm"
	"ingot/internal/fault"
)

// world makes repositories of lines such as "core: a 1-1 > b c>=2 = mta ! d @ base": dependencies after >,
// provides after =, conflicts after !, groups after @.
func world(t testing.TB, text string) []*Database {
	t.Helper()
	packages := make(map[string][]*alpm.Package)
	var names []string
	for _, line := range strings.Split(text, "\n") {
		repo, rest, _ := strings.Cut(line, ": ")
		words := strings.Fields(rest)
		p := &alpm.Package{Name: words[0], Version: words[1], Arch: "any"}
		field := ""
		for _, word := range words[2:] {
			d, err := alpm.ParseDepend(word)
			switch {
			case strings.Contains(">=!@", word):
				field = word
			case err != nil:
				t.Fatal(err)
			case field == ">":
				p.Depends = append(p.Depends, d)
			case field == "=":
				p.Provides = append(p.Provides, d)
			case field == "!":
				p.Conflicts = append(p.Conflicts, d)
			case field == "@":
				p.Groups = append(p.Groups, word)
			}
		}
		if packages[repo] == nil {
			names = append(names, repo)
		}
		packages[repo] = append(packages[repo], p)
	}
	var all []*Database
	for _, name := range names {
		d, err := NewDatabase(name, packages[name])
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, d)
	}
	return all
}

// names returns the chosen packages as REPOSITORY/NAME in their order, with a star on explicit ones.
func names(s *Selection) string {
	var all []string
	for _, c := range s.Choices {
		name := c.Repository + "/" + c.Package.Name
		if c.Explicit {
			name += "*"
		}
		all = append(all, name)
	}
	return strings.Join(all, " ")
}

func TestChoose(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ world, ask, ignore, exclude, want string }{
		"dependencies first":       {world: "c: a 1-1 > b\nc: b 1-1 > d\nc: d 1-1", ask: "a", want: "c/d c/b c/a*"},
		"first repository wins":    {world: "ec2: linux 1-1\nc: linux 2-1\nc: a 1-1 > linux", ask: "a", want: "ec2/linux c/a*"},
		"unless it is too old":     {world: "ec2: b 1-1\nc: b 2-1\nc: a 1-1 > b>=2", ask: "a", want: "c/b c/a*"},
		"one repository":           {world: "ec2: b 1-1\nc: b 2-1", ask: "c/b", want: "c/b*"},
		"name before provider":     {world: "c: z 1-1 = b\nx: b 1-1\nx: a 1-1 > b", ask: "a", want: "x/b x/a*"},
		"first provider":           {world: "c: y 1-1 = m\nc: x 1-1 = m\nb: w 1-1 = m\nc: a 1-1 > m", ask: "a", want: "c/x c/a*"},
		"target before provider":   {world: "c: y 1-1 = m\nc: x 1-1 = m\nc: a 1-1 > m", ask: "a y", want: "c/y* c/a*"},
		"chosen before provider":   {world: "c: y 1-1 = m\nc: x 1-1 = m\nc: a 1-1 > y m", ask: "a", want: "c/y c/a*"},
		"provided version":         {world: "c: x 1-1 = m\nc: y 1-1 = m=2\nc: a 1-1 > m>=2", ask: "a", want: "c/y c/a*"},
		"library":                  {world: "c: x 1-1 = l.so=1-64\nc: y 1-1 = l.so=2-64\nc: a 1-1 > l.so=2-64", ask: "a", want: "c/y c/a*"},
		"virtual target":           {world: "c: x 1-1 = m\nc: y 1-1 = m", ask: "m", want: "c/x*"},
		"versioned target":         {world: "c: a 1-1\nd: a 2-1", ask: "a>1-1", want: "d/a*"},
		"group":                    {world: "c: a 1-1 @ g\nc: b 1-1 @ g\nd: a 2-1 @ g\nd: c 1-1 @ g", ask: "g", want: "c/a* c/b* d/c*"},
		"group of one repository":  {world: "c: a 1-1 @ g\nd: a 2-1 @ g\nd: c 1-1 @ g", ask: "d/g", want: "d/a* d/c*"},
		"package before group":     {world: "c: g 1-1 > a\nc: a 1-1\nc: b 1-1 @ g", ask: "g", want: "c/a c/g*"},
		"ignored dependency":       {world: "c: b 1-1\nc: x 1-1 = b\nc: a 1-1 > b", ask: "a", ignore: "b*", want: "c/x c/a*"},
		"ignored target":           {world: "c: b 1-1\nc: a 1-1 @ g", ask: "b g", ignore: "? ", want: "c/b* c/a*"},
		"excluded member":          {world: "c: b 1-1 @ g\nc: a 1-1 @ g", ask: "g", exclude: "a", want: "c/b*"},
		"excluded dependency":      {world: "c: b 1-1\nc: x 1-1 = b\nc: a 1-1 > b", ask: "a", exclude: "b", want: "c/x c/a*"},
		"circle":                   {world: "c: a 1-1 > b\nc: b 1-1 > a", ask: "a", want: "c/b c/a*"},
		"provides what it needs":   {world: "c: a 1-1 > m = m", ask: "a", want: "c/a*"},
		"twice":                    {world: "c: a 1-1", ask: "a a c/a", want: "c/a*"},
		"conflict with provider":   {world: "c: a 1-1 = b ! b\nc: b 1-1", ask: "a b", want: "c/a*"},
		"conflict by the provided": {world: "c: a 1-1 ! b\nc: b 1-1 = a", ask: "a b", want: "c/b*"},
		"conflict with a name that nobody but itself provides": {world: "c: a 1-1 = m ! m", ask: "a", want: "c/a*"},
		"conflict with another version":                        {world: "c: a 1-1 ! b<1\nc: b 1-1", ask: "a b", want: "c/a* c/b*"},
	} {
		sel, err := Choose(context.Background(), world(t, tc.world), Request{Targets: strings.Fields(tc.ask), Arch: "x86_64",
			Ignore: strings.Fields(tc.ignore), Exclude: strings.Fields(tc.exclude)})
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if got := names(sel); got != tc.want {
			t.Errorf("%s: %s, want %s", name, got, tc.want)
		}
	}
}

// TestManyConflicts has a database, which nobody vouches for, keep whoever reads it busy.
func TestManyConflicts(t *testing.T) {
	t.Parallel()
	const many = 20_000
	busy := &alpm.Package{Name: "busy", Version: "1-1", Arch: "any"}
	packages := []*alpm.Package{busy}
	for i := range many {
		name := fmt.Sprintf("p%d", i)
		packages = append(packages, &alpm.Package{Name: name, Version: "1-1", Arch: "any"})
		busy.Depends = append(busy.Depends, alpm.Depend{Name: name})
		busy.Conflicts = append(busy.Conflicts, alpm.Depend{Name: name, Op: ">", Version: "1-1"})
	}
	db, err := NewDatabase("c", packages)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	sel, err := Choose(ctx, []*Database{db}, Request{Targets: []string{"busy"}})
	if err != nil || len(sel.Choices) != many+1 {
		t.Errorf("%v", err)
	}
}

func TestChooseRefuses(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		world, ask, exclude, want string
		kind                      fault.Kind
	}{
		"target": {world: "c: a 1-1", ask: "x a y", kind: fault.Missing, want: "no repository has a package or a group x, y"},
		"repository": {world: "c: a 1-1", ask: "d/a", kind: fault.Missing,
			want: "target d/a: there is no repository d"},
		"dependency": {world: "c: a 1-1 > b\nc: b 1-1 > m n>=2\nc: n 1-1", ask: "a", kind: fault.Unsatisfiable,
			want: "b 1-1 (asked for by a) needs m: no repository has such a package\n" +
				"b 1-1 (asked for by a) needs n>=2: there is only n 1-1"},
		"no second choice": {world: "c: a 1-1 > m\nc: x 1-1 = m > n\nc: y 1-1 = m", ask: "a", kind: fault.Unsatisfiable,
			want: "x 1-1 (asked for by a) needs n: no repository has such a package"},
		"no target and two versions": {world: "c: a 1-1\nd: a 2-1", ask: "a d/a x", kind: fault.Missing, want: "no repository has a package or a group x"},
		"another one of a target's name is before it": {world: "c: a 1-1 = v\nd: a 2-1 = w\nc: b 1-1 > w v", ask: "b a", kind: fault.Unsatisfiable,
			want: "b 1-1 needs v: a 1-1 cannot be installed beside a 2-1 of repository d"},
		"two versions": {world: "c: a 1-1\nd: a 2-1", ask: "a d/a", kind: fault.Input,
			want: "target d/a: a 2-1 of repository d cannot be installed beside a 1-1 of repository c"},
		"another version is chosen": {world: "c: a 1-1\nd: a 2-1\nc: b 1-1 > a>=2", ask: "a b", kind: fault.Unsatisfiable,
			want: "b 1-1 needs a>=2: there is only a 1-1; a 2-1 cannot be installed beside a 1-1 of repository c"},
		"conflict": {world: "c: a 1-1 ! b\nc: b 1-1", ask: "a b", kind: fault.Unsatisfiable, want: "a 1-1 conflicts with b 1-1"},
		"conflict with what is provided": {world: "c: a 1-1 ! m\nc: b 1-1 = m", ask: "a b", kind: fault.Unsatisfiable,
			want: "a 1-1 conflicts with b 1-1, which is or provides m"},
		"removed, but needed": {world: "c: a 1-1 = b ! b\nc: b 1-1\nc: d 1-1 > b>=1", ask: "a d", kind: fault.Unsatisfiable,
			want: "d 1-1 needs b>=1: there is only a 1-1, which provides it without a version; b 1-1 is left out\nb 1-1 was left out for a 1-1, which conflicts with it and provides it"},
		"excluded target":     {world: "c: a 1-1", ask: "a", exclude: "a", kind: fault.Input, want: "target a: it is both asked for and excluded"},
		"excluded dependency": {world: "c: a 1-1 > b\nc: b 1-1", ask: "a", exclude: "b", kind: fault.Unsatisfiable, want: "a 1-1 needs b: b 1-1 is excluded"},
		"malformed":           {world: "c: a 1-1", ask: ">1", kind: fault.Input, want: `target >1: dependency ">1" names no package`},
	} {
		_, err := Choose(context.Background(), world(t, tc.world), Request{Targets: strings.Fields(tc.ask), Arch: "x86_64",
			Exclude: strings.Fields(tc.exclude)})
		if fault.KindOf(err) != tc.kind || fmt.Sprint(err) != tc.want {
			t.Errorf("%s:\n%v: %v, want\n%v: %s", name, fault.KindOf(err), err, tc.kind, tc.want)
		}
	}
	dbs := world(t, "c: a 1-1")
	dbs[0].Packages[0].Arch = "i686"
	if _, err := Choose(context.Background(), dbs, Request{Targets: []string{"a"}, Arch: "x86_64"}); fault.KindOf(err) != fault.Input {
		t.Errorf("another architecture: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Choose(ctx, dbs, Request{Targets: []string{"a"}}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}
