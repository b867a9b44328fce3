package tree

import (
	"errors"
	"io"
	"io/fs"
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

// maxText bounds what ReadFile reads, in bytes.
const maxText = 64 << 20

// ReadFile reads a regular file of a tree that fits into memory.
func ReadFile(root *os.Root, name string) ([]byte, error) { return readFile(root, name, maxText) }

func readFile(root *os.Root, name string, limit int64) ([]byte, error) {
	f, err := OpenFile(root, name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(text)) > limit {
		err = fault.Newf(fault.Input, "/%s is larger than %d bytes", name, limit)
	}
	return text, err
}

// WriteFile writes a regular file of a tree as os.Root does.
func WriteFile(root *os.Root, name string, data []byte, perm fs.FileMode) error {
	f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|unix.O_NONBLOCK, perm)
	if err != nil {
		return err
	}
	if f, err = regular(f); err != nil {
		return err
	}
	err = f.Truncate(0)
	if err == nil {
		_, err = f.Write(data)
	}
	return errors.Join(err, f.Close())
}

// FS is what os.Root.FS is, for lists of directories and patterns: it waits for nobody who writes into a pipe that is taken for a directory.
func FS(root *os.Root) fs.StatFS { return files{root} }

type files struct{ root *os.Root }

func (f files) Open(name string) (fs.File, error) {
	return f.root.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
}

func (f files) Stat(name string) (fs.FileInfo, error) { return f.root.Stat(name) }

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
