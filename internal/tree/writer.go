package tree

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"ingot/internal/fault"
)

// The limits of a name. Linux refuses longer ones (PATH_MAX, NAME_MAX); refusing them before anything is
// written gives a better message.
const (
	maxPath = 4095
	maxName = 255
)

// maxDirs bounds the directories a Writer keeps open.
const maxDirs = 200

// Writer writes entries below a root directory, and nowhere else: every path is resolved by the kernel with
// the root as "/" (openat2(2), RESOLVE_IN_ROOT), so that neither "..", nor an absolute name, nor a symbolic
// link, planted by an archive or swapped in meanwhile, leads out. What a package manager would do with a
// link inside its root is done: the name is followed as if the root were "/".
//
// A Writer is for one goroutine; several may write below one root.
type Writer struct {
	// Devices says that device nodes are made. Otherwise they are left out and recorded in Refused.
	Devices bool
	Refused []Entry
	// Adopt says that a directory that is there already takes the owner, mode and time of its entry, the root too, as
	// rpm has it. Otherwise it stays as it is. Where it is a symbolic link to one, it stays in any case.
	Adopt bool

	root *os.File
	dirs map[string]int // open directories by their path in the tree
	made []madeDir      // the directories made, parents first
	buf  []byte
}

type madeDir struct {
	path  string
	mtime time.Time
}

// NewWriter opens an existing directory to write below.
func NewWriter(root string) (*Writer, error) {
	f, err := os.Open(root)
	if err != nil {
		return nil, fmt.Errorf("opening tree: %w", err)
	}
	w := &Writer{root: f, dirs: make(map[string]int)}
	if _, err := w.openDir("."); err != nil {
		f.Close()
		if errors.Is(err, unix.ENOSYS) {
			err = fault.New(fault.Host, err, "ingot needs Linux 5.6 or newer, for openat2(2)")
		}
		return nil, fmt.Errorf("opening tree %s: %w", root, err)
	}
	return w, nil
}

// Close lets go of the tree. It writes nothing.
func (w *Writer) Close() error {
	w.forget()
	return w.root.Close()
}

// CleanPath turns the name of an archive's member into an Entry's path: "./usr//bin/" and "/usr/bin" are
// "usr/bin", "./" is ".". A name with "..", a NUL byte or more bytes than Linux takes is an error.
func CleanPath(name string) (string, error) {
	if len(name) > maxPath {
		return "", fault.Newf(fault.Input, "name %.40q…: %d bytes, more than %d", name, len(name), maxPath)
	}
	if strings.IndexByte(name, 0) >= 0 {
		return "", fault.Newf(fault.Input, "name %q has a NUL byte", name)
	}
	for part := range strings.SplitSeq(name, "/") {
		switch {
		case part == "..":
			return "", fault.Newf(fault.Input, "name %q climbs with \"..\"", name)
		case len(part) > maxName:
			return "", fault.Newf(fault.Input, "name %.40q…: a part has %d bytes, more than %d", name, len(part), maxName)
		}
	}
	clean := strings.TrimPrefix(path.Clean("/"+name), "/")
	if clean == "" {
		return ".", nil
	}
	return clean, nil
}

// Write makes e, with the Size bytes of content if it is a regular file. Missing parents are made, mode
// 0755, owned by the caller. What is there already gives way, except directories: where e is a directory
// and the tree has one, or a symbolic link to one, it stays as it is; likewise where e is a symbolic link
// and the tree has a directory (dpkg's rules, which pacman and rpm share for the first). Anything else in
// the place of a directory is an error.
//
// An io.SectionReader of a file is copied without passing through this program.
func (w *Writer) Write(e Entry, content io.Reader) error {
	if err := w.write(e, content); err != nil {
		return fmt.Errorf("writing %s: %w", e.Path, err)
	}
	return nil
}

func (w *Writer) write(e Entry, content io.Reader) error {
	clean, err := CleanPath(e.Path)
	if err != nil {
		return err
	}
	if clean != e.Path {
		return fault.Newf(fault.Input, "the path is not clean (%q)", clean)
	}
	if e.Path == "." {
		if e.Mode&unix.S_IFMT != unix.S_IFDIR {
			return fault.Newf(fault.Input, "the root can only be a directory")
		}
		if w.Adopt {
			return w.adopt(int(w.root.Fd()), ".", e)
		}
		return nil
	}
	dir, err := w.parent(e.Path)
	if err != nil {
		return err
	}
	name := path.Base(e.Path)
	switch e.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		return w.file(dir, name, e, content)
	case unix.S_IFDIR:
		return w.dir(dir, name, e)
	case unix.S_IFLNK:
		return w.symlink(dir, name, e)
	case unix.S_IFCHR, unix.S_IFBLK:
		if !w.Devices {
			w.Refused = append(w.Refused, e)
			return nil
		}
		return w.node(dir, name, e)
	case unix.S_IFIFO:
		return w.node(dir, name, e)
	}
	return fault.Newf(fault.Input, "a file of type %#o has no place in a tree", e.Mode&unix.S_IFMT)
}

