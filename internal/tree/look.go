package tree

import (
	"errors"
	"io"
	"os"
	"path"
	"slices"

	"golang.org/x/sys/unix"

	"ingot/internal/fault"
)

// OpenFile opens a regular file of a tree for reading. Anything else is refused: scripts may lay a pipe, for one, in the
// place of a file, and whoever opened that would wait for ever.
func OpenFile(root *os.Root, name string) (*os.File, error) {
	f, err := root.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	return regular(f)
}

// regular closes a file that is not a regular one.
func regular(f *os.File) (*os.File, error) {
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		f.Close()
		return nil, fault.Newf(fault.Input, "%s is no regular file", f.Name())
	}
	return f, nil
}

// Lstat returns the type and permissions, as stat(2) has them, of what is at an Entry's path, and 0 if there is nothing.
// A symbolic link is not followed, those in the path before it are, as if the root were "/".
func (w *Writer) Lstat(name string) (mode uint32, err error) {
	dir, err := w.openDir(path.Dir(name))
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	var st unix.Stat_t
	err = unix.Fstatat(dir, path.Base(name), &st, unix.AT_SYMLINK_NOFOLLOW)
	if errors.Is(err, unix.ENOENT) {
		return 0, nil
	}
	return st.Mode, err
}

// Remove removes what is at an Entry's path and is no directory.
func (w *Writer) Remove(name string) error {
	dir, err := w.openDir(path.Dir(name))
	if err != nil {
		return err
	}
	return unix.Unlinkat(dir, path.Base(name), 0)
}

// Names returns the names in a directory of the tree, which must not be more than limit, sorted. Links are followed.
func (w *Writer) Names(dir string, limit int) ([]string, error) {
	fd, err := w.openDir(dir)
	if err != nil {
		return nil, err
	}
	if fd, err = unix.Openat(fd, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), dir)
	defer f.Close()
	names, err := f.Readdirnames(limit + 1)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if len(names) > limit {
		return nil, fault.Newf(fault.Input, "the directory /%s has more than %d names", dir, limit)
	}
	slices.Sort(names)
	return names, nil
}
