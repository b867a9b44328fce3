package solve

import (
	"cmp"
	"slices"
)

// Order returns the packages of a solution so that each comes after those that it requires, as far as that
// is possible. Where requirements form a circle, ordinary ones give way, never those of strength NeedFirst
// (unless they form a circle by themselves). Packages for which first is true come, with everything they
// require, before all others. Otherwise the order follows the names, so that a package more or less
// changes the places of few others.
func (s *Solution) Order(first func(*Package) bool) []*Package {
	o := orderer{needs: make(map[*Package][]need), done: make(map[*Package]bool)}
	all := make([]*Package, len(s.Choices))
	for i, c := range s.Choices {
		all[i] = c.Package
		o.needs[c.Package] = s.needs(c.Package)
	}
	for _, needs := range o.needs {
		sortPackages(needs, func(n need) *Package { return n.pkg })
	}
	sortPackages(all, func(p *Package) *Package { return p })
	slices.SortStableFunc(all, func(a, b *Package) int {
		switch fa, fb := first(a), first(b); {
		case fa == fb:
			return 0
		case fa:
			return -1
		}
		return 1
	})
	o.place(all)
	return o.order
}

// need is a chosen package that another one requires.
type need struct {
	pkg   *Package
	first bool // before the other is unpacked
}

// needs returns, for each requirement of p, the first chosen package that meets it.
func (s *Solution) needs(p *Package) []need {
	var all []need
	for _, rq := range s.u.asked[p].Requires {
		if rq.Strength == Want {
			continue
		}
		if q := s.meeting(rq); q != nil && q != p {
			i := slices.IndexFunc(all, func(n need) bool { return n.pkg == q })
			if i < 0 {
				i, all = len(all), append(all, need{pkg: q})
			}
			all[i].first = all[i].first || rq.Strength == NeedFirst
		}
	}
	return all
}

func (s *Solution) meeting(rq Requirement) *Package {
	for _, r := range rq.Any {
		for _, q := range s.u.Candidates(r) {
			if _, ok := s.at[q]; ok {
				return q
			}
		}
	}
	return nil
}

func sortPackages[T any](all []T, pkg func(T) *Package) {
	slices.SortFunc(all, func(a, b T) int {
		return cmp.Or(cmp.Compare(pkg(a).Name, pkg(b).Name), cmp.Compare(pkg(a).Version, pkg(b).Version))
	})
}

type orderer struct {
	needs map[*Package][]need
	done  map[*Package]bool
	order []*Package
}

// place appends the packages and all that they need to the order: circle after circle, in the order in
// which Tarjan's algorithm finds the strongly connected components.
func (o *orderer) place(all []*Package) {
	index, low := map[*Package]int{}, map[*Package]int{}
	onStack := map[*Package]bool{}
	var stack []*Package
	var visit func(p *Package)
	visit = func(p *Package) {
		index[p] = len(index) + 1
		low[p] = index[p]
		stack, onStack[p] = append(stack, p), true
		for _, n := range o.needs[p] {
			switch {
			case o.done[n.pkg]:
			case index[n.pkg] == 0:
				visit(n.pkg)
				low[p] = min(low[p], low[n.pkg])
			case onStack[n.pkg]:
				low[p] = min(low[p], index[n.pkg])
			}
		}
		if low[p] == index[p] {
			i := slices.Index(stack, p)
			circle := slices.Clone(stack[i:])
			for _, q := range circle {
				delete(onStack, q)
			}
			stack = stack[:i]
			o.placeCircle(circle)
		}
	}
	for _, p := range all {
		if !o.done[p] && index[p] == 0 {
			visit(p)
		}
	}
}

// placeCircle appends the packages of a circle. It begins with the one that lacks least, then goes on with
// the circles that are left.
func (o *orderer) placeCircle(circle []*Package) {
	if len(circle) == 1 {
		o.done[circle[0]] = true
		o.order = append(o.order, circle[0])
		return
	}
	sortPackages(circle, func(p *Package) *Package { return p })
	inside := make(map[*Package]bool, len(circle))
	for _, p := range circle {
		inside[p] = true
	}
	lacksFirst, lacks, wanted := map[*Package]int{}, map[*Package]int{}, map[*Package]int{}
	for _, p := range circle {
		for _, n := range o.needs[p] {
			if inside[n.pkg] {
				lacks[p]++
				wanted[n.pkg]++
				if n.first {
					lacksFirst[p]++
					wanted[n.pkg] += len(circle) // what must come first goes first
				}
			}
		}
	}
	best := slices.MinFunc(circle, func(a, b *Package) int {
		return cmp.Or(cmp.Compare(lacksFirst[a], lacksFirst[b]), cmp.Compare(lacks[a], lacks[b]),
			cmp.Compare(wanted[b], wanted[a]))
	})
	o.done[best] = true
	o.order = append(o.order, best)
	rest := slices.DeleteFunc(slices.Clone(circle), func(p *Package) bool { return p == best })
	o.place(rest)
}
