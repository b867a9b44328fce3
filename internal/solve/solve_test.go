package solve

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"ingot/internal/fault"
)

// world reads packages from text, one a line:
//
//	name version [> need[|alternative]...] [>> need-first...] [~ want...] [! conflict...] [= provided...]
//
// where a relation is NAME or NAME OP VERSION without spaces, and a version is a whole number.
func world(t testing.TB, text string) (*Universe, map[string]*Package) {
	t.Helper()
	said := map[*Package]Relations{}
	u := NewUniverse(byNumber, func(p *Package) (Relations, error) { return said[p], nil })
	named := map[string]*Package{}
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		p, r, mode := &Package{Name: f[0], Version: f[1]}, Relations{}, ""
		for _, w := range f[2:] {
			switch {
			case slices.Contains([]string{">", ">>", "~", "!", "="}, w):
				mode = w
			case mode == "!":
				r.Conflicts = append(r.Conflicts, relation(w))
			case mode == "=":
				rel := relation(w)
				p.Provides = append(p.Provides, Capability{Name: rel.Name, Version: rel.Version, Op: rel.Op})
			default:
				rq := Requirement{Strength: map[string]Strength{">": Need, ">>": NeedFirst, "~": Want}[mode]}
				for _, a := range strings.Split(w, "|") {
					rq.Any = append(rq.Any, relation(a))
				}
				r.Requires = append(r.Requires, rq)
			}
		}
		said[p] = r
		named[p.Name] = p
		named[p.Name+"="+p.Version] = p
		u.Add(p)
	}
	return u, named
}

func byNumber(a, b string) int {
	x, _ := strconv.Atoi(a)
	y, _ := strconv.Atoi(b)
	return cmp.Compare(x, y)
}

func relation(s string) Relation {
	i := strings.IndexAny(s, "<=>")
	if i < 0 {
		return Relation{Name: s}
	}
	j := i + 1
	if s[j] == '=' {
		j++
	}
	return Relation{Name: s[:i], Op: s[i:j], Version: s[j:]}
}

// group reads the versions of a package that are asked for: NAME, or NAME=VERSION|NAME=VERSION.
func group(named map[string]*Package, text string) []*Package {
	var all []*Package
	for _, one := range strings.Split(text, "|") {
		all = append(all, named[one])
	}
	return all
}

// solution lists the choices in their order, with the version where it is not 1.
func solution(s *Solution) string {
	var all []string
	for _, c := range s.Choices {
		name := c.Package.Name
		if c.Package.Version != "1" {
			name += "=" + c.Package.Version
		}
		all = append(all, name)
	}
	return strings.Join(all, " ")
}

