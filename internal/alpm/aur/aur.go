// Package aur builds the packages that a recipe takes from PKGBUILDs: each in a tree of its own, made by our installer of
// base-devel and what the PKGBUILD needs, in the order of their dependencies. What a lock says of a build is enough to make
// the same package again on another machine.
package aur

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"ingot/internal/alpm"
	"ingot/internal/alpm/archive"
	"ingot/internal/alpm/makepkg"
	"ingot/internal/fault"
	"ingot/internal/fetch"
	"ingot/internal/folder"
	"ingot/internal/hold"
	"ingot/internal/lock"
	"ingot/internal/progress"
	"ingot/internal/recipe"
)

// tools are what every tree has to build in. git fetches repositories; the rest is what PKGBUILDs may take for granted.
var tools = []string{"base-devel", "git"}

// Builder builds the packages of a recipe.
type Builder struct {
	Recipe   *recipe.Recipe
	Arch     string        // as pacman spells it
	Cache    string        // ingot's cache folder
	Fetch    *fetch.Client // whose cache has the packages
	Version  string        // digest of this program: another one may build otherwise
	Progress *progress.Reporter
}

// Made is what was built.
type Made struct {
	*archive.Database // the packages, as the repository lock.Built

	builds  []lock.Build
	tools   []lock.Package
	targets []string
}

// Targets are what the recipe wants of it to be installed.
func (m *Made) Targets() []string { return m.targets }

// Enter puts into a lock, whose Packages are complete, how they were built.
func (m *Made) Enter(l *lock.Lock) {
	l.Builds = m.builds
	have := make(map[string]bool)
	for _, p := range l.Packages {
		have[p.ID()] = true
	}
	for _, p := range m.tools {
		if !have[p.ID()] {
			have[p.ID()] = true
			p.Explicit = false
			l.Tools = append(l.Tools, p)
		}
	}
	for _, list := range [][]lock.Package{l.Packages, l.Tools} {
		for i := range list {
			if p := &list[i]; p.Repository == lock.Built {
				p.Source = m.origin(p.Name)
			}
		}
	}
}

// origin says what a package was built from.
func (m *Made) origin(name string) string {
	for _, b := range m.builds {
		if slices.Contains(b.Packages, name) {
			return origin(&b)
		}
	}
	return ""
}

func origin(b *lock.Build) string {
	if b.Commit != "" {
		return b.URL + "#" + b.Commit
	}
	return b.Name + "#" + b.Content // a folder beside the recipe
}

// item is an entry of the recipe on its way to packages.
type item struct {
	recipe.AURPackage
	folder  folder.Folder
	date    time.Time
	info    *makepkg.Info
	sources []makepkg.Source
	made    []*alpm.Package
}

// Make builds all that the recipe lists, or takes it from the cache. The process must be root, at least in a user
// namespace: see [sandbox.Enter].
//
// Errors are of kind Script for a build that fails, Trust for a source that nothing fixes or that is not what it must be,
// Input for PKGBUILDs that need each other, and those of archive.Choose for what they need.
func (b *Builder) Make(ctx context.Context, from *archive.Databases) (_ *Made, err error) {
	t := b.Progress.Begin("packages from PKGBUILDs", int64(len(b.Recipe.AUR)), progress.Items)
	defer func() { t.End(err) }()
	base, _, err := from.Resolve(ctx, b.request(nil))
	if err != nil {
		return nil, fmt.Errorf("choosing the tools to build with: %w", err)
	}
	tree, err := b.tree(ctx, base.Packages, t)
	if err != nil {
		return nil, err
	}
	items := make([]*item, len(b.Recipe.AUR))
	for i, entry := range b.Recipe.AUR {
		if items[i], err = b.read(ctx, entry, "", tree, t); err != nil {
			return nil, err
		}
		if date := from.Date(); items[i].date.IsZero() || items[i].date.After(date) {
			items[i].date = date // nothing in an image is younger than its lock
		}
	}
	return b.makeAll(ctx, from, items, t)
}

