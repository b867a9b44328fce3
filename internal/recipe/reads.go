package recipe

import (
	"errors"
	"io/fs"
	"os"
	"slices"
)

// Reads returns what an image is made of beside its packages: the files with the recipe's text, and the files and folders that it names.
// Those of the last kind are of AUR packages. Git repositories and what is fetched are not among them. Paths are as the recipe has them, with
// its folder before them; each stands once.
func (r *Recipe) Reads() (files, folders []string) {
	files = slices.Clone(r.written)
	add := func(to *[]string, name string) {
		if path := r.Resolve(name); name != "" && !slices.Contains(*to, path) {
			*to = append(*to, path)
		}
	}
	keys := slices.Clone(r.Keys)
	for _, repo := range r.Repositories {
		keys = append(keys, repo.Keys...)
	}
	for _, k := range keys {
		if _, err := os.Stat(r.Resolve(k.File)); !errors.Is(err, fs.ErrNotExist) { // where there is none, ingot carries one of that name
			add(&files, k.File)
		}
	}
	for _, f := range r.Files {
		add(&files, f.Source)
	}
	for _, s := range r.Scripts {
		add(&files, s.Source)
	}
	for _, m := range r.Modules {
		if !m.Remote() {
			add(&files, m.Source)
		}
		for _, p := range m.Patches {
			add(&files, p.Source)
		}
	}
	for _, a := range r.AUR {
		add(&folders, a.Directory)
	}
	return files, folders
}
