package ext4

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"ingot/internal/fault"
	"ingot/internal/tree"
)

// maxDepth bounds how deep directories are followed: no deeper name can be spelled in one path.
const maxDepth = 2048

// Walk implements tree.Source. It refuses directories that have two names or contain themselves.
func (f *FS) Walk(ctx context.Context, fn func(tree.Entry) error) error {
	return f.walk(ctx, func(e tree.Entry, _ *inode) error { return fn(e) })
}

func (f *FS) walk(ctx context.Context, fn func(tree.Entry, *inode) error) error {
	w := &walk{f: f, ctx: ctx, fn: fn, seen: map[uint32]bool{}, room: f.blocks}
	return w.visit(".", rootIno, 0)
}

type walk struct {
	f    *FS
	ctx  context.Context
	fn   func(tree.Entry, *inode) error
	seen map[uint32]bool // directories, by inode
	room int64           // blocks that directories may still have
}

func (w *walk) visit(name string, ino uint32, depth int) error {
	if err := w.ctx.Err(); err != nil {
		return err
	}
	n, err := w.f.inode(ino)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	e, err := w.f.entry(name, n)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if err := w.fn(e, n); n.is(modeDir) && errors.Is(err, fs.SkipDir) {
		return nil
	} else if err != nil || !n.is(modeDir) {
		return err
	}
	if w.seen[ino] {
		return corrupt("the directory %s has another name", name)
	}
	if w.seen[ino] = true; depth > maxDepth {
		return corrupt("%.80s… is more than %d directories deep", name, maxDepth)
	}
	// A hostile filesystem may give the same blocks to many directories.
	if w.room -= ceilDiv(n.size, w.f.blockSize); w.room < 0 {
		return corrupt("its directories are larger than the filesystem")
	}
	names, err := w.f.readDir(n)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	for _, base := range slices.Sorted(maps.Keys(names)) {
		if err := w.visit(path.Join(name, base), names[base], depth+1); err != nil {
			return err
		}
	}
	return nil
}

// entry describes an inode under a name.
func (f *FS) entry(name string, n *inode) (tree.Entry, error) {
	e := tree.Entry{Path: name, Mode: uint32(n.mode), UID: n.uid, GID: n.gid, MTime: n.mtime}
	if n.links > 1 && !n.is(modeDir) {
		e.Inode = uint64(n.ino)
	}
	var err error
	switch n.mode & modeType {
	case modeRegular:
		e.Size = n.size
	case modeSymlink:
		if e.Target, err = f.target(n); err != nil {
			return e, err
		}
	case modeChar, modeBlock:
		e.Major, e.Minor = n.device()
	case modeDir, modeFIFO, modeSocket:
	default:
		return e, corrupt("inode %d has mode %o", n.ino, n.mode)
	}
	e.Xattrs, err = f.xattrs(n)
	return e, err
}

func (f *FS) target(n *inode) (string, error) {
	switch {
	case n.size == 0 || n.size > f.blockSize:
		return "", corrupt("the symbolic link with inode %d has %d bytes", n.ino, n.size)
	case n.size < 60 && n.flags&(inodeExtents|inodeInlineData|inodeEncrypt) == 0:
		return linkTarget(n, n.blockMap()[:n.size])
	}
	r, err := f.file(n)
	if err != nil {
		return "", err
	}
	b := make([]byte, n.size)
	if _, err = r.ReadAt(b, 0); err != nil {
		return "", err
	}
	return linkTarget(n, b)
}

func linkTarget(n *inode, b []byte) (string, error) {
	if bytes.IndexByte(b, 0) >= 0 {
		return "", corrupt("the symbolic link with inode %d has a zero byte", n.ino)
	}
	return string(b), nil
}

// lookup returns the inode of a path, of which no part is a symbolic link.
func (f *FS) lookup(name string) (*inode, error) {
	n, err := f.inode(rootIno)
	if err != nil {
		return nil, err
	}
	for part := range strings.SplitSeq(path.Clean("/"+name), "/") {
		if part == "" {
			continue
		}
		var names map[string]uint32
		if n.is(modeDir) {
			if names, err = f.readDir(n); err != nil {
				return nil, err
			}
		}
		ino, ok := names[part]
		if !ok {
			return nil, fault.Newf(fault.Missing, "the filesystem has no %s", name)
		}
		if n, err = f.inode(ino); err != nil {
			return nil, err
		}
	}
	return n, nil
}

// Lstat returns the entry of a path, relative to the root. It follows no symbolic links; see Follow.
func (f *FS) Lstat(name string) (tree.Entry, error) {
	n, err := f.lookup(name)
	if err != nil {
		return tree.Entry{}, err
	}
	return f.entry(relative(name), n)
}

func relative(name string) string {
	if name = strings.TrimPrefix(path.Clean("/"+name), "/"); name == "" {
		return "."
	}
	return name
}

// Follow returns the path that is left when every symbolic link in name is followed, within the filesystem. The
// last part need not exist.
func (f *FS) Follow(name string) (string, error) {
	const most = 40 // as Linux has it
	done, rest := "/", relative(name)
	for links := 0; rest != ""; {
		var part string
		part, rest, _ = strings.Cut(rest, "/")
		next := path.Join(done, part)
		e, err := f.Lstat(next)
		switch {
		case fault.KindOf(err) == fault.Missing && rest == "":
		case err != nil:
			return "", err
		case e.Mode&modeType == modeSymlink:
			if links++; links > most {
				return "", fault.Newf(fault.Input, "following %s: more than %d symbolic links", name, most)
			}
			rest = strings.TrimPrefix(e.Target+"/"+rest, "/")
			if rest = strings.TrimSuffix(rest, "/"); path.IsAbs(e.Target) {
				done = "/"
			}
			continue
		case rest != "" && e.Mode&modeType != modeDir:
			return "", fault.Newf(fault.Missing, "following %s: %s is not a directory", name, relative(next))
		}
		done = next
	}
	return relative(done), nil
}

// Open implements tree.Source. What it returns is a DataSeeker, too.
func (f *FS) Open(name string) (tree.File, error) {
	n, err := f.lookup(name)
	if err != nil {
		return nil, err
	}
	if !n.is(modeRegular) {
		return nil, fault.Newf(fault.Input, "%s is not a regular file", name)
	}
	return f.file(n)
}

// ReadFile returns the content of a regular file of at most limit bytes.
func (f *FS) ReadFile(name string, limit int64) ([]byte, error) {
	r, err := f.Open(name)
	if err != nil {
		return nil, err
	}
	if size := r.(*file).size; size > limit {
		return nil, fault.Newf(fault.Input, "%s has %d bytes, more than %d", name, size, limit)
	}
	return io.ReadAll(r)
}

// ReadDir returns the entries of a directory, their names in byte order.
func (f *FS) ReadDir(name string) ([]tree.Entry, error) {
	n, err := f.lookup(name)
	if err != nil {
		return nil, err
	}
	if !n.is(modeDir) {
		return nil, fault.Newf(fault.Input, "%s is not a directory", name)
	}
	names, err := f.readDir(n)
	if err != nil {
		return nil, err
	}
	var all []tree.Entry
	for _, base := range slices.Sorted(maps.Keys(names)) {
		sub, err := f.inode(names[base])
		if err != nil {
			return nil, err
		}
		e, err := f.entry(path.Join(relative(name), base), sub)
		if err != nil {
			return nil, err
		}
		all = append(all, e)
	}
	return all, nil
}