func TestSolve(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		world, ask, exclude string
		wants               bool
		want                string // in the order of the choices
	}{
		"chain":                    {world: "a 1 > b\nb 1 > c\nc 1", ask: "a", want: "a b c"},
		"circle":                   {world: "a 1 > b\nb 1 > a", ask: "a", want: "a b"},
		"first alternative":        {world: "a 1 > b|c\nb 1\nc 1", ask: "a", want: "a b"},
		"asked alternative":        {world: "a 1 > b|c\nb 1\nc 1", ask: "a c", want: "a c"},
		"earlier choice is reused": {world: "a 1 > c b|c\nb 1\nc 1", ask: "a", want: "a c"},
		"alternative too old":      {world: "a 1 > b>=2|c\nb 1\nc 1", ask: "a", want: "a c"},
		"name before provider":     {world: "a 1 > b\nx 1 = b\nb 1", ask: "a", want: "a b"},
		"provider":                 {world: "a 1 > b\nx 1 = b", ask: "a", want: "a x"},
		"versioned provider":       {world: "a 1 > b>=2\nx 1 = b\ny 1 = b=2", ask: "a", want: "a y"},
		"unmeetable alternative":   {world: "a 1 > b|c\nb 1 > nothing\nc 1", ask: "a", want: "a c"},
		"conflict with alternative": {world: "a 1 > b|c\nb 1 ! d\nc 1\nd 1", ask: "a d",
			want: "a d c"},
		"reverse conflict": {world: "a 1 > b|c\nb 1\nc 1\nd 1 ! b", ask: "a d", want: "a d c"},
		"conflict by provided name": {world: "a 1 > b|c\nb 1 = mta\nc 1\nd 1 ! mta = mta",
			ask: "a d", want: "a d c"},
		"versioned conflict spares unversioned provider": {world: "a 1 > b\nb 1 = mta\nd 1 ! mta<2", ask: "a d", want: "a d b"},
		"goes back for a later conflict": {world: "a 1 > b|c d\nb 1\nc 1\nd 1 > e\ne 1 ! b",
			ask: "a", want: "a c d e"},
		"goes back over unrelated choices": {
			world: "a 1 > b|c p|q r|s d\nb 1\nc 1\nd 1 ! b\np 1\nq 1\nr 1\ns 1", ask: "a", want: "a c p r d"},
		"wants are off":                {world: "a 1 ~ b\nb 1", ask: "a", want: "a"},
		"wants are on":                 {world: "a 1 > c ~ b\nb 1\nc 1", ask: "a", wants: true, want: "a c b"},
		"want gives way":               {world: "a 1 > c d\nc 1 ~ b\nb 1\nd 1 ! b", ask: "a", wants: true, want: "a c d"},
		"want that cannot be met":      {world: "a 1 ~ b ~ c\nb 1 > nothing\nc 1", ask: "a", wants: true, want: "a c"},
		"excluded":                     {world: "a 1 > b|c\nb 1\nc 1", ask: "a", exclude: "b", want: "a c"},
		"excluded want":                {world: "a 1 ~ b\nb 1", ask: "a", exclude: "b", wants: true, want: "a"},
		"one version of a package":     {world: "a 1 > b=1|c\nb 1\nb 2\nc 1", ask: "b=2 a", want: "b=2 a c"},
		"first version that was added": {world: "a 1 > b\nb 1\nb 2", ask: "a", want: "a b"},
		"another version where needed": {world: "a 1 > b c\nb 1\nb 2\nc 1 > b>=2", ask: "a", want: "a b=2 c"},
		"first version asked for":      {world: "a 1\na 2\nb 1 > a", ask: "a=1|a=2 b", want: "a b"},
		"another version asked for":    {world: "a 1 > b=1\na 2 > b=2\nb 2", ask: "a=1|a=2", want: "a=2 b=2"},
		"conflict with itself":         {world: "a 1 ! mta = mta", ask: "a", want: "a"},
	} {
		u, named := world(t, tc.world)
		rq := Request{Wants: tc.wants, Excluded: map[string]bool{}}
		for _, a := range strings.Fields(tc.ask) {
			rq.Asked = append(rq.Asked, group(named, a))
		}
		for _, e := range strings.Fields(tc.exclude) {
			rq.Excluded[e] = true
		}
		s, err := u.Solve(context.Background(), rq)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if got := solution(s); got != tc.want {
			t.Errorf("%s: %s, want %s", name, got, tc.want)
		}
	}
}

