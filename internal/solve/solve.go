package solve

import (
	"context"
	"fmt"
	"slices"

	"ingot/internal/fault"
)

// Request is what to install.
type Request struct {
	Asked    [][]*Package    // one of each group, whatever happens: the first that works; none is empty
	Excluded map[string]bool // names of packages that must not be chosen
	Wants    bool            // also what packages want but do not need, where it is possible
}

// Choice is a package of the solution, and why it is there.
type Choice struct {
	Package *Package
	By      *Package    // whose requirement it meets; nil for a package that was asked for
	For     Requirement // which the package was chosen to meet; zero for a package that was asked for
	Refused []Refusal   // what would have been preferred
}

// Solution is an answer to a Request.
type Solution struct {
	Choices []Choice  // in the order in which they were made
	Skipped []Failure // what packages want and could not get
	u       *Universe
	at      map[*Package]int // index in Choices
}

// maxRetreats bounds the search. Real indexes need fewer than a hundred.
const maxRetreats = 20_000

// Solve finds the packages to install. An error of kind fault.Unsatisfiable wraps a [*Failure] where there
// is no answer.
func (u *Universe) Solve(ctx context.Context, rq Request) (*Solution, error) {
	s := &search{u: u, rq: rq, chosen: make(map[*Package]int), named: make(map[string]*Package),
		opposed: make(map[string][]opposition), nogoods: make(map[*Package][]nogood)}
	todo := &task{}
	for retreats := 0; todo != nil; {
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("choosing packages: %w", err)
		}
		next, failure, err := s.advance(todo)
		if err != nil {
			return nil, fmt.Errorf("choosing packages: %w", err)
		}
		for failure != nil { // a retreat may use up the alternatives of a requirement, which fails in its turn
			if retreats++; retreats > maxRetreats {
				return nil, fault.Newf(fault.Unsatisfiable, "choosing packages: gave up after %d contradictions, "+
					"the last one: %w", maxRetreats, failure)
			}
			if next, failure, err = s.retreat(failure); err != nil {
				return nil, err
			}
		}
		todo = next
	}
	sol := &Solution{u: u, at: s.chosen, Choices: make([]Choice, len(s.trail))}
	for i, st := range s.trail {
		sol.Choices[i] = Choice{Package: st.pkg, By: st.by, For: st.requirement, Refused: st.refused}
		for _, f := range st.skipped {
			sol.Skipped = append(sol.Skipped, *f)
		}
	}
	return sol, nil
}

// search is the state of a walk. Everything in it but the nogoods is a function of the trail.
type search struct {
	u       *Universe
	rq      Request
	trail   []step
	chosen  map[*Package]int // index in the trail
	named   map[string]*Package
	opposed map[string][]opposition // by the name that a chosen package is in conflict with
	nogoods map[*Package][]nogood
}

// step is one choice and what is needed to take it back.
type step struct {
	pkg         *Package
	by          *Package // nil for a package that was asked for
	requirement Requirement
	candidates  []*Package // not tried yet
	refused     []Refusal
	rest        *task // what was left to do when the choice was made
	opposed     []string
	skipped     []*Failure // what was left out after this choice and before the next
}

// task is a list of what is left to do: first the requirements of pkg from index on, then the rest. It is
// never changed, so that a step can keep it. A nil pkg stands for the request.
type task struct {
	pkg  *Package
	next int
	rest *task
}

type opposition struct {
	by       *Package
	relation Relation
}

// nogood is a set of packages, one of which is the key, that cannot all be chosen.
type nogood struct {
	others  []*Package
	failure *Failure
}

// advance does one task: nothing, a choice, or a failure.
func (s *search) advance(t *task) (*task, *Failure, error) {
	if t.pkg == nil {
		return s.advanceRequest(t)
	}
	r, err := s.u.relationsOf(t.pkg)
	if err != nil {
		return nil, nil, err
	}
	for i := t.next; i < len(r.Requires); i++ {
		rq := r.Requires[i]
		if rq.Strength == Want && !s.rq.Wants || s.met(rq) {
			continue
		}
		st := step{by: t.pkg, requirement: rq, rest: &task{t.pkg, i + 1, t.rest}}
		for _, a := range rq.Any {
			candidates := s.u.Candidates(a)
			if s.u.Prefer != nil && len(candidates) > 1 {
				s.u.Prefer(t.pkg, candidates, s.met)
			}
			for _, c := range candidates {
				if !slices.Contains(st.candidates, c) {
					st.candidates = append(st.candidates, c)
				}
			}
		}
		return s.choose(st)
	}
	return t.rest, nil, nil
}

// advanceRequest chooses all packages that were asked for before it looks at what they require: so they
// decide which alternatives are already met.
func (s *search) advanceRequest(t *task) (*task, *Failure, error) {
	if t.next < len(s.rq.Asked) {
		group, rest := s.rq.Asked[t.next], &task{next: t.next + 1}
		if s.first(group) != nil {
			return rest, nil, nil
		}
		return s.choose(step{candidates: group, rest: rest})
	}
	var all *task
	for _, group := range slices.Backward(s.rq.Asked) {
		all = &task{pkg: s.first(group), rest: all}
	}
	return all, nil, nil
}

// first returns the first of some packages that was chosen, or nil.
func (s *search) first(group []*Package) *Package {
	for _, p := range group {
		if _, ok := s.chosen[p]; ok {
			return p
		}
	}
	return nil
}

