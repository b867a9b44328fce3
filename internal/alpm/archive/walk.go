package archive

import (
	"context"
	"fmt"
	"path"

	"ingot/internal/alpm"
	"ingot/internal/fault"
)

// maxSteps bounds the walk over dependencies, as a package that cannot be installed is tried again wherever
// it is needed. Real requests take a few thousand.
const maxSteps = 1_000_000

// walk is the state of a choice.
type walk struct {
	ctx          context.Context
	rq           Request
	repositories []*Database
	offers       map[string][]offer // by name, in the order of repositories and then of packages' names
	groups       map[string][]*candidate
	excluded     map[string]bool

	explicit []*candidate // the targets
	targets  map[*candidate]int

	chosen []*candidate // in the order in which pacman takes them
	named  map[string]*candidate
	failed Failure
	steps  int
}

// candidate is a package of a repository.
type candidate struct {
	pkg  *alpm.Package
	db   *Database
	by   *alpm.Package // why it was chosen last
	need alpm.Depend
}

// offer is one name that a package has: its own, or one that it provides.
type offer struct {
	*candidate
	own     bool
	version string // "" where it provides the name without one
}

// meets reports whether the offer meets a dependency on its name.
func (o offer) meets(d alpm.Depend) bool {
	if d.Op == "" {
		return true
	}
	if !o.own && o.version == "" {
		return false
	}
	return d.Allows(o.version)
}

func newWalk(ctx context.Context, repositories []*Database, rq Request) (*walk, error) {
	w := &walk{ctx: ctx, rq: rq, repositories: repositories, offers: make(map[string][]offer),
		groups: make(map[string][]*candidate), excluded: make(map[string]bool), targets: make(map[*candidate]int),
		named: make(map[string]*candidate)}
	for _, pattern := range rq.Ignore {
		if _, err := path.Match(pattern, ""); err != nil {
			return nil, fault.Newf(fault.Input, "ignored packages: %q: %w", pattern, err)
		}
	}
	for _, name := range rq.Exclude {
		w.excluded[name] = true
	}
	for _, db := range repositories {
		for _, p := range db.Packages {
			c := &candidate{pkg: p, db: db}
			w.offers[p.Name] = append(w.offers[p.Name], offer{c, true, p.Version})
			for _, d := range p.Provides {
				if d.Op != "=" {
					d.Version = ""
				}
				w.offers[d.Name] = append(w.offers[d.Name], offer{c, false, d.Version})
			}
			for _, g := range p.Groups {
				w.groups[g] = append(w.groups[g], c)
			}
		}
	}
	return w, nil
}

// provider returns the first package of that name that meets a dependency, or else the first one that
// provides it, among those that fit; nil for none.
func (w *walk) provider(d alpm.Depend, fits func(*candidate) bool) *candidate {
	offers := w.offers[d.Name]
	for _, o := range offers {
		if o.own && o.meets(d) && fits(o.candidate) {
			return o.candidate
		}
	}
	for _, o := range offers {
		if o.pkg.Name != d.Name && o.meets(d) && fits(o.candidate) {
			return o.candidate
		}
	}
	return nil
}

// resolve chooses the targets and what they depend on.
func (w *walk) resolve() error {
	for _, c := range w.explicit {
		if _, err := w.choose(c, nil); err != nil {
			return err
		}
	}
	if len(w.failed.Missing) > 0 {
		return fault.New(fault.Unsatisfiable, &w.failed,
			"a repository may be missing from the recipe, or its mirrors may be in the middle of an update")
	}
	return nil
}

// chain is the road from a target to a package.
type chain struct {
	pkg  *alpm.Package
	from *chain
}

// choose adds a package and what it depends on, depth first. If a dependency cannot be met, it notes why,
// takes back what it added, and returns false; an error ends the walk.
func (w *walk) choose(c *candidate, from *chain) (bool, error) {
	if w.named[c.pkg.Name] != nil {
		return true, nil
	}
	if w.steps++; w.steps > maxSteps {
		return false, fault.Newf(fault.Unsatisfiable, "choosing packages: gave up after %d steps", maxSteps)
	}
	if err := w.ctx.Err(); err != nil {
		return false, fmt.Errorf("choosing packages: %w", err)
	}
	start, possible := len(w.chosen), true
	w.chosen, w.named[c.pkg.Name] = append(w.chosen, c), c
	here := &chain{c.pkg, from}
	for _, need := range w.open(c) {
		if w.met(need) {
			continue
		}
		next := w.preferred(need)
		if next == nil {
			next = w.provider(need, func(n *candidate) bool {
				return w.named[n.pkg.Name] == nil && !w.excluded[n.pkg.Name] && !w.ignored(n.pkg.Name)
			})
		}
		if next == nil {
			w.failed.note(w, here, need)
			possible = false
			continue
		}
		next.by, next.need = c.pkg, need
		ok, err := w.choose(next, here)
		if err != nil {
			return false, err
		}
		possible = possible && ok
	}
	if !possible {
		for _, back := range w.chosen[start:] {
			delete(w.named, back.pkg.Name)
		}
		w.chosen = w.chosen[:start]
	}
	return possible, nil
}

// open returns the dependencies of a package that it does not meet itself.
func (w *walk) open(c *candidate) []alpm.Depend {
	var all []alpm.Depend
	for _, d := range c.pkg.Depends {
		if !w.meets(c, d) {
			all = append(all, d)
		}
	}
	return all
}

// meets reports whether a package meets a dependency.
func (w *walk) meets(c *candidate, d alpm.Depend) bool {
	for _, o := range w.offers[d.Name] {
		if o.candidate == c && o.meets(d) {
			return true
		}
	}
	return false
}

// met reports whether a package that was chosen meets a dependency.
func (w *walk) met(d alpm.Depend) bool {
	for _, o := range w.offers[d.Name] {
		if w.named[o.pkg.Name] == o.candidate && o.meets(d) {
			return true
		}
	}
	return false
}

// preferred returns the first target that meets a dependency, or nil.
func (w *walk) preferred(d alpm.Depend) *candidate {
	first := len(w.explicit)
	for _, o := range w.offers[d.Name] {
		if i, ok := w.targets[o.candidate]; ok && i < first && o.meets(d) {
			first = i
		}
	}
	if first == len(w.explicit) {
		return nil
	}
	return w.explicit[first]
}
