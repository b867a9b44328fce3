package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"ingot/internal/lock"
	"ingot/internal/transmutetest"
)

// arch compares the way from a lock to a tree for pacman's packages: the transmuted repositories, and the host's pacman with
// all packages in its cache. Ours also makes the image an EC2 image; pacman also verifies the signatures, which we did
// when the lock was written. Both make the same initramfs, and most of the time is its hook's; so a second row leaves the hooks out.
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
	recipe, cache, names, err := b.locked(ctx, dir, archRecipe(a))
	if err != nil {
		return nil, err
	}
	peer, err := a.Peer(ctx, filepath.Join(dir, "peer"))
	if err != nil {
		return nil, err
	}
	if out, err := peer.Run(ctx, b.fresh("pacman"), append([]string{"-Syw"}, names...)...); err != nil { // fills its cache
		return nil, fmt.Errorf("%w\n%s", err, out)
	}
	ours := []string{b.ingot, "tree", "--quiet", "--offline", "--cache-dir", cache, recipe}
	_, tree, err := measure(ctx, ours...) // fills the cache of expanded packages
	if err != nil {
		return nil, err
	}
	tree = strings.TrimSpace(tree)
	install := func(root string) []string { return peer.Command(root, append([]string{"-Sy"}, names...)...) }
	whole := contest{what: "lock → tree, pacman's packages", peer: "pacman --root, from its cache", ratio: 1. / 4}
	theirs := func(root string) ([]string, error) {
		if err := os.MkdirAll(filepath.Join(root, "etc"), 0o755); err != nil {
			return nil, err
		}
		for _, settings := range []string{"etc/mkinitcpio.conf.d", "etc/mkinitcpio.d"} {
			if err := os.CopyFS(filepath.Join(root, settings), os.DirFS(filepath.Join(tree, settings))); err != nil {
				return nil, err
			}
		}
		return install(root), nil
	}
	complete := func(root string) error {
		if _, err := os.Stat(filepath.Join(root, "boot/initramfs-linux.img")); err != nil {
			return err
		}
		return completeArch(root, len(names))
	}
	if err := b.trees(ctx, &whole, cache, ours, theirs, complete); err != nil {
		return nil, err
	}
	bare, err := b.archBare(ctx, ours, cache, tree, install, func(root string) error { return completeArch(root, len(names)) })
	return []contest{whole, bare}, err
}

// archBare compares the installation alone: files, scriptlets and the local database. Ours is what `ingot tree` notes of the
// time until its first hook; pacman's are runs with all hooks of tree masked.
func (b *bench) archBare(ctx context.Context, ours []string, cache, tree string, install func(root string) []string, complete func(root string) error) (contest, error) {
	c := contest{what: "– installing without hooks", peer: "pacman --root, all hooks masked", ratio: 1. / 4}
	hooks, err := filepath.Glob(filepath.Join(tree, "usr/share/libalpm/hooks/*.hook"))
	if err != nil || len(hooks) == 0 {
		return c, fmt.Errorf("%s has no hooks: %w", tree, cmp.Or(err, os.ErrNotExist))
	}
	trace := filepath.Join(b.dir, "arch.trace")
	for range b.runs {
		if err := os.Rename(filepath.Join(cache, "trees"), b.fresh("trees")); err != nil {
			return c, err
		}
		s, _, err := measure(ctx, append(slices.Clip(ours), "--trace", trace)...)
		if err != nil {
			return c, err
		}
		if s.wall, err = spans(trace, "expanding packages", "installing packages"); err != nil {
			return c, err
		}
		c.ours = append(c.ours, s)
		root := b.fresh("masked")
		masks := filepath.Join(root, "etc/pacman.d/hooks")
		if err := os.MkdirAll(masks, 0o755); err != nil {
			return c, err
		}
		for _, h := range hooks {
			if err := os.Symlink(os.DevNull, filepath.Join(masks, filepath.Base(h))); err != nil {
				return c, err
			}
		}
		if s, _, err = measure(ctx, append(install(root), "--hookdir", masks)...); err != nil {
			return c, err
		}
		if err := complete(root); err != nil {
			return c, err
		}
		if _, err := os.Stat(filepath.Join(root, "boot/initramfs-linux.img")); err == nil {
			return c, fmt.Errorf("%s has an initramfs: its hooks are not masked", root)
		}
		c.theirs = append(c.theirs, s)
		b.say("%s: %v, %s %v", c.what, last(c.ours), c.peer, last(c.theirs))
	}
	return c, nil
}

// spans returns the sum of the times of tasks by their names in a trace of ingot's, each of which must be there.
func spans(trace string, names ...string) (sum time.Duration, err error) {
	text, err := os.ReadFile(trace)
	if err != nil {
		return 0, err
	}
	type event struct {
		Name string  `json:"name"`
		Dur  float64 `json:"dur"` // microseconds
	}
	var events []event
	if err := json.Unmarshal(text, &events); err != nil {
		return 0, fmt.Errorf("%s: %w", trace, err)
	}
	for _, name := range names {
		i := slices.IndexFunc(events, func(e event) bool { return e.Name == name })
		if i < 0 {
			return 0, fmt.Errorf("%s has no task named %q", trace, name)
		}
		sum += time.Duration(events[i].Dur * float64(time.Microsecond))
	}
	return sum, nil
}

// locked writes a recipe into a folder and has it locked, with a cache of its own. It returns where both are, and the names of the lock's
// packages.
func (b *bench) locked(ctx context.Context, dir, text string) (recipe, cache string, names []string, err error) {
	recipe, cache = filepath.Join(dir, "bench.yaml"), filepath.Join(dir, "cache")
	if err := os.WriteFile(recipe, []byte(text), 0o644); err != nil {
		return "", "", nil, err
	}
	if _, _, err := measure(ctx, b.ingot, "lock", "--quiet", "--cache-dir", cache, recipe); err != nil {
		return "", "", nil, err
	}
	l, err := lock.Read(strings.TrimSuffix(recipe, ".yaml") + ".lock")
	if err != nil {
		return "", "", nil, err
	}
	for _, p := range l.Packages {
		names = append(names, p.Name)
	}
	return recipe, cache, names, nil
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

// completeArch checks that a tree has as many packages as it should.
func completeArch(root string, packages int) error {
	all, err := filepath.Glob(filepath.Join(root, "var/lib/pacman/local/*/desc"))
	if err != nil {
		return err
	}
	if len(all) != packages {
		return fmt.Errorf("%s has %d packages, the lock %d", root, len(all), packages)
	}
	return nil
}
