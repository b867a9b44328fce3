package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// tree compares the way from a lock to a tree.
func (b *bench) tree(ctx context.Context) ([]contest, error) {
	if _, err := b.castTree(ctx); err != nil { // fills the cache of expanded packages
		return nil, err
	}
	warm := contest{what: "lock → tree", peer: "mmdebstrap, from a local archive", ratio: 1. / 3}
	cold := contest{what: "lock → tree, no package expanded before", peer: warm.peer}
	for range b.runs {
		s, err := b.castTree(ctx, "trees")
		if err != nil {
			return nil, err
		}
		warm.ours = append(warm.ours, s)
		if s, err = b.bootstrap(ctx); err != nil {
			return nil, err
		}
		warm.theirs = append(warm.theirs, s)
		if s, err = b.castTree(ctx, "trees", "expanded"); err != nil {
			return nil, err
		}
		cold.ours = append(cold.ours, s)
		b.say("lock → tree: %v, mmdebstrap %v, with nothing expanded %v", last(warm.ours), last(warm.theirs), last(cold.ours))
	}
	cold.theirs = warm.theirs
	return []contest{warm, cold}, nil
}

// castTree makes the tree with ingot, without these parts of the cache.
func (b *bench) castTree(ctx context.Context, without ...string) (sample, error) {
	for _, name := range without {
		if err := b.setAside(name); err != nil {
			return sample{}, err
		}
	}
	s, out, err := measure(ctx, b.ingot, "tree", "--quiet", "--offline", "--cache-dir", b.cache, b.recipePath)
	if err != nil {
		return s, err
	}
	b.root = strings.TrimSpace(out)
	return s, b.complete(b.root)
}

// bootstrap makes a tree of the same packages with mmdebstrap.
func (b *bench) bootstrap(ctx context.Context) (sample, error) {
	var names []string
	for _, p := range b.lock.Packages {
		names = append(names, p.Name)
	}
	root := b.fresh("mmdebstrap")
	s, _, err := measure(ctx, "env", fmt.Sprintf("SOURCE_DATE_EPOCH=%d", b.lock.Date.Unix()),
		"mmdebstrap", "--quiet", "--mode=root", "--format=directory", "--variant=apt", "--include="+strings.Join(names, ","),
		"--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr", b.recipe.Release, root,
		"deb [trusted=yes] copy:"+b.repository+" ./")
	if err != nil {
		return s, err
	}
	return s, b.complete(root)
}

// complete checks that a tree has exactly the lock's packages.
func (b *bench) complete(root string) error {
	text, err := os.ReadFile(filepath.Join(root, "var/lib/dpkg/status"))
	if err != nil {
		return err
	}
	if n := strings.Count(string(text), "\nStatus: install ok installed\n"); n != len(b.lock.Packages) {
		return fmt.Errorf("%s has %d packages, the lock %d", root, n, len(b.lock.Packages))
	}
	return nil
}

func last(all []sample) string {
	s := all[len(all)-1]
	return fmt.Sprintf("%.2f s, %d MiB", s.wall.Seconds(), s.peak>>20)
}

// repeat measures a run that finds everything done.
func (b *bench) repeat(ctx context.Context) ([]contest, error) {
	build := []string{b.ingot, "build", "--quiet", "--cache-dir", b.cache, "--output", filepath.Join(b.dir, "out"), b.recipePath}
	s, _, err := measure(ctx, build...)
	if err != nil {
		return nil, err
	}
	b.say("a build before: %.2f s", s.wall.Seconds())
	whole := contest{what: "lock → disk: `ingot build`, all packages expanded before", peer: "`ingot tree`, then mke2fs -d, dd and sha256sum"}
	for range b.runs {
		out := b.fresh("out")
		for _, x := range []struct {
			args []string
			to   *[]sample
		}{{[]string{b.ingot, "build", "--quiet", "--cache-dir", b.cache, "--output", out, b.recipePath}, &whole.ours},
			{[]string{"/bin/sh", "-e", "-c", detour, b.fresh("detour"), b.ingot, b.cache, b.recipePath}, &whole.theirs}} {
			if err := b.setAside("trees"); err != nil {
				return nil, err
			}
			s, _, err := measure(ctx, x.args...)
			if err != nil {
				return nil, err
			}
			*x.to = append(*x.to, s)
		}
		b.say("lock → disk: %v, %s %v", last(whole.ours), whole.peer, last(whole.theirs))
	}
	c := contest{what: "`ingot build`, nothing changed", limit: 1e9}
	for range b.runs {
		s, out, err := measure(ctx, build...)
		if err != nil {
			return nil, err
		}
		if !strings.Contains(out, "up to date") {
			return nil, fmt.Errorf("building again was not without work: %s", out)
		}
		c.ours = append(c.ours, s)
	}
	return []contest{whole, c}, nil
}

// detour makes a disk with the tools that others have for it: DISK INGOT CACHE RECIPE. The filesystem is made beside the disk,
// and copied into its place. There are no partition table, boot loaders and papers in it.
const detour = `
tree=$("$1" tree --quiet --offline --cache-dir "$2" "$3")
mke2fs -q -t ext4 -d "$tree" "$0.part" 1800M
truncate -s 2G "$0"
dd if="$0.part" of="$0" bs=512K seek=256 conv=sparse,notrunc status=none
sha256sum "$0"
rm "$0" "$0.part"
`
