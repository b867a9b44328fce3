package rpm

import "strings"

// ordering is a relation that has a say in the order.
type ordering struct {
	Relation
	color         uint32 // of the files that have it
	reverse, weak bool
}

// ordering returns what the package says about others.
func (p *Package) ordering() ([]ordering, error) {
	var all []ordering
	colors, _ := p.dependencyColors()
	for _, kind := range []struct {
		name, flags, version Tag
		reverse, weak        bool
	}{
		{TagRequireName, TagRequireFlags, TagRequireVersion, false, false},
		{TagRecommendName, TagRecommendFlags, TagRecommendVersion, false, true},
		{TagSuggestName, TagSuggestFlags, TagSuggestVersion, false, true},
		{TagSupplementName, TagSupplementFlags, TagSupplementVersion, true, true},
		{TagEnhanceName, TagEnhanceFlags, TagEnhanceVersion, true, true},
		{TagOrderName, TagOrderFlags, TagOrderVersion, false, false},
	} {
		relations, err := p.Header.relations(kind.name, kind.flags, kind.version)
		if err != nil {
			return nil, err
		}
		for i, r := range relations {
			if r.Sense.unordered() || r.Boolean() {
				continue
			}
			one := ordering{Relation: r, reverse: kind.reverse, weak: kind.weak}
			if kind.name == TagRequireName {
				one.color = colors[i]
			}
			all = append(all, one)
		}
	}
	return all, nil
}

// providers finds the packages that meet relations.
type providers struct {
	files  map[string][]*Package
	names  map[string][]provider
	colors map[*Package]uint32
}

type provider struct {
	pkg      *Package
	relation Relation
}

// newProviders notes what packages have of the names that are wanted.
func newProviders(packages []*Package, wanted map[string]bool) *providers {
	v := &providers{files: make(map[string][]*Package), names: make(map[string][]provider), colors: make(map[*Package]uint32)}
	for _, p := range packages {
		requires, provides := p.dependencyColors()
		for _, c := range append(requires, provides...) {
			v.colors[p] |= c
		}
		for _, r := range p.Provides {
			if wanted[r.Name] {
				v.names[r.Name] = append(v.names[r.Name], provider{p, r})
			}
		}
		for i := range p.Files {
			if path := p.Files[i].Path; wanted[path] {
				v.files[path] = append(v.files[path], p)
			}
		}
	}
	return v
}

// meeting returns the packages that meet a relation: those that have the file, or else those that provide the name.
func (v *providers) meeting(r Relation) []*Package {
	if strings.HasPrefix(r.Name, "/") && v.files[r.Name] != nil {
		return v.files[r.Name]
	}
	var found []*Package
	for _, q := range v.names[r.Name] {
		if q.relation.overlaps(r) {
			found = append(found, q.pkg)
		}
	}
	return found
}

// find returns the package that meets a relation of p, nil where none does: of several the first, but one with files of the
// right color before others, and p itself.
func (v *providers) find(p *Package, r ordering) *Package {
	color := r.color
	if color == 0 {
		color = preferred
	}
	var best *Package
	most := -1
	for _, q := range v.meeting(r.Relation) {
		score := 0
		if v.colors[q] == color {
			score = 2
		}
		if q == p {
			score++
		}
		if score > most {
			best, most = q, score
		}
	}
	return best
}
