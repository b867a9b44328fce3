package archive

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"ingot/internal/fault"
	"ingot/internal/rpm"
	"ingot/internal/solve"
)

// catalog holds the packages of all repositories.
type catalog struct {
	records  []*record                  // in the order of the repositories
	spelt    map[string][]*record       // by every way to name one, the newest first
	paths    map[string]bool            // files that packages require, and whether one has them
	contents map[string][]string        // files of packages among those, by checksum; nil until filelists are read
	groups   map[string]*Group          // by id; the first repository that has one counts
	packages map[*record]*solve.Package // as the solver knows them
	of       map[*solve.Package]*record
	universe *solve.Universe
	lacking  bool // a required file came up that primary does not know
}

// named is the capability that a package has by its name alone: what others obsolete is packages, never
// what packages provide.
func named(name string) string { return "package " + name }

func newCatalog(records []*record, groups []Group) *catalog {
	c := &catalog{spelt: make(map[string][]*record), paths: make(map[string]bool), groups: make(map[string]*Group)}
	seen := make(map[string]bool, len(records))
	for _, r := range records {
		if seen[r.String()] {
			continue // the first repository that has a version wins
		}
		seen[r.String()] = true
		c.records = append(c.records, r)
	}
	// The newest first: candidates that nothing else tells apart are taken in this order.
	slices.SortStableFunc(c.records, func(a, b *record) int { return b.evr.Compare(a.evr) })
	for _, r := range c.records {
		for _, s := range spellings(r) {
			c.spelt[s] = append(c.spelt[s], r)
		}
		for _, q := range r.requires {
			if strings.HasPrefix(q.Name, "/") {
				c.paths[q.Name] = false
			}
		}
	}
	for _, r := range c.records {
		for _, f := range r.files {
			if _, ok := c.paths[f]; ok {
				c.paths[f] = true
			}
		}
	}
	for i := range groups {
		if g := &groups[i]; c.groups[g.ID] == nil {
			c.groups[g.ID] = g
		}
	}
	return c
}

// spellings returns the ways in which yum and dnf let people name a package.
func spellings(r *record) []string {
	full, epoch := r.evr.Version+"-"+r.evr.Release, cmp.Or(r.evr.Epoch, "0")
	all := []string{r.name, r.name + "-" + r.evr.Version, r.name + "-" + full, r.name + "-" + epoch + ":" + full, epoch + ":" + r.name + "-" + full}
	for _, s := range all[:len(all):len(all)] {
		all = append(all, s+"."+r.arch)
	}
	return all
}

// describe tells the solver of all packages.
func (c *catalog) describe() {
	c.packages, c.of = make(map[*record]*solve.Package, len(c.records)), make(map[*solve.Package]*record, len(c.records))
	c.lacking = false
	c.universe = solve.NewUniverse(rpm.Compare, func(p *solve.Package) (solve.Relations, error) { return c.relations(c.of[p]) })
	c.universe.Loose, c.universe.Prefer = true, c.prefer
	for _, r := range c.records {
		p := &solve.Package{Name: r.name, Version: r.version(), Provides: []solve.Capability{{Name: named(r.name), Version: r.version()}}}
		for _, q := range r.provides {
			p.Provides = append(p.Provides, solve.Capability{Name: q.Name, Version: q.Version, Op: q.Op()})
		}
		files := r.files
		if c.contents != nil {
			files = c.contents[r.checksum.Sum]
		}
		for _, f := range files {
			if _, ok := c.paths[f]; ok {
				p.Provides = append(p.Provides, solve.Capability{Name: f})
			}
		}
		c.packages[r], c.of[p] = p, r
		c.universe.Add(p)
	}
}

func (c *catalog) relations(r *record) (out solve.Relations, err error) {
	for _, q := range r.requires {
		if strings.HasPrefix(q.Name, "rpmlib(") {
			continue // of rpm itself; the installer looks at them
		}
		if q.Boolean() {
			return out, boolean(r, q)
		}
		if strings.HasPrefix(q.Name, "/") && !c.paths[q.Name] {
			c.lacking = true
		}
		out.Requires = append(out.Requires, requirement(q))
	}
	for _, q := range r.recommends {
		if !q.Boolean() { // a wish that cannot be read is one that cannot be met
			out.Requires = append(out.Requires, solve.Requirement{Strength: solve.Want, Any: []solve.Relation{relationOf(q.Name, q)}})
		}
	}
	for _, q := range r.conflicts {
		if q.Boolean() {
			return out, boolean(r, q)
		}
		out.Conflicts = append(out.Conflicts, relationOf(q.Name, q))
	}
	for _, q := range r.obsoletes {
		out.Conflicts = append(out.Conflicts, relationOf(named(q.Name), q))
	}
	return out, nil
}

