package archive

import (
	"fmt"
	"slices"
	"strings"

	"ingot/internal/alpm"
)

// Missing is a dependency that nothing meets.
type Missing struct {
	Package *alpm.Package
	Chain   []*alpm.Package // who asked for it, a target last
	Depend  alpm.Depend
	Why     string // what there is in place of it
}

// Failure says which dependencies of a request cannot be met.
type Failure struct {
	Missing []Missing // each dependency once, in the order of the walk
	Removed []Removal // whose absence is the cause
}

// Bounds of the dependencies that are kept, and of the lines that are shown.
const (
	maxMissing   = 1000
	maxExplained = 24
)

func (f *Failure) Error() string {
	var lines []string
	for _, m := range f.Missing {
		text := m.Package.String()
		if names := m.names(); names != "" {
			text += " (asked for by " + names + ")"
		}
		lines = append(lines, text+" needs "+m.Depend.String()+": "+m.Why)
	}
	for _, r := range f.Removed {
		lines = append(lines, fmt.Sprintf("%s was left out for %s, which conflicts with it and provides it", r.Package, r.For))
	}
	if len(lines) > maxExplained {
		lines = append(lines[:maxExplained], "…")
	}
	return strings.Join(lines, "\n")
}

// names is the road from a target, shortened.
func (m *Missing) names() string {
	var names []string
	for _, p := range slices.Backward(m.Chain) {
		names = append(names, p.Name)
	}
	if n := len(names); n > 6 {
		names = slices.Concat(names[:3], []string{"…"}, names[n-2:])
	}
	return strings.Join(names, " → ")
}

// note adds a dependency that nothing meets.
func (f *Failure) note(w *walk, at *chain, need alpm.Depend) {
	if len(f.Missing) == maxMissing {
		return
	}
	for _, m := range f.Missing {
		if m.Package == at.pkg && m.Depend == need {
			return
		}
	}
	m := Missing{Package: at.pkg, Depend: need, Why: w.instead(need)}
	for c := at.from; c != nil; c = c.from {
		m.Chain = append(m.Chain, c.pkg)
	}
	f.Missing = append(f.Missing, m)
}

// instead says what the repositories have under the name of a dependency that nothing meets.
func (w *walk) instead(need alpm.Depend) string {
	var known []string
	for _, o := range w.offers[need.Name] {
		var text string
		switch other := w.named[o.pkg.Name]; {
		case !o.meets(need) && o.own:
			text = "there is only " + o.pkg.String()
		case !o.meets(need) && o.version == "":
			text = "there is only " + o.pkg.String() + ", which provides it without a version"
		case !o.meets(need):
			text = fmt.Sprintf("there is only %s, which provides it as version %s", o.pkg, o.version)
		case w.excluded[o.pkg.Name]:
			text = o.pkg.String() + " is excluded"
		case w.ignored(o.pkg.Name):
			text = o.pkg.String() + " is ignored"
		case other != nil:
			text = fmt.Sprintf("%s cannot be installed beside %s of repository %s", o.pkg, other.pkg, other.db.Name)
		default:
			text = o.pkg.String() + " is left out"
		}
		known = append(known, text)
	}
	switch {
	case known == nil:
		return "no repository has such a package"
	case len(known) > 3:
		return strings.Join(known[:3], "; ") + " …"
	}
	return strings.Join(known, "; ")
}
