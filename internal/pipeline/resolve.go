package pipeline

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"ingot/internal/distro"
	"ingot/internal/fault"
	"ingot/internal/fetch"
	"ingot/internal/lock"
	"ingot/internal/recipe"
)

// LockPath is where a recipe's lock is kept: beside the recipe, under the image's name.
func LockPath(r *recipe.Recipe) string { return filepath.Join(r.Dir, r.Name+".lock") }

// LockOptions says how much of an existing lock may change.
type LockOptions struct {
	Upgrade  bool     // resolve anew, or, with Packages, let these change
	Packages []string // names
	Dry      bool     // choose, and write nothing
}

// Resolve returns the recipe's lock: the one on disk when it answers the recipe and nothing is to be
// upgraded, else a new one, which it writes. changed says whether it wrote.
func (f *Foundry) Resolve(ctx context.Context, r *recipe.Recipe, o LockOptions) (l *lock.Lock, changed bool, err error) {
	d, err := Distribution(r)
	if err != nil {
		return nil, false, err
	}
	path := LockPath(r)
	var old *lock.Lock
	if exists(path) {
		if old, err = lock.Read(path); err != nil {
			return nil, false, err
		}
		if old.Asked == d.Asked(r) && !o.Upgrade {
			return old, false, nil
		}
	}
	rq, err := f.request(r)
	if err != nil {
		return nil, false, err
	}
	rq.Replaces = old
	if old != nil && (!o.Upgrade || len(o.Packages) > 0) {
		for _, name := range o.Packages {
			if !slices.ContainsFunc(old.Packages, func(p lock.Package) bool { return p.Name == name }) {
				return nil, false, fault.Newf(fault.Usage, "--upgrade %s: the lock has no such package", name)
			}
		}
		rq.Previous, rq.Upgrade = old, o.Packages
	}
	if l, err = d.Resolve(ctx, rq); err != nil {
		return nil, false, fmt.Errorf("resolving %s: %w", r.Name, err)
	}
	if old != nil {
		if err := l.Follows(old); err != nil {
			return nil, false, fmt.Errorf("renewing %s: %w", path, err)
		}
		if string(old.Bytes()) == string(l.Bytes()) {
			return old, false, nil
		}
	}
	if o.Dry {
		return l, true, nil
	}
	return l, true, l.Write(path)
}

func (f *Foundry) request(r *recipe.Recipe) (distro.Request, error) {
	version, err := Builder()
	return distro.Request{Recipe: r, Fetch: f.Fetch, Now: f.Now(), Progress: f.Progress, Cache: f.Cache, Version: version}, err
}

// make has those packages of a lock built that no mirror has.
func (f *Foundry) make(ctx context.Context, r *recipe.Recipe, d distro.Distribution, l *lock.Lock) error {
	maker, ok := d.(distro.Maker)
	if !ok || len(l.Builds) == 0 {
		return nil
	}
	rq, err := f.request(r)
	if err != nil {
		return err
	}
	return maker.Make(ctx, rq, l)
}

// packages fetches and verifies every package file of a lock and returns their paths by name:arch.
func (f *Foundry) packages(ctx context.Context, r *recipe.Recipe, d distro.Distribution, l *lock.Lock) (map[string]string, error) {
	if err := f.make(ctx, r, d, l); err != nil {
		return nil, fmt.Errorf("making the packages of %s: %w", r.Name, err)
	}
	mirrors := d.Mirrors(r)
	all := l.Installed()
	files := make([]fetch.File, len(all))
	for i, p := range all {
		if len(mirrors[p.Repository]) == 0 && p.Repository != lock.Built {
			return nil, fault.New(fault.Input, fmt.Errorf("the lock of %s takes %s from repository %q, which the recipe does not have", r.Name, p.Name, p.Repository),
				"write it anew with `ingot lock --upgrade`")
		}
		files[i] = fetch.File{Path: p.Path, Size: p.Size, SHA256: p.SHA256, Name: p.Name, Mirrors: mirrors[p.Repository]}
	}
	paths, err := f.Fetch.All(ctx, files, f.Progress)
	if err != nil {
		if fault.KindOf(err) == fault.Unreachable && fault.HintOf(err) == "" {
			err = fault.New(fault.Unreachable, err, "mirrors drop old versions; `ingot lock --upgrade` chooses new ones")
		}
		return nil, fmt.Errorf("fetching the packages of %s: %w", r.Name, err)
	}
	out := make(map[string]string, len(paths))
	for i, p := range all {
		out[packageKey(p)] = paths[i]
	}
	return out, nil
}

func packageKey(p lock.Package) string { return p.Name + ":" + p.Arch }

// Change is a difference between two locks; an empty version means that the package is not there.
type Change struct{ Name, From, To string }

func (c Change) String() string {
	switch {
	case c.From == "":
		return fmt.Sprintf("+ %s %s", c.Name, c.To)
	case c.To == "":
		return fmt.Sprintf("- %s %s", c.Name, c.From)
	}
	return fmt.Sprintf("~ %s %s → %s", c.Name, c.From, c.To)
}

// Changes compares two locks by package name, in byte order.
func Changes(from, to *lock.Lock) []Change {
	versions := func(l *lock.Lock) map[string]string {
		m := map[string]string{}
		for _, p := range l.Packages {
			m[p.Name] = p.Version
		}
		return m
	}
	a, b := versions(from), versions(to)
	var out []Change
	for name, v := range a {
		if b[name] != v {
			out = append(out, Change{name, v, b[name]})
		}
	}
	for name, v := range b {
		if _, ok := a[name]; !ok {
			out = append(out, Change{name, "", v})
		}
	}
	slices.SortFunc(out, func(x, y Change) int { return strings.Compare(x.Name, y.Name) })
	return out
}