func boolean(r *record, q rpm.Relation) error {
	return fault.New(fault.Input, fmt.Errorf("package %s of repository %s has the boolean dependency %s, which is not supported", r, r.from.Name, q.Name),
		"exclude the package, or take a distribution whose packages do without (rpm before 4.13)")
}

func requirement(q rpm.Relation) solve.Requirement {
	rq := solve.Requirement{Any: []solve.Relation{relationOf(q.Name, q)}}
	if q.First() {
		rq.Strength = solve.NeedFirst
	}
	return rq
}

func relationOf(name string, q rpm.Relation) solve.Relation {
	return solve.Relation{Name: name, Op: q.Op(), Version: q.Version}
}

// What a provider scores, as yum 3.2.29 counts (_compare_providers in its depsolve.py).
const (
	scoreObsolete = -1024
	scoreSource   = 20
	scoreBase     = 5
	scorePrefix   = 2 // for each letter of a common prefix of three or more
)

// prefer orders packages that meet a requirement as yum does: what no other one obsoletes, what comes from the
// same source, or from one that has a package chosen, what has a similar name; then what needs the least that
// is not chosen yet, then the shortest name. Of one name the newest version comes first, and older ones at the
// end, for the case that nothing else works.
func (c *catalog) prefer(by *solve.Package, candidates []*solve.Package, met func(solve.Requirement) bool) {
	type rank struct{ old, score, lacks int }
	ranks := make(map[*solve.Package]rank, len(candidates))
	for i, p := range candidates {
		r := c.of[p]
		k := rank{score: c.score(r, c.of[by], candidates, met)}
		for _, q := range candidates[:i] {
			if q.Name == p.Name {
				k.old++
			}
		}
		for _, q := range r.requires {
			if !strings.HasPrefix(q.Name, "rpmlib(") && !met(requirement(q)) {
				k.lacks++
			}
		}
		ranks[p] = k
	}
	slices.SortStableFunc(candidates, func(a, b *solve.Package) int {
		x, y := ranks[a], ranks[b]
		return cmp.Or(cmp.Compare(x.old, y.old), cmp.Compare(y.score, x.score), cmp.Compare(x.lacks, y.lacks),
			cmp.Compare(len(a.Name), len(b.Name)), cmp.Compare(b.Name, a.Name))
	})
}

func (c *catalog) score(r, by *record, among []*solve.Package, met func(solve.Requirement) bool) (score int) {
	for _, p := range among {
		if p.Name != r.name && obsoletes(c.of[p], r) {
			score += scoreObsolete
		}
	}
	if r.source != "" && r.source == by.source {
		score += scoreSource
	}
	if met(solve.Requirement{Any: []solve.Relation{{Name: named(base(r))}}}) {
		score += scoreBase
	}
	n := 0
	for n < min(len(r.name), len(by.name)) && r.name[n] == by.name[n] {
		n++
	}
	if n > 2 {
		score += scorePrefix * n
	}
	return score
}

// base returns the name of the source package.
func base(r *record) string {
	s := r.source
	for range 2 {
		if i := strings.LastIndexByte(s, '-'); i > 0 {
			s = s[:i]
		}
	}
	return cmp.Or(s, r.name)
}

// obsoletes reports whether a takes the place of b.
func obsoletes(a, b *record) bool {
	return a.name != b.name && slices.ContainsFunc(a.obsoletes, func(q rpm.Relation) bool {
		if q.Name != b.name {
			return false
		}
		n := 0
		if q.Version != "" {
			n = b.evr.Compare(rpm.ParseEVR(q.Version))
		}
		op := q.Op()
		return op == "" || n < 0 && strings.Contains(op, "<") || n == 0 && strings.Contains(op, "=") || n > 0 && strings.Contains(op, ">")
	})
}

// asked returns the packages that an entry of Include means, the preferred one first: a package by name, with version,
// release, epoch and architecture as far as they are given, a file, or a capability. A package that another one
// obsoletes gives way to it.
func (c *catalog) asked(include string, excluded map[string]bool) ([]*solve.Package, error) {
	var all []*solve.Package
	add := func(r *record) {
		if p := c.packages[r]; !slices.Contains(all, p) {
			all = append(all, p)
		}
	}
	for _, r := range c.spelt[include] {
		if include == r.name {
			for _, o := range c.records {
				if !excluded[o.name] && obsoletes(o, r) {
					add(o)
				}
			}
		}
		add(r)
	}
	if all != nil {
		return all, nil
	}
	if all = c.universe.Candidates(solve.Relation{Name: include}); len(all) > 0 {
		return all, nil
	}
	return nil, fault.New(fault.Missing, fmt.Errorf("no repository has a package %s, or one that provides it", include),
		"check the spelling and the repositories")
}
