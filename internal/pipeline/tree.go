package pipeline

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"ingot/internal/disk"
	"ingot/internal/distro"
	"ingot/internal/fault"
	"ingot/internal/folder"
	"ingot/internal/hold"
	"ingot/internal/lock"
	"ingot/internal/progress"
	"ingot/internal/recipe"
	"ingot/internal/sandbox"
)

// Tree is a finished root filesystem in the cache. It belongs to the caller until Release.
type Tree struct {
	Root    string // the directory
	Inputs  string // digest of recipe, lock and builder
	Cached  bool   // it was there already
	build   distro.Build
	release func()
}

// Release lets other builds of the same image have the tree.
func (t *Tree) Release() { t.release() }

// Spoil takes the tree out of the cache, since something is about to change it: the next build makes another.
// The directory stays where Root says until then.
func (t *Tree) Spoil() error {
	spoiled := filepath.Join(filepath.Dir(filepath.Dir(t.Root)), "spoiled")
	if err := os.Rename(filepath.Dir(t.Root), spoiled); err != nil {
		return fmt.Errorf("setting the tree aside: %w", err)
	}
	t.Root = filepath.Join(spoiled, "root")
	return nil
}

// inputs digests everything that an image is a function of.
func inputs(r *recipe.Recipe, l *lock.Lock) (string, error) {
	return inputsOf("ingot inputs 1", r, l.Digest())
}

// inputsOf digests what a kind of image is a function of: a recipe, other things by their digests, and this program.
func inputsOf(kind string, r *recipe.Recipe, digests ...string) (string, error) {
	rd, err := r.Digest()
	if err != nil {
		return "", err
	}
	builder, err := Builder()
	if err != nil {
		return "", err
	}
	all := slices.Concat([]string{kind, rd}, digests, []string{builder})
	sum := sha256.Sum256([]byte(strings.Join(all, "\x00")))
	return hex.EncodeToString(sum[:]), nil
}

// Tree returns the root filesystem of a recipe and its lock, made if it is not in the cache. Making one
// takes the place of the image's former tree.
func (f *Foundry) Tree(ctx context.Context, r *recipe.Recipe, l *lock.Lock) (*Tree, error) {
	d, err := Distribution(r)
	if err != nil {
		return nil, err
	}
	in, err := inputs(r, l)
	if err != nil {
		return nil, err
	}
	return f.grow(ctx, d, r, l, in, l, func(b distro.Build) error {
		if err := d.Install(ctx, b); err != nil {
			return fmt.Errorf("installing %s: %w", r.Name, err)
		}
		b.Task.Done("%d packages", len(l.Packages))
		return nil
	})
}

// supply gives a build the files of a lock's packages, and of its modules' sources.
func (f *Foundry) supply(ctx context.Context, b *distro.Build, d distro.Distribution, l *lock.Lock) error {
	files, err := f.packages(ctx, b.Recipe, d, l)
	if err != nil {
		return err
	}
	sources, err := f.sources(ctx, b.Recipe, l)
	if err != nil {
		return err
	}
	b.Package = func(p lock.Package) string { return files[packageKey(p)] }
	b.Source = func(s lock.Source) string { return sources[s.SHA256] }
	return nil
}

// grow returns the tree of an image that has these inputs: from the cache, or as fill makes it in an empty directory, with the
// packages and sources that needed has.
func (f *Foundry) grow(ctx context.Context, d distro.Distribution, r *recipe.Recipe, l *lock.Lock, in string, needed *lock.Lock, fill func(distro.Build) error) (_ *Tree, err error) {
	task := f.Progress.Begin("tree", 0, progress.Items)
	defer func() { task.End(err) }()
	home := filepath.Join(f.Cache, "trees", r.Name)
	release, err := hold.File(ctx, home+lockExt, task)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			release()
		}
	}()
	t := &Tree{Root: filepath.Join(home, in, "root"), Inputs: in, release: release}
	t.build = distro.Build{Recipe: r, Lock: l, Root: t.Root, Identity: disk.IDs(l.Digest()),
		Expanded: filepath.Join(f.Cache, "expanded"), Task: task}
	if exists(t.Root) {
		t.Cached = true
		task.Done("unchanged, from the cache")
		return t, nil
	}
	if err := errors.Join(sandbox.CheckArch(r.Arch), checkClock(l, time.Now())); err != nil {
		return nil, err
	}
	b := t.build
	if err := f.supply(ctx, &b, d, needed); err != nil {
		return nil, err
	}
	// The tree grows under another name, so that one that was cut short is never taken for a whole one.
	if err := setAside(home); err != nil {
		return nil, fmt.Errorf("setting the former tree aside: %w", err)
	}
	b.Root = filepath.Join(home, "unfinished")
	if err := os.MkdirAll(b.Root, 0o755); err != nil {
		return nil, fmt.Errorf("making room for the tree: %w", err)
	}
	if err := fill(b); err != nil {
		return nil, errors.Join(err, os.RemoveAll(home))
	}
	if err := os.MkdirAll(filepath.Dir(t.Root), 0o755); err != nil {
		return nil, err
	}
	if err := os.Rename(b.Root, t.Root); err != nil {
		return nil, err
	}
	if err := removeAside(home); err != nil {
		return nil, fmt.Errorf("removing the former tree: %w", err)
	}
	return t, nil
}

// checkClock refuses to make a tree before the date of its lock. Files that are made meanwhile keep the times of their making
// as long as these are no later than the lock ([tree.Clamp]): no two images would be the same.
func checkClock(l *lock.Lock, now time.Time) error {
	if !now.Before(l.Date) {
		return nil
	}
	return fault.New(fault.Host, fmt.Errorf("this machine's clock shows %s, and the lock is of %s", now.UTC().Format(time.RFC3339), l.Date.Format(time.RFC3339)),
		"set the clock; if it is right, the repositories' is wrong: wait until then")
}

// setAside moves what is at path out of the way. It is removed only when the new tree is done: ext4 makes
// files several times slower while it has many inodes that were freed moments ago.
func setAside(path string) error {
	if !exists(path) {
		return nil
	}
	aside, err := os.MkdirTemp(filepath.Dir(path), formerPrefix(path)+"*")
	if err != nil {
		return err
	}
	return os.Rename(path, filepath.Join(aside, "tree"))
}

func formerPrefix(path string) string { return "." + filepath.Base(path) + ".former-" }

// removeAside removes what setAside left, also in runs that were killed.
func removeAside(path string) error {
	all, err := folder.Names(filepath.Dir(path), formerPrefix(path), "")
	if err != nil {
		return err
	}
	for _, aside := range all {
		if err := os.RemoveAll(filepath.Join(filepath.Dir(path), aside)); err != nil {
			return err
		}
	}
	return nil
}
