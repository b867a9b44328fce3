package lua

import (
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// root resolves paths in a tree.
type root struct {
	fd  int
	cwd string // absolute, in the tree
}

func openRoot(dir string) (*root, error) {
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: dir, Err: err}
	}
	return &root{fd: fd, cwd: "/"}, nil
}

func (r *root) close() { _ = unix.Close(r.fd) } // it was only ever a path

// absolute spells a path from the root on, without resolving anything.
func (r *root) absolute(name string) string {
	if name != "" && name[0] != '/' {
		return r.cwd + "/" + name
	}
	return name
}

func (r *root) openat(name string, flags int, mode uint32) (int, error) {
	if name == "" {
		return -1, unix.ENOENT
	}
	return unix.Openat2(r.fd, r.absolute(name), &unix.OpenHow{Flags: uint64(flags) | unix.O_CLOEXEC, Mode: uint64(mode), //nolint:gosec // flags are small
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS})
}

// in calls fn with the open folder that a name lies in, and the name's last part.
func (r *root) in(name string, fn func(dir int, base string) error) error {
	dir, base := path.Split(path.Clean("/" + r.absolute(name)))
	if name == "" || base == "" {
		return unix.ENOENT
	}
	// The folder as it is written, since what ".." means depends on links before it.
	if written, last := path.Split(r.absolute(name)); last == base {
		dir = written
	}
	fd, err := r.openat(dir, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return fn(fd, base)
}

// stat describes what a name leads to, or the name itself where it is a link.
func (r *root) stat(name string, follow bool) (st unix.Stat_t, err error) {
	flags := unix.O_PATH
	if !follow {
		flags |= unix.O_NOFOLLOW
	}
	fd, err := r.openat(name, flags, 0)
	if err != nil {
		return st, err
	}
	defer unix.Close(fd)
	err = unix.Fstat(fd, &st)
	return st, err
}

// on calls fn with the name, on the host, of what a name leads to.
func (r *root) on(name string, fn func(host string) error) error {
	fd, err := r.openat(name, unix.O_PATH, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return fn(fmt.Sprintf("/proc/self/fd/%d", fd))
}

// open opens a regular file, or /dev/null. A new one gets the mode.
func (r *root) open(name string, flags int, mode uint32) (*os.File, error) {
	st, err := r.stat(name, true)
	if err == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR && flags == unix.O_RDONLY {
		return nil, unix.EISDIR
	}
	null := st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == unix.Mkdev(1, 3)
	switch {
	case errors.Is(err, unix.ENOENT) && flags&unix.O_CREAT != 0:
		fd, err := r.openat(name, flags|unix.O_EXCL, mode)
		if errors.Is(err, unix.EEXIST) { // a link that leads to nothing yet
			fd, err = r.openat(name, flags, mode)
		}
		if err != nil {
			return nil, err
		}
		return os.NewFile(uintptr(fd), name), unix.Fchmod(fd, mode) // past the umask of this process
	case err != nil:
		return nil, err
	case st.Mode&unix.S_IFMT != unix.S_IFREG && !null:
		return nil, unix.EACCES
	}
	fd, err := r.openat(name, flags&^unix.O_CREAT|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}

// list returns the names in a folder, sorted, with "." and "..".
func (r *root) list(name string) ([]string, error) {
	fd, err := r.openat(name, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	names, err := f.Readdirnames(-1)
	names = append(names, ".", "..")
	slices.Sort(names)
	return names, err
}

// glob returns the paths that fit a pattern of path.Match, sorted.
func (r *root) glob(pattern string) ([]string, error) {
	found := []string{""}
	for part := range strings.SplitSeq(strings.Trim(path.Clean(r.absolute(pattern)), "/"), "/") {
		var next []string
		for _, dir := range found {
			if !strings.ContainsAny(part, "*?[\\") {
				if _, err := r.stat(dir+"/"+part, false); err == nil {
					next = append(next, dir+"/"+part)
				}
				continue
			}
			names, err := r.list(dir + "/")
			if err != nil {
				continue // it is no folder
			}
			for _, name := range names {
				ok, err := path.Match(part, name)
				if err != nil {
					return nil, err
				}
				if ok && (name[0] != '.' || part[0] == '.') {
					next = append(next, dir+"/"+name)
				}
			}
		}
		found = next
	}
	return found, nil
}

func errorNumber(err error) int {
	var n syscall.Errno
	if errors.As(err, &n) {
		return int(n)
	}
	return int(unix.EIO)
}
