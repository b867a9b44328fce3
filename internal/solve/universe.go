// Package solve decides which packages to install so that what is asked for works: dependencies met,
// conflicts avoided. It knows no package format; internal/deb and internal/rpm describe their
// packages to it.
//
// Package managers do not look for the smallest answer, they prefer: the first alternative of a dependency,
// the package that bears the name before one that provides it, the better ranked provider. [Universe.Solve]
// walks the same way, depth first in the order in which dependencies are written, and keeps the first choice
// that works. Where a choice turns out to be impossible it goes back to the latest choice that had a part in
// the contradiction and remembers which packages cannot stand together, so that it finds an answer whenever
// there is one. It is deterministic, can say for each package why it was chosen, and for a failure which
// requirement cannot be met and by what.
package solve

import (
	"cmp"
	"slices"
	"strings"
)

// Relation names a package or a capability, and the versions of it that are meant.
type Relation struct {
	Name    string
	Op      string // "<", "<=", "=", ">=", ">", or "" for every version
	Version string
}

func (r Relation) String() string {
	if r.Op == "" {
		return r.Name
	}
	return r.Name + " (" + r.Op + " " + r.Version + ")"
}

// Capability is a name that a package stands for besides its own; Version may be empty, and then only
// relations that name no version are met by it (but see Universe.Loose). Op is "=" or empty where it is that
// version; with another one (see Relation) the package stands for a range of versions, which meets a relation when
// they overlap.
type Capability struct{ Name, Version, Op string }

// Package is one version of a package. Of several packages of one name, at most one is chosen.
type Package struct {
	Name     string
	Version  string
	Provides []Capability
	// Rank orders packages that meet a relation in the same way (by bearing the name, or by providing it):
	// the lowest is preferred, and between equals the one added first.
	Rank int64
}

func (p *Package) String() string { return p.Name + " " + p.Version }

// Strength says what happens when a requirement cannot be met.
type Strength uint8

const (
	Need      Strength = iota // the package cannot be installed
	NeedFirst                 // the same, and what meets it must work before the package is unpacked
	Want                      // nothing, the requirement is left out
)

// Requirement is met when one of its alternatives is; the first is preferred.
type Requirement struct {
	Strength Strength
	Any      []Relation
}

// Relations are what a package says about others. A package is never in conflict with itself.
type Relations struct {
	Requires  []Requirement // in the order in which they are to be worked on
	Conflicts []Relation    // with what it cannot be installed at the same time
}

// Universe is the set of packages to choose from.
type Universe struct {
	// Loose says that a capability without a version meets relations to every version of it.
	Loose bool
	// Prefer, where it is set, sorts the packages that meet a requirement of by, the preferred one first. met
	// reports whether what is chosen so far meets another requirement.
	Prefer func(by *Package, candidates []*Package, met func(Requirement) bool)

	compare   func(a, b string) int
	relations func(*Package) (Relations, error)

	offers map[string][]offer
	asked  map[*Package]*Relations // what relations returned
}

type offer struct {
	pkg     *Package
	version string
	op      string // "" for exactly the version
}

// NewUniverse returns an empty universe. compare orders two versions, negative when a is older. relations
// returns what a package says; it is called once for each package that comes into question, so that the
// many others need not be parsed.
func NewUniverse(compare func(a, b string) int, relations func(*Package) (Relations, error)) *Universe {
	return &Universe{
		compare: compare, relations: relations,
		offers: make(map[string][]offer), asked: make(map[*Package]*Relations),
	}
}

// Add puts a package into the universe.
func (u *Universe) Add(p *Package) {
	u.offers[p.Name] = append(u.offers[p.Name], offer{pkg: p, version: p.Version})
	for _, c := range p.Provides {
		u.offers[c.Name] = append(u.offers[c.Name], c.offer(p))
	}
}

func (c Capability) offer(p *Package) offer {
	if c.Op == "=" {
		c.Op = ""
	}
	return offer{p, c.Version, c.Op}
}

// Candidates returns the packages that meet a relation, the preferred one first.
func (u *Universe) Candidates(r Relation) []*Package {
	var all []*Package
	for _, o := range u.offers[r.Name] {
		if u.meets(o, r) && !slices.Contains(all, o.pkg) {
			all = append(all, o.pkg)
		}
	}
	if len(all) > 1 {
		slices.SortStableFunc(all, func(a, b *Package) int {
			if own := a.Name == r.Name; own != (b.Name == r.Name) {
				if own {
					return -1
				}
				return 1
			}
			return cmp.Compare(a.Rank, b.Rank)
		})
	}
	return all
}

// meets reports whether an offer meets a relation to its name.
func (u *Universe) meets(o offer, r Relation) bool {
	switch {
	case r.Op == "":
		return true
	case o.version == "":
		return u.Loose
	}
	c := u.compare(o.version, r.Version)
	if o.op == "" {
		return c == 0 && allows(r.Op, '=') || c < 0 && allows(r.Op, '<') || c > 0 && allows(r.Op, '>')
	}
	return c < 0 && (allows(o.op, '>') || allows(r.Op, '<')) || c > 0 && (allows(o.op, '<') || allows(r.Op, '>')) ||
		c == 0 && (allows(o.op, '=') && allows(r.Op, '=') || allows(o.op, '<') && allows(r.Op, '<') || allows(o.op, '>') && allows(r.Op, '>'))
}

// allows reports whether a comparison is true of what is less ('<'), equal or greater.
func allows(op string, c byte) bool { return strings.IndexByte(op, c) >= 0 }

// relationsOf returns what a package says, and remembers it.
func (u *Universe) relationsOf(p *Package) (*Relations, error) {
	if r := u.asked[p]; r != nil {
		return r, nil
	}
	r, err := u.relations(p)
	if err != nil {
		return nil, err
	}
	u.asked[p] = &r
	return &r, nil
}
