package pipeline

import (
	"context"
	"fmt"
	"os"

	"ingot/internal/fault"
	"ingot/internal/fetch"
	"ingot/internal/lock"
	"ingot/internal/progress"
	"ingot/internal/recipe"
)

// maxSource bounds a source archive, in bytes. That of Linux has 230 MB.
const maxSource = 1 << 30

// sources fetches and verifies what the modules of a lock are built from, and returns the files by their SHA-256.
func (f *Foundry) sources(ctx context.Context, r *recipe.Recipe, l *lock.Lock) (map[string]string, error) {
	out := map[string]string{}
	for _, m := range l.Modules {
		for _, s := range append([]lock.Source{m.Source}, m.Patches...) {
			if out[s.SHA256] != "" {
				continue
			}
			path, err := f.source(ctx, r, s)
			if err != nil {
				return nil, fmt.Errorf("getting the source of module %s: %w", m.Name, err)
			}
			out[s.SHA256] = path
		}
	}
	return out, nil
}

// source takes one into the cache: there, nobody changes it while it is used.
func (f *Foundry) source(ctx context.Context, r *recipe.Recipe, s lock.Source) (path string, err error) {
	if s.URL != "" {
		task := f.Progress.Begin("fetch "+s.Name, 0, progress.Bytes)
		path, _, err = f.Fetch.Find(ctx, s.URL, fetch.File{Name: s.Name, Size: maxSource, SHA256: s.SHA256}, task)
		task.End(err)
		return path, err
	}
	file, err := os.Open(r.Resolve(s.Name))
	if err != nil {
		return "", err
	}
	defer file.Close()
	path, is, err := f.Fetch.Put(ctx, file, maxSource)
	if err == nil && is.SHA256 != s.SHA256 {
		err = fault.New(fault.Trust, fmt.Errorf("%s has the SHA-256 %s, not %s", file.Name(), is.SHA256, s.SHA256), "correct the file, or what the recipe says of it")
	}
	return path, err
}
