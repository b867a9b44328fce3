package transmutetest

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"ingot/internal/progress"
)

// workshop knows which packages can be made of the Debian packages that were fetched, and keeps those that it makes.
type workshop struct {
	table    *table
	packages map[string]*made
	python   *python
	cache    string
}

// newWorkshop fetches the Debian packages that a table asks for. Downloads and what is made are kept below cache.
func newWorkshop(ctx context.Context, t *table, cache string, r *progress.Reporter) (*workshop, error) {
	debs, err := fetchDebs(ctx, t, cache, r)
	if err != nil {
		return nil, err
	}
	if err := t.assign(debs); err != nil {
		return nil, err
	}
	w := &workshop{table: t, packages: make(map[string]*made, len(t.Packages)), cache: filepath.Join(cache, "transmuted")}
	for _, s := range t.Packages {
		m := &made{spec: s, depends: t.requires(s, debs)}
		for _, id := range s.Debs {
			m.debs = append(m.debs, debs[id])
		}
		w.packages[s.id()] = m
	}
	if err := os.MkdirAll(w.cache, 0o755); err != nil {
		return nil, err
	}
	if t.python {
		w.python, err = newPython(debs, w.cache)
	}
	return w, err
}

func (w *workshop) close() {
	if w.python != nil {
		w.python.close()
	}
}

// build makes packages, the largest first, as many at a time as there are processors.
func (w *workshop) build(ctx context.Context, packages map[string]*made, r *progress.Reporter) error {
	task := r.Begin("transmuting packages", int64(len(packages)), progress.Items)
	var g errgroup.Group
	g.SetLimit(runtime.GOMAXPROCS(0))
	var mu sync.Mutex
	var failed []error // all that is wrong with the table, not only the first of it
	for _, m := range slices.SortedFunc(maps.Values(packages), func(x, y *made) int { return int(y.size() - x.size()) }) {
		g.Go(func() error {
			err := m.build(ctx, w.table, w.python, w.cache)
			task.Add(1)
			mu.Lock()
			defer mu.Unlock()
			failed = append(failed, err)
			return nil
		})
	}
	_ = g.Wait() // failed has the errors
	err := errors.Join(append(failed, w.sweep())...)
	task.End(err)
	return err
}

// size is that of the Debian packages that it takes.
func (m *made) size() (n int64) {
	for _, d := range m.debs {
		n += d.Size
	}
	return n
}

// unused is how long the cache keeps what nobody asks for.
const unused = 14 * 24 * time.Hour

// sweep removes from the cache what has not been used for long: packages of other times, and what was left unfinished.
func (w *workshop) sweep() error {
	return filepath.WalkDir(w.cache, func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return ignoreAbsent(err)
		}
		info, err := e.Info()
		if err == nil && time.Since(info.ModTime()) > unused {
			err = os.Remove(name)
		}
		return ignoreAbsent(err)
	})
}

// ignoreAbsent lets other processes sweep at the same time.
func ignoreAbsent(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