// Link makes name another name of the file target; both are Entry paths. A symbolic link is linked itself.
func (w *Writer) Link(name, target string) error {
	if name == target {
		return nil
	}
	err := w.pair(name, target, func(dir int, name string, toDir int, toName string) error {
		return replace(dir, name, func() error { return unix.Linkat(toDir, toName, dir, name, 0) })
	})
	if err != nil {
		return fmt.Errorf("linking %s to %s: %w", name, target, err)
	}
	return nil
}

// pair does something to two names in the tree, given with the open directories that they are in.
func (w *Writer) pair(a, b string, do func(dirA int, a string, dirB int, b string) error) error {
	for _, p := range []string{a, b} {
		if clean, err := CleanPath(p); err != nil {
			return err
		} else if clean != p || p == "." {
			return fault.Newf(fault.Input, "%q is no path of a file", p)
		}
	}
	// b's directory is kept open by a second descriptor: opening the other one may close it to make room.
	dirB, err := w.parent(b)
	if err != nil {
		return err
	}
	if dirB, err = unix.FcntlInt(uintptr(dirB), unix.F_DUPFD_CLOEXEC, 0); err != nil {
		return err
	}
	defer unix.Close(dirB)
	dirA, err := w.parent(a)
	if err != nil {
		return err
	}
	return do(dirA, path.Base(a), dirB, path.Base(b))
}

// Rename moves a file or directory, replacing what is there as rename(2) does.
func (w *Writer) Rename(from, to string) error {
	err := w.pair(to, from, func(dir int, name string, fromDir int, fromName string) error {
		return unix.Renameat(fromDir, fromName, dir, name)
	})
	if err != nil {
		return fmt.Errorf("renaming %s to %s: %w", from, to, err)
	}
	return nil
}

// Open opens a regular file of the tree for reading, through symbolic links as programs in the tree would.
func (w *Writer) Open(name string) (*os.File, error) {
	fd, err := unix.Openat2(int(w.root.Fd()), name, &unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_CLOEXEC | unix.O_NONBLOCK,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	})
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: name, Err: err}
	}
	return regular(os.NewFile(uintptr(fd), name))
}

// SettleTimes gives the directories that this Writer made the times of their entries, which everything
// written into them since has changed.
func (w *Writer) SettleTimes() error {
	for i := len(w.made) - 1; i >= 0; i-- {
		d := w.made[i]
		parent, err := w.parent(d.path)
		if err == nil {
			err = setTime(parent, path.Base(d.path), d.mtime)
		}
		if err != nil {
			return fmt.Errorf("setting the time of %s: %w", d.path, err)
		}
	}
	w.made = nil
	return nil
}

