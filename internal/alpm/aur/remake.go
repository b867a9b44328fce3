package aur

import (
	"context"
	"fmt"
	"slices"

	"ingot/internal/fault"
	"ingot/internal/fetch"
	"ingot/internal/lock"
	"ingot/internal/progress"
	"ingot/internal/recipe"
)

// Remake builds again those packages of a lock that were built when it was written, and that the cache does not have.
// Mirrors are those of each repository. A package that comes out otherwise than the lock says is an error of kind Trust.
func (b *Builder) Remake(ctx context.Context, l *lock.Lock, mirrors map[string][]string) (err error) {
	r := &remake{Builder: b, lock: l, mirrors: mirrors}
	for i := range l.Packages {
		if p := &l.Packages[i]; r.lost(p) {
			r.task = b.Progress.Begin("packages from PKGBUILDs", 0, progress.Items)
			defer func() { r.task.End(err) }()
			break
		}
	}
	for i := range l.Packages {
		if p := &l.Packages[i]; r.lost(p) {
			if err := r.ensure(ctx, p, nil); err != nil {
				return err
			}
		}
	}
	return nil
}

// remake is the work of Remake.
type remake struct {
	*Builder
	lock    *lock.Lock
	mirrors map[string][]string
	task    *progress.Task
}

// lost reports whether a package has to be built.
func (r *remake) lost(p *lock.Package) bool {
	if p.Repository != lock.Built {
		return false
	}
	_, cached := r.Fetch.Cached(p.SHA256)
	return !cached
}

// ensure builds a package, after those that it is built with. Above are the packages for which that is done.
func (r *remake) ensure(ctx context.Context, p *lock.Package, above []string) error {
	at := slices.IndexFunc(r.lock.Builds, func(b lock.Build) bool { return slices.Contains(b.Packages, p.Name) })
	if at < 0 || slices.Contains(above, p.Name) {
		return fault.New(fault.Input, fmt.Errorf("the lock does not say how package %s was built", p.Name), "write it anew with `ingot lock --upgrade`")
	}
	build := &r.lock.Builds[at]
	entry := slices.IndexFunc(r.Recipe.AUR, func(a recipe.AURPackage) bool { return a.Name == build.Name })
	if entry < 0 {
		return fault.New(fault.Input, fmt.Errorf("the recipe does not have %s, which the lock was written with", build.Name), "write the lock anew with `ingot lock`")
	}
	packages, err := r.room(ctx, build, append(above, p.Name))
	if err != nil {
		return err
	}
	tree, err := r.tree(ctx, packages, r.task)
	if err != nil {
		return err
	}
	it, err := r.read(ctx, r.Recipe.AUR[entry], build.Content, tree, r.task)
	if err != nil {
		return err
	}
	it.date = build.Date
	if err := fix(it, build); err != nil {
		return err
	}
	again, err := r.build(ctx, it, packages, r.task)
	if err != nil {
		return err
	}
	return r.compare(it, build, again)
}

// room fetches or builds the packages of the tree that a build was done in.
func (r *remake) room(ctx context.Context, build *lock.Build, above []string) (packages []lock.Package, err error) {
	var files []fetch.File
	for _, id := range build.Tree {
		p := r.lock.Find(id)
		packages = append(packages, *p) // lock.Parse has seen that it is there
		if r.lost(p) {
			if err := r.ensure(ctx, p, above); err != nil {
				return nil, err
			}
		}
		if p.Repository != lock.Built {
			files = append(files, fetch.File{Path: p.Path, Size: p.Size, SHA256: p.SHA256, Name: p.Name, Mirrors: r.mirrors[p.Repository]})
		}
	}
	if is := treeDigest(packages); is != build.TreeDigest {
		return nil, fault.New(fault.Input, fmt.Errorf("the lock contradicts itself: the packages that %s was built with have the digest %s, not %s", build.Name, is, build.TreeDigest),
			"write it anew with `ingot lock --upgrade`")
	}
	if _, err := r.Fetch.All(ctx, files, r.Progress); err != nil {
		return nil, fmt.Errorf("fetching what %s is built with: %w", build.Name, err)
	}
	return packages, nil
}

// fix gives the sources the hashes that the lock has of them.
func fix(it *item, build *lock.Build) error {
	for i := range it.sources {
		s := &it.sources[i]
		if s.Empty {
			continue
		}
		at := slices.IndexFunc(build.Sources, func(x lock.Source) bool { return x.Name == s.Name && x.URL == s.URL })
		if at < 0 {
			return fault.New(fault.Input, fmt.Errorf("the lock does not have source %s of %s", s.Name, build.Name), "write it anew with `ingot lock --upgrade`")
		}
		if err := s.Fix(build.Sources[at].SHA256, build.Sources[at].Commit); err != nil {
			return fmt.Errorf("building %s: %w", build.Name, err)
		}
	}
	return nil
}

// compare says how a build differs from the one that the lock was written with.
func (r *remake) compare(it *item, before, now *lock.Build) error {
	for _, p := range it.made {
		want := r.lock.Find(lock.Built + "/" + p.Name)
		if want == nil || p.SHA256 == want.SHA256 {
			continue
		}
		what := fmt.Sprintf("its SHA-256 is %s, the lock says %s", p.SHA256, want.SHA256)
		if p.Version != want.Version {
			what = fmt.Sprintf("its version is %s, the lock says %s", p.Version, want.Version)
		}
		return fault.New(fault.Trust, fmt.Errorf("package %s, built again from %s, with the same sources and tools, is not the same: %s", p.Name, origin(before), what),
			"its build depends on something that is not fixed, such as the time, the number of processors or random numbers: make it repeatable, "+
				"or copy the cache of the machine that wrote the lock, or write the lock anew with `ingot lock --upgrade`")
	}
	if !slices.Equal(before.Packages, now.Packages) {
		return fault.Newf(fault.Trust, "%s, built again, makes the packages %v, no longer %v", it.Name, now.Packages, before.Packages)
	}
	return nil
}
