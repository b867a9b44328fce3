package tree

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"ingot/internal/fault"
)

// maxDepth bounds how deep a walk goes: no deeper name can be spelled in one path (PATH_MAX is 4096 bytes).
const maxDepth = 2048

// dir is a Source over a directory of the host.
type dir struct {
	root    *os.File
	running bool // what vanishes while it is walked was never there
}

// Dir returns the tree below the host directory root. It never follows a symbolic link below root, and
// neither needs nor keeps the paths that it has passed, so that a tree that changes meanwhile cannot lead
// it astray.
//
// Of the extended attributes it reports security.*, user.*, trusted.* (which only root sees) and
// system.posix_acl_*; a filesystem without them is a tree without them. Files read with Open are *os.File.
//
// The Source keeps root open until it is garbage. One that cannot wait, as root is to be unmounted, closes it: it is
// an io.Closer.
func Dir(root string) (Source, error) {
	f, err := os.OpenFile(root, unix.O_DIRECTORY|os.O_RDONLY, 0)
	if err != nil {
		return nil, fault.New(fault.KindOf(err), fmt.Errorf("opening the tree %s: %w", root, err), "")
	}
	return &dir{root: f}, nil
}

// Running is Dir for the tree of a running system, in which things vanish while they are looked at.
func Running(root string) (Source, error) {
	src, err := Dir(root)
	if err != nil {
		return nil, err
	}
	src.(*dir).running = true
	return src, nil
}

// Close closes the root; what Open returned stays open.
func (d *dir) Close() error { return d.root.Close() }

func (d *dir) Walk(ctx context.Context, fn func(Entry) error) error {
	fd, err := unix.Openat(int(d.root.Fd()), ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("walking %s: %w", d.root.Name(), err)
	}
	w := walker{ctx: ctx, fn: fn, running: d.running, links: map[[2]uint64]uint64{}}
	top := os.NewFile(uintptr(fd), d.root.Name())
	defer top.Close()
	e, err := w.entry(top, ".", ".")
	if err == nil {
		err = fn(e)
	}
	if errors.Is(err, fs.SkipDir) {
		return nil
	}
	if err == nil {
		err = w.walk(top, ".", 1)
	}
	return err
}

func (d *dir) Open(name string) (File, error) {
	f, err := d.open(name)
	if err != nil {
		return nil, fmt.Errorf("opening %s in %s: %w", name, d.root.Name(), err)
	}
	return f, nil
}

func (d *dir) open(name string) (*os.File, error) {
	// O_NONBLOCK: a FIFO must be refused, not waited for.
	fd, err := unix.Openat2(int(d.root.Fd()), name, &unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS,
	})
	if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EPERM) {
		// Before Linux 5.6, and under seccomp filters that do not know openat2.
		fd, err = d.openBySteps(name)
	}
	if err != nil {
		return nil, err
	}
	var st unix.Stat_t
	if err = unix.Fstat(fd, &st); err == nil && st.Mode&unix.S_IFMT != unix.S_IFREG {
		err = fault.Newf(fault.Input, "not a regular file")
	}
	if err == nil {
		err = unix.SetNonblock(fd, false)
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}

// openBySteps opens name one component at a time, so that none of them can be a symbolic link.
func (d *dir) openBySteps(name string) (int, error) {
	if path.IsAbs(name) || path.Clean(name) != name || name == ".." || strings.HasPrefix(name, "../") {
		return -1, unix.EXDEV
	}
	at, owned := int(d.root.Fd()), false
	parts := strings.Split(name, "/")
	for i, part := range parts {
		flags := unix.O_RDONLY | unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_CLOEXEC
		if i < len(parts)-1 {
			flags |= unix.O_DIRECTORY
		}
		fd, err := unix.Openat(at, part, flags, 0)
		if owned {
			_ = unix.Close(at)
		}
		if err != nil {
			return -1, err
		}
		at, owned = fd, true
	}
	return at, nil
}

type walker struct {
	ctx     context.Context
	fn      func(Entry) error
	running bool
	links   map[[2]uint64]uint64 // device and inode of a file with several names → its number in this walk
	buf     [4096]byte
}