func (s *search) met(rq Requirement) bool {
	for _, r := range rq.Any {
		for _, o := range s.u.offers[r.Name] {
			if _, ok := s.chosen[o.pkg]; ok && s.u.meets(o, r) {
				return true
			}
		}
	}
	return false
}

// choose takes the first candidate of a step that nothing speaks against.
func (s *search) choose(st step) (*task, *Failure, error) {
	for len(st.candidates) > 0 {
		p := st.candidates[0]
		st.candidates = st.candidates[1:]
		r, err := s.u.relationsOf(p)
		if err != nil {
			return nil, nil, err
		}
		if refusal, refused := s.refuse(p, r); refused {
			st.refused = append(st.refused, refusal)
			continue
		}
		st.pkg = p
		s.chosen[p] = len(s.trail)
		s.named[p.Name] = p
		for _, c := range r.Conflicts {
			s.opposed[c.Name] = append(s.opposed[c.Name], opposition{p, c})
			st.opposed = append(st.opposed, c.Name)
		}
		s.trail = append(s.trail, st)
		if st.by == nil {
			return st.rest, nil, nil
		}
		return &task{pkg: p, rest: st.rest}, nil, nil
	}
	f := s.failure(st)
	if st.by != nil && st.requirement.Strength == Want {
		last := &s.trail[len(s.trail)-1]
		last.skipped = append(last.skipped, f)
		return st.rest, nil, nil
	}
	return nil, f, nil
}

// refuse says what speaks against choosing p now.
func (s *search) refuse(p *Package, r *Relations) (Refusal, bool) {
	if s.rq.Excluded[p.Name] {
		return Refusal{Package: p, Excluded: true}, true
	}
	if q := s.named[p.Name]; q != nil {
		return Refusal{Package: p, With: q, Relation: Relation{p.Name, "=", q.Version}}, true
	}
	for _, n := range s.nogoods[p] {
		if !slices.ContainsFunc(n.others, func(q *Package) bool { _, ok := s.chosen[q]; return !ok }) {
			return Refusal{Package: p, Because: n.failure, others: n.others}, true
		}
	}
	for _, c := range r.Conflicts {
		for _, o := range s.u.offers[c.Name] {
			if _, ok := s.chosen[o.pkg]; ok && o.pkg != p && s.u.meets(o, c) {
				return Refusal{Package: p, With: o.pkg, Relation: c}, true
			}
		}
	}
	if by, relation, ok := s.opposedTo(p.Name, offer{pkg: p, version: p.Version}); ok {
		return Refusal{Package: p, With: by, Relation: relation, Reverse: true}, true
	}
	for _, c := range p.Provides {
		if by, relation, ok := s.opposedTo(c.Name, c.offer(p)); ok {
			return Refusal{Package: p, With: by, Relation: relation, Reverse: true}, true
		}
	}
	return Refusal{}, false
}

func (s *search) opposedTo(name string, what offer) (*Package, Relation, bool) {
	for _, o := range s.opposed[name] {
		if o.by != what.pkg && s.u.meets(what, o.relation) {
			return o.by, o.relation, true
		}
	}
	return nil, Relation{}, false
}

// failure records that a step has no candidate left. Its culprits are the chosen packages without which
// one of the candidates could have been taken.
func (s *search) failure(st step) *Failure {
	f := &Failure{By: st.by, Requirement: st.requirement, Refused: st.refused, u: s.u}
	blame := func(p *Package) {
		if p != nil && !slices.Contains(f.culprits, p) {
			f.culprits = append(f.culprits, p)
		}
	}
	blame(st.by)
	for _, r := range st.refused {
		blame(r.With)
		for _, p := range r.others {
			blame(p)
		}
	}
	if f.By != nil {
		f.chain = s.chain(f.By)
	}
	for i := range f.Refused {
		if r := &f.Refused[i]; r.With != nil && r.chain == nil {
			r.chain = s.chain(r.With)
		}
	}
	return f
}

// chain returns who brought a chosen package in, up to one that was asked for.
func (s *search) chain(p *Package) []*Package {
	var all []*Package
	for p != nil {
		all = append(all, p)
		p = s.trail[s.chosen[p]].by
	}
	return all
}

// retreat takes back everything from the latest culprit of a failure on, and tries what else there was in
// its place.
func (s *search) retreat(f *Failure) (*task, *Failure, error) {
	latest := -1
	for _, p := range f.culprits {
		latest = max(latest, s.chosen[p])
	}
	if latest < 0 {
		return nil, nil, fault.New(fault.Unsatisfiable, f, "")
	}
	for _, p := range f.culprits {
		others := slices.DeleteFunc(slices.Clone(f.culprits), func(q *Package) bool { return q == p })
		s.nogoods[p] = append(s.nogoods[p], nogood{others, f})
	}
	st := s.trail[latest]
	for len(s.trail) > latest {
		last := s.trail[len(s.trail)-1]
		delete(s.chosen, last.pkg)
		delete(s.named, last.pkg.Name)
		for _, name := range last.opposed {
			s.opposed[name] = s.opposed[name][:len(s.opposed[name])-1]
		}
		s.trail = s.trail[:len(s.trail)-1]
	}
	st.refused = append(slices.Clip(st.refused), Refusal{Package: st.pkg, Because: f,
		others: slices.DeleteFunc(slices.Clone(f.culprits), func(q *Package) bool { return q == st.pkg })})
	st.pkg, st.opposed, st.skipped = nil, nil, nil
	return s.choose(st)
}
