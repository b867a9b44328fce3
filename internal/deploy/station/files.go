package station

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"ingot/internal/fault"
	"ingot/internal/recipe"
)

// files lists the recipe's file, those that it includes, and those that it names, by paths below the recipe's folder. A file elsewhere is
// refused. Folders of AUR packages are not among them.
func files(r *recipe.Recipe) ([]string, error) {
	dir, err := filepath.Abs(r.Dir)
	if err != nil {
		return nil, err
	}
	all, _ := r.Reads()
	for i, path := range all {
		at, err := filepath.Abs(path)
		if err == nil {
			all[i], err = filepath.Rel(dir, at)
		}
		if err != nil {
			return nil, err
		}
		if !filepath.IsLocal(all[i]) {
			return nil, fault.New(fault.Input, fmt.Errorf("recipe %s names %s: %w", r.Path, path, errors.New("it lies outside of the recipe's folder")), "move it there: the folder's files are what is deployed")
		}
	}
	slices.Sort(all)
	return all, nil
}