func TestUnsatisfiable(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ world, ask, exclude, want string }{
		"missing": {world: "a 1 > b\nb 1 > c>=2|d", ask: "a",
			want: "b 1 (asked for by a) needs c (>= 2) or d: no repository has such a package"},
		"too old": {world: "a 1 > c>=2\nc 1", ask: "a",
			want: "a 1 (asked for) needs c (>= 2): there is only c 1"},
		"provided without a version": {world: "a 1 > c>=2\nx 1 = c", ask: "a",
			want: "a 1 (asked for) needs c (>= 2): there is only x 1, which provides it without a version"},
		"asked for two": {world: "a 1 ! b\nb 1", ask: "a b",
			want: "a 1 (asked for) conflicts with b 1 (asked for)"},
		"excluded": {world: "a 1 > b\nb 1", ask: "a", exclude: "b",
			want: "a 1 (asked for) needs b, but\n  b 1 is excluded"},
		"asked and excluded": {world: "a 1", ask: "a", exclude: "a", want: "a 1 (asked for) is excluded"},
		"both alternatives": {world: "a 1 > b|c\nb 1 ! d<5\nc 1 > e\nd 1 = x\ne 1 ! x", ask: "a d",
			want: "a 1 (asked for) needs b or c, but\n  b 1 conflicts with d 1 (asked for): d (< 5)\n" +
				"  c 1 is not possible:\n    c 1 (asked for by a) needs e, but\n" +
				"      e 1 conflicts with d 1 (asked for): x"},
		"no version that was asked for": {world: "a 1 > b=1\na 2 ! c\nb 2\nc 1", ask: "c a=1|a=2",
			want: "a 1 (asked for) needs b (= 1): there is only b 2\na 2 (asked for) conflicts with c 1 (asked for)"},
	} {
		u, named := world(t, tc.world)
		rq := Request{Excluded: map[string]bool{tc.exclude: true}}
		for _, a := range strings.Fields(tc.ask) {
			rq.Asked = append(rq.Asked, group(named, a))
		}
		_, err := u.Solve(context.Background(), rq)
		var f *Failure
		if fault.KindOf(err) != fault.Unsatisfiable || !errors.As(err, &f) {
			t.Errorf("%s: %v, want an unsatisfiable request", name, err)
		} else if d := gocmp.Diff(tc.want, f.Error()); d != "" {
			t.Errorf("%s (-want +got)\n%s", name, d)
		}
	}
}

// A repository that nobody vouches for may have packages that are impossible for more reasons than anybody can be told.
func TestLongExplanation(t *testing.T) {
	p := &Package{Name: "p", Version: "1"}
	f := &Failure{By: p, Requirement: Requirement{Any: []Relation{{Name: "q"}}}, u: NewUniverse(byNumber, nil)}
	for range maxDepth {
		above := *f
		above.Refused = slices.Repeat([]Refusal{{Package: p, Because: f}}, 12)
		f = &above
	}
	var lines []string
	f.explain(&lines, 0)
	if len(lines) > 2*maxExplained {
		t.Errorf("%d lines are made of which %d are shown", len(lines), maxExplained)
	}
}

func TestWhy(t *testing.T) {
	t.Parallel()
	u, named := world(t, "a 1 > b\nb 1 > x|c\nc 1\nx 1 > nothing")
	s, err := u.Solve(context.Background(), Request{Asked: [][]*Package{{named["a"]}}})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range s.Why("c") {
		got = append(got, c.String())
	}
	want := []string{
		"c 1, because b 1 needs x or c (x 1 is not possible: x 1 (asked for by a → b) needs nothing: no repository has such a package)",
		"b 1, because a 1 needs b", "a 1, because it was asked for"}
	if d := gocmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	if s.Why("x") != nil {
		t.Error("a package that was not chosen has reasons")
	}
}

func TestOrder(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ world, ask, first, want string }{
		"dependencies first":         {world: "a 1 > z\nz 1 > m\nm 1", ask: "a", want: "m z a"},
		"by name":                    {world: "c 1\na 1\nb 1", ask: "c a b", want: "a b c"},
		"essential ones":             {world: "c 1 > d\na 1\nd 1", ask: "a c", first: "c", want: "d c a"},
		"circle, the wanted first":   {world: "g 1 > c\nc 1 > g\nx 1 > c\ny 1 > c g", ask: "x y", want: "c g x y"},
		"circle keeps what is first": {world: "a 1 >> b\nb 1 > c\nc 1 > a", ask: "a", want: "b a c"},
		"circle of three and more": {world: "a 1 > b\nb 1 > c\nc 1 > a d\nd 1", ask: "a",
			want: "d a c b"},
	} {
		u, named := world(t, tc.world)
		var rq Request
		for _, a := range strings.Fields(tc.ask) {
			rq.Asked = append(rq.Asked, group(named, a))
		}
		s, err := u.Solve(context.Background(), rq)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var got []string
		for _, p := range s.Order(func(p *Package) bool { return p.Name == tc.first }) {
			got = append(got, p.Name)
		}
		if d := gocmp.Diff(tc.want, strings.Join(got, " ")); d != "" {
			t.Errorf("%s (-want +got)\n%s", name, d)
		}
	}
}

