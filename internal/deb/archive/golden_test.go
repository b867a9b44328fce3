package archive

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ingot/internal/deb"
	"ingot/internal/fault"
	"ingot/internal/lock"
)

// frozen returns the catalogue of testdata/Packages.xz; testdata/freeze.sh says what that is.
func frozen(t testing.TB) *catalog {
	t.Helper()
	i := &index{repository: "frozen", pin: 500}
	if err := i.parse(filepath.Join("testdata", "Packages.xz"), "amd64", nil); err != nil {
		t.Fatal(err)
	}
	return newCatalog("amd64", i)
}

// TestGolden compares with what apt chose when testdata was made.
func TestGolden(t *testing.T) {
	t.Parallel()
	cat := frozen(t)
	text, err := os.ReadFile(filepath.Join("testdata", "answers.txt"))
	if err != nil {
		t.Fatal(err)
	}
	answers := strings.Split(string(text), "# ")[1:]
	if len(answers) < 24 {
		t.Fatalf("%d answers", len(answers))
	}
	for _, answer := range answers {
		title, body, _ := strings.Cut(answer, "\n")
		recommends, request, _ := strings.Cut(title, " ")
		want := strings.FieldsFunc(body, func(r rune) bool { return r == '\n' })
		rq := Request{Include: strings.Fields(request), Recommends: recommends == "true"}
		if request == "?essential" {
			rq.Include, rq.Essential = nil, true
		}
		var l lock.Lock
		if _, err := rq.choose(context.Background(), cat, &l); err != nil {
			if want[0] != "unsatisfiable" {
				t.Errorf("%s: %v", title, err)
			}
			t.Logf("%s: %v", title, err)
			continue
		}
		if d := cmp.Diff(want, names(&l)); d != "" {
			t.Errorf("%s (-apt +ours)\n%s", title, d)
		}
		checkOrder(t, cat, &l)
	}
}

// names returns the packages of a lock as sorted lines "name version".
func names(l *lock.Lock) []string {
	var all []string
	for _, p := range l.Packages {
		all = append(all, p.Name+" "+p.Version)
	}
	slices.Sort(all)
	return all
}