// makeAll builds items in the order of their dependencies.
func (b *Builder) makeAll(ctx context.Context, from *archive.Databases, items []*item, t *progress.Task) (*Made, error) {
	needs, err := b.order(ctx, from, items)
	if err != nil {
		return nil, err
	}
	m := &Made{}
	var all []*alpm.Package
	for _, n := range needs {
		var local []*alpm.Package
		for _, other := range n.needs {
			local = append(local, other.made...)
		}
		db, err := archive.NewDatabase(lock.Built, local)
		if err != nil {
			return nil, fmt.Errorf("building %s: %w", n.Name, err)
		}
		room, _, err := from.Resolve(ctx, b.request(n.item), db)
		if err != nil {
			return nil, fmt.Errorf("choosing what %s is built with: %w", n.Name, err)
		}
		built, err := b.build(ctx, n.item, room.Packages, t)
		if err != nil {
			return nil, err
		}
		m.builds, m.tools = append(m.builds, *built), append(m.tools, room.Packages...)
		all = append(all, n.made...)
		t.Add(1)
	}
	for _, it := range items {
		if !it.Dependency {
			m.targets = append(m.targets, lock.Built+"/"+it.Name)
		}
	}
	m.Database, err = archive.NewDatabase(lock.Built, all)
	return m, err
}

// request asks for the packages of a tree to build an item in, nil for one that PKGBUILDs are read in.
func (b *Builder) request(it *item) archive.Request {
	rq := archive.Request{Targets: slices.Clone(tools), Arch: b.Arch}
	if it != nil {
		rq.Targets = append(rq.Targets, it.info.Needs...)
		if !it.SkipCheck {
			rq.Targets = append(rq.Targets, it.info.Tests...)
		}
	}
	return rq
}

// read gets an entry's PKGBUILD and has it say what it is. Content is the digest that its folder must have, "" for any.
func (b *Builder) read(ctx context.Context, entry recipe.AURPackage, content, tree string, t *progress.Task) (*item, error) {
	it := &item{AURPackage: entry}
	fail := func(err error) (*item, error) { return nil, fmt.Errorf("building %s: %w", entry.Name, err) }
	work := b.path("read-" + digest(entry))
	release, err := hold.File(ctx, work+".lock", t)
	if err != nil {
		return nil, err
	}
	defer release()
	if entry.Directory != "" {
		it.folder, err = folder.Read(b.Recipe.Resolve(entry.Directory))
		if content == "" {
			content = entry.Content
		}
	} else {
		it.folder, it.date, err = b.checkout(ctx, entry, tree, work, t)
	}
	if err != nil {
		return fail(err)
	}
	if is := it.folder.Digest(); content != "" && is != content {
		return fail(fault.New(fault.Trust, fmt.Errorf("the folder of its PKGBUILD has changed: its digest is %s, not %s", is, content),
			"`ingot lock --upgrade` takes it as it is now"))
	}
	if it.folder.Find("PKGBUILD") == nil {
		return fail(fault.Newf(fault.Missing, "%s has no PKGBUILD at commit %s", entry.URL, entry.Commit))
	}
	if it.info, err = makepkg.Describe(ctx, it.folder, b.Arch, tree, work, t); err != nil {
		return fail(err)
	}
	var names []string
	for _, p := range it.info.Packages {
		names = append(names, p.Name)
	}
	if !entry.Dependency && !slices.Contains(names, entry.Name) {
		return fail(fault.New(fault.Input, fmt.Errorf("the PKGBUILD of %s makes no package of that name, but %s", it.info.Base, strings.Join(names, ", ")),
			"call it by one of these; `packages: include:` takes others of them"))
	}
	it.sources, err = it.info.Sources(it.folder, entry.Sources)
	return it, err
}

