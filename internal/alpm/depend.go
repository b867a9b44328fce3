package alpm

import (
	"fmt"
	"strings"
)

// Depend names a package or what packages provide, and the versions of it that are meant: an element of
// depends, optdepends, conflicts, provides, replaces and the like (PKGBUILD(5)).
type Depend struct {
	Name        string
	Op          string // "<", "<=", "=", ">=", ">", or "" for every version
	Version     string // "" where Op is ""
	Description string // what an optional dependency is good for
}

// maxDepend bounds the text of one dependency, in bytes.
const maxDepend = 4096

// ParseDepend reads NAME[OP VERSION][: DESCRIPTION]. Like pacman it takes any name, as optional dependencies
// are often half prose; an empty one, control characters and excessive length are refused. The name of a
// library (libfoo.so=1-64) is one as any other.
func ParseDepend(text string) (Depend, error) {
	if len(text) > maxDepend || strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return Depend{}, fmt.Errorf("dependency %.40q is longer than %d bytes or holds control characters", text, maxDepend)
	}
	var d Depend
	var rest string
	rest, d.Description, _ = strings.Cut(text, ": ") // the space tells it from an epoch
	at := -1
	for _, op := range "<>=" { // the first kind of comparison that turns up anywhere decides
		if at = strings.IndexRune(rest, op); at >= 0 {
			break
		}
	}
	d.Name = rest
	if at >= 0 {
		d.Name, d.Op, d.Version = rest[:at], rest[at:at+1], rest[at+1:]
		if d.Op != "=" && strings.HasPrefix(d.Version, "=") {
			d.Op, d.Version = d.Op+"=", d.Version[1:]
		}
	}
	if d.Name == "" {
		return Depend{}, fmt.Errorf("dependency %q names no package", text)
	}
	return d, nil
}

// String returns the dependency as ParseDepend reads it.
func (d Depend) String() string {
	s := d.Name + d.Op + d.Version
	if d.Description != "" {
		s += ": " + d.Description
	}
	return s
}

// parseDepends reads a list of dependencies.
func parseDepends(texts []string) ([]Depend, error) {
	if len(texts) == 0 {
		return nil, nil
	}
	all := make([]Depend, len(texts))
	for i, text := range texts {
		var err error
		if all[i], err = ParseDepend(text); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// Meets reports whether the package, or what it provides, meets a dependency. What it provides without a version meets
// no dependency on a version.
func (p *Package) Meets(d Depend) bool {
	if p.Name == d.Name && d.Allows(p.Version) {
		return true
	}
	for _, offer := range p.Provides {
		if offer.Name == d.Name && (d.Op == "" || offer.Op == "=" && d.Allows(offer.Version)) {
			return true
		}
	}
	return false
}

// Allows reports whether the dependency is on that version, among others.
func (d Depend) Allows(version string) bool {
	c := Compare(version, d.Version)
	switch d.Op {
	case "":
		return true
	case "<":
		return c < 0
	case "<=":
		return c <= 0
	case "=":
		return c == 0
	case ">=":
		return c >= 0
	}
	return c > 0
}
