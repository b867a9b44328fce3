// Package archive reads Debian package archives (mirrors) and decides which package files of theirs make up
// an image, as apt would.
//
// An archive's InRelease is verified against keys that the caller names; it vouches for Packages indexes by
// size and SHA-256, and these vouch for package files. Of the versions of a package the candidate is the
// newest one, from the repository named first where two have the same; repositories that declare themselves
// NotAutomatic (backports, experimental) come after the others, as with apt's default pins. A request may
// prefer older versions, those of an earlier lock for example.
package archive

import (
	"context"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"ingot/internal/fault"
	"ingot/internal/fetch"
	"ingot/internal/lock"
	"ingot/internal/progress"
	"ingot/internal/solve"
)

// Repository is a suite of an archive.
type Repository struct {
	Name       string
	Mirrors    []string // base URLs, tried in order
	Suite      string   // the folder below dists/, such as bookworm-updates
	Components []string // such as main
	Keys       *fetch.Keyring
}

// Request says what to install.
type Request struct {
	Repositories []Repository // the first one is preferred where versions are equal
	Arch         string       // as Debian spells it: amd64
	Include      []string     // package names; NAME=VERSION for a version that is not the candidate
	Exclude      []string     // names of packages that must not be installed
	Recommends   bool         // also install what packages recommend, where it is possible
	Essential    bool         // also install every package marked Essential: yes
	// Prefer names the version of a package, by its name, that is taken in place of the candidate as long as a
	// repository has it and nothing that is installed needs the candidate. NAME=VERSION in Include goes before it.
	Prefer map[string]string
	Now    time.Time // the time that signatures and Valid-Until are judged at; zero for the clock's
}

// Explanation says why each package was chosen, and which recommendations could not be followed.
type Explanation = solve.Solution

// Resolve fetches the repositories' indexes and chooses the packages. The lock has them in an order in which
// they can be installed and configured: what a package requires comes before it, Essential packages and
// what they need come first of all. Fields that depend on the recipe (Recipe, Distro, Release, Asked) and
// Arch, which the lock spells as EC2 does, are the caller's to fill in.
//
// Errors are of kind Trust for a signature, date, suite or sum that is not as it must be, Missing for a
// package, version or component that does not exist, Unsatisfiable for packages that cannot be installed
// together, Unreachable when no mirror answers.
func Resolve(ctx context.Context, c *fetch.Client, rq Request, r *progress.Reporter) (*lock.Lock, *Explanation, error) {
	if rq.Now.IsZero() {
		rq.Now = time.Now()
	}
	l := &lock.Lock{Version: lock.Version, Format: "deb"}
	cat, err := rq.read(ctx, c, l, r)
	if err != nil {
		return nil, nil, fmt.Errorf("reading the package indexes: %w", err)
	}
	t := r.Begin("choosing packages", 0, progress.Items)
	sol, err := rq.choose(ctx, cat, l)
	if err != nil {
		t.End(err)
		return nil, nil, err
	}
	t.Done("%d of %d packages", len(l.Packages), len(cat.order))
	return l, sol, nil
}

// read fetches all indexes, and fills in those parts of the lock that tell of them.
func (rq *Request) read(ctx context.Context, c *fetch.Client, l *lock.Lock, r *progress.Reporter) (cat *catalog, err error) {
	t := r.Begin("reading package indexes", 0, progress.Bytes)
	defer func() { t.End(err) }()
	l.Indexes = make([]lock.Index, len(rq.Repositories))
	indexes := make([][]*index, len(rq.Repositories))
	g, gctx := errgroup.WithContext(ctx)
	for i := range rq.Repositories {
		g.Go(func() (err error) {
			l.Indexes[i], indexes[i], err = rq.Repositories[i].open(gctx, c, rq.Arch, rq.Now)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	for _, ix := range l.Indexes {
		if ix.Date.After(l.Date) {
			l.Date = ix.Date
		}
	}
	all := slices.Concat(indexes...)
	for _, i := range all {
		t.Grow(i.file.Size)
	}
	g, gctx = errgroup.WithContext(ctx)
	for _, i := range all {
		g.Go(func() error { return i.read(gctx, c, rq.Arch, t) })
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return newCatalog(rq.Arch, all...), nil
}

// choose solves the request and fills in the packages of the lock.
func (rq *Request) choose(ctx context.Context, cat *catalog, l *lock.Lock) (*solve.Solution, error) {
	exact := make(map[string]*record)
	for _, include := range rq.Include {
		r, err := cat.exact(include)
		if err != nil {
			return nil, err
		}
		if r != nil {
			exact[r.name] = r
		}
	}
	all, err := cat.candidates(exact, rq.Prefer)
	if err != nil {
		return nil, err
	}
	ask := solve.Request{Wants: rq.Recommends, Excluded: make(map[string]bool)}
	for _, name := range rq.Exclude {
		ask.Excluded[name] = true
	}
	essential := func(p *solve.Package) bool { return all.records[p].essential }
	if rq.Essential {
		for _, e := range cat.order {
			if versions := all.packages[e.best.name]; essential(versions[0]) && !ask.Excluded[e.best.name] {
				ask.Asked = append(ask.Asked, versions)
			}
		}
	}
	explicit := make(map[string]bool)
	for _, include := range rq.Include {
		versions, err := all.asked(include)
		if err != nil {
			return nil, err
		}
		explicit[versions[0].Name] = true
		ask.Asked = append(ask.Asked, versions)
	}
	sol, err := all.universe.Solve(ctx, ask)
	if err != nil {
		return nil, err
	}
	for _, p := range sol.Order(essential) {
		rec := all.records[p]
		size, err := rec.file()
		if err != nil {
			return nil, fault.New(fault.Input, fmt.Errorf("repository %s: %w", rec.from.repository, err), "")
		}
		l.Packages = append(l.Packages, lock.Package{
			Name: rec.name, Version: rec.version, Arch: rec.arch, Source: rec.source, Repository: rec.from.repository,
			Path: rec.path, Size: size, SHA256: rec.sha256, Explicit: explicit[p.Name],
		})
	}
	return sol, nil
}
