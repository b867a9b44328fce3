package archive

import (
	"fmt"
	"slices"
	"strings"

	"ingot/internal/deb"
	"ingot/internal/fault"
	"ingot/internal/solve"
)

// catalog holds the packages of all indexes by name.
type catalog struct {
	arch  string
	names map[string]*entryOf
	order []*entryOf // names that have packages, in the order of the indexes
}

// entryOf is a name: of packages, or one that others mention.
type entryOf struct {
	mention int // rank in the order in which names turn up in the indexes
	first   *record
	last    *record
	best    *record // the version that is taken where none is named
}

// newCatalog returns a catalogue of indexes; those of the repository that was named first come first.
func newCatalog(arch string, indexes ...*index) *catalog {
	size := 0
	for _, i := range indexes {
		size += len(i.mentioned)
	}
	c := &catalog{arch: arch, names: make(map[string]*entryOf, size)}
	for _, i := range indexes {
		for _, name := range i.mentioned {
			c.name(name)
		}
		for _, r := range i.records {
			c.add(r)
		}
	}
	return c
}

func (c *catalog) name(s string) *entryOf {
	e := c.names[s]
	if e == nil {
		e = &entryOf{mention: len(c.names)}
		c.names[s] = e
	}
	return e
}

func (c *catalog) add(r *record) {
	e := c.name(r.name)
	if e.version(r.version) != nil {
		return // the first source of a version wins
	}
	if e.first == nil {
		e.first = r
		c.order = append(c.order, e)
	} else {
		e.last.next = r
	}
	e.last = r
	if e.best == nil || r.from.pin > e.best.from.pin ||
		r.from.pin == e.best.from.pin && deb.Compare(r.version, e.best.version) > 0 {
		e.best = r
	}
}

// candidates are one version of each package, or two where an older one is preferred, as the solver knows them.
type candidates struct {
	*catalog
	universe *solve.Universe
	packages map[string][]*solve.Package // by name, the version to be preferred first
	records  map[*solve.Package]*record
}

// candidates describes the best version of each package to the solver, or the one given by name in exact.
// A version in prefer comes before the best one, which is there for those that need it.
func (c *catalog) candidates(exact map[string]*record, prefer map[string]string) (*candidates, error) {
	all := &candidates{catalog: c,
		packages: make(map[string][]*solve.Package, len(c.order)), records: make(map[*solve.Package]*record, len(c.order))}
	all.universe = solve.NewUniverse(deb.Compare, func(p *solve.Package) (solve.Relations, error) {
		return c.relations(all.records[p])
	})
	for _, e := range c.order {
		versions := []*record{e.best}
		if x := exact[e.best.name]; x != nil {
			versions[0] = x
		} else if old := e.version(prefer[e.best.name]); old != nil && old != e.best {
			versions = []*record{old, e.best}
		}
		rank := c.rank(e, versions[0])
		for _, r := range versions {
			p := &solve.Package{Name: r.name, Version: r.version, Rank: rank}
			var err error
			if p.Provides, err = c.provides(r); err != nil {
				return nil, fault.New(fault.Input, err, "")
			}
			all.records[p], all.packages[p.Name] = r, append(all.packages[p.Name], p)
			all.universe.Add(p)
		}
	}
	return all, nil
}

// version returns a version of the package, or nil.
func (e *entryOf) version(v string) *record {
	for r := e.first; r != nil; r = r.next {
		if r.version == v {
			return r
		}
	}
	return nil
}

// priorities in the order in which apt prefers them; a package that states none comes before all.
var priorities = []string{"", "required", "important", "standard", "optional", "extra"}

// rank orders packages that provide the same name as apt does: essential ones, protected ones, then by
// priority, then as index.mention explains.
func (c *catalog) rank(e *entryOf, r *record) int64 {
	rank := int64(slices.Index(priorities, r.priority))
	if rank < 0 {
		rank = int64(len(priorities)) - 1
	}
	if !r.protected {
		rank |= 1 << 8
	}
	if !r.essential {
		rank |= 1 << 9
	}
	return rank<<32 + int64(len(c.names)-e.mention)
}

