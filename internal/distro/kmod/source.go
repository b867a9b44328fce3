package kmod

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"ingot/internal/compress"
	"ingot/internal/fault"
	"ingot/internal/tree"
)

// Limits on a source. That of Linux itself has 90,000 files and 1.5 GB.
const (
	maxSource = 2 << 30
	maxFiles  = 100_000
)

// unpacked is the time of every file of a source: make(1) takes all that it makes of them for newer.
var unpacked = time.Unix(0, 0)

// unpack lays the archive out below a directory of the tree, without the top folder that everything in it lies in, as archives
// of releases have one. Owners and times are left out: they are the packer's.
func unpack(ctx context.Context, w *tree.Writer, archive, dir string) error {
	top, err := topFolder(ctx, archive)
	if err != nil {
		return err
	}
	return walk(ctx, archive, func(h *tar.Header, content io.Reader) error {
		e, link, err := tree.FromTar(h)
		if err != nil {
			return err
		}
		place := func(name string) string { return dir + "/" + strings.TrimPrefix(strings.TrimPrefix(name, top), "/") }
		if e.Path == "." || e.Path == top {
			return nil
		}
		name := place(e.Path)
		if link != "" {
			return w.Link(name, place(link))
		}
		kind := e.Mode & unix.S_IFMT
		mode := uint32(0o644)
		switch {
		case kind == unix.S_IFDIR || e.Mode&0o100 != 0:
			mode = 0o755
		case kind != unix.S_IFREG && kind != unix.S_IFLNK:
			return fault.Newf(fault.Input, "%s is neither a file, a folder nor a link", e.Path)
		}
		return w.Write(tree.Entry{Path: name, Mode: kind | mode, Size: e.Size, Target: e.Target, MTime: unpacked}, content)
	})
}

// topFolder returns the folder that everything in the archive lies in, or "".
func topFolder(ctx context.Context, archive string) (string, error) {
	top, first := "", true
	err := walk(ctx, archive, func(h *tar.Header, _ io.Reader) error {
		name, err := tree.CleanPath(h.Name)
		if err != nil || name == "." {
			return err
		}
		folder, _, below := strings.Cut(name, "/")
		if !below && h.Typeflag != tar.TypeDir || !first && folder != top {
			folder = ""
		}
		top, first = folder, false
		return nil
	})
	return top, err
}

// walk calls fn for each member of an archive that means something.
func walk(ctx context.Context, archive string, fn func(h *tar.Header, content io.Reader) error) error {
	f, err := os.Open(archive)
	if err != nil {
		return err
	}
	defer f.Close()
	r, err := compress.Reader(f, maxSource)
	if err != nil {
		return err
	}
	defer r.Close()
	t := tar.NewReader(r)
	for n := 0; ; n++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		h, err := t.Next()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fault.New(fault.Input, err, "")
		case n == maxFiles:
			return fault.Newf(fault.Input, "it has more than %d files", maxFiles)
		case h.Typeflag == tar.TypeXGlobalHeader:
			continue // git archive's, with the commit
		case tree.IsSparse(h):
			return fault.Newf(fault.Input, "%s: sparse files are not supported", h.Name)
		}
		if err := fn(h, t); err != nil {
			return fmt.Errorf("%.200q: %w", h.Name, err)
		}
	}
}
