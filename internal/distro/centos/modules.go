package centos

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"

	"ingot/internal/distro"
	"ingot/internal/distro/kmod"
	"ingot/internal/fault"
	"ingot/internal/lock"
	"ingot/internal/progress"
	"ingot/internal/recipe"
	"ingot/internal/rpm/archive"
	"ingot/internal/rpm/install"
)

// resolveModules enters into a lock those of the recipe's modules that are for its kernel, and the packages that they are built with.
func (c *CentOS) resolveModules(ctx context.Context, rq distro.Request, ask archive.Request, l *lock.Lock) error {
	r := rq.Recipe
	at := slices.IndexFunc(l.Packages, func(p lock.Package) bool { return p.Name == r.Kernel.Package })
	switch {
	case r.Modules == nil:
		return nil
	case at < 0:
		return r.Refuse("modules", "the image has no package %s to build them for", r.Kernel.Package)
	}
	kernel := l.Packages[at]
	for _, m := range r.Modules {
		if m, ok := m.For(kernel.Version); ok {
			l.Modules = append(l.Modules, locked(m, kernel.Version))
		} else {
			rq.Progress.Logf("module %s is not built for %s %s", m.Name, kernel.Name, kernel.Version)
		}
	}
	if l.Modules == nil {
		return nil
	}
	ask.Include, ask.Exclude = append(slices.Clone(c.facts.ModuleTools), kernel.Name+"-devel-"+kernel.Version), nil
	tools, _, err := archive.Resolve(ctx, rq.Fetch, ask, rq.Progress)
	if err != nil {
		return fmt.Errorf("choosing what modules are built with: %w", err)
	}
	if !slices.EqualFunc(tools.Indexes, l.Indexes, func(x, y lock.Index) bool { return x.SHA256 == y.SHA256 }) {
		return fault.New(fault.Unreachable, errors.New("a mirror has changed since the packages of the image were chosen"), "try again; build a finished image anew")
	}
	var tree []string
	for _, p := range tools.Packages {
		switch have := l.Find(p.ID()); {
		case have == nil:
			p.Explicit = false
			l.Tools = append(l.Tools, p)
		case have.SHA256 != p.SHA256:
			return fault.Newf(fault.Input, "the image has %s %s, and modules are built with %s: leave the version to the repository", p.Name, have.Version, p.Version)
		}
		tree = append(tree, p.ID())
	}
	for i := range l.Modules {
		l.Modules[i].Tree = tree
	}
	return nil
}

// ResolveModules implements distro.Extender. Modules that the image has already stay, unless the recipe has one of the same name.
func (c *CentOS) ResolveModules(ctx context.Context, rq distro.Request, l *lock.Lock) (*lock.Lock, error) {
	ask, err := c.ask(ctx, rq)
	if err != nil {
		return nil, err
	}
	added := *l
	added.Modules, added.Tools = nil, nil
	if err := c.resolveModules(ctx, rq, ask, &added); err != nil {
		return nil, err
	}
	if added.Modules == nil {
		return nil, rq.Recipe.Refuse("modules", "none is for the kernel that the image has")
	}
	for _, m := range l.Modules {
		if !slices.ContainsFunc(added.Modules, func(own lock.Module) bool { return own.Name == m.Name }) {
			added.Modules = append(added.Modules, m)
		}
	}
	for _, t := range l.Tools {
		if added.Find(t.ID()) == nil {
			added.Tools = append(added.Tools, t)
		}
	}
	added.Recipe = rq.Recipe.Name
	return &added, nil
}

// AddModules implements distro.Extender. The initramfs is built again, as a build with these modules would have built it.
func (c *CentOS) AddModules(ctx context.Context, b distro.Build) (err error) {
	if err := checkVsyscall(b.Lock); err != nil {
		return err
	}
	own := *b.Lock
	own.Modules = distro.OwnModules(b.Lock, b.Recipe)
	b.Lock = &own
	built, err := c.modules(ctx, b)
	if err != nil {
		return err
	}
	if err := index(ctx, b, built); err != nil {
		return err
	}
	if err := c.rebuild(ctx, b); err != nil {
		return err
	}
	if err := c.facts.CheckDrivers(b.Root, initramfsOf); err != nil {
		return err
	}
	if err := distro.Clean(b.Root, c.facts.Clean); err != nil {
		return err
	}
	_, err = settle(b)
	return err
}

