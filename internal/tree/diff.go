package tree

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"runtime"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// DiffOptions says what counts as a difference.
type DiffOptions struct {
	Ignore []string // paths, as of [ParseGlob], that are left out
	Times  bool     // times of modification count
}

// Aspect is what two entries of one path differ in.
type Aspect string

const (
	Presence Aspect = "presence" // one of the trees has no such path
	Type     Aspect = "type"
	Mode     Aspect = "mode"
	Owner    Aspect = "owner"
	Size     Aspect = "size"
	Content  Aspect = "content" // of the same size; the values are SHA-256 digests
	Target   Aspect = "target"  // of a symbolic link
	Device   Aspect = "device"  // numbers of a device node
	Xattr    Aspect = "xattr"   // the values are NAME=HEX
	Links    Aspect = "links"   // the values are the first names of the same file
	MTime    Aspect = "mtime"
)

// Difference is one thing in which tree A and tree B differ.
type Difference struct {
	Path   string `json:"path"`
	Aspect Aspect `json:"aspect"`
	A      string `json:"a"` // what A has; empty when it has nothing
	B      string `json:"b"`
}

func (d Difference) String() string {
	return fmt.Sprintf("%s: %s: %s, %s", d.Path, d.Aspect, cmp.Or(d.A, "none"), cmp.Or(d.B, "none"))
}

// Diff compares two trees, and returns their differences in the order of paths. Files of the same size are
// compared byte by byte, several at once: the Open of both trees is called concurrently.
func Diff(ctx context.Context, a, b Source, o DiffOptions) ([]Difference, error) {
	d := differ{a: a, b: b, times: o.Times, same: make(map[[2]uint64]bool)}
	for _, pattern := range o.Ignore {
		g, err := ParseGlob(pattern)
		if err != nil {
			return nil, err
		}
		d.ignore = append(d.ignore, g)
	}
	var left, right map[string]Entry
	load, loadCtx := errgroup.WithContext(ctx)
	load.Go(func() (err error) { left, err = d.load(loadCtx, a); return err })
	load.Go(func() (err error) { right, err = d.load(loadCtx, b); return err })
	if err := load.Wait(); err != nil {
		return nil, err
	}
	if err := d.compare(ctx, left, right); err != nil {
		return nil, err
	}
	slices.SortFunc(d.found, func(x, y Difference) int {
		return cmp.Or(comparePaths(x.Path, y.Path), cmp.Compare(x.Aspect, y.Aspect), cmp.Compare(x.A, y.A))
	})
	return d.found, nil
}

// comparePaths orders paths as Walk does: a directory before what is in it, and that before its next sibling.
func comparePaths(a, b string) int {
	switch {
	case a == b:
		return 0
	case a == ".":
		return -1
	case b == ".":
		return 1
	}
	for i := range min(len(a), len(b)) {
		switch {
		case a[i] == b[i]:
		case a[i] == '/':
			return -1
		case b[i] == '/':
			return 1
		default:
			return cmp.Compare(a[i], b[i])
		}
	}
	return cmp.Compare(len(a), len(b))
}

type differ struct {
	a, b   Source
	ignore []Glob
	times  bool

	mu    sync.Mutex
	found []Difference
	same  map[[2]uint64]bool // files with several names that have been compared
}

func (d *differ) load(ctx context.Context, src Source) (map[string]Entry, error) {
	all := make(map[string]Entry)
	err := src.Walk(ctx, func(e Entry) error {
		if !slices.ContainsFunc(d.ignore, func(g Glob) bool { return g.Match(e.Path) }) {
			all[e.Path] = e
		}
		return nil
	})
	return all, err
}

func (d *differ) differs(path string, aspect Aspect, a, b string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.found = append(d.found, Difference{path, aspect, a, b})
}

func (d *differ) compare(ctx context.Context, left, right map[string]Entry) error {
	work, workCtx := errgroup.WithContext(ctx)
	work.SetLimit(runtime.GOMAXPROCS(0))
	for _, path := range slices.SortedFunc(maps.Keys(left), comparePaths) {
		x := left[path]
		y, ok := right[path]
		if !ok {
			d.differs(path, Presence, kind(x.Mode), "")
			continue
		}
		if workCtx.Err() == nil && d.metadata(x, y) {
			work.Go(func() error { return d.content(workCtx, x) })
		}
	}
	for path, y := range right {
		if _, ok := left[path]; !ok {
			d.differs(path, Presence, "", kind(y.Mode))
		}
	}
	if err := work.Wait(); err != nil {
		return err
	}
	d.links(left, right)
	return ctx.Err()
}