// walk reports what is in the open directory at, whose path is name.
func (w *walker) walk(at *os.File, name string, depth int) error {
	if depth > maxDepth {
		return fault.Newf(fault.Input, "walking %.80s…: more than %d directories deep", name, maxDepth)
	}
	names, err := at.Readdirnames(-1)
	if err != nil {
		return fmt.Errorf("reading the directory %s: %w", name, err)
	}
	slices.Sort(names)
	for _, base := range names {
		if err := w.ctx.Err(); err != nil {
			return err
		}
		e, err := w.entry(at, base, join(name, base))
		if w.running && errors.Is(err, unix.ENOENT) {
			continue
		}
		if err != nil {
			return err
		}
		isDir := e.Mode&unix.S_IFMT == unix.S_IFDIR
		if err := w.fn(e); isDir && errors.Is(err, fs.SkipDir) {
			continue
		} else if err != nil {
			return err
		}
		if !isDir {
			continue
		}
		if err := w.descend(at, base, e.Path, depth); err != nil && (!w.running || !errors.Is(err, unix.ENOENT)) {
			return err
		}
	}
	return nil
}

func (w *walker) descend(at *os.File, base, name string, depth int) error {
	fd, err := unix.Openat(int(at.Fd()), base, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("opening the directory %s: %w", name, err)
	}
	sub := os.NewFile(uintptr(fd), base)
	defer sub.Close()
	return w.walk(sub, name, depth+1)
}

func join(dir, base string) string {
	if dir == "." {
		return base
	}
	return dir + "/" + base
}

// entry describes base in the open directory at.
func (w *walker) entry(at *os.File, base, name string) (Entry, error) {
	fd := int(at.Fd())
	var st unix.Stat_t
	if err := unix.Fstatat(fd, base, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return Entry{}, fmt.Errorf("examining %s: %w", name, err)
	}
	e := Entry{Path: name, Mode: st.Mode, UID: st.Uid, GID: st.Gid, MTime: time.Unix(st.Mtim.Unix()).UTC()}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		e.Size = st.Size
	case unix.S_IFLNK:
		n, err := unix.Readlinkat(fd, base, w.buf[:])
		if err != nil {
			return Entry{}, fmt.Errorf("reading the link %s: %w", name, err)
		}
		e.Target = string(w.buf[:n])
	case unix.S_IFCHR, unix.S_IFBLK:
		e.Major, e.Minor = unix.Major(st.Rdev), unix.Minor(st.Rdev)
	}
	if st.Nlink > 1 && st.Mode&unix.S_IFMT != unix.S_IFDIR {
		key := [2]uint64{st.Dev, st.Ino}
		if w.links[key] == 0 {
			w.links[key] = uint64(len(w.links) + 1)
		}
		e.Inode = w.links[key]
	}
	var err error
	// The system calls for extended attributes take paths only; this one starts at the open directory.
	if e.Xattrs, err = w.xattrs("/proc/self/fd/" + strconv.Itoa(fd) + "/" + base); err != nil {
		return Entry{}, fmt.Errorf("reading the extended attributes of %s: %w", name, err)
	}
	return e, nil
}

func (w *walker) xattrs(file string) (map[string][]byte, error) {
	list := w.buf[:]
	n, err := unix.Llistxattr(file, list)
	if errors.Is(err, unix.ERANGE) {
		list = make([]byte, 1<<16) // XATTR_LIST_MAX: there can be no more
		n, err = unix.Llistxattr(file, list)
	}
	if errors.Is(err, unix.ENOTSUP) || n == 0 && err == nil {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var all map[string][]byte
	for name := range strings.SplitSeq(strings.TrimSuffix(string(list[:n]), "\x00"), "\x00") {
		if !kept(name) {
			continue
		}
		value, err := xattr(file, name)
		switch {
		case errors.Is(err, unix.ENODATA), errors.Is(err, unix.EPERM), errors.Is(err, unix.ENOTSUP):
			continue // gone, or not for us to see
		case err != nil:
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if all == nil {
			all = map[string][]byte{}
		}
		all[name] = value
	}
	return all, nil
}

func kept(name string) bool {
	for _, space := range []string{"security.", "user.", "trusted.", "system.posix_acl_"} {
		if strings.HasPrefix(name, space) {
			return true
		}
	}
	return false
}

func xattr(file, name string) ([]byte, error) {
	value := make([]byte, 256)
	n, err := unix.Lgetxattr(file, name, value)
	if errors.Is(err, unix.ERANGE) {
		value = make([]byte, 1<<16) // XATTR_SIZE_MAX
		n, err = unix.Lgetxattr(file, name, value)
	}
	if err != nil {
		return nil, err
	}
	return slices.Clip(value[:n]), nil
}