func (w *Writer) file(dir int, name string, e Entry, content io.Reader) error {
	var fd int
	err := replace(dir, name, func() (err error) {
		fd, err = unix.Openat(dir, name, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
		return err
	})
	if err != nil {
		return err
	}
	if e.Size > 0 {
		err = w.fill(fd, content, e.Size)
	}
	if err == nil {
		err = setMeta(fd, e)
	}
	if err := errors.Join(err, unix.Close(fd)); err != nil { // a network filesystem may report a full disk this late
		return err
	}
	return setTime(dir, name, e.MTime)
}

func (w *Writer) dir(dir int, name string, e Entry) error {
	switch err := unix.Mkdirat(dir, name, 0o700); {
	case errors.Is(err, unix.EEXIST):
		// The path is looked up whole: what is there may be a link that is absolute in this tree.
		if _, err := w.openDir(e.Path); !errors.Is(err, unix.ENOTDIR) && !errors.Is(err, unix.ENOENT) {
			if err == nil && w.Adopt && isDir(dir, name) {
				return w.adopt(dir, name, e)
			}
			return err
		}
		// A file, or a link to none: it gives way.
		if err := unix.Unlinkat(dir, name, 0); err != nil {
			return err
		}
		if err := unix.Mkdirat(dir, name, 0o700); err != nil {
			return err
		}
	case err != nil:
		return err
	}
	return w.adopt(dir, name, e)
}

// adopt gives a directory what its entry says.
func (w *Writer) adopt(dir int, name string, e Entry) error {
	fd, err := unix.Openat(dir, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	w.made = append(w.made, madeDir{e.Path, e.MTime})
	if err := setMeta(fd, e); err != nil {
		return err
	}
	return setTime(dir, name, e.MTime)
}

func (w *Writer) symlink(dir int, name string, e Entry) error {
	if e.Target == "" {
		return fault.Newf(fault.Input, "the link has no target")
	}
	create := func() error { return unix.Symlinkat(e.Target, dir, name) }
	err := create()
	if errors.Is(err, unix.EEXIST) {
		if isDir(dir, name) {
			return nil
		}
		err = replace(dir, name, create)
	}
	if err != nil {
		return err
	}
	if err := unix.Fchownat(dir, name, int(e.UID), int(e.GID), unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	for attr, value := range e.Xattrs {
		if err := unix.Lsetxattr(fmt.Sprintf("/proc/self/fd/%d/%s", dir, name), attr, value, 0); err != nil {
			return fmt.Errorf("attribute %s: %w", attr, err)
		}
	}
	return setTime(dir, name, e.MTime)
}

func (w *Writer) node(dir int, name string, e Entry) error {
	err := replace(dir, name, func() error {
		return unix.Mknodat(dir, name, e.Mode&unix.S_IFMT|0o600, int(unix.Mkdev(e.Major, e.Minor)))
	})
	if err != nil {
		return err
	}
	if err := unix.Fchownat(dir, name, int(e.UID), int(e.GID), unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	// A node cannot be opened without doing what it stands for, except as a mere path.
	fd, err := unix.Openat(dir, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.Chmod(fmt.Sprintf("/proc/self/fd/%d", fd), e.Mode&0o7777); err != nil {
		return err
	}
	return setTime(dir, name, e.MTime)
}

// replace makes a name with create, after removing what has it: anything but a directory.
func replace(dir int, name string, create func() error) error {
	err := create()
	if !errors.Is(err, unix.EEXIST) {
		return err
	}
	if err := unix.Unlinkat(dir, name, 0); err != nil {
		if isDir(dir, name) {
			return fault.Newf(fault.Input, "a directory is in its place")
		}
		return err
	}
	return create()
}

func isDir(dir int, name string) bool {
	var st unix.Stat_t
	err := unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW)
	return err == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR
}

// setMeta sets owner, mode and attributes, in this order: chown(2) takes set-id bits and capabilities away.
func setMeta(fd int, e Entry) error {
	if err := unix.Fchown(fd, int(e.UID), int(e.GID)); err != nil {
		return err
	}
	if err := unix.Fchmod(fd, e.Mode&0o7777); err != nil {
		return err
	}
	for attr, value := range e.Xattrs {
		if err := unix.Fsetxattr(fd, attr, value, 0); err != nil {
			return fmt.Errorf("attribute %s: %w", attr, err)
		}
	}
	return nil
}

func setTime(dir int, name string, t time.Time) error {
	ts := unix.NsecToTimespec(t.UnixNano())
	return unix.UtimesNanoAt(dir, name, []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW)
}

// fill writes size bytes of content to a new file.
func (w *Writer) fill(fd int, content io.Reader, size int64) error {
	if s, ok := content.(*io.SectionReader); ok {
		if r, off, n := s.Outer(); n >= size {
			if f, ok := r.(*os.File); ok {
				if done, err := copyRange(fd, f, off, size); done {
					return err
				}
			}
		}
	}
	if w.buf == nil {
		w.buf = make([]byte, 256<<10)
	}
	for left := size; left > 0; {
		n, err := io.ReadFull(content, w.buf[:min(left, int64(len(w.buf)))])
		if err != nil {
			return fault.New(fault.Input, fmt.Errorf("%d of %d bytes are missing: %w", left-int64(n), size, err), "")
		}
		for b := w.buf[:n]; len(b) > 0; {
			m, err := unix.Write(fd, b)
			if err != nil && !errors.Is(err, unix.EINTR) {
				return err
			}
			b = b[max(m, 0):]
		}
		left -= int64(n)
	}
	return nil
}

// copyRange copies inside the kernel. done is false where the kernel or the filesystems cannot.
func copyRange(fd int, src *os.File, off, size int64) (done bool, err error) {
	for left := size; left > 0; {
		n, err := unix.CopyFileRange(int(src.Fd()), &off, fd, nil, int(min(left, 1<<30)), 0)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil && left == size && (errors.Is(err, unix.EXDEV) || errors.Is(err, unix.ENOSYS) ||
			errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EOPNOTSUPP)):
			return false, nil
		case err != nil:
			return true, err
		case n == 0:
			return true, fault.Newf(fault.Input, "%d of %d bytes are missing", left, size)
		}
		left -= int64(n)
	}
	return true, nil
}

// parent returns the open directory that p lies in, made if need be.
func (w *Writer) parent(p string) (int, error) {
	dir := path.Dir(p)
	fd, err := w.openDir(dir)
	if !errors.Is(err, unix.ENOENT) || dir == "." {
		return fd, err
	}
	above, err := w.parent(dir)
	if err != nil {
		return -1, err
	}
	if err := unix.Mkdirat(above, path.Base(dir), 0o755); err != nil && !errors.Is(err, unix.EEXIST) {
		return -1, err
	}
	return w.openDir(dir) // fails where a link leads to nothing
}

// openDir opens a directory of the tree, or finds it open.
func (w *Writer) openDir(p string) (int, error) {
	if fd, ok := w.dirs[p]; ok {
		return fd, nil
	}
	fd, err := unix.Openat2(int(w.root.Fd()), p, &unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	})
	if err != nil {
		return -1, err
	}
	if len(w.dirs) >= maxDirs {
		w.forget()
	}
	w.dirs[p] = fd
	return fd, nil
}

func (w *Writer) forget() {
	for p, fd := range w.dirs {
		unix.Close(fd)
		delete(w.dirs, p)
	}
}
