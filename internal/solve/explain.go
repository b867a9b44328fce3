package solve

import (
	"fmt"
	"slices"
	"strings"
)

// Refusal says why a package that could have met a requirement was not taken.
type Refusal struct {
	Package  *Package
	Excluded bool     // the request forbids it
	With     *Package // the chosen package that it cannot stand beside, or nil
	Relation Relation // the conflict with it, declared by Package
	Reverse  bool     // or declared by With
	Because  *Failure // the contradiction that choosing it led to, or nil

	chain  []*Package // who brought With in
	others []*Package // the chosen packages that took part in Because
}

// Failure is a requirement that could not be met. As an error it says so in words for a person.
type Failure struct {
	By          *Package // whose requirement it is; nil for a package that was asked for
	Requirement Requirement
	Refused     []Refusal // every package that would meet it; none where there is no such package

	chain    []*Package // who brought By in
	culprits []*Package // the chosen packages without which it could have been met
	u        *Universe
}

// maxExplained bounds the lines of an explanation: none is begun behind them. maxDepth bounds how far it goes into reasons of reasons.
const (
	maxExplained = 24
	maxDepth     = 5
)

// Error explains the failure in a few lines.
func (f *Failure) Error() string {
	var lines []string
	f.explain(&lines, 0)
	if len(lines) > maxExplained {
		lines = append(lines[:maxExplained], "  …")
	}
	return strings.Join(lines, "\n")
}

func (f *Failure) explain(lines *[]string, depth int) {
	if len(*lines) > maxExplained {
		return
	}
	indent := strings.Repeat("  ", depth)
	if f.By == nil {
		for i := range f.Refused {
			f.Refused[i].explain(lines, depth, " (asked for)")
		}
		return
	}
	if len(f.Refused) == 1 && f.Refused[0].Because != nil { // tells the road to itself
		f.Refused[0].Because.explain(lines, depth)
		return
	}
	text := indent + describe(f.By, f.chain) + " " + f.Requirement.String()
	if len(f.Refused) == 0 {
		*lines = append(*lines, text+": "+f.missing())
		return
	}
	*lines = append(*lines, text+", but")
	for i := range f.Refused {
		f.Refused[i].explain(lines, depth+1, "")
	}
}

func (r *Refusal) explain(lines *[]string, depth int, role string) {
	if len(*lines) > maxExplained {
		return
	}
	indent, who := strings.Repeat("  ", depth), r.Package.String()+role
	switch {
	case r.Excluded:
		*lines = append(*lines, indent+who+" is excluded")
	case r.With != nil && r.With.Name == r.Package.Name:
		*lines = append(*lines, indent+who+" cannot be installed beside version "+describe(r.With, r.chain))
	case r.With != nil && r.Reverse:
		*lines = append(*lines, indent+describe(r.With, r.chain)+" conflicts with "+who+via(r.Relation, r.Package))
	case r.With != nil:
		*lines = append(*lines, indent+who+" conflicts with "+describe(r.With, r.chain)+via(r.Relation, r.With))
	case depth >= maxDepth:
		*lines = append(*lines, indent+who+" is not possible either")
	case role != "":
		r.Because.explain(lines, depth)
	default:
		*lines = append(*lines, indent+who+" is not possible:")
		r.Because.explain(lines, depth+1)
	}
}

// describe names a chosen package and the road to it from what was asked for.
func describe(p *Package, chain []*Package) string {
	if len(chain) <= 1 {
		return p.String() + " (asked for)"
	}
	names := make([]string, 0, len(chain)-1)
	for _, q := range slices.Backward(chain[1:]) {
		names = append(names, q.Name)
	}
	if n := len(names); n > 6 {
		names = slices.Concat(names[:3], []string{"…"}, names[n-2:])
	}
	return p.String() + " (asked for by " + strings.Join(names, " → ") + ")"
}

// via says which relation is meant where it is not simply the package's name.
func via(r Relation, p *Package) string {
	if r.Name == p.Name && r.Op == "" {
		return ""
	}
	return ": " + r.String()
}

// String returns the requirement as the end of a sentence that begins with a package.
func (rq Requirement) String() string {
	all := make([]string, len(rq.Any))
	for i, r := range rq.Any {
		all[i] = r.String()
	}
	verb := "needs "
	if rq.Strength == Want {
		verb = "wants "
	}
	return verb + strings.Join(all, " or ")
}

// missing says what is known under the names of a requirement that no package meets.
func (f *Failure) missing() string {
	var known []string
	for _, r := range f.Requirement.Any {
		for _, o := range f.u.offers[r.Name] {
			what := "there is only " + o.pkg.String()
			if o.pkg.Name != r.Name {
				what = "there is only " + o.pkg.String() + ", which provides it"
				if o.version == "" {
					what += " without a version"
				} else {
					what += " as version " + o.version
				}
			}
			known = append(known, what)
		}
	}
	switch {
	case len(known) > 3:
		return fmt.Sprintf("none of the %d packages of that name has such a version", len(known))
	case len(known) > 0:
		return strings.Join(known, ", ")
	}
	return "no repository has such a package"
}

// Has returns the chosen package of a name, or nil.
func (s *Solution) Has(name string) *Package {
	for _, o := range s.u.offers[name] {
		if _, ok := s.at[o.pkg]; ok && o.pkg.Name == name {
			return o.pkg
		}
	}
	return nil
}

// Why returns the choices that led to a chosen package, the package itself first and one that was asked for
// last; nil when the package was not chosen.
func (s *Solution) Why(name string) []Choice {
	var all []Choice
	for p := s.Has(name); p != nil; p = all[len(all)-1].By {
		all = append(all, s.Choices[s.at[p]])
	}
	return all
}

// String says in words why the package is there.
func (c Choice) String() string {
	if c.By == nil {
		return c.Package.String() + ", because it was asked for"
	}
	text := c.Package.String() + ", because " + c.By.String() + " " + c.For.String()
	if len(c.Refused) == 0 {
		return text
	}
	var refused []string
	for i := range c.Refused {
		var lines []string
		c.Refused[i].explain(&lines, 0, "")
		for j := range lines {
			lines[j] = strings.TrimLeft(lines[j], " ")
		}
		refused = append(refused, strings.Join(lines, " "))
	}
	return text + " (" + strings.Join(refused, "; ") + ")"
}