// metadata compares what entries say, and reports whether the contents remain to be compared.
func (d *differ) metadata(x, y Entry) bool {
	if x.Mode&unix.S_IFMT != y.Mode&unix.S_IFMT {
		d.differs(x.Path, Type, kind(x.Mode), kind(y.Mode))
		return false
	}
	for _, c := range []struct {
		aspect Aspect
		a, b   string
	}{
		{Mode, fmt.Sprintf("%04o", x.Mode&0o7777), fmt.Sprintf("%04o", y.Mode&0o7777)},
		{Owner, fmt.Sprintf("%d:%d", x.UID, x.GID), fmt.Sprintf("%d:%d", y.UID, y.GID)},
		{Target, x.Target, y.Target},
		{Device, fmt.Sprintf("%d:%d", x.Major, x.Minor), fmt.Sprintf("%d:%d", y.Major, y.Minor)},
	} {
		if c.a != c.b {
			d.differs(x.Path, c.aspect, c.a, c.b)
		}
	}
	if d.times && !x.MTime.Equal(y.MTime) {
		d.differs(x.Path, MTime, x.MTime.UTC().Format(time.RFC3339Nano), y.MTime.UTC().Format(time.RFC3339Nano))
	}
	d.xattrs(x, y)
	if x.Mode&unix.S_IFMT != unix.S_IFREG {
		return false
	}
	if x.Size != y.Size {
		d.differs(x.Path, Size, fmt.Sprint(x.Size), fmt.Sprint(y.Size))
		return false
	}
	if x.Inode != 0 && y.Inode != 0 {
		pair := [2]uint64{x.Inode, y.Inode}
		if d.same[pair] {
			return false
		}
		d.same[pair] = true
	}
	return x.Size > 0
}

func (d *differ) xattrs(x, y Entry) {
	names := maps.Clone(x.Xattrs)
	if names == nil {
		names = make(map[string][]byte)
	}
	maps.Copy(names, y.Xattrs)
	show := func(m map[string][]byte, name string) string {
		if v, ok := m[name]; ok {
			return name + "=" + hex.EncodeToString(v)
		}
		return ""
	}
	for name := range names {
		if a, b := show(x.Xattrs, name), show(y.Xattrs, name); a != b {
			d.differs(x.Path, Xattr, a, b)
		}
	}
}

// buffers for comparing contents.
var buffers = sync.Pool{New: func() any { return new([2][128 << 10]byte) }}

// content compares a file's content in both trees.
func (d *differ) content(ctx context.Context, e Entry) error {
	f, err := d.a.Open(e.Path)
	if err != nil {
		return fmt.Errorf("comparing %s: %w", e.Path, err)
	}
	defer f.Close()
	g, err := d.b.Open(e.Path)
	if err != nil {
		return fmt.Errorf("comparing %s: %w", e.Path, err)
	}
	defer g.Close()
	same, err := equal(ctx, f, g)
	if err != nil {
		return fmt.Errorf("comparing %s: %w", e.Path, err)
	}
	if same {
		return nil
	}
	a, err := digest(ctx, d.a, e.Path)
	if err != nil {
		return err
	}
	b, err := digest(ctx, d.b, e.Path)
	if err != nil {
		return err
	}
	d.differs(e.Path, Content, a, b)
	return nil
}

func equal(ctx context.Context, f, g io.Reader) (bool, error) {
	buf := buffers.Get().(*[2][128 << 10]byte)
	defer buffers.Put(buf)
	for {
		if err := ctx.Err(); err != nil {
			return false, err
		}
		n, errF := io.ReadFull(f, buf[0][:])
		m, errG := io.ReadFull(g, buf[1][:])
		if !bytes.Equal(buf[0][:n], buf[1][:m]) {
			return false, nil
		}
		for _, err := range []error{errF, errG} {
			if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
				return false, err
			}
		}
		if errF != nil || errG != nil {
			return true, nil
		}
	}
}

func digest(ctx context.Context, src Source, path string) (string, error) {
	f, err := src.Open(path)
	if err != nil {
		return "", fmt.Errorf("hashing %s: %w", path, err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, &cancellable{ctx, f}); err != nil {
		return "", fmt.Errorf("hashing %s: %w", path, err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// links compares which of the paths that both trees have are names of one file.
func (d *differ) links(left, right map[string]Entry) {
	a, b := groups(left, right), groups(right, left)
	for path := range left {
		if _, ok := right[path]; ok && a[path] != b[path] {
			d.differs(path, Links, a[path], b[path])
		}
	}
}

// groups returns for each path that is a later name of a file the file's first one, seen among the paths that
// the other tree has too.
func groups(entries, other map[string]Entry) map[string]string {
	first := make(map[uint64]string)
	for path, e := range entries {
		if _, ok := other[path]; !ok || e.Inode == 0 {
			continue
		}
		if old, ok := first[e.Inode]; !ok || comparePaths(path, old) < 0 {
			first[e.Inode] = path
		}
	}
	later := make(map[string]string)
	for path, e := range entries {
		if name, ok := first[e.Inode]; ok && e.Inode != 0 && name != path {
			later[path] = name
		}
	}
	return later
}

// kind names a file's type.
func kind(mode uint32) string {
	switch mode & unix.S_IFMT {
	case unix.S_IFREG:
		return "file"
	case unix.S_IFDIR:
		return "directory"
	case unix.S_IFLNK:
		return "symbolic link"
	case unix.S_IFCHR:
		return "character device"
	case unix.S_IFBLK:
		return "block device"
	case unix.S_IFIFO:
		return "FIFO"
	case unix.S_IFSOCK:
		return "socket"
	}
	return fmt.Sprintf("type %#o", mode&unix.S_IFMT)
}