func (c *CentOS) rebuild(ctx context.Context, b distro.Build) (err error) {
	sb, err := b.Sandbox(ctx, b.Root)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, sb.Close()) }()
	return c.facts.RebuildInitramfs(ctx, sb, b.Task)
}

// locked is a module as the lock has it.
func locked(m recipe.Module, kernel string) lock.Module {
	out := lock.Module{Name: m.Name, Kernel: kernel, Source: lock.Source{Name: m.Source, SHA256: m.SHA256}}
	if m.Remote() {
		out.Source.Name, out.Source.URL = path.Base(m.Source), m.Source
	}
	for _, p := range m.Patches {
		out.Patches = append(out.Patches, lock.Source{Name: p.Source, SHA256: p.SHA256})
	}
	return out
}

// modules builds the lock's modules for the kernels in the tree, puts them there, and returns them.
func (c *CentOS) modules(ctx context.Context, b distro.Build) (built []kmod.Module, err error) {
	all := b.Lock.Modules
	if len(all) == 0 {
		return nil, nil
	}
	task := b.Task.Begin("building kernel modules", int64(len(all)), progress.Items)
	defer func() { task.End(err) }()
	kernels, err := distro.Kernels(b.Root)
	if err != nil {
		return nil, err
	}
	root := b.Root + ".build"
	b.Task = task
	if err := c.buildTree(ctx, b, root); err != nil {
		return nil, errors.Join(fmt.Errorf("making the tree that modules are built in: %w", err), os.RemoveAll(root))
	}
	defer func() { err = errors.Join(err, os.RemoveAll(root)) }()
	sb, err := b.Sandbox(ctx, root)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, sb.Close()) }()
	for _, locked := range all {
		built = slices.Grow(built, len(kernels))
		for _, version := range kernels {
			if !kmod.Headers(root, version) {
				continue // a kernel beside the one that modules are built for
			}
			m, err := module(b, locked, version)
			if err != nil {
				return nil, err
			}
			text, err := kmod.Build(ctx, sb, root, m, task)
			if err != nil {
				return nil, err
			}
			if err := kmod.Put(b.Root, m, text, b.Lock.Date); err != nil {
				return nil, err
			}
			built = append(built, m)
		}
		task.Add(1)
	}
	if len(built) == 0 {
		return nil, fault.Newf(fault.Verdict, "the packages to build modules with have no headers of kernel %s", kernels[0])
	}
	return built, nil
}

// buildTree makes the tree that modules are built in: the same for all of a lock.
func (c *CentOS) buildTree(ctx context.Context, b distro.Build, root string) error {
	l := *b.Lock
	l.Packages = nil
	for _, id := range b.Lock.Modules[0].Tree {
		l.Packages = append(l.Packages, *b.Lock.Find(id))
	}
	return install.Install(ctx, install.Options{Root: root, Lock: &l, File: b.Package, Expanded: b.Expanded, Task: b.Task,
		Sandbox: b.Sandbox, Database: format(&l)})
}

// module is one as it is built for a kernel, from the recipe and the files that the lock names.
func module(b distro.Build, l lock.Module, kernel string) (kmod.Module, error) {
	i := slices.IndexFunc(b.Recipe.Modules, func(m recipe.Module) bool { return m.Name == l.Name })
	if i < 0 {
		return kmod.Module{}, fault.Newf(fault.Input, "the lock has the module %s, and the recipe has not", l.Name)
	}
	own := b.Recipe.Modules[i]
	m := kmod.Module{Name: l.Name, Archive: b.Source(l.Source), Directory: own.Directory, Make: own.Make, Timeout: own.Limit(), Kernel: kernel}
	for _, p := range l.Patches {
		text, err := os.ReadFile(b.Source(p))
		if err != nil {
			return m, err
		}
		m.Patches = append(m.Patches, kmod.Patch{Name: p.Name, Text: text})
	}
	var err error
	m.Vermagic, err = kmod.Vermagic(b.Root, kernel)
	return m, err
}

// index has the tree find the modules that were built.
func index(ctx context.Context, b distro.Build, built []kmod.Module) (err error) {
	if len(built) == 0 {
		return nil
	}
	sb, err := b.Sandbox(ctx, b.Root)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, sb.Close()) }()
	return kmod.Index(ctx, sb, b.Root, built, b.Task)
}
