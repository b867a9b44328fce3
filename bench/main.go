// Bench compares ingot with its peers, in one run, on one machine, with the same packages and warm caches:
//
//	a  lock → tree     `ingot tree` against mmdebstrap
//	b  unpacking       every payload into an empty tree, against decompressing it and nothing else
//	c  tree → disk     the disk image against `mke2fs -d` of the same tree
//	d  nothing to do   `ingot build` of an image that is there
//	e  Arch Linux      `ingot tree` against `pacman --root`, on the transmuted repositories
//	f  bundles         `ingot bundle` against tar, gzip -9, openssl and split, and back
//	g  the catalogue   `ingot serve` at /latest against nginx with the same bytes as a file
//	h  publishing      a GiB into the local region against a plain client of the SDK; one region and thirty
//	i  CentOS          `ingot tree` against `dnf --installroot`, on the transmuted repository
//
// It prints a table in Markdown, for docs/performance.md, and fails only when something does not work: a
// missed aim is a finding. It needs root, for mmdebstrap's plainest mode and for the owners of files.
//
// `make bench` runs it. Flags: see -help.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bench:", err)
		stop()
		os.Exit(1)
	}
}

// allParts are the keys of parts.
const allParts = "abcdef" + bareParts + "i"

// bareParts are the keys of the parts that need no packages.
const bareParts = "gh"

// parts of the comparison, in the order in which they run: the later ones need the tree of the first.
var parts = []struct {
	key string
	run func(*bench, context.Context) ([]contest, error)
}{
	{"a", (*bench).tree}, {"b", (*bench).unpack}, {"c", (*bench).disk}, {"d", (*bench).repeat},
	{"e", (*bench).arch}, {"f", (*bench).bundle}, {"g", (*bench).serve}, {"h", (*bench).publish}, {"i", (*bench).centos},
}

func run(ctx context.Context, args []string, out io.Writer) error {
	if len(args) > 0 && children[args[0]] != nil {
		return children[args[0]](ctx, args[1:])
	}
	b := &bench{}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.StringVar(&b.recipePath, "recipe", "recipes/debian-12.yaml", "the image to compare with")
	flags.StringVar(&b.ingot, "ingot", "bin/ingot", "the program")
	flags.IntVar(&b.runs, "runs", 3, "how often to measure each")
	only := flags.String("only", "", "parts to run, such as a,c (default all)")
	dir := flags.String("dir", os.TempDir(), "where to work: a filesystem with 5 GB free for each run")
	if err := flags.Parse(args); err != nil {
		return err
	}
	wanted := strings.FieldsFunc(*only, func(r rune) bool { return r == ',' })
	known := !slices.ContainsFunc(wanted, func(key string) bool { return len(key) != 1 || !strings.Contains(allParts, key) })
	if flags.NArg() > 0 || b.runs < 1 || !known {
		return fmt.Errorf("usage: bench [-runs N] [-only a,b,c,d,e,f,g,h,i] [-recipe FILE] [-ingot FILE] [-dir FOLDER]")
	}
	if os.Geteuid() != 0 {
		return errors.New("comparing needs root: run it with sudo")
	}
	packages := len(wanted) == 0 || slices.ContainsFunc(wanted, func(key string) bool { return !strings.Contains(bareParts, key) })
	remove, err := b.open(ctx, *dir, packages)
	if err != nil {
		return err
	}
	defer remove()
	if err := machine(ctx, out, b); err != nil {
		return err
	}
	head(out)
	for _, p := range parts {
		if len(wanted) > 0 && !slices.Contains(wanted, p.key) {
			continue
		}
		all, err := p.run(b, ctx)
		if err != nil {
			return fmt.Errorf("part %s: %w", p.key, err)
		}
		for _, c := range all {
			c.write(out)
		}
	}
	if len(b.more) > 0 {
		fmt.Fprintln(out)
	}
	for _, f := range b.more {
		f.write(out)
	}
	return nil
}

// fresh returns a path below the working folder that was never used before. What stands there stays until
// the end: on ext4, making files just after removing many is several times slower than otherwise, because
// the kernel does not use an inode again for a while and searches past it.
func (b *bench) fresh(name string) string {
	b.used++
	return filepath.Join(b.dir, fmt.Sprintf("%03d-%s", b.used, name))
}

// setAside moves a part of the cache out of the way.
func (b *bench) setAside(name string) error {
	err := os.Rename(filepath.Join(b.cache, name), b.fresh(name))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}
