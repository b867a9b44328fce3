package deb

import (
	"fmt"
	"strings"
)

// Relation names a package and the versions of it that are meant: an element of Depends, Conflicts,
// Provides and the like (Debian Policy 7.1).
type Relation struct {
	Name     string
	ArchQual string // any, native or an architecture's name; "" where there is none
	Op       string // "<<", "<=", "=", ">=", ">>", or "" for every version
	Version  string // "" where Op is ""
}

// Group is a list of alternatives, the preferred one first.
type Group []Relation

// maxRelations bounds the relations of one field; the longest field of Debian 12 has about 2,500.
const maxRelations = 100_000

// ParseRelations reads a field of a binary package: groups parted by commas, alternatives by bars.
// Restrictions to architectures ([…]) and build profiles (<…>) belong to source packages alone; dpkg
// refuses them in a binary package, and so does ParseRelations.
func ParseRelations(field string) ([]Group, error) {
	if strings.TrimSpace(field) == "" {
		return nil, nil
	}
	groups := make([]Group, 0, strings.Count(field, ",")+1)
	relations := make([]Relation, 0, cap(groups)+strings.Count(field, "|")) // backs all groups
	if cap(relations) > maxRelations {
		return nil, fmt.Errorf("more than %d relations in a field", maxRelations)
	}
	for more := true; more; {
		var group string
		group, field, more = strings.Cut(field, ",")
		if strings.TrimSpace(group) == "" {
			if more && strings.TrimSpace(field) != "" || len(groups) == 0 {
				return nil, fmt.Errorf("an empty element among %d", len(groups)+1)
			}
			break // a comma at the end is common and harmless
		}
		start := len(relations)
		for alternatives := true; alternatives; {
			var one string
			one, group, alternatives = strings.Cut(group, "|")
			r, err := parseRelation(one)
			if err != nil {
				return nil, err
			}
			relations = append(relations, r)
		}
		groups = append(groups, Group(relations[start:len(relations):len(relations)]))
	}
	return groups, nil
}

// parseRelation reads NAME[:ARCH] [(OP VERSION)].
func parseRelation(text string) (Relation, error) {
	s := strings.Trim(text, blanks)
	end := strings.IndexAny(s, blanks+"([<")
	if end < 0 {
		end = len(s)
	}
	var r Relation
	r.Name, r.ArchQual, _ = strings.Cut(s[:end], ":")
	if err := CheckName(r.Name); err != nil {
		return Relation{}, fmt.Errorf("relation %q: %w", text, err)
	}
	if strings.Contains(s[:end], ":") && !isArch(r.ArchQual) {
		return Relation{}, fmt.Errorf("relation %q: %q is no architecture", text, r.ArchQual)
	}
	s = strings.TrimLeft(s[end:], blanks)
	switch {
	case s == "":
		return r, nil
	case s[0] == '[' || s[0] == '<':
		return Relation{}, fmt.Errorf("relation %q: restricted to architectures or build profiles, "+
			"which only a source package may be", text)
	case s[0] != '(' || s[len(s)-1] != ')':
		return Relation{}, fmt.Errorf("relation %q: the version is not in brackets", text)
	}
	s = strings.Trim(s[1:len(s)-1], blanks)
	op := 0
	for op < len(s) && strings.IndexByte("<=>", s[op]) >= 0 {
		op++
	}
	r.Version = strings.TrimLeft(s[op:], blanks)
	switch r.Op = s[:op]; r.Op {
	case "<<", "<=", "=", ">=", ">>":
	case "":
		r.Op = "=" // as dpkg takes it, with a warning
	case "<", ">": // obsolete, and not what they seem to say
		r.Op += "="
	default:
		return Relation{}, fmt.Errorf("relation %q: %q is no comparison of versions", text, r.Op)
	}
	if err := CheckVersion(r.Version); err != nil {
		return Relation{}, fmt.Errorf("relation %q: %w", text, err)
	}
	return r, nil
}

func isArch(s string) bool {
	for i := 0; i < len(s); i++ {
		if c := s[i]; !isDigit(c) && (c < 'a' || c > 'z') && (c != '-' || i == 0) {
			return false
		}
	}
	return s != ""
}

// Satisfied reports whether a version is among those that the relation means.
func (r Relation) Satisfied(version string) bool {
	if r.Op == "" {
		return true
	}
	c := Compare(version, r.Version)
	switch r.Op {
	case "<<":
		return c < 0
	case "<=":
		return c <= 0
	case "=":
		return c == 0
	case ">=":
		return c >= 0
	case ">>":
		return c > 0
	}
	return false
}

// String returns the relation as control data writes it.
func (r Relation) String() string {
	s := r.Name
	if r.ArchQual != "" {
		s += ":" + r.ArchQual
	}
	if r.Op != "" {
		s += " (" + r.Op + " " + r.Version + ")"
	}
	return s
}

// String returns the alternatives as control data writes them.
func (g Group) String() string {
	all := make([]string, len(g))
	for i, r := range g {
		all[i] = r.String()
	}
	return strings.Join(all, " | ")
}
