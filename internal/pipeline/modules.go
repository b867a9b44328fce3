package pipeline

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"ingot/internal/disk"
	"ingot/internal/distro"
	"ingot/internal/distro/kmod"
	"ingot/internal/fault"
	"ingot/internal/hold"
	"ingot/internal/lock"
	"ingot/internal/recipe"
	"ingot/internal/tree"
)

// modules returns what the modules of a lock became in a tree.
func modules(root string, l *lock.Lock) (all []Module, err error) {
	if len(l.Modules) == 0 {
		return nil, nil
	}
	kernels, err := distro.Kernels(root)
	if err != nil {
		return nil, err
	}
	for _, m := range l.Modules {
		for _, kernel := range kernels {
			o, err := kmod.Installed(root, m.Name, kernel)
			if errors.Is(err, fs.ErrNotExist) {
				continue // a kernel beside the one that modules are built for
			}
			if err != nil {
				return nil, err
			}
			all = append(all, Module{m.Name, o.Info["version"], kernel, m.Source.SHA256})
		}
	}
	return all, nil
}

// AddModules makes another image of a finished one: the same, with the modules of a recipe, built for its kernel, and an initramfs
// that was built after them. Nothing else of the recipe is installed; the new artifact, in the folder dir, has its name. Like
// Build it does nothing where it has done all already.
func (f *Foundry) AddModules(ctx context.Context, from *Artifact, r *recipe.Recipe, dir string) (a *Artifact, fresh bool, err error) {
	d, err := Distribution(r)
	if err != nil {
		return nil, false, err
	}
	m := from.Manifest
	extender, ok := d.(distro.Extender)
	switch {
	case !ok || len(r.Modules) == 0:
		return nil, false, r.Refuse("modules", "there are none to add")
	case m.Distro != r.Distro || m.Release != r.Release || m.Arch != r.Arch:
		return nil, false, fault.Newf(fault.Usage, "%s is %s %s (%s), and the recipe is for %s %s (%s)", from.Dir, m.Distro, m.Release, m.Arch, r.Distro, r.Release, r.Arch)
	}
	if same(from.Dir, dir) {
		return nil, false, fault.New(fault.Usage, fmt.Errorf("the new image would take the place of %s", from.Dir), "give the recipe another name, or name a folder with --output")
	}
	release, err := hold.Files(ctx, nil, filepath.Join(from.Dir, ".lock"), filepath.Join(dir, ".lock"))
	if err != nil {
		return nil, false, fmt.Errorf("using the folders %s and %s: %w", from.Dir, dir, err)
	}
	defer release()
	in, err := inputsOf("ingot inputs of added modules 1", r, m.Lock, m.Disk) // the lock names the repositories
	if err != nil {
		return nil, false, err
	}
	if current(dir, in) {
		a, err := OpenArtifact(dir)
		return a, false, err
	}
	if err := f.intact(ctx, from); err != nil {
		return nil, false, err
	}
	old, err := from.Lock()
	if err != nil {
		return nil, false, err
	}
	rq, err := f.request(r)
	if err != nil {
		return nil, false, err
	}
	l, err := extender.ResolveModules(ctx, rq, old)
	if err != nil {
		return nil, false, fmt.Errorf("resolving the modules of %s: %w", r.Name, err)
	}
	if err := clearArtifact(dir); err != nil {
		return nil, false, err
	}
	t, err := f.grow(ctx, d, r, l, in, toBuildWith(l, r), func(b distro.Build) error {
		src, c, err := disk.OpenRoot(from.Disk())
		if err != nil {
			return err
		}
		if err := errors.Join(tree.Copy(ctx, b.Root, src), c.Close()); err != nil {
			return err
		}
		if err := extender.AddModules(ctx, b); err != nil {
			return fmt.Errorf("adding modules to %s: %w", m.Name, err)
		}
		return nil
	})
	if err != nil {
		return nil, false, err
	}
	defer t.Release()
	a, err = f.finish(ctx, d, t, dir)
	return a, err == nil, err
}

// same reports whether two paths are one folder.
func same(a, b string) bool {
	x, err := os.Stat(a)
	if err != nil {
		return false
	}
	y, err := os.Stat(b)
	return err == nil && os.SameFile(x, y)
}

// intact refuses an artifact whose disk is not the one that its manifest tells of.
func (f *Foundry) intact(ctx context.Context, a *Artifact) error {
	m, err := a.Map()
	if err != nil {
		return err
	}
	sum, err := f.digest(ctx, a.Disk(), m)
	if err == nil && sum != a.Manifest.Disk {
		err = fault.New(fault.Input, fmt.Errorf("%s has the SHA-256 %s, and its manifest says %s: somebody has changed it", a.Disk(), sum, a.Manifest.Disk),
			"build the image anew")
	}
	return err
}

// toBuildWith is a lock of nothing but the recipe's modules and the packages that they are built with.
func toBuildWith(l *lock.Lock, r *recipe.Recipe) *lock.Lock {
	out := *l
	out.Modules = distro.OwnModules(l, r)
	out.Packages = slices.DeleteFunc(slices.Clone(l.Packages), func(p lock.Package) bool {
		return !slices.ContainsFunc(out.Modules, func(m lock.Module) bool { return slices.Contains(m.Tree, p.ID()) })
	})
	return &out
}