// provides returns the names that a package stands for. What a package of Multi-Arch: allowed provides is
// also there for relations that are qualified with :any; a name with that suffix stands for them.
func (c *catalog) provides(r *record) ([]solve.Capability, error) {
	var all []solve.Capability
	allowed := r.multiArch == "allowed"
	if allowed {
		all = append(all, solve.Capability{Name: r.name + ":any", Version: r.version})
	}
	if r.provides == "" {
		return all, nil
	}
	groups, err := r.relations("Provides", r.provides)
	if err != nil {
		return nil, err
	}
	for _, g := range groups {
		if len(g) != 1 || g[0].Op != "" && g[0].Op != "=" {
			continue // dpkg and apt ignore it too
		}
		name := c.unqualified(g[0])
		all = append(all, solve.Capability{Name: name, Version: g[0].Version})
		if allowed && g[0].ArchQual == "" {
			all = append(all, solve.Capability{Name: name + ":any", Version: g[0].Version})
		}
	}
	return all, nil
}

// unqualified returns the name under which the universe knows what a relation means.
func (c *catalog) unqualified(r deb.Relation) string {
	if r.ArchQual == "" || r.ArchQual == c.arch || r.ArchQual == "native" {
		return r.Name
	}
	return r.Name + ":" + r.ArchQual
}

var operators = map[string]string{"": "", "<<": "<", "<=": "<=", "=": "=", ">=": ">=", ">>": ">"}

func (c *catalog) relation(r deb.Relation) solve.Relation {
	return solve.Relation{Name: c.unqualified(r), Op: operators[r.Op], Version: r.Version}
}

// relations returns what a package says about others. Nothing is installed that another one breaks: a
// fresh system has no old version whose configuration Breaks could put off, so that it equals Conflicts.
func (c *catalog) relations(r *record) (out solve.Relations, err error) {
	for _, f := range []struct {
		name, value string
		strength    solve.Strength
	}{
		{"Pre-Depends", r.preDepends, solve.NeedFirst},
		{"Depends", r.depends, solve.Need},
		{"Recommends", r.recommends, solve.Want},
	} {
		groups, err := r.relations(f.name, f.value)
		if err != nil {
			return out, fault.New(fault.Input, err, "")
		}
		for _, g := range groups {
			rq := solve.Requirement{Strength: f.strength, Any: make([]solve.Relation, len(g))}
			for i := range g {
				rq.Any[i] = c.relation(g[i])
			}
			out.Requires = append(out.Requires, rq)
		}
	}
	for _, f := range [][2]string{{"Conflicts", r.conflicts}, {"Breaks", r.breaks}} {
		groups, err := r.relations(f[0], f[1])
		if err != nil {
			return out, fault.New(fault.Input, err, "")
		}
		for _, g := range groups {
			for _, one := range g {
				if one.ArchQual == "any" {
					one.ArchQual = "" // there is one architecture only
				}
				out.Conflicts = append(out.Conflicts, c.relation(one))
			}
		}
	}
	return out, nil
}

// exact returns the record that an entry NAME=VERSION of Include means, nil for one that is a name alone.
func (c *catalog) exact(include string) (*record, error) {
	name, version, ok := strings.Cut(include, "=")
	if !ok {
		return nil, nil
	}
	var known []string
	if e := c.names[name]; e != nil {
		if r := e.version(version); r != nil {
			return r, nil
		}
		for r := e.first; r != nil; r = r.next {
			known = append(known, r.version)
		}
	}
	if known == nil {
		return nil, missing(name)
	}
	return nil, fault.New(fault.Missing, fmt.Errorf("no repository has version %s of package %s; there is %s",
		version, name, strings.Join(known, ", ")), "correct the version, or name the package alone to take its newest one")
}

// asked returns the versions of the package that an entry of Include asks for: the one of that name, or the
// only one that provides it.
func (c *candidates) asked(include string) ([]*solve.Package, error) {
	name, _, _ := strings.Cut(include, "=")
	if versions := c.packages[name]; versions != nil {
		return versions, nil
	}
	providers := c.universe.Candidates(solve.Relation{Name: name})
	names := make([]string, len(providers))
	for i, p := range providers {
		names[i] = p.Name
	}
	slices.Sort(names)
	switch names = slices.Compact(names); len(names) {
	case 0:
		return nil, missing(name)
	case 1:
		return providers, nil
	}
	return nil, fault.New(fault.Input, fmt.Errorf("package %s is a virtual one, provided by %s", name, strings.Join(names, ", ")),
		"name one of them")
}

func missing(name string) error {
	return fault.New(fault.Missing, fmt.Errorf("no repository has a package %s", name),
		"check the spelling and the repositories' components")
}