// checkOrder expects every Pre-Depends to be met by what comes earlier, and every Depends that is not to be
// part of a circle.
func checkOrder(t *testing.T, cat *catalog, l *lock.Lock) {
	t.Helper()
	all, err := cat.candidates(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	at := make(map[string]int, len(l.Packages))
	for i, p := range l.Packages {
		at[p.Name] = i
	}
	// meets returns the earliest package of the lock that meets a group.
	meets := func(g deb.Group) int {
		first := len(l.Packages)
		for _, r := range g {
			for _, p := range all.universe.Candidates(cat.relation(r)) {
				if i, ok := at[p.Name]; ok {
					first = min(first, i)
				}
			}
		}
		return first
	}
	parse := func(name, field string) []deb.Group {
		r := all.records[all.packages[name][0]]
		text := r.preDepends
		if field == "Depends" {
			text = r.depends
		}
		groups, err := deb.ParseRelations(text)
		if err != nil {
			t.Fatal(err)
		}
		return groups
	}
	// reaches reports whether package i needs package j, however indirectly.
	reaches := func(i, j int) bool {
		seen, todo := map[int]bool{i: true}, []int{i}
		for len(todo) > 0 {
			k := todo[0]
			todo = todo[1:]
			for _, g := range append(parse(l.Packages[k].Name, "Depends"), parse(l.Packages[k].Name, "Pre-Depends")...) {
				switch m := meets(g); {
				case m == j:
					return true
				case m < len(l.Packages) && !seen[m]:
					seen[m] = true
					todo = append(todo, m)
				}
			}
		}
		return false
	}
	for i, p := range l.Packages {
		for _, g := range parse(p.Name, "Pre-Depends") {
			if j := meets(g); j > i {
				t.Errorf("%s pre-depends on %s, which is not there yet", p.Name, g)
			}
		}
		for _, g := range parse(p.Name, "Depends") {
			if j := meets(g); j > i && (j == len(l.Packages) || !reaches(j, i)) {
				t.Errorf("%s depends on %s, which comes later", p.Name, g)
			}
		}
	}
}

func TestRequests(t *testing.T) {
	t.Parallel()
	cat := frozen(t)
	version := cat.names["mawk"].best.version
	for name, tc := range map[string]struct {
		rq      Request
		kind    fault.Kind
		mention string // in the error
		has     []string
		hasNot  []string
	}{
		"exact version":   {rq: Request{Include: []string{"mawk=" + version}}, has: []string{"mawk", "libc6"}},
		"another version": {rq: Request{Include: []string{"mawk=0"}}, kind: fault.Missing, mention: "there is " + version},
		"unknown":         {rq: Request{Include: []string{"mawkk"}}, kind: fault.Missing, mention: "mawkk"},
		"virtual":         {rq: Request{Include: []string{"awk"}}, kind: fault.Input, mention: "gawk, mawk"},
		"provided by one": {rq: Request{Include: []string{"python3-supported-min"}}, has: []string{"python3-minimal"}},
		"essential":       {rq: Request{Essential: true}, has: []string{"dpkg", "bash", "base-files", "libc6"}, hasNot: []string{"apt"}},
		"exclude": {rq: Request{Include: []string{"base-files"}, Exclude: []string{"mawk"}},
			hasNot: []string{"mawk"}, has: []string{"base-files"}},
		"exclude what is needed": {rq: Request{Include: []string{"mawk"}, Exclude: []string{"libc6"}},
			kind: fault.Unsatisfiable, mention: "libc6"},
	} {
		var l lock.Lock
		_, err := tc.rq.choose(context.Background(), cat, &l)
		if err != nil {
			if fault.KindOf(err) != tc.kind || tc.mention == "" || !strings.Contains(err.Error(), tc.mention) {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if tc.mention != "" {
			t.Errorf("%s: no error", name)
		}
		got := make(map[string]bool)
		for _, p := range l.Packages {
			got[p.Name] = true
			if p.Path == "" || p.Size == 0 || p.Repository != "frozen" || p.Explicit != slices.ContainsFunc(tc.rq.Include, func(s string) bool {
				return s == p.Name || strings.HasPrefix(s, p.Name+"=")
			}) && name != "provided by one" {
				t.Errorf("%s: %+v", name, p)
			}
		}
		for _, n := range tc.has {
			if !got[n] {
				t.Errorf("%s: lacks %s", name, n)
			}
		}
		for _, n := range tc.hasNot {
			if got[n] {
				t.Errorf("%s: has %s", name, n)
			}
		}
	}
}

func TestEssentialFirst(t *testing.T) {
	t.Parallel()
	cat := frozen(t)
	rq := Request{Essential: true, Include: []string{"cloud-init"}}
	var l lock.Lock
	if _, err := rq.choose(context.Background(), cat, &l); err != nil {
		t.Fatal(err)
	}
	checkOrder(t, cat, &l)
	last := 0
	for i, p := range l.Packages {
		if cat.names[p.Name].best.essential {
			last = i
		}
	}
	if at := slices.IndexFunc(l.Packages, func(p lock.Package) bool { return p.Name == "python3" }); at < last {
		t.Errorf("python3 is at %d, the last essential package at %d", at, last)
	}
}

// TestCandidate takes the newest version, from the first repository that has it, unless a repository wants
// to be asked by name.
func TestCandidate(t *testing.T) {
	t.Parallel()
	var all []*index
	for _, x := range []struct {
		repository string
		pin        int
		version    string
	}{{"main", 500, "1.0"}, {"copy", 500, "1.0"}, {"security", 500, "1.0+deb1"}, {"old", 500, "0.9"}, {"backports", 100, "2.0"}} {
		i := &index{repository: x.repository, pin: x.pin, mentioned: []string{"a"}}
		i.records = []*record{{name: "a", version: x.version, from: i}}
		all = append(all, i)
	}
	c := newCatalog("amd64", all...)
	if got := c.names["a"].best; got.version != "1.0+deb1" || got.from.repository != "security" {
		t.Errorf("%s from %s", got.version, got.from.repository)
	}
	for version, want := range map[string]string{"1.0": "main", "2.0": "backports"} {
		if r, err := c.exact("a=" + version); err != nil || r.from.repository != want {
			t.Errorf("%s: %v, %v", version, r, err)
		}
	}
}

// TestPrefer keeps the versions that a request prefers, but for those that something needs otherwise.
func TestPrefer(t *testing.T) {
	t.Parallel()
	i := &index{repository: "main", pin: 500}
	err := i.take(strings.NewReader(stanzas("a 1", "a 2", "a 3", "lib 1", "lib 2", "tool 1 lib (= 1)", "tool 2 lib (= 2)", "base! 1", "base! 2",
		"user 1 base (>= 2)", "only 5")), "amd64", nil)
	if err != nil {
		t.Fatal(err)
	}
	cat := newCatalog("amd64", i)
	for name, tc := range map[string]struct {
		include, prefer []string
		essential       bool
		want            []string
	}{
		"nothing":                              {include: []string{"a", "tool"}, want: []string{"a 3", "lib 2", "tool 2"}},
		"older versions":                       {include: []string{"a", "tool"}, prefer: []string{"a=2", "lib=1", "tool=1"}, want: []string{"a 2", "lib 1", "tool 1"}},
		"a version that is gone":               {include: []string{"a", "only"}, prefer: []string{"a=0", "only=4"}, want: []string{"a 3", "only 5"}},
		"a name that is gone":                  {include: []string{"a"}, prefer: []string{"z=1"}, want: []string{"a 3"}},
		"a version asked for":                  {include: []string{"a=1"}, prefer: []string{"a=2"}, want: []string{"a 1"}},
		"needed by what changes":               {include: []string{"tool"}, prefer: []string{"lib=1"}, want: []string{"lib 2", "tool 2"}},
		"what changes is needed as it was":     {include: []string{"tool"}, prefer: []string{"tool=1"}, want: []string{"lib 2", "tool 2"}},
		"an essential package":                 {essential: true, prefer: []string{"base=1"}, want: []string{"base 1"}},
		"an essential package, needed anew":    {essential: true, include: []string{"user"}, prefer: []string{"base=1"}, want: []string{"base 2", "user 1"}},
		"the newest one is preferred, as ever": {include: []string{"a"}, prefer: []string{"a=3"}, want: []string{"a 3"}},
	} {
		rq := Request{Include: tc.include, Prefer: map[string]string{}, Essential: tc.essential}
		for _, p := range tc.prefer {
			n, v, _ := strings.Cut(p, "=")
			rq.Prefer[n] = v
		}
		var l lock.Lock
		if _, err := rq.choose(t.Context(), cat, &l); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if d := cmp.Diff(tc.want, names(&l)); d != "" {
			t.Errorf("%s (-want +got)\n%s", name, d)
		}
		for _, p := range l.Packages {
			if p.Explicit != slices.ContainsFunc(tc.include, func(s string) bool { return strings.HasPrefix(s, p.Name) }) {
				t.Errorf("%s: %s is explicit: %v", name, p.Name, p.Explicit)
			}
		}
	}
}

// stanzas returns an index of packages, each "NAME VERSION DEPENDS"; a name that ends in ! is essential.
func stanzas(packages ...string) string {
	var b strings.Builder
	for _, p := range packages {
		f := strings.SplitN(p+" ", " ", 3)
		name, essential := strings.CutSuffix(f[0], "!")
		fmt.Fprintf(&b, "Package: %s\nVersion: %s\nArchitecture: all\nFilename: %s.deb\nSize: 1\nSHA256: %s\n", name, f[1], name, sum)
		if essential {
			b.WriteString("Essential: yes\n")
		}
		if depends := strings.TrimSpace(f[2]); depends != "" {
			b.WriteString("Depends: " + depends + "\n")
		}
		b.WriteString("\n")
	}
	return b.String()
}

// FuzzIndex asks for whatever package a hostile index offers. The lock, if there is one, must be sound.
func FuzzIndex(f *testing.F) {
	f.Add("Package: a\nVersion: 1\nArchitecture: all\nDepends: b | c:any (>= 2)\nProvides: d (= 1)\nFilename: a\nSize: 1\nSHA256: "+sum+
		"\n\nPackage: b\nVersion: 1\nArchitecture: amd64\nConflicts: a\nMulti-Arch: allowed\nProvides: c\n", "a")
	f.Fuzz(func(t *testing.T, text, name string) {
		i := &index{repository: "fuzz", pin: 500}
		if err := i.take(strings.NewReader(text), "amd64", nil); err != nil {
			return
		}
		c := newCatalog("amd64", i)
		rq := Request{Include: []string{name}, Recommends: true, Essential: true}
		l := lock.Lock{Version: lock.Version}
		if _, err := rq.choose(t.Context(), c, &l); err != nil {
			if fault.KindOf(err) == fault.Bug {
				t.Error(err)
			}
			return
		}
		if _, err := lock.Parse(l.Bytes()); err != nil {
			t.Error(err)
		}
	})
}
