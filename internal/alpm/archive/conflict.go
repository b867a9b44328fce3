package archive

import (
	"fmt"
	"slices"

	"ingot/internal/alpm"
	"ingot/internal/fault"
)

// Conflict says that two chosen packages cannot be installed together.
type Conflict struct {
	Package, With *alpm.Package
	Declared      alpm.Depend // by Package
}

func (c *Conflict) Error() string {
	text := fmt.Sprintf("%s conflicts with %s", c.Package, c.With)
	if c.Declared.Name != c.With.Name || c.Declared.Op != "" {
		text += ", which is or provides " + c.Declared.String()
	}
	return text
}

// settleConflicts removes those of the chosen packages that are in conflict with one that provides them, as
// pacman does. Any other conflict is an error.
func (w *walk) settleConflicts() ([]Removal, error) {
	var removed []Removal
	at := w.places()
	for _, c := range w.chosen {
		if err := w.ctx.Err(); err != nil {
			return nil, fmt.Errorf("choosing packages: %w", err)
		}
		for i := range c.pkg.Conflicts {
			for _, n := range w.meeting(c.pkg.Conflicts[i:i+1], at) {
				other := w.chosen[n]
				if w.named[c.pkg.Name] == nil {
					break // removed by now
				}
				if other == c || w.named[other.pkg.Name] == nil {
					continue
				}
				out, by := other, c
				if !w.meets(c, alpm.Depend{Name: other.pkg.Name}) {
					if !w.meets(other, alpm.Depend{Name: c.pkg.Name}) {
						return nil, fault.New(fault.Unsatisfiable, &Conflict{c.pkg, other.pkg, c.pkg.Conflicts[i]}, "leave one of the two out")
					}
					out, by = c, other
				}
				removed = append(removed, Removal{out.pkg, by.pkg})
				delete(w.named, out.pkg.Name)
			}
		}
	}
	w.chosen = slices.DeleteFunc(w.chosen, func(c *candidate) bool { return w.named[c.pkg.Name] == nil })
	return removed, nil
}

// complete checks that the packages which are left depend on nothing else. That can be where one was removed, or where another
// one of the name of a target was chosen before it.
func (w *walk) complete(removed []Removal) error {
	for _, c := range w.chosen {
		for _, d := range c.pkg.Depends {
			if !w.met(d) {
				w.failed.note(w, &chain{pkg: c.pkg}, d)
			}
		}
	}
	if len(w.failed.Missing) == 0 {
		return nil
	}
	w.failed.Removed = removed
	hint := "name one of the packages whose names are the same"
	if removed != nil {
		hint = "leave one of the conflicting packages out"
	}
	return fault.New(fault.Unsatisfiable, &w.failed, hint)
}