// checkout gets a commit: from the network, or from a repository of this machine.
func (b *Builder) checkout(ctx context.Context, entry recipe.AURPackage, tree, work string, t *progress.Task) (folder.Folder, time.Time, error) {
	r := makepkg.Repository{URL: entry.URL, Commit: entry.Commit}
	if path, ok := strings.CutPrefix(entry.URL, "file://"); ok {
		r.Local = path
	} else if !strings.Contains(entry.URL, "://") {
		r.Local = b.Recipe.Resolve(entry.URL)
	}
	if r.Local != "" {
		if info, err := os.Stat(r.Local); err != nil || !info.IsDir() {
			return nil, time.Time{}, fault.New(fault.Missing, fmt.Errorf("there is no git repository %s", r.Local), "correct `url` in the recipe")
		}
	}
	return makepkg.Checkout(ctx, r, tree, work, b.path(""), b.Fetch.Offline(), t)
}

// path names something in the cache's folder of what is built.
func (b *Builder) path(name string) string { return filepath.Join(b.Cache, "aur", name) }

// node is an item, and the items whose packages are in the tree that it is built in.
type node struct {
	*item
	needs []*item
}

// order sorts the items such that each comes after those that it needs. What it needs, the resolver says: an item's
// packages are taken as those of any repository, by those that need them directly and indirectly; but no PKGBUILD is built
// with what it makes itself. Which versions come out is not known yet, so that all are taken to do.
func (b *Builder) order(ctx context.Context, from *archive.Databases, items []*item) ([]node, error) {
	needs := make(map[*item][]*item)
	ours := make(map[string]*item)
	for _, it := range items {
		for _, p := range it.info.Packages {
			if other := ours[p.Name]; other != nil {
				return nil, fault.Newf(fault.Input, "both %s and %s make the package %s", other.Name, it.Name, p.Name)
			}
			ours[p.Name] = it
		}
	}
	for _, it := range items {
		var packages []*alpm.Package
		for _, other := range items {
			if other == it {
				continue
			}
			for _, p := range other.info.Packages {
				packages = append(packages, loosely(p, ours))
			}
		}
		db, err := archive.NewDatabase(lock.Built, packages)
		if err != nil {
			return nil, err
		}
		rq := b.request(it)
		for i, text := range rq.Targets {
			if d, err := alpm.ParseDepend(text); err == nil && ours[d.Name] != nil {
				rq.Targets[i] = d.Name
			}
		}
		sel, err := from.Choose(ctx, rq, db)
		if err != nil {
			return nil, fmt.Errorf("choosing what %s is built with: %w", it.Name, err)
		}
		for _, ch := range sel.Choices {
			if o := ours[ch.Package.Name]; ch.Repository == lock.Built && !slices.Contains(needs[it], o) {
				needs[it] = append(needs[it], o)
			}
		}
	}
	var sorted []node
	done := make(map[*item]bool)
	var visit func(it *item, path []string) error
	visit = func(it *item, path []string) error {
		if done[it] {
			return nil
		}
		if at := slices.Index(path, it.Name); at >= 0 {
			return fault.New(fault.Input, fmt.Errorf("these can only be built after each other: %s", strings.Join(append(path[at:], it.Name), " needs ")),
				"take one of them from a repository")
		}
		for _, other := range needs[it] {
			if err := visit(other, append(path, it.Name)); err != nil {
				return err
			}
		}
		done[it] = true
		sorted = append(sorted, node{it, needs[it]})
		return nil
	}
	for _, it := range items {
		if err := visit(it, nil); err != nil {
			return nil, err
		}
	}
	return sorted, nil
}

// loosely returns a package that depends on any version of ours.
func loosely(p *alpm.Package, ours map[string]*item) *alpm.Package {
	q := *p
	q.Depends = slices.Clone(p.Depends)
	for i, d := range q.Depends {
		if ours[d.Name] != nil {
			q.Depends[i] = alpm.Depend{Name: d.Name}
		}
	}
	return &q
}

// errRoot explains what building takes.
var errRoot = fault.New(fault.Host, errors.New("building packages needs root, or a user namespace"), "run it as root, or see what `ingot doctor` says about namespaces")
