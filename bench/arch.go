package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"ingot/internal/lock"
	"ingot/internal/transmutetest"
)

// arch compares the way from a lock to a tree for pacman's packages: the transmuted repositories, and the host's pacman with
// all packages in its cache. Ours also makes the image an EC2 image; pacman also verifies the signatures, which we did
// when the lock was written.
func (b *bench) arch(ctx context.Context) ([]contest, error) {
	downloads, err := downloads()
	if err != nil {
		return nil, err
	}
	dir := b.fresh("arch")
	a, err := transmutetest.NewArch(ctx, filepath.Join(dir, "mirror"), transmutetest.ArchOptions{Cache: filepath.Dir(downloads)})
	if err != nil {
		return nil, err
	}
	recipe := filepath.Join(dir, "bench.yaml")
	if err := os.WriteFile(recipe, []byte(archRecipe(a)), 0o644); err != nil {
		return nil, err
	}
	cache := filepath.Join(dir, "cache")
	if _, _, err := measure(ctx, b.ingot, "lock", "--quiet", "--cache-dir", cache, recipe); err != nil {
		return nil, err
	}
	l, err := lock.Read(strings.TrimSuffix(recipe, ".yaml") + ".lock")
	if err != nil {
		return nil, err
	}
	var names []string
	for _, p := range l.Packages {
		names = append(names, p.Name)
	}
	peer, err := a.Peer(ctx, filepath.Join(dir, "peer"))
	if err != nil {
		return nil, err
	}
	if out, err := peer.Run(ctx, b.fresh("pacman"), append([]string{"-Syw"}, names...)...); err != nil { // fills its cache
		return nil, fmt.Errorf("%w\n%s", err, out)
	}
	ours := []string{b.ingot, "tree", "--quiet", "--offline", "--cache-dir", cache, recipe}
	c := contest{what: "lock → tree, pacman's packages", peer: "pacman --root, from its cache", ratio: 1. / 4}
	theirs := func(root string) ([]string, error) {
		return peer.Command(root, append([]string{"-Sy"}, names...)...), os.Mkdir(root, 0o755)
	}
	complete := func(root string) error { return completeArch(root, len(names)) }
	if err := b.trees(ctx, &c, cache, ours, theirs, complete); err != nil {
		return nil, err
	}
	return []contest{c}, nil
}

// trees has us and a peer make a tree, several times in turn. ours prints the path of what it made; its caches are below cache.
// theirs returns what makes a tree of a path. complete says whether a tree has what it should.
func (b *bench) trees(ctx context.Context, c *contest, cache string, ours []string, theirs func(root string) ([]string, error), complete func(root string) error) error {
	if _, _, err := measure(ctx, ours...); err != nil { // fills the cache of expanded packages
		return err
	}
	for range b.runs {
		if err := os.Rename(filepath.Join(cache, "trees"), b.fresh("trees")); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		s, out, err := measure(ctx, ours...)
		if err != nil {
			return err
		}
		if err := complete(strings.TrimSpace(out)); err != nil {
			return err
		}
		c.ours = append(c.ours, s)
		root := b.fresh("peer")
		args, err := theirs(root)
		if err != nil {
			return err
		}
		if s, _, err = measure(ctx, args...); err != nil {
			return err
		}
		if err := complete(root); err != nil {
			return err
		}
		c.theirs = append(c.theirs, s)
		b.say("%s: %v, %s %v", c.what, last(c.ours), c.peer, last(c.theirs))
	}
	return nil
}

func archRecipe(a *transmutetest.Arch) string {
	var b strings.Builder
	fmt.Fprintf(&b, "name: bench\ndistro: arch\nmirrors: [%q]\nkeys:\n", a.Mirrors()[0])
	for _, f := range a.MasterFingerprints() {
		fmt.Fprintf(&b, "  - {fingerprint: %s}\n", f)
	}
	return b.String()
}

// completeArch checks that a tree has as many packages as it should, and an initramfs.
func completeArch(root string, packages int) error {
	all, err := filepath.Glob(filepath.Join(root, "var/lib/pacman/local/*/desc"))
	if err != nil {
		return err
	}
	if len(all) != packages {
		return fmt.Errorf("%s has %d packages, the lock %d", root, len(all), packages)
	}
	_, err = os.Stat(filepath.Join(root, "boot/initramfs-linux.img"))
	return err
}
