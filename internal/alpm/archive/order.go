package archive

import (
	"slices"

	"ingot/internal/alpm"
)

// order returns the chosen packages in pacman's order: depth first, each after those it depends on, as far
// as circles allow; where nothing else decides, as they were chosen.
func (w *walk) order() []*candidate {
	at := w.places()
	sorted := make([]*candidate, 0, len(w.chosen))
	begun := make([]bool, len(w.chosen))
	var visit func(int)
	visit = func(i int) {
		begun[i] = true
		for _, next := range w.meeting(w.chosen[i].pkg.Depends, at) {
			if !begun[next] {
				visit(next)
			}
		}
		sorted = append(sorted, w.chosen[i])
	}
	for i := range w.chosen {
		if !begun[i] {
			visit(i)
		}
	}
	return sorted
}

// places returns the index of each chosen package.
func (w *walk) places() map[*candidate]int {
	at := make(map[*candidate]int, len(w.chosen))
	for i, c := range w.chosen {
		at[c] = i
	}
	return at
}

// meeting returns which chosen packages (by their index) meet one of the dependencies: of a package's own, each of them, not
// only the one that was chosen to.
func (w *walk) meeting(depends []alpm.Depend, at map[*candidate]int) []int {
	var all []int
	for _, d := range depends {
		for _, o := range w.offers[d.Name] {
			if i, ok := at[o.candidate]; ok && o.meets(d) {
				all = append(all, i)
			}
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}
