package main

import (
	"context"
	"os"
	"strconv"
	"strings"

	"ingot/internal/pipeline"
	"ingot/internal/recipe"
)

// unpack compares unpacking with the decompression that it cannot do without.
func (b *bench) unpack(ctx context.Context) ([]contest, error) {
	cold := contest{what: "unpacking all packages", peer: "decompressing them, same decoder and cores", ratio: 1.5}
	warm := contest{what: "unpacking, all expanded before", peer: cold.peer}
	for range b.runs {
		expanded := b.fresh("expanded")
		for _, ours := range []*[]sample{&cold.ours, &warm.ours} {
			s, _, err := measureChild(ctx, "child-unpack", pipeline.LockPath(b.recipe), b.repository, expanded, b.fresh("unpacked"))
			if err != nil {
				return nil, err
			}
			*ours = append(*ours, s)
		}
		s, _, err := measureChild(ctx, "child-decompress", b.repository)
		if err != nil {
			return nil, err
		}
		cold.theirs = append(cold.theirs, s)
		b.say("unpacking: %v, expanded before %v, decompressing alone %v", last(cold.ours), last(warm.ours), last(cold.theirs))
	}
	warm.theirs = cold.theirs
	return []contest{cold, warm}, nil
}

// disk compares the way from a tree to a disk.
func (b *bench) disk(ctx context.Context) ([]contest, error) {
	// A first one, for the tree to be in memory and for the size that is computed where the recipe has none.
	first, blocks, err := b.assembled(ctx)
	if err != nil {
		return nil, err
	}
	size, err := recipe.Bytes(b.recipe.Disk.Size)
	if err != nil {
		return nil, err
	}
	info, err := os.Stat(first)
	if err != nil {
		return nil, err
	}
	const peer = "mke2fs -d, the filesystem alone"
	whole := contest{what: "tree → disk: partitions, ext4 and block map", peer: peer, ratio: 0.4}
	unsynced := contest{what: "tree → disk, not synced, as a build makes it", peer: peer}
	alone := contest{what: "tree → ext4 alone", peer: peer}
	theirs := b.fresh("mke2fs")
	for range b.runs {
		if err := b.timedImage(ctx, &whole.ours, "child-assemble", size); err != nil {
			return nil, err
		}
		if err := os.RemoveAll(theirs); err != nil {
			return nil, err
		}
		theirs = b.fresh("mke2fs")
		s, _, err := measure(ctx, "mke2fs", "-q", "-t", "ext4", "-d", b.root, theirs, strconv.FormatInt(info.Size()>>10, 10)+"k")
		if err != nil {
			return nil, err
		}
		whole.theirs = append(whole.theirs, s)
		if err := b.timedImage(ctx, &alone.ours, "child-ext4", info.Size()); err != nil {
			return nil, err
		}
		if err := b.timedImage(ctx, &unsynced.ours, "child-assemble-unsynced", size); err != nil {
			return nil, err
		}
		b.say("tree → disk: %v, not synced %v, mke2fs %v, ext4 alone %v", last(whole.ours), last(unsynced.ours), last(whole.theirs), last(alone.ours))
	}
	alone.theirs, unsynced.theirs = whole.theirs, whole.theirs
	more, err := b.figures(ctx, first, blocks, theirs)
	b.more = append(b.more, more...)
	return []contest{whole, unsynced, alone}, err
}

// assembled makes a disk of the tree, and the tree where there is none yet. It returns its path and how many blocks its map has.
func (b *bench) assembled(ctx context.Context) (path string, blocks int64, err error) {
	if b.root == "" {
		if _, err := b.castTree(ctx); err != nil {
			return "", 0, err
		}
	}
	size, err := recipe.Bytes(b.recipe.Disk.Size)
	if err != nil {
		return "", 0, err
	}
	path = b.fresh("disk")
	_, out, err := b.image(ctx, "child-assemble", path, size)
	if err != nil {
		return "", 0, err
	}
	blocks, err = strconv.ParseInt(strings.TrimSpace(out), 10, 64)
	return path, blocks, err
}

// timedImage has a child make an image of the tree, notes how long it took, and removes the image: the next one, whoever makes
// it, then finds free memory that this machine's host has given it already, and measures the work instead of that.
func (b *bench) timedImage(ctx context.Context, into *[]sample, child string, size int64) error {
	path := b.fresh("image")
	s, _, err := b.image(ctx, child, path, size)
	if err != nil {
		return err
	}
	*into = append(*into, s)
	return os.Remove(path)
}

// image has a child make an image of the tree, and returns what it prints.
func (b *bench) image(ctx context.Context, child, path string, size int64) (sample, string, error) {
	return measureChild(ctx, child, pipeline.LockPath(b.recipe), b.root, path, strconv.FormatInt(size, 10))
}

func measureChild(ctx context.Context, child string, args ...string) (sample, string, error) {
	line, err := self(child, args...)
	if err != nil {
		return sample{}, "", err
	}
	return measure(ctx, line...)
}