// TestAgainstBruteForce compares with trying every subset: an answer is found if and only if there is one,
// and it is sound.
func TestAgainstBruteForce(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(2, 8).Draw(t, "packages")
		pick := func(label string) string { return fmt.Sprintf("p%d", rapid.IntRange(0, n).Draw(t, label)) } // p<n> may be missing
		said := map[*Package]Relations{}
		u := NewUniverse(byNumber, func(p *Package) (Relations, error) { return said[p], nil })
		var all []*Package
		for i := range n {
			p := &Package{Name: fmt.Sprintf("p%d", i), Version: strconv.Itoa(i)}
			if i > 0 && rapid.IntRange(0, 3).Draw(t, "another version") == 0 {
				p.Name = all[i-1].Name
			}
			var r Relations
			for range rapid.IntRange(0, 3).Draw(t, "requirements") {
				rq := Requirement{Strength: Strength(rapid.IntRange(0, 2).Draw(t, "strength"))}
				for range rapid.IntRange(1, 3).Draw(t, "alternatives") {
					need := Relation{Name: pick("need")}
					if need.Op = rapid.SampledFrom([]string{"", "", "<=", ">="}).Draw(t, "operator"); need.Op != "" {
						need.Version = strconv.Itoa(rapid.IntRange(0, n).Draw(t, "version"))
					}
					rq.Any = append(rq.Any, need)
				}
				r.Requires = append(r.Requires, rq)
			}
			for range rapid.IntRange(0, 2).Draw(t, "conflicts") {
				r.Conflicts = append(r.Conflicts, Relation{Name: pick("conflict")})
			}
			if rapid.IntRange(0, 3).Draw(t, "provides") == 0 {
				p.Provides = []Capability{{Name: pick("provided")}}
			}
			said[p] = r
			all = append(all, p)
			u.Add(p)
		}
		rq := Request{Wants: rapid.Bool().Draw(t, "wants")}
		for range rapid.IntRange(1, 2).Draw(t, "asked") {
			rq.Asked = append(rq.Asked, rapid.SliceOfNDistinct(rapid.SampledFrom(all), 1, 2, rapid.ID[*Package]).Draw(t, "group"))
		}
		possible := false
		for set := range 1 << n {
			var chosen []*Package
			for i, p := range all {
				if set>>i&1 == 1 {
					chosen = append(chosen, p)
				}
			}
			if sound(u, said, rq.Asked, chosen) {
				possible = true
				break
			}
		}
		s, err := u.Solve(context.Background(), rq)
		if (err == nil) != possible {
			t.Fatalf("solution exists: %v, but the solver says %v", possible, err)
		}
		if err != nil {
			if fault.KindOf(err) != fault.Unsatisfiable || err.Error() == "" {
				t.Fatalf("error %v", err)
			}
			return
		}
		var chosen []*Package
		for _, c := range s.Choices {
			chosen = append(chosen, c.Package)
			if why := s.Why(c.Package.Name); len(why) == 0 || why[len(why)-1].By != nil {
				t.Fatalf("%s is there without a reason", c.Package)
			}
		}
		if !sound(u, said, rq.Asked, chosen) {
			t.Fatalf("not a solution: %v", chosen)
		}
		if order := s.Order(func(*Package) bool { return false }); len(order) != len(chosen) {
			t.Fatalf("order %v of %v", order, chosen)
		}
	})
}

func sound(u *Universe, said map[*Package]Relations, asked [][]*Package, chosen []*Package) bool {
	for _, group := range asked {
		if !slices.ContainsFunc(group, func(p *Package) bool { return slices.Contains(chosen, p) }) {
			return false
		}
	}
	names := make(map[string]bool)
	for _, p := range chosen {
		if names[p.Name] {
			return false
		}
		names[p.Name] = true
		for _, rq := range said[p].Requires {
			met := rq.Strength == Want
			for _, r := range rq.Any {
				for _, q := range u.Candidates(r) {
					met = met || slices.Contains(chosen, q)
				}
			}
			if !met {
				return false
			}
		}
		for _, r := range said[p].Conflicts {
			for _, q := range u.Candidates(r) {
				if q != p && slices.Contains(chosen, q) {
					return false
				}
			}
		}
	}
	return true
}
